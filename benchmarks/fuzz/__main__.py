"""Hostile bytes against everything here that reads bytes of strangers: libFuzzer (atheris, extra `fuzz`) looks for input
that makes it crash, hang, or raise what it is not to raise; what it found to be interesting is then read again and again,
to see whether memory leaks."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.convention import Bar, Options, Outcome, at_most, main
from benchmarks.fuzz.targets import TARGETS, seeds
from edge_runtime.errors import EngineMissingError

REPLAY = 0.1
"""The share of the time that is for the second part."""

GROWTH = 0.05
"""By how much memory may grow, as a share."""


class Fuzzed(msgspec.Struct, frozen=True):
    """What became of a target."""

    target: str
    runs: int
    inputs: int
    """Those that were kept, each for a branch that it alone reached."""
    growth: float
    """Of the memory while they were read again and again, as a share."""
    crash: str = ""
    """What was found, and the file that shows it."""


def run(options: Options) -> Outcome:
    """Each target in turn."""
    if importlib.util.find_spec("atheris") is None:
        raise EngineMissingError("atheris is needed to fuzz: pip install 'edge-runtime[fuzz]'")
    names = options.own["only"] or list(TARGETS)
    seconds = 24.0 / len(names) if options.quick else 60.0 * options.own["minutes"] / len(names)
    where: Path = options.own["corpus"] or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found = []
    for number, name in enumerate(names):
        options.progress(number, len(names))
        found.append(_fuzz(name, where / name, seconds))
    runs = sum(one.runs for one in found)
    rows = [
        f"{one.target}: {one.runs} runs, {one.inputs} inputs kept, memory {one.growth:+.1%}{one.crash and f'; {one.crash}'}"
        for one in found
    ]
    return Outcome(_bars(found), [*rows, f"{runs} runs in all; the inputs are in {where}"], tuple(found))


def _fuzz(name: str, corpus: Path, seconds: float) -> Fuzzed:
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    done = _child(name, corpus, (1 - REPLAY) * seconds)
    runs = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
    crash = ""
    if done.returncode != 0 or runs is None:
        crash = next(
            (line for line in reversed(done.stderr.splitlines()) if "Error" in line or "Test unit" in line), "it died"
        )
    again = _child(name, corpus, REPLAY * seconds, "replay")
    before, after = map(int, again.stdout.split()) if again.returncode == 0 else (1, 1)
    crash = crash or ("" if again.returncode == 0 else again.stderr.strip().splitlines()[-1])
    return Fuzzed(name, int(runs[1]) if runs else 0, len(list(corpus.iterdir())), after / before - 1, crash)


def _child(name: str, corpus: Path, seconds: float, *how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.fuzz.child", name, str(corpus), str(max(1.0, seconds)), *how]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * seconds + 120)  # noqa: S603


def _bars(found: list[Fuzzed]) -> list[Bar]:
    return [
        at_most(
            "targets that crashed, hung, or raised what they are not to", float(sum(bool(f.crash) for f in found)), "", 0.0
        ),
        at_most("memory grows", max(one.growth for one in found), "of it", GROWTH),
    ]


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=30.0, help="for all targets together (default: %(default)g)")
    parser.add_argument("--only", action="append", choices=list(TARGETS), help="this target (repeatable)")
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="go on from the inputs kept there, and keep new ones there"
    )


if __name__ == "__main__":
    main("fuzz", __doc__, run, add=_add)
