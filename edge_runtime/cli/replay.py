"""`edge-runtime replay`: what another policy would have done with the calls of a decision log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.cli.shell import Commands, policy, subcommand, table, write
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from edge_runtime.routing.events import Event
    from edge_runtime.routing.policy import Policy
    from edge_runtime.routing.replay import Replay


def add(commands: Commands) -> None:
    """Add the subcommand."""
    replay = subcommand(
        commands, "replay", "recompute from a decision log what another routing policy would have done",
        "edge-runtime replay decisions.jsonl\n"
        "  edge-runtime replay decisions.jsonl --policy cheap.json --report replay.html\n\n"
        'A policy is a JSON object with what is to differ from the default: {"byte_price": 1e-6, "least_odds": 0.1}.',
    )  # fmt: skip
    replay.add_argument("log", type=Path, metavar="LOG", help="what Runtime(log=...) wrote")
    replay.add_argument(
        "--policy", type=Path, action="append", default=[], metavar="FILE.json", help="a policy to try; may be repeated"
    )
    replay.add_argument("--json", action="store_true", help="print what became of every call as JSON")
    replay.add_argument("--report", type=Path, metavar="FILE.html", help="write one self-contained page, with a picture")
    replay.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    import msgspec

    policies = {path.stem: policy(path) for path in arguments.policy}
    if len(policies) < len(arguments.policy):
        raise InputError("two policies have the same file name: they are told apart by it")
    found = _found(arguments.log, policies)
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found)
    if arguments.report is not None:
        from edge_runtime import replay_page

        write(arguments.report, replay_page.render(found))
    return 0


def _found(path: Path, policies: dict[str, Policy]) -> Replay:
    from edge_runtime.decisions import Began, Lost, read
    from edge_runtime.routing.replay import replay

    began: Began | None = None
    events: list[Event] = []
    lost = 0
    for line in read(path):
        if isinstance(line, Began):
            began, events, lost = line, [], 0  # a runtime that began anew: its calls are the log's last
        elif isinstance(line, Lost):
            lost += line.count
        else:
            events.append(line)
    if began is None:
        raise InputError(f"{path} does not begin as a decision log does")
    return replay(began.state, events, policies, lost)


def _print(found: Replay) -> None:
    print(
        f"{found.same} of {found.plans} plans come out the same" + (f"; {found.lost} events are missing" * (found.lost > 0))
    )
    rows = [
        (
            s.name, str(s.calls), f"{100 * s.met / max(1, s.calls):.1f} %", str(s.cloud), str(s.local), f"{s.worth:.4f}",
            f"{s.sent / 1e6:.2f} MB", f"{s.wasted / 1e6:.2f} MB",
        )
        for s in found.summaries
    ]  # fmt: skip
    table(("POLICY", "CALLS", "IN TIME", "CLOUD", "LOCAL", "WORTH", "SENT", "WASTED"), rows)
