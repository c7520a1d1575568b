"""A fleet of real agents under violence: agents, broker and controllers are killed at random and started again, links are
cut, stalled and dark, messages come twice and in another order, while jobs are given out, called off, stopped and expire,
and state is desired. When it is calm again everything must have come out right.

Real: Mosquitto with its persistence on disk, `cloud-bridge fleet control` processes on one registry, agents with journals,
stores and links of their own (many in a process, which is killed as one; the health check opens the model in there), a TUF
repository on a static HTTP server. In benchmarks/chaos proxy.py says what is done to links, plan.py what is ordered, and
verdict.py what must hold. The schedule of disturbances is repeated by its seed; which message meets what is not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks.chaos import shadows
from benchmarks.chaos.drive import Run, Seen
from benchmarks.chaos.evidence import Evidence, gather
from benchmarks.chaos.plan import Plan, Size, plan
from benchmarks.chaos.stage import staged
from benchmarks.chaos.verdict import INTERRUPTED, RULES, Violation, judge, raced
from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet.shadow import Section
from edge_runtime.errors import InputError

CONVERGED = "a shadow has not converged"
QUICK = Size(seconds=8.0, devices=9, jobs=10, processes=3, controllers=2, haste=2.0)
SETTLED = 120.0
PATIENCE = 1.5 * SETTLED
"""Seconds after which whoever has not agreed is not waited for."""

SHOWN = 40
"""Violations that are printed, at most."""


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    seed: int
    size: Size
    seen: Seen
    states: dict[str, dict[str, int]]
    """How many executions ended how, by kind of job."""
    races: dict[str, int]
    effects: int
    """Changes of what is active that devices witnessed."""
    retries: int
    """Executions that were not a device's first of their job."""
    interrupted: int
    """Jobs that a kill ended on a device, in the middle of a trial."""
    violations: tuple[Violation, ...]


