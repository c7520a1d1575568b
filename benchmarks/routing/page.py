"""The comparison as one page, for somebody who opens it cold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.aims import aims
from benchmarks.routing.bars import BRAINLESS, EWMA, HELD, bars, bursts, calibration, slow, steady, values
from benchmarks.routing.cells import OURS, Scored, router
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.world import FAST_LOCAL, Cell, build
from edge_runtime.bench.charts import Bar
from edge_runtime.bench.charts import bars as bar_chart
from edge_runtime.bench.lines import Line, lines
from edge_runtime.bench.page import Block, Headline, Section, Table, page
from edge_runtime.bench.page import Cell as Told
from edge_runtime.bench.plots import Call, timeline
from edge_runtime.routing.simulator import Simulator

_WHAT = (
    "A call with a latency budget may be answered by a small model on the device or by a better one in the cloud, "
    "whose answer may come too late. Every policy met the same calls on the same recorded links, in a simulator that "
    "drives the very code that ships. An answer in time is worth its accuracy (0.70 local, 0.80 cloud), a late one "
    "nothing. The oracle knows beforehand what each call would take; regret is what a policy loses to it."
)
_READ = (
    "Hit: calls answered in time, of those that the oracle answers in time. Sent: payloads sent per call. Wasted: "
    "those whose answer did not come in time. Local: runs on the device per call."
)
_DRIVE = (
    "Above, what the link could carry. Below, each call: how long its answer took, who gave it, against what it was "
    "allowed. While the link is bad the device answers by itself, just before the deadline, because the cloud might "
    "still have made it."
)
_CALIBRATION = (
    "Of the calls that were sent with a chance of, say, 70 %, some 70 % should be answered in time. On the dashed "
    "line the chance that was told is the share that came."
)


def render(cells: Sequence[Scored], ablated: Sequence[Scored], links: Sequence[LinkTrace], calls: int) -> str:
    """The page. The same scores give the same bytes."""
    fast = steady(cells)
    regret = {name: 100 * float(values(fast, name, lambda s: s.regret).mean()) for name in (OURS, EWMA, HELD, BRAINLESS)}
    hit = 100 * float(values(fast, OURS, lambda s: s.hit_where_oracle).mean())
    lead = (
        f"Of what a clairvoyant could have got, routing lost {regret[OURS]:.2f} % on {len(links)} links; a running mean "
        f"with the local model held back lost {regret[HELD]:.2f} %, without it {regret[EWMA]:.1f} %."
    )
    worst = worst_link(links)
    sections = [
        Section("What was compared", _WHAT),
        Section("Policies", _READ, tuple(_policies(cells))),
        Section("A drive over a bad link", _DRIVE, tuple(_drive(worst, calls))),
        Section("Can its chances be trusted?", _CALIBRATION, (_calibration(cells),)),
        *(
            [Section("What each part is worth", "Ours with one part left out.", tuple(_ablation(ablated)))]
            if ablated
            else []
        ),
        Section("Every link, budget and payload", "Ours: hits, regret and payloads sent per call.", (_cells(fast),)),
        Section("Held against the aims", "", (aims(bars(cells)),)),
    ]
    return page("Edge Runtime: routing within a budget", lead, sections, headlines=_headlines(cells, hit, regret))


def worst_link(links: Sequence[LinkTrace]) -> LinkTrace:
    """The one whose rate varies most."""

    def varies(link: LinkTrace) -> float:
        return float(np.std(np.log(link.rates)))

    return max(links, key=varies)


def _headlines(cells: Sequence[Scored], hit: float, regret: dict[str, float]) -> tuple[Headline, ...]:
    fast = steady(cells)
    wasted = [float(values(fast, name, lambda s: s.wasted).mean()) for name in (OURS, BRAINLESS)]
    return (
        Headline("budgets met", f"{hit:.2f} %", "of those that the oracle meets", "good" if hit >= 99.5 else "bad"),
        Headline("regret", f"{regret[OURS]:.2f} %", f"EWMA with the local run held back: {regret[HELD]:.2f} %"),
        Headline("wasted payloads", f"{wasted[0]:.3f}", f"per call; {wasted[1]:.3f} when every call is sent"),
    )


def _policies(cells: Sequence[Scored]) -> list[Block]:
    blocks: list[Block] = []
    for title, some in (("Fast device", steady(cells)), ("Bursts", bursts(cells)), ("Slow device", slow(cells))):
        if not some:
            continue
        names = [score.policy for score in some[0].scores]
        if not blocks:
            shown = [name for name in names if name not in ("oracle", "always cloud", "static mean")]
            blocks.append(
                bar_chart(
                    [
                        Bar(name, 100 * float(values(some, name, lambda s: s.regret).mean()), "% regret", series=number)
                        for number, name in enumerate(shown)
                    ],
                    "count",
                    title="What a policy loses to the oracle, in percent of its utility",
                )
            )
        rows = tuple(_policy(some, name) for name in names)
        head = (title, "Hit", "Worst cell", "Regret", "p95 cell", "Worst", "Sent", "Wasted", "Probes", "Local")
        blocks.append(Table(head, rows, "lrrrrrrrrr", f"{len(some)} cells"))
    return blocks


def _policy(cells: Sequence[Scored], name: str) -> tuple[str | Told, ...]:
    regret = 100 * values(cells, name, lambda s: s.regret)
    hits = 100 * values(cells, name, lambda s: s.hit_where_oracle)
    payloads = [
        f"{values(cells, name, of).mean():.3f}" for of in (lambda s: s.sent, lambda s: s.wasted, lambda s: s.probed)
    ]
    return (
        Told(name, "best" if name == OURS else ""), f"{hits.mean():.2f} %", f"{hits.min():.1f} %", f"{regret.mean():.2f} %",
        f"{np.quantile(regret, 0.95):.1f} %", f"{regret.max():.1f} %", *payloads,
        f"{values(cells, name, lambda s: s.local).mean():.2f}",
    )  # fmt: skip


def _drive(link: LinkTrace, calls: int) -> list[Block]:
    """The worst minute of a link, with ours."""
    cell = Cell(link.name, "periodic", 0.2, 150_000, FAST_LOCAL, 0)
    world = build(cell, link, calls)
    outcomes = Simulator(world, router(world)).run().outcomes
    came = np.array([o.target == "cloud" for o in outcomes], float)
    width = min(len(came), int(60 * len(came) / world.arrivals[-1]))
    mixed = [abs(came[i : i + width].mean() - 0.5) for i in range(0, len(came) - width + 1, 10)]
    first = 10 * int(np.argmin(mixed))
    start, shown = outcomes[first].arrived, outcomes[first : first + width]
    uplink = next(iter(world.links.values()))
    rate = tuple(
        (0.5 * i, (uplink.moved(start + 0.5 * i + 0.5) - uplink.moved(start + 0.5 * i)) / 0.5 / 125e3) for i in range(120)
    )
    dots = [
        Call(o.arrived - start, o.elapsed, cell.budget, "nobody" if o.target == "none" else o.target, o.plan.reason)
        for o in shown
    ]
    return [
        lines([Line("Mbit/s", rate, steps=True)], "seconds", "count", title=f"{link.name}: the link, Mbit/s", wide=True),
        timeline(dots, order=("cloud", "local"), title="150 kB a call, budget 200 ms, five calls a second"),
    ]


def _calibration(cells: Sequence[Scored]) -> Block:
    found = calibration(cells)
    return lines(
        [
            Line("as it should be", ((0.0, 0.0), (1.0, 1.0)), series=3, dash="4 4"),
            Line("told and true", tuple((told, true) for told, true, _ in found), dots=True),
        ],
        "count", "count", title="Share of answers in time, over the chance that was told",
        caption=", ".join(f"{count} calls at {told:.0%}" for told, _, count in found),
    )  # fmt: skip


def _ablation(cells: Sequence[Scored]) -> list[Block]:
    names = [score.policy for score in cells[0].scores]
    rows = tuple(_policy(cells, name) for name in names)
    head = ("Policy", "Hit", "Worst cell", "Regret", "p95 cell", "Worst", "Sent", "Wasted", "Probes", "Local")
    return [Table(head, rows, "lrrrrrrrrr", f"{len(cells)} cells: Poisson calls, one seed")]


def _cells(cells: Sequence[Scored]) -> Table:
    columns = sorted({(c.cell.size, c.cell.budget) for c in cells})
    names = list(dict.fromkeys(c.cell.link for c in cells))
    rows = []
    for name in names:
        row: list[str | Told] = [name]
        for size, budget in columns:
            some = [c for c in cells if c.cell.link == name and (c.cell.size, c.cell.budget) == (size, budget)]
            hit = 100 * float(values(some, OURS, lambda s: s.hit_where_oracle).mean())
            regret = 100 * float(values(some, OURS, lambda s: s.regret).mean())
            sent = float(values(some, OURS, lambda s: s.sent).mean())
            row.append(Told(f"{hit:.1f} %", "" if hit >= 99.5 else "bad", f"{regret:.2f} % · {sent:.2f}"))
        rows.append(tuple(row))
    head = ("Link", *(f"{size // 1000} kB, {budget * 1e3:.0f} ms" for size, budget in columns))
    return Table(head, tuple(rows), "l" + "r" * len(columns))
