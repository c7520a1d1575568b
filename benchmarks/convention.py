"""What every benchmark here has in common: its command line, its JSON, its last line and its exit status.

    python -m benchmarks.NAME [--quick] [--json FILE] [--store DIR]

`--quick` ends within 50 seconds. The JSON has `bars`: one claim each, with its value, unit, aim, and whether it was met.
The last line printed is the summary. Exit status: 0 every aim was met, 1 one was missed, 2 it could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import msgspec
from tqdm import tqdm

from edge_runtime.bench.fingerprint import Fingerprint, fingerprint
from edge_runtime.errors import EdgeError

QUICK = 50.0
"""Seconds that --quick may take."""


class Bar(msgspec.Struct, frozen=True):
    """One claim held against its aim. A value that is no finite number has not met any."""

    name: str
    value: float
    unit: str
    aim: float
    met: bool
    sense: Literal["at most", "at least"] = "at most"

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} {self.unit} ({self.sense} {self.aim:g}){'' if self.met else ' MISSED'}"


def at_most(name: str, value: float, unit: str, aim: float) -> Bar:
    """A bar that is met by a value up to its aim."""
    return Bar(name, value, unit, aim, isfinite(value) and value <= aim)


def at_least(name: str, value: float, unit: str, aim: float) -> Bar:
    """A bar that is met by a value from its aim on."""
    return Bar(name, value, unit, aim, isfinite(value) and value >= aim, "at least")


class Options(msgspec.Struct, frozen=True):
    """What a benchmark is run with."""

    quick: bool
    store: Path
    """Where the model bundles are."""
    progress: Callable[[int, int], Any]
    """To be told how much is done, of how much."""
    own: Mapping[str, Any] = {}
    """The options that this benchmark alone has, by name."""


class Outcome(msgspec.Struct, frozen=True):
    """What a benchmark found: bars to hold against their aims, rows to print, and the raw values behind both."""

    bars: Sequence[Bar]
    rows: Sequence[str] = ()
    details: Any = None


class _Record(msgspec.Struct, frozen=True):
    """The JSON file."""

    benchmark: str
    date: str
    quick: bool
    seconds: float
    bars: Sequence[Bar]
    fingerprint: Fingerprint
    details: Any


def main(
    name: str, doc: str | None, run: Callable[[Options], Outcome], argv: Sequence[str] | None = None, *,
    add: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> NoReturn:  # fmt: skip
    """Parse the command line, run, print, write the JSON, and exit with the status that says how it went. `add` adds
    options to the convention's; they arrive in `Options.own`."""
    parser = _parser(name, doc)
    add(parser)
    arguments = parser.parse_args(argv)
    began, environment = datetime.now(UTC), fingerprint()
    start = time.monotonic()
    try:
        with _Shown(name) as shown:
            outcome = run(Options(arguments.quick, arguments.store, shown.show, vars(arguments)))
    except EdgeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    seconds = time.monotonic() - start
    for row in outcome.rows:
        print(row)
    if arguments.quick and seconds > QUICK:
        print(f"{name}: --quick took {seconds:.0f} s; it is to end within {QUICK:.0f} s", file=sys.stderr)
    if arguments.json is not None:
        date = began.isoformat(timespec="seconds")
        record = _Record(name, date, arguments.quick, round(seconds, 3), outcome.bars, environment, outcome.details)
        _write(name, arguments.json, record)
    print(summary(name, outcome.bars))
    sys.exit(0 if outcome.bars and all(bar.met for bar in outcome.bars) else 1)


def summary(name: str, bars: Sequence[Bar]) -> str:
    """The last line: how many aims were met, and each value beside its aim."""
    met = sum(bar.met for bar in bars)
    return f"{name}: {met} of {len(bars)} aims met" + (
        f": {'; '.join(map(str, bars))}" if bars else "; nothing was measured"
    )


def _parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example:\n  python -m benchmarks.{name} --quick --json {name}.json\n\n"
        "exit status: 0 every aim was met; 1 an aim was missed; 2 it could not be measured",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help=f"fewer repetitions: ends within {QUICK:.0f} s")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the bars, the environment and the raw values")
    parser.add_argument("--store", type=Path, default=Path("store"), metavar="DIR", help="the bundles (default: ./store)")
    return parser


def _file(text: str) -> Path:
    """A path that can be written, refused before anything is measured rather than after."""
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from error
    return path


def _write(name: str, path: Path, record: _Record) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    except OSError as error:
        print(f"{name}: {path} could not be written: {error.strerror}", file=sys.stderr)
        sys.exit(2)


class _Shown:
    """A bar on a terminal, from the first that is told of progress: a benchmark may have a better picture of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                desc=self._name,
                total=total,
                leave=False,
                disable=None,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}",
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
