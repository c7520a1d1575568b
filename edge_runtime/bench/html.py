"""A report as one self-contained page. `page`, `charts` and `plots` are its parts, for a page that shows more than that."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.bench import scenario_page
from edge_runtime.bench.charts import Bar, Stack, bars, stacked
from edge_runtime.bench.page import Block, Cell, Chart, Code, Headline, Notes, Pair, Section, Table, page
from edge_runtime.bench.plots import Call, Curve, ecdf, timeline
from edge_runtime.bench.report import Entry, Report, Verdict, clipped, metrics, side_by_side, verdict
from edge_runtime.bench.scatter import Dot, pareto
from edge_runtime.bench.statistics import SHARES
from edge_runtime.bench.units import CROSS, duration, times
from edge_runtime.bundles.manifest import less_is_better

__all__ = [
    "Bar", "Block", "Call", "Cell", "Chart", "Code", "Curve", "Headline", "Notes", "Pair", "Section", "Stack",
    "Table", "bars", "ecdf", "headlines", "page", "render", "sections", "stacked", "timeline",
]  # fmt: skip

_BARS = (
    "A bar ends at the median of the warm runs; the shaded band at its end is the median's 95 % confidence interval. On "
    "the whisker, the short stroke is p95 and the long one p99; an arrow means that the tail goes on past the chart."
)
_ECDF = (
    "How many of the runs (upwards) took no longer than a time (to the right). Further left is faster, and a steep line "
    "is a steady latency. The slowest 1 % may lie outside."
)
_COLD = "A fresh process, from Python alone to the first answer. The files may have been in the system's cache."
_MEMORY = "How far resident memory grew by loading the model and running it once, in that process."
_TABLE = (
    f"Small figures: 95 % confidence intervals. {CROSS} fastest: the median over the fastest one's, from rounds in which "
    "both ran. CPU: processor time of the whole process for one run, above the latency where several cores work at once; "
    "paced: at a hundred runs a second (or half what the slowest can), with what is burned between them. "
    "Accuracy: as the bundle's manifest states it."
)
_PARETO = (
    "Up is more accurate, left is faster; the accuracy axis does not begin at zero. A filled dot is a choice: every hollow "
    "one is beaten by something faster that is at least as accurate. Accuracy is the variant's, as the bundle states it; "
    "latency is the median here."
)
_STAGES = (
    "One call from what a user hands over to the answer: preparing the tensors, the engine's run (the median above), and "
    "reading the answer from the outputs. Processing was timed on made-up input of a usual size."
)
_HOW = (
    "Each candidate has a process of its own, which loads it, checks its outputs and runs it once: its cold start and "
    "memory. Those that ran were warmed up and took turns in short rounds in a random order, so that a change of the "
    "machine's clock meets all of them alike. The first runs of each turn are kept apart, and the garbage collector "
    "ran between rounds only.\n\nPercentiles are nearest ranks. Their intervals come from order statistics and assume "
    "nothing of the distribution's shape; the interval of a ratio of medians is a bootstrap over whole rounds. Where "
    "an interval includes no difference, none is claimed.\n\nTimes compare inside one report; those of two days do not, "
    "for the machine's own speed changes. edge-runtime compare sets two reports against each other by a fixed piece of "
    "work, the yardstick, that took turns with the candidates in both."
)


def render(report: Report) -> str:
    """The page of a report. The same report gives the same bytes."""
    verdicts = [verdict(report, model) for model in report.models]
    lead = _sentence(verdicts[0].text) if len(verdicts) == 1 else _summary(verdicts)
    if report.scenarios and not report.entries:
        valid = sum(run.judged.valid for run in report.scenarios)
        lead = f"{valid} of {len(report.scenarios)} runs under load are valid."
    footer = f"edge-runtime {report.fingerprint.project}, {report.date}"
    return page("Edge Runtime benchmark", lead, sections(report), headlines=headlines(report), footer=footer)


def headlines(report: Report) -> tuple[Headline, ...]:
    """For each model the fastest way to run it here."""
    return tuple(_headline(verdict(report, model)) for model in report.models)


def sections(report: Report) -> tuple[Section, ...]:
    """The sections of a report: one a model, then the method, the machine, and how to measure again."""
    protocol, machine = report.protocol, report.fingerprint
    again = f" All of it was done {protocol.repeat} times, each in fresh processes." if protocol.repeat > 1 else ""
    limits = (
        f"Each candidate ran until {protocol.runs} runs or {protocol.seconds:g} s were measured. Inputs and order were "
        f"drawn from seed {protocol.seed}.{again}"
    )
    doubts = (*machine.doubts, *report.doubts)
    doubtful = (Notes(doubts, "doubt"),) if doubts else ()
    return (
        *(_model(report, model, explained=number == 0) for number, model in enumerate(report.models)),
        *scenario_page.sections(report.scenarios),
        *((Section("How it was measured", f"{_HOW}\n\n{limits}"),) if report.entries else ()),
        Section(
            "The machine", "What these figures hold for: this processor, these versions, this load.",
            (Table(("", ""), tuple((Cell(name, "muted"), text) for name, text in machine.rows)), *doubtful),
        ),
        Section("Measure again", "On the device, with the same bundles in its store:", (Code(report.command),)),
    )  # fmt: skip


def _summary(verdicts: Sequence[Verdict]) -> str:
    """One sentence over several models."""
    measured = [v.fastest for v in verdicts if v.fastest is not None]
    if not measured:
        return "None of the models could be measured here."
    if len(measured) == 1:
        return f"One of {len(verdicts)} models could be measured here: {measured[0].model}, on {measured[0].label}."
    gains = [(v.ratio.value, v.reference.label) for v in verdicts if v.ratio and v.reference and v.ratio.decided]
    gain = f", by up to {times(max(gains)[0])} over {max(gains)[1]}" if gains else ""
    engines = list(dict.fromkeys(entry.backend for entry in measured))
    if len(engines) == 1:
        return f"{engines[0]} is the fastest engine here for {_all(len(measured))}{gain}."
    leaders = f"{', '.join(engines[:-1])} and {engines[-1]}"
    return f"No engine wins everywhere: {leaders} each lead for some of {len(measured)} models{gain}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _all(count: int) -> str:
    return "both models" if count == 2 else f"all {count} models"


def _headline(found: Verdict) -> Headline:
    name = f"{found.model} {found.version}"
    median = None if found.fastest is None else found.fastest.at(0.5)
    if found.fastest is None or median is None:
        return Headline(name, "no result", "nothing could be measured here", "bad")
    text = found.fastest.label
    if found.ratio is not None and found.reference is not None:
        faster = f"{times(found.ratio.value)} faster than {found.reference.label}"
        text += f", {faster}" if found.ratio.decided else f", no clear lead over {found.reference.label}"
    return Headline(name, duration(median.value), text, "good")


def _model(report: Report, model: tuple[str, str], *, explained: bool) -> Section:
    """One model's section. Only the first explains its charts."""
    entries = report.of(model)
    colours = {id(entry): number for number, entry in enumerate(entries)}
    measured = [entry for entry in entries if len(entry.percentiles) == len(SHARES)]
    blocks: list[Block] = []
    if measured:
        rows = [_bar(entry, colours[id(entry)]) for entry in measured]
        curves = [
            Curve(entry.label, tuple(value * 1e-9 for value in entry.samples.values), colours[id(entry)])
            for entry in measured
            if entry.samples is not None and entry.samples.values
        ]
        blocks.append(bars(rows, "seconds", title="Latency of one inference", caption=_BARS * explained))
        blocks += [ecdf(curves, "seconds", title="Distribution of the runs", caption=_ECDF * explained)] if curves else []
        blocks.append(_table(measured, explained=explained))
        dots = [(entry, colours[id(entry)]) for entry in measured]
        blocks += [*_pareto(dots, explained=explained), *_stages(dots, explained=explained)]
    blocks += _cold([(entry, colours[id(entry)]) for entry in entries], explained=explained)
    failed = tuple(f"{entry.label} ({entry.variant}): {clipped(entry.error)}" for entry in entries if entry.error)
    blocks += [Notes(failed, "failure")] if failed else []
    doubtful = tuple(f"{entry.label}: {' '.join(entry.doubts)}" for entry in measured if entry.doubts)
    blocks += [Notes(doubtful, "doubt")] if doubtful else []
    first = entries[0]
    task = f"{_sentence(first.task)} " if first.task else ""
    text = f"{_sentence(verdict(report, model).text)}\n\n{task}Fed with {first.inputs}."
    return Section(f"{model[0]} {model[1]}", text, tuple(blocks))


