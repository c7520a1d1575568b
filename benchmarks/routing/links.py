"""Recorded links: rates and round trips over time, read from the formats that such recordings come in."""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

PACKET = 1500
"""Bytes that one line of a mahimahi file delivers."""

STEP = 0.1
"""Seconds in which the deliveries of a mahimahi file are counted together."""

LEAST = 250.0
"""Bytes per second below which no rate is taken to be: a link that is down for ever would end the simulation."""

_TIME = re.compile(r"^(time|timestamp|t|ts|sec|seconds)\b|^time", re.IGNORECASE)
_UP = re.compile(r"^(ul|up|uplink|tx)", re.IGNORECASE)
_RATE = re.compile(r"rate|bandwidth|throughput|mbps|kbps|bps|^dl", re.IGNORECASE)
_TRIP = re.compile(r"rtt|ping|latency|delay|round", re.IGNORECASE)


class LinkTrace(msgspec.Struct, frozen=True):
    """One link: at `times` (seconds from 0, the first of each stretch; the last one ends it) the uplink's rate in bytes per
    second; at `trip_times` a round trip in seconds."""

    name: str
    times: tuple[float, ...]
    rates: tuple[float, ...]
    trip_times: tuple[float, ...] = ()
    trips: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        return self.times[-1]

    def trip(self, at: float) -> float | None:
        """The recorded round trip at this instant, the recording repeated; None if none was recorded."""
        if not self.trips:
            return None
        return self.trips[max(0, bisect_right(self.trip_times, at % self.seconds) - 1)]


def read(folder: Path) -> list[LinkTrace]:
    """Every recording in a folder and those below it, by name. What is not one (a licence) is passed over; ValueError if
    there is none at all."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        trace = read_file(path)
        if trace is not None:
            found.append(trace)
    if not found:
        raise ValueError(f"no recorded link in {folder}: mahimahi packet-delivery files, CSV, JSON and columns are read")
    return found


def read_file(path: Path) -> LinkTrace | None:
    """One recording, by what is in it; None if it is none."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return None
    for reader in (_sabre, _mahimahi, _table, _columns):
        trace = reader(path.stem, text)
        if trace is not None:
            return trace
    return None


def _sabre(name: str, text: str) -> LinkTrace | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        rows = [(r["duration_ms"] / 1e3, r["bandwidth_kbps"] * 125.0, r["latency_ms"] / 1e3) for r in json.loads(text)]
    except (ValueError, KeyError, TypeError):
        return None
    times = np.concatenate([[0.0], np.cumsum([r[0] for r in rows])])
    # The latency of these files is one constant for the network's generation, not a recording: only its base is kept.
    return _trace(name, times, [r[1] for r in rows], [0.0], [2 * rows[0][2]])


def _mahimahi(name: str, text: str) -> LinkTrace | None:
    """One line a packet that could be delivered, the millisecond at which it could."""
    lines = text.split()
    if len(lines) < 2 or not all(line.isdecimal() for line in lines[:1000]):
        return None
    try:
        stamps = np.array(lines, np.float64) / 1e3
    except ValueError:
        return None
    stamps -= stamps[0]
    if np.any(np.diff(stamps) < 0) or stamps[-1] <= STEP:
        return None
    counts = np.histogram(stamps, np.arange(0.0, stamps[-1] + STEP, STEP))[0]
    return _trace(name, np.arange(len(counts) + 1) * STEP, counts * PACKET / STEP)


def _columns(name: str, text: str) -> LinkTrace | None:
    """Time in seconds and rate in Mbit/s, split by white space; more columns are passed over."""
    try:
        rows = [[float(word) for word in line.split()[:2]] for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
    if len(rows) < 2 or any(len(row) < 2 for row in rows):
        return None
    times = np.array([row[0] for row in rows])
    rates = [row[1] * 125e3 for row in rows]
    return _from_samples(name, times, rates, [], [])


def _table(name: str, text: str) -> LinkTrace | None:
    """CSV with a head: a time, a rate (an uplink's where there is one that carried something), a round trip in ms."""
    lines = text.splitlines()
    if len(lines) < 3 or "," not in lines[0] or not re.search("[A-Za-z]", lines[0]):
        return None
    head, *rows = list(csv.reader(lines))
    clock = next((i for i, word in enumerate(head) if _TIME.search(word)), None)
    rate = _rate_column(head, rows)
    if clock is None or rate is None:
        return None
    trip = next((i for i, word in enumerate(head) if _TRIP.search(word)), None)
    scale = 125e3 if "mb" in head[rate].lower() else 1 / 8 if re.fullmatch(".*[^km]bps.*", head[rate].lower()) else 125.0
    times: list[float] = []
    rates: list[float] = []
    trip_times: list[float] = []
    trips: list[float] = []
    for row in rows:
        at = _seconds(row[clock]) if clock < len(row) else None
        speed = _number(row[rate]) if rate < len(row) else None
        if at is None or speed is None:
            continue
        if times and at <= times[-1]:
            continue  # a recorder that writes twice in a second
        times.append(at)
        rates.append(speed * scale)
        milliseconds = None if trip is None or trip >= len(row) else _number(row[trip])
        if milliseconds:
            trip_times.append(at)
            trips.append(milliseconds / (1.0 if trip is not None and head[trip].lower().endswith("_s") else 1e3))
    if len(times) < 2:
        return None
    return _from_samples(name, np.array(times), rates, trip_times, trips)


def _rate_column(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """The uplink's, unless it only carried the acknowledgements of a download: then the download's."""
    named = [i for i, word in enumerate(head) if _RATE.search(word) or _UP.search(word)]
    up = [i for i in named if _UP.search(head[i])]
    down = [i for i in named if i not in up]

    def carried(column: int) -> float:
        return float(np.sum([_number(row[column]) or 0.0 for row in rows if column < len(row)]))

    if up and (not down or carried(up[0]) > 0.1 * carried(down[0])):
        return up[0]
    return down[0] if down else None


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _seconds(word: str) -> float | None:
    """A number of seconds, or a time of day at the end of a stamp like 2019.12.16_14.23.32."""
    if (value := _number(word)) is not None:
        return value
    match = re.search(r"(\d{1,2})[.:](\d{2})[.:](\d{2}(?:\.\d+)?)$", word)
    return None if match is None else int(match[1]) * 3600.0 + int(match[2]) * 60.0 + float(match[3])


def _from_samples(
    name: str, times: np.ndarray, rates: Sequence[float], trip_times: Sequence[float], trips: Sequence[float]
) -> LinkTrace | None:
    """A rate at each of these times, which holds until the next; the last one as long as most do."""
    gaps = np.diff(times)
    if np.any(gaps <= 0):
        return None
    ends = np.append(times, times[-1] + float(np.median(gaps))) - times[0]
    return _trace(name, ends, rates, [t - times[0] for t in trip_times], trips)


def _trace(
    name: str,
    times: Iterable[float],
    rates: Iterable[float],
    trip_times: Iterable[float] = (),
    trips: Iterable[float] = (),
) -> LinkTrace:
    return LinkTrace(
        name,
        tuple(float(t) for t in times),
        tuple(max(float(r), LEAST) for r in rates),
        tuple(float(t) for t in trip_times),
        tuple(float(t) for t in trips),
    )
