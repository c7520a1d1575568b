"""A fleet of simulated devices on one Mosquitto, under a real controller: a command to all of 10,000, beside the bare
protocol; a version deployed to 1,000, with real files; bad versions that stop their rollouts; what one idle agent takes.

What is real: Mosquitto, `cloud-bridge fleet control` with its registry in a file, Ed25519 and TUF, the agent's talk, duty,
shadows and journal (SQLite), the static server; and where a version is deployed also each device's journal, store and TUF
state on the disk, and its health check by the engine. What is not: devices share an event loop and its MQTT client instead
of a process each and paho; those that only take a command have their journals in memory, and nothing to do; and health
checks share two processes instead of one each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.fleet import deploys, idle, rounds
from benchmarks.fleet.deploys import Deployed, Deploys, Stopped
from benchmarks.fleet.idle import Idle
from benchmarks.fleet.rounds import Rounds
from benchmarks.fleet.stage import Usage

MB = 1e6


class Size(msgspec.Struct, frozen=True):
    """How much is measured."""

    commanded: int
    """Devices that take a command."""
    rounds: int
    deployed: int
    """Devices that a version is deployed to."""
    bad: int
    """Devices that a bad one is to be deployed to."""
    idle: float
    """Seconds."""


FULL, QUICK = Size(10_000, 3, 1000, 500, 60.0), Size(200, 2, 20, 20, 2.0)


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    size: Size
    rounds: Rounds
    deploys: Deploys
    idle: Idle


def run(options: Options) -> Outcome:
    """One after another."""
    size = QUICK if options.quick else FULL
    total = size.rounds + 6
    steps = iter(range(1, total + 1))

    def progress() -> None:
        options.progress(next(steps), total)

    with tempfile.TemporaryDirectory() as folder:
        commanded = rounds.hold(_inside(folder, "commanded"), size.commanded, size.rounds, progress)
        deployed = deploys.hold(_inside(folder, "deployed"), size.deployed, size.bad, progress)
        alone = idle.hold(_inside(folder, "alone"), size.idle)
        progress()
    found = Found(size, commanded, deployed, alone)
    return Outcome(_bars(found), _rows(found), found)


def _inside(folder: str, name: str) -> Path:
    made = Path(folder) / name
    made.mkdir()
    return made


def _bars(found: Found) -> list[Bar]:
    of, good = found.rounds, found.deploys.deployed
    return [
        at_most("a command to all over the bare protocol", _ratio(of), "x", 2.0),
        at_most("words of devices lost", float(sum(each.lost for each in of.real)), "", 0.0),
        at_most("words of devices counted twice", float(sum(each.twice for each in of.real)), "", 0.0),
        at_least("deployed: devices that SUCCEEDED", 100.0 * good.states.get("SUCCEEDED", 0) / good.devices, "%", 100.0),
        at_least("deployed: the new version is active", 100.0 * good.active.get(deploys.NEW, 0) / good.devices, "%", 100.0),
        *(bar for stopped in found.deploys.stopped for bar in _stopped(stopped, good.devices)),
        at_most("an idle agent: resident memory", found.idle.resident / MB, "MB", 40.0),
    ]


def _stopped(stopped: Stopped, devices: int) -> list[Bar]:
    old = stopped.active.get(deploys.NEW, 0)
    executed = sum(count for state, count in stopped.states.items() if state != "CANCELED")
    return [
        at_most(f"{stopped.name}: devices that let it serve", float(stopped.activated + stopped.trials), "", 0.0),
        at_most(f"{stopped.name}: devices that tried", float(executed), "", float(stopped.most)),
        at_least(f"{stopped.name}: the rollout stopped by itself", float(stopped.phase == "aborted"), "", 1.0),
        at_least(f"{stopped.name}: the old version is active", 100.0 * old / devices, "%", 100.0),
    ]  # fmt: skip


def _ratio(of: Rounds) -> float:
    """Of the times until everybody knew that its last word was accepted, turn by turn."""
    return median(real.accepted / bare.ended for real, bare in zip(of.real, of.bare, strict=True))


def _rows(found: Found) -> list[str]:
    return [
        *_commanded(found.rounds),
        *_deployed(found.deploys.deployed),
        *map(_bad, found.deploys.stopped),
        _idle(found.idle),
    ]


def _commanded(of: Rounds) -> list[str]:
    def middle(name: str, each: Iterable[object]) -> float:
        return float(median(getattr(one, name) for one in each))

    marks = ("heard", "acknowledged", "done", "ended", "accepted", "over")
    told = ", ".join(f"{name} {middle(name, of.real):.2f}" for name in marks)
    sizes = "+".join(str(len(line.payload)) for line in of.script)
    short = ", ".join(f"{each.ended:.2f}" for each in of.short)
    return [
        f"{of.devices} devices connected, and what they report was taken in, in {of.settled:.1f} s: {_used(of.settling)}",
        f"a command to all, seconds from its order to the last device ({len(of.real)} turns, medians): {told}",
        f"  CPU: {_middle([each.usage for each in of.real])}",
        f"the bare protocol, the same {len(of.script)} messages a device ({sizes} bytes): {middle('ended', of.bare):.2f} s;"
        f" the first two of them alone: {short} s",
        f"  CPU: {_middle([each.usage for each in of.bare])}; devices that heard too much or too little:"
        f" {sum(each.wrong for each in (*of.bare, *of.short))}",
    ]


def _deployed(of: Deployed) -> list[str]:
    return [
        f"deployed to {of.devices} devices in {of.seconds:.1f} s ({of.devices / of.seconds:.0f} a second):"
        f" {_counted(of.states)}{''.join(f'; {reason}' for reason in of.reasons)}",
        f"  CPU: {_used(of.usage)}; memory: "
        + ", ".join(f"{name} {used.memory / MB:.0f} MB" for name, used in of.usage.items()),
    ]


def _bad(of: Stopped) -> str:
    return (
        f"{of.name}, to {of.devices} devices: {of.phase} after {of.seconds:.1f} s ({of.why}): {_counted(of.states)};"
        f" active: {_counted(of.active)}{''.join(f'; {reason}' for reason in of.reasons[:1])}"
    )


def _idle(of: Idle) -> str:
    return (
        f"an idle agent: {of.resident / MB:.1f} MB resident, {of.proportional / MB:.1f} MB its share of shared pages,"
        f" {of.unique / MB:.1f} MB its own; {of.cpu:.2f} s CPU in {of.seconds:.0f} s (its start took {of.start:.1f} s)"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _used(usage: Mapping[str, Usage]) -> str:
    return ", ".join(f"{name} {used.cpu:.1f} s" for name, used in usage.items() if used.cpu >= 0.05)


def _middle(usages: Sequence[Mapping[str, Usage]]) -> str:
    return _used({name: Usage(median(each[name].cpu for each in usages), 0) for name in usages[0]})


if __name__ == "__main__":
    main("fleet", __doc__, run)
