"""What jobs bring back from devices: reports of benchmarks, decision logs. Written to files, and set side by side."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_bridge.cli.fleet.shared import plain
from cloud_bridge.protocol.fleet.commands import LARGEST_RESULT, Benchmark, CollectLog, Command
from edge_runtime.bench import report
from edge_runtime.bench.units import duration
from edge_runtime.cli.shell import table, write
from edge_runtime.errors import InputError, ProtocolError

if TYPE_CHECKING:
    from cloud_bridge.fleet.registry import Registry

Row = Mapping[str, Any]


def take(registry: Registry, job: str, command: Command | None, out: Path | None) -> Sequence[Row]:
    """What has come by now, a row for each thing and model, or each thing; written to files where a folder is given. Raises
    InputError where that cannot be."""
    found = registry.jobs.results(job) if isinstance(command, Benchmark | CollectLog) else {}
    rows: list[Row] = []
    for thing, body in found.items():
        try:
            data = unpack(body)
            rows += figures(thing, data) if isinstance(command, Benchmark) else lines(thing, data)
        except (InputError, ProtocolError) as error:  # a device is no reason to tell nothing of the others
            rows.append({"thing": thing, "error": str(error)})
            continue
        if out is not None:
            write(out / f"{thing}.{'json' if isinstance(command, Benchmark) else 'jsonl'}", data)
    return rows


def unpack(body: bytes) -> bytes:
    """What a device has compressed. Raises ProtocolError for what is damaged, or would be too large."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(body, LARGEST_RESULT)
    except zlib.error as error:
        raise ProtocolError(f"what came is not compressed by zlib: {error}") from error
    if not unpacker.eof:
        raise ProtocolError(f"what came is cut, or has over {LARGEST_RESULT} bytes")
    return data


def figures(thing: str, data: bytes) -> list[Row]:
    """Of a report, how each model runs best on that device. Raises InputError for what is no report."""
    found = report.decode(data)
    rows: list[Row] = []
    for model in found.models:
        best = report.verdict(found, model).fastest
        row: dict[str, Any] = {"thing": thing, "model": model[0], "version": model[1]}
        if best is None:
            failed = next((entry.error for entry in found.of(model) if entry.error), None)
            rows.append(row | {"error": failed or "nothing could be measured"})
            continue
        shares = {"p50": best.at(0.5), "p99": best.at(0.99)}
        rows.append(row | {"fastest": best.label} | {name: at.value for name, at in shares.items() if at is not None})
    return rows


def lines(thing: str, data: bytes) -> list[Row]:
    """Of a decision log, how much there is."""
    return [{"thing": thing, "lines": data.count(b"\n"), "bytes": len(data)}]


def show(rows: Sequence[Row]) -> None:
    """As a table, with a column for whatever any of them says."""
    heads = [*dict.fromkeys(name for row in rows for name in row)]
    table([head.upper() for head in heads], [[shown(row.get(head)) for head in heads] for row in rows])


def shown(value: object) -> str:
    """A cell: seconds to read."""
    return "" if value is None else duration(value) if isinstance(value, float) else plain(str(value))[:100]