def _pareto(entries: Sequence[tuple[Entry, int]], *, explained: bool) -> list[Block]:
    """What speed costs in accuracy, where that is stated in one way and is not the same for all."""
    stated = [(entry, colour, entry.accuracy.value) for entry, colour in entries if entry.accuracy is not None]
    how = metrics([entry for entry, _, _ in stated])
    if len(how) != 1 or len({value for _, _, value in stated}) < 2:
        return []
    dots = [Dot(entry.label, entry.percentiles[0].value, value, colour) for entry, colour, value in stated]
    title, lower = f"Accuracy over latency: {how[0]}", less_is_better(how[0])
    return [pareto(dots, how[0], lower=lower, title=title, caption=_PARETO * explained)]


def _stages(entries: Sequence[tuple[Entry, int]], *, explained: bool) -> list[Block]:
    """Where the time of a whole call goes."""
    rows = [Stack(entry.label, tuple(s.seconds for s in entry.stages), colour) for entry, colour in entries if entry.stages]
    parts = ("prepare", "run", "answer")
    return [stacked(rows, parts, "seconds", title="A whole call", caption=_STAGES * explained)] if rows else []


def _bar(entry: Entry, colour: int) -> Bar:
    median, _, high, highest = entry.percentiles
    note = f"p99 {duration(highest.value)}"
    return Bar(entry.label, median.value, note, median.low, median.high, (high.value, highest.value), colour)


