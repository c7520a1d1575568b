"""A replayed log as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.bench.page import Cell, Chart, Headline, Section, Table, page
from edge_runtime.bench.plots import Call, timeline
from edge_runtime.routing.replay import AGAIN, LOGGED, Fate, Replay

SHOWN = 600
"""Calls of one picture, at most: more dots cannot be told apart."""

_HOW = (
    "Each policy met the calls of the log, in a world made from what was learnt of the link before and after each of them. "
    f"How far “{AGAIN}” is from “{LOGGED}” tells how much to believe of the others."
)


def render(found: Replay) -> str:
    """The page. The same replay gives the same bytes."""
    logged = found.summaries[0]
    best = max(found.summaries[1:], key=lambda s: (s.met, s.worth))
    lead = (
        f"{logged.calls} calls: {logged.met} answered in time as logged; “{best.name}” would have answered {best.met}, "
        f"with {best.sent / 1e6:.1f} MB sent for {logged.sent / 1e6:.1f}."
    )
    rows = tuple(
        (
            Cell(s.name), f"{100 * s.met / max(1, s.calls):.1f} %", str(s.cloud), str(s.local), f"{s.worth:.4f}",
            f"{s.sent / 1e6:.2f} MB", f"{s.wasted / 1e6:.2f} MB",
        )
        for s in found.summaries
    )  # fmt: skip
    head = ("Policy", "In time", "Cloud", "Local", "Mean worth", "Sent", "Wasted")
    sections = (
        Section("Policies", _HOW, (Table(head, rows, "lrrrrrr"),)),
        Section("Call by call", "", tuple(_timeline(name, fates) for name, fates in found.fates.items())),
    )
    same = Headline(
        "plans",
        f"{found.same} of {found.plans}",
        "come out the same from the log",
        "good" if found.same == found.plans else "bad",
    )
    met = Headline("in time", f"{logged.met} of {logged.calls}", "as logged")
    return page("Edge Runtime: decisions replayed", lead, sections, headlines=(same, met))


def _timeline(name: str, fates: Sequence[Fate]) -> Chart:
    every = max(1, -(-len(fates) // SHOWN))
    calls = [
        Call(f.at, f.elapsed, f.budget, "nobody" if f.target == "none" else f.target, f.reason) for f in fates[::every]
    ]
    thinned = f"every {every}th call" if every > 1 else ""
    return timeline(calls, order=("cloud", "local"), title=name, caption=thinned)