def run(options: Options) -> Outcome:
    """One run, and what came of it."""
    seed = random.SystemRandom().randrange(1 << 31) if options.own["seed"] is None else options.own["seed"]
    size = _size(options)
    planned = plan(seed, size)
    print(f"seed {seed}: {size.devices} devices, {len(planned.ordered)} jobs, {size.seconds:g} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    whole = size.seconds + (15.0 if options.quick else 45.0)  # as it mostly is
    with staged(folder, planned, size, seed) as (stage, operator), Registry(stage.registry) as registry:
        run = Run(stage, operator, registry, planned, lambda at: options.progress(int(min(at, whole)), int(whole) + 1))
        seen = run.carry_out(size.seconds, PATIENCE)
        stage.kill()
        evidence = gather(folder, [*planned.groups], [what.job for what in planned.ordered], registry)
        violations = [*judge(planned, operator.digests, evidence), *_shadows(planned, evidence, run.desires.wanted)]
    found = Found(
        seed, size, seen, _states(planned, evidence), dict(raced(planned, evidence)),
        sum(line.what == "did" for device in evidence.devices.values() for line in device.witness), *_hit(evidence),
        tuple(violations),
    )  # fmt: skip
    bars = _bars(found)
    rows = _rows(found)
    if all(bar.met for bar in bars):
        shutil.rmtree(folder)
    else:
        rows.append(f"what was found is kept in {folder}")
    return Outcome(bars, rows, found)


def _size(options: Options) -> Size:
    minutes, devices, jobs = (options.own[name] for name in ("minutes", "devices", "jobs"))
    base = QUICK if options.quick else Size(600.0, 200, 50, 10, 3)
    devices = base.devices if devices is None else devices
    jobs = base.jobs if jobs is None else jobs
    seconds = base.seconds if minutes is None else 60.0 * minutes
    if devices < 1 or jobs < 1 or not 1.0 <= seconds <= 86_400.0:
        raise InputError(
            f"{devices} devices, {jobs} jobs, {seconds:g} seconds: each has to be 1 or more, and a day at most"
        )
    processes = min(devices, base.processes, max(2, devices // 4))
    return Size(seconds, devices, jobs, processes, base.controllers, base.haste)


def _shadows(planned: Plan, evidence: Evidence, wanted: dict[tuple[str, str], Section]) -> list[Violation]:
    moved = {
        thing
        for what in planned.ordered
        for thing, device in evidence.devices.items()
        if what.kind != "collect" and (job := device.jobs.get(what.job)) is not None and job.state == "SUCCEEDED"
    }
    found = []
    for (thing, name), shadow in evidence.shadows.items():
        device = evidence.devices[thing]
        told = [*shadows.apart(name, wanted.get((thing, name), {}), shadow, device.state.active, thing in moved)]
        if name == "config" and device.config != shadow.desired:
            told.append(f"the device keeps {device.config}, and {shadow.desired} is desired")
        found += [Violation(CONVERGED, f"{name} of {thing}", words) for words in told]
    return found


def _states(planned: Plan, evidence: Evidence) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for what in planned.ordered:
        ends = Counter(str(execution.status) for execution in evidence.jobs[what.job].executions.values())
        found.setdefault(f"{what.kind} {what.course}", Counter()).update(ends)
    return {name: dict(sorted(ends.items())) for name, ends in sorted(found.items())}


def _hit(evidence: Evidence) -> tuple[int, int]:
    """Retries, and jobs that were interrupted."""
    executions = [each for rolled in evidence.jobs.values() for each in rolled.executions.values()]
    reasons = [job.details.get("reason", "") for device in evidence.devices.values() for job in device.jobs.values()]
    interrupted = sum(any(words in reason for words in INTERRUPTED) for reason in reasons)
    return sum(each.execution_number > 1 for each in executions), interrupted


def _bars(found: Found) -> list[Bar]:
    wrong = Counter(each.rule for each in found.violations)
    succeeded = sum(ends.get("SUCCEEDED", 0) for ends in found.states.values())
    return [
        at_most("settling after the last disturbance", found.seen.settling, "s", SETTLED),
        *(at_most(f"violations, {rule}", float(wrong[rule]), "", 0.0) for rule in (*RULES, CONVERGED)),
        at_most("processes that ended by themselves", float(len(found.seen.dead)), "", 0.0),
        at_least("executions that succeeded", float(succeeded), "", 1.0),
    ]


def _rows(found: Found) -> list[str]:
    seen = found.seen
    done, kills = seen.proxy, ", ".join(f"{what} {count}" for what, count in sorted(seen.kills.items()))
    rows = [
        f"seed {found.seed}: killed: {kills}; {done.messages} messages, {done.connections} connections, {done.cut} cut, "
        f"{done.turned_away} turned away, {done.stalled} stalled; {done.copies} messages twice, {done.overtaken} overtaken",
        f"{found.effects} changes of what is active were witnessed; {found.interrupted} jobs were interrupted on trial, "
        f"{found.retries} executions were retries; all agreed {seen.settling:.1f} s after the last disturbance",
        f"ended at both ends at once: {', '.join(f'{count} {how}' for how, count in found.races.items()) or 'none'}",
    ]
    for name, ends in found.states.items():
        rows.append(f"  {name}: {', '.join(f'{count} {end}' for end, count in ends.items()) or 'nobody was told'}")
    rows += [f"not settled: {words}" for words in seen.unsettled[:SHOWN]]
    rows += [f"ended by itself: {words}" for words in seen.dead]
    rows += [f"VIOLATION {each}" for each in found.violations[:SHOWN]]
    if len(found.violations) > SHOWN:
        rows.append(f"and {len(found.violations) - SHOWN} violations more")
    return rows


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help="how long things are destroyed (default: 10)")
    parser.add_argument("--seed", type=int, help="of what happens when (default: a random one, which is printed)")
    parser.add_argument("--devices", type=int, help="how many (default: 200)")
    parser.add_argument("--jobs", type=int, help="how many (default: 50)")


if __name__ == "__main__":
    main("chaos", __doc__, run, add=_add)