def _table(measured: Sequence[Entry], *, explained: bool) -> Table:
    head = ("Candidate", *(f"p{share * 100:g}" for share in SHARES), f"{CROSS} fastest", "CPU", "Accuracy")
    fastest, how = measured[0], metrics(measured)
    mixed = len(how) > 1
    rows: list[tuple[str | Cell, ...]] = []
    for entry in measured:
        figures = [
            Cell(duration(p.value), "best" if entry is fastest and p.share == 0.5 else "", _interval(p.low, p.high))
            for p in entry.percentiles
        ]
        ratio = Cell("1") if entry is fastest else _ratio(entry, fastest)
        paced = "" if entry.paced_cpu is None else f"paced {duration(entry.paced_cpu)}"
        cpu = Cell("-" if entry.cpu is None else duration(entry.cpu), "", paced)
        right = Cell("not stated", "muted")
        if entry.accuracy is not None:
            right = Cell(f"{entry.accuracy.value:.4g}", "", entry.accuracy.metric if mixed else "")
        count = 0 if entry.samples is None else len(entry.samples.values)
        ran = Cell(entry.label, "", f"{entry.engine}, {entry.device}, {count} runs")
        rows.append((ran, *figures, ratio, cpu, right))
    known = f"Accuracy is {'; '.join(how)}." if how else ""
    return Table(head, tuple(rows), "lrrrrrrr", f"{_TABLE * explained} {known}".strip())


def _ratio(entry: Entry, fastest: Entry) -> Cell:
    ratio = side_by_side(entry, fastest)
    sure = ratio.low is not None and ratio.high is not None
    return Cell(times(ratio.value), "", _range(times(ratio.low or 0), times(ratio.high or 0)) if sure else "too few rounds")


def _interval(low: float | None, high: float | None) -> str:
    return "too few runs" if low is None or high is None else _range(duration(low), duration(high))


def _range(low: str, high: str) -> str:
    """Two figures as a range, with the unit once where they share it."""
    start, _, unit = low.partition(" ")
    shared = high.endswith(f" {unit}") if unit else True
    return f"{start.rstrip(CROSS) if shared else low} to {high}"


def _cold(entries: Sequence[tuple[Entry, int]], *, explained: bool) -> list[Block]:
    """Cold start and memory, of those that started."""
    started = [(entry.label, entry.cold, colour) for entry, colour in entries if entry.cold is not None]
    if not started:
        return []
    rows = [Stack(label, (c.engine_seconds, c.load_seconds, c.first_seconds), colour) for label, c, colour in started]
    parts = ("import engine", "load model", "first inference")
    first = stacked(rows, parts, "seconds", title="Cold start", caption=_COLD * explained, marks=3)
    grown = [Bar(label, float(c.memory), series=colour) for label, c, colour in started if c.memory is not None]
    memory = bars(grown, "bytes", title="Memory", caption=_MEMORY * explained, marks=3)
    return [Pair(first, memory)] if grown else [first]
