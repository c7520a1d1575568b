"""`cloud-bridge fleet jobs`, `pause`, `resume`, `cancel`, `prune`: what was ordered, and an operator's word to it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from cloud_bridge.cli.fleet import follow, progress
from cloud_bridge.cli.fleet.options import duration
from cloud_bridge.cli.fleet.shared import add_registry, open_registry
from cloud_bridge.extra import required
from cloud_bridge.fleet.events import Aborted, Paused, Resumed
from cloud_bridge.fleet.state import OVER
from edge_runtime.cli.shell import Commands, subcommand, table
from edge_runtime.errors import InputError


def add(acts: Commands) -> None:
    """Add the acts."""
    jobs = subcommand(
        acts, "jobs", "list what was ordered; or one job, with how each thing stands, and why",
        "cloud-bridge fleet jobs\n"
        "  cloud-bridge fleet jobs deploy-3f9a2c1b\n"
        "  cloud-bridge fleet jobs bench-5d01c7aa --out reports/",
    )  # fmt: skip
    jobs.add_argument("job", nargs="?", metavar="JOB")
    jobs.add_argument("--active", action="store_true", help="those that are not over")
    jobs.add_argument("--out", type=Path, metavar="DIR", help="write what the job brought back: a file for each thing")
    jobs.set_defaults(command=_jobs)
    pause = subcommand(
        acts, "pause", "tell nobody else of a job for now",
        'cloud-bridge fleet pause deploy-3f9a2c1b --why "the line is being rebuilt"',
    )  # fmt: skip
    resume = subcommand(
        acts, "resume", "go on with a job that is paused, past a group that was not good enough",
        "cloud-bridge fleet resume deploy-3f9a2c1b",
    )  # fmt: skip
    cancel = subcommand(
        acts, "cancel", "end a job: nobody else is told, and who has not begun will not",
        "cloud-bridge fleet cancel deploy-3f9a2c1b --force\n"
        "  cloud-bridge fleet cancel deploy-3f9a2c1b --thing press-17      this one's part of it",
    )  # fmt: skip
    cancel.add_argument("--force", action="store_true", help="also for those that have begun: they go back")
    cancel.add_argument("--thing", action="append", default=[], metavar="NAME", help="only this one's part; again for more")
    for act, command in ((pause, _pause), (resume, _resume), (cancel, _cancel)):
        act.add_argument("job", metavar="JOB")
        act.set_defaults(command=command)
    for act in (pause, cancel):
        act.add_argument("--why", default="", metavar="TEXT", help="kept in the job's log")
    prune = subcommand(
        acts, "prune", "forget jobs that are over, with what each thing did and brought back",
        "cloud-bridge fleet prune --older-than 90d",
    )  # fmt: skip
    prune.add_argument(
        "--older-than", type=duration, required=True, metavar="TIME", help="those in which nothing has happened for so long"
    )
    prune.set_defaults(command=_prune)
    for act in (jobs, pause, resume, cancel, prune):
        add_registry(act)
        act.add_argument("--json", action="store_true", help="print JSON")


def _jobs(arguments: argparse.Namespace) -> int:
    if arguments.job is None and arguments.out is not None:
        raise InputError("--out takes what one job brought back: name it")
    with required("a fleet's registry"), open_registry(arguments) as registry:
        if arguments.job is not None:
            return follow.show(
                registry, arguments.job, arguments.registry, as_json=arguments.json, out=arguments.out
            )  # fmt: skip
        found = registry.overview.jobs(time.time(), active=arguments.active)
    told = [progress.summary(each) for each in found]
    if arguments.json:
        print(json.dumps(told, indent=2))
        return 0
    rows = [
        (each["job"], each["order"], each["phase"], progress.clock(at.created), progress.counted(at.counts, 0))
        for each, at in zip(told, found, strict=True)
    ]  # fmt: skip
    table(("JOB", "ORDER", "PHASE", "ORDERED", "THINGS"), rows)
    return 0


def _pause(arguments: argparse.Namespace) -> int:
    return _tell(arguments, lambda now: Paused(now, arguments.why))


def _resume(arguments: argparse.Namespace) -> int:
    return _tell(arguments, Resumed)


def _cancel(arguments: argparse.Namespace) -> int:
    if not arguments.thing:
        return _tell(arguments, lambda now: Aborted(now, arguments.force, arguments.why))
    if arguments.force or arguments.why:
        raise InputError("--force and --why are of a whole job: one thing's part ends at once")
    with required("a fleet's registry"), open_registry(arguments) as registry:
        from cloud_bridge.fleet.controller import cancel

        registry.jobs.get(arguments.job)
        ended = [thing for thing in arguments.thing if cancel(registry, arguments.job, thing, time.time())]
    if arguments.json:
        print(json.dumps({"job": arguments.job, "canceled": ended}))
    for thing in arguments.thing if not arguments.json else ():
        done = "is canceled" if thing in ended else "has no part of it that has not ended"
        print(f"{arguments.job} on {thing} {done}")
    return 0 if len(ended) == len(arguments.thing) else 1


def _prune(arguments: argparse.Namespace) -> int:
    with required("a fleet's registry"), open_registry(arguments) as registry:
        gone = registry.jobs.prune(time.time() - arguments.older_than)
    if arguments.json:
        print(json.dumps({"forgotten": gone}))
    else:
        print(f"{len(gone)} job{'s are' if len(gone) != 1 else ' is'} forgotten")
    return 0


def _tell(arguments: argparse.Namespace, event: progress.Word) -> int:
    """Write an operator's word to the job's log, from which whoever steps it knows."""
    with required("a fleet's registry"), open_registry(arguments) as registry:
        from cloud_bridge.fleet.controller import tell

        now = time.time()
        standing = registry.overview.job(arguments.job, now)
        if standing.phase in OVER:
            raise InputError(f"{arguments.job} is over: {standing.phase}")
        tell(registry, arguments.job, event(now))
        taken = standing.taken
    if arguments.json:
        print(json.dumps({"job": arguments.job, "taken": taken}))
    else:
        later = "" if taken else " once a controller takes it: `cloud-bridge fleet control`"
        print(f"{arguments.job} is told{later}; `cloud-bridge fleet jobs {arguments.job}` tells what comes of it")
    return 0
