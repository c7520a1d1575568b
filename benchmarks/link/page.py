"""The runs over real stacks as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.aims import aims
from benchmarks.convention import Bar
from benchmarks.link.drill import BUDGET, COMES, Trouble
from benchmarks.link.edge import Drive
from benchmarks.link.found import Found, Row
from benchmarks.routing.links import LinkTrace
from edge_runtime.bench.lines import Line, lines
from edge_runtime.bench.page import Block, Cell, Chart, Headline, Section, Table, page
from edge_runtime.bench.plots import Call, timeline
from edge_runtime.routing.world import Uplink

_STEP = 0.5
_MIXED = 0.5
_LONG = 32
"""Characters of a name that a table has room for."""


def render(found: Found, bars: Sequence[Bar], links: Mapping[str, LinkTrace]) -> str:
    """The page. The same findings give the same bytes."""
    worst = min(row.measured.met for row in found.rows)
    lead = (
        f"{worst:.1%} of the budgets were met on the worst of {len(links)} links, by the real runtime against the real "
        "endpoint, over HTTP and over MQTT."
    )
    sections = [
        Section("What was run", _what(found)),
        Section("Every link", _EVERY, (_rows(found),)),
        Section("A drive over a link that changes", _DRIVE, tuple(_drive(found, links))),
    ]
    if found.verdicts:
        sections.append(Section("An independent judge", _JUDGE, (_verdicts(found),)))
    if found.troubles:
        sections.append(Section("When something breaks", _TROUBLE, (_troubles(found), *_shown(found.troubles))))
    sections.append(Section("Held against the aims", "", (aims(bars),)))
    return page("Edge Runtime: routing over real links", lead, sections, headlines=_headlines(found, worst))


_EVERY = "Beside each figure, in small type, what the simulator says of the same calls."
_DRIVE = (
    "Above, what the link could carry. Below, each call over HTTP and over MQTT: how long its answer took, and who gave "
    "it. Where the cloud might not make it, the device begins just before the deadline, and answers."
)
_JUDGE = (
    "MLPerf LoadGen's Server scenario decides when calls come and measures them from the time at which they were due. It "
    "calls a run VALID when 99 % of its answers were in time, with the confidence that its early stopping asks for."
)
_TROUBLE = (
    f"Ten calls a second; {COMES:g} s into the run something breaks, for real: a link is taken down, a process killed or "
    "stopped. Later it comes back."
)


def _what(found: Found) -> str:
    return (
        f"The link: {found.how}. On one side the runtime, with a net that takes about 18 ms; on the other the endpoint, "
        f"and for MQTT a mosquitto. {found.calls} calls of {found.size // 1000} kB on each link, Poisson, five a second, "
        f"{found.budget * 1e3:g} ms each. The cloud's answer is worth 0.80, the device's 0.70, a late one nothing."
    )


def _headlines(found: Found, worst: float) -> tuple[Headline, ...]:
    away = max(abs(row.measured.cloud - row.simulated.cloud) for row in found.rows)
    made = [
        Headline("budgets met", f"{worst:.1%}", "on the worst link and transport", "good" if worst >= 0.99 else "bad"),
        Headline("answered by the cloud", f"{100 * away:.0f} points", "from what the simulator says, at most"),
    ]
    if backs := [t.back for t in found.troubles if t.ends]:
        longest = "never" if None in backs else f"{max(back for back in backs if back is not None):.1f} s"
        made.append(Headline("back after trouble", longest, "to the cloud's next answer, the longest"))
    return tuple(made)


def _rows(found: Found) -> Table:
    rows = tuple(
        (
            _short(row.link),
            row.transport,
            Cell(f"{row.measured.met:.1%}", "" if row.measured.met >= 0.99 else "bad", f"{row.simulated.met:.1%}"),
            Cell(f"{row.measured.cloud:.0%}", note=f"{row.simulated.cloud:.0%}"),
            Cell(f"{row.measured.sent:.2f}", note=f"{row.simulated.sent:.2f}"),
            f"{row.slowest * 1e3:.0f} ms",
            f"{1e3 * row.drive.cpu / found.calls:.1f} ms",
        )
        for row in found.rows
    )
    head = ("Link", "Over", "Budgets met", "By the cloud", "Payloads sent per call", "Slowest", "Device's CPU per call")
    return Table(head, rows, "llrrrrr")


def _short(name: str) -> str:
    return name if len(name) <= _LONG else f"{name[: _LONG // 2]}…{name[-_LONG // 2 + 1 :]}"


def _drive(found: Found, links: Mapping[str, LinkTrace]) -> list[Block]:
    """The link on which device and cloud share the work most evenly."""
    first = min(found.rows, key=lambda row: abs(row.measured.cloud - _MIXED))
    seconds = max(call.at for call in first.drive.calls)
    trace = links[first.link]
    uplink = Uplink(trace.times, trace.rates, first.offset)
    rate = tuple(
        (at, (uplink.moved(at + _STEP) - uplink.moved(at)) / _STEP / 125e3)
        for at in (_STEP * i for i in range(int(seconds / _STEP)))
    )
    same = [row for row in found.rows if row.link == first.link]
    return [
        lines([Line("Mbit/s", rate, steps=True)], "seconds", "count", title=f"{first.link}: the link, Mbit/s", wide=True),
        *(_calls(row.drive, found.budget, _title(row)) for row in same),
    ]


def _title(row: Row) -> str:
    return f"over {row.transport.upper()}: {row.measured.met:.0%} in time, {row.measured.cloud:.0%} by the cloud"


def _calls(drive: Drive, budget: float, title: str, events: Sequence[tuple[float, str]] = ()) -> Chart:
    dots = [
        Call(call.at, call.elapsed, budget, "nobody" if call.target == "none" else call.target, call.reason)
        for call in drive.calls
    ]
    return timeline(dots, events=events, order=("cloud", "local"), title=title)


def _verdicts(found: Found) -> Table:
    rows = tuple(
        (
            verdict.link,
            verdict.transport,
            f"{verdict.judged.figure * 1e3:.0f} ms",
            Cell("VALID" if verdict.judged.valid else "INVALID", "good" if verdict.judged.valid else "bad"),
            " ".join(verdict.judged.reasons),
        )
        for verdict in found.verdicts
    )
    return Table(("Link", "Over", "99th percentile", "Verdict", ""), rows, "llrll")


def _troubles(found: Found) -> Table:
    rows = tuple(
        (
            trouble.name,
            trouble.transport,
            Cell(f"{trouble.met:.1%}", "" if trouble.met == 1.0 else "bad"),
            str(trouble.local),
            "" if not trouble.ends else "never" if trouble.back is None else f"{trouble.back:.2f} s",
        )
        for trouble in found.troubles
    )
    head = ("Trouble", "Over", "Budgets met", "Answered by the device meanwhile", "The cloud's next answer after it")
    return Table(head, rows, "llrrr")


def _shown(troubles: Sequence[Trouble]) -> list[Chart]:
    """One of each transport."""
    some = {trouble.transport: trouble for trouble in reversed(troubles) if trouble.ends}
    return [
        _calls(
            trouble.drive, BUDGET, f"{trouble.name}, over {trouble.transport.upper()}",
            ((COMES, trouble.name), (trouble.gone, "it is back")),
        )
        for trouble in some.values()
    ]  # fmt: skip
