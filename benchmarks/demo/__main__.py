"""The main job, end to end, on real input: `make demo`.

Measures the engines on this device and keeps the result as its profile; starts an MQTT broker and a cloud endpoint as
processes of their own; reads a page, hears a conversation and compares the engines, on the device, over HTTP and over MQTT,
each call under a latency budget; then does it again with the endpoint killed in the middle, and with the broker killed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.convention import Options, Outcome, at_least, main
from benchmarks.demo.cloud import Cloud
from benchmarks.demo.report import as_page, as_values, median_and_worst, where
from benchmarks.demo.rows import Page, Row, listen_row, parity_rows, read_row
from edge_runtime import profile
from edge_runtime.bench import harness
from edge_runtime.bench.report import Report
from edge_runtime.bench.units import duration
from edge_runtime.bundles.store import Store
from edge_runtime.cli.shell import write

MODELS = ("ppocr_det", "ppocr_rec", "silero_vad", "basic_pitch")


class Stage:
    """What is on the screen: the rows so far, and the step under way."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.console = Console(width=None if Console().is_terminal else 160)
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=self.console)
        self._task = self.bar.add_task("", total=1.0)

    def step(self, what: str) -> Callable[[int, int], None]:
        """Begin a step; the function is told how far it is."""
        if not self.console.is_terminal:
            self.console.print(f"- {what}")
        self.bar.reset(self._task, description=what, total=1.0)
        return lambda done, total: self.bar.update(self._task, completed=done / total)

    def show(self, share: float, what: str) -> None:
        """How far the step under way is, in its own words."""
        self.bar.update(self._task, description=what, completed=share)

    def table(self) -> Table:
        """The rows so far."""
        table = Table(title="Edge Runtime: the main job")
        for head in ("pipeline", "link", "answered", "what came of it", "median", "slowest", "budgets met", ""):
            table.add_column(head, justify="right" if head in ("median", "slowest", "budgets met") else "left")
        for row in self.rows:
            median, worst = median_and_worst(row)
            mark = "[green]right[/]" if row.passed else "[red]WRONG[/]"
            table.add_row(
                row.pipeline, row.link, where(row), f"{row.score}\n[dim]{row.ran}[/]", duration(median), duration(worst),
                f"{row.met} of {len(row.calls)}", mark,
            )  # fmt: skip
        return table


def run(options: Options) -> Outcome:
    """The whole demo."""
    packages, page = options.own["packages"], options.own["html"]
    pages = 3 if options.quick else 9
    stage = Stage()
    with ExitStack() as stack:
        if stage.console.is_terminal:
            stack.enter_context(Live(console=stage.console, get_renderable=lambda: _screen(stage), refresh_per_second=8))
        measured = _measure(stage, options.store, 0.25 if options.quick else 1.5)
        _play(stage, options.store, packages, pages)
    if not stage.console.is_terminal:
        stage.console.print(stage.table())
    write(page, as_page(stage.rows, measured))
    calls, met = sum(len(row.calls) for row in stage.rows), sum(row.met for row in stage.rows)
    right = sum(row.passed for row in stage.rows)
    cloud = {
        link: sum(c.target == "cloud" for r in stage.rows if r.link == link for c in r.calls) for link in ("HTTP", "MQTT")
    }
    bars = [
        at_least("calls answered inside their budget", met / calls, "of all", 1.0),
        at_least("rows with right answers", right / len(stage.rows), "of all", 1.0),
        *(at_least(f"lines read by the cloud over {link}", float(count), "lines", 1.0) for link, count in cloud.items()),
    ]
    return Outcome(bars, [f"the report: {page}"], as_values(stage.rows, measured))


def _screen(stage: Stage) -> Table:
    grid = Table.grid()
    grid.add_row(stage.table())
    grid.add_row(stage.bar)
    return grid


def _measure(stage: Stage, folder: Path, seconds: float) -> Report:
    """Measure every engine on every model, and let the runtimes that follow use what was seen."""
    store = Store(folder)
    bundles = [store.bundle(name) for name in MODELS]
    stage.step("measuring the engines on this device")
    report = harness.bench(bundles, seconds=seconds, progress=lambda what, share: stage.show(share, f"measuring {what}"))
    path = folder / profile.PROFILE
    profile.save(profile.load(path).updated(harness.measurements(report, bundles)), path)
    return msgspec.structs.replace(report, command=f"edge-runtime bench {' '.join(MODELS)}")


def _play(stage: Stage, store: Path, packages: Path, pages: int) -> None:
    """One row after the other."""
    page = Page(store, packages)

    def read(link: str, url: str | None, kill: tuple[str, Callable[[], None]] | None = None) -> None:
        told = stage.step(f"reading a page, {link}" + (f", {kill[0]} killed" if kill else ""))
        stage.rows.append(read_row(page, link, url, pages, told, kill))

    read("on the device", None)
    with _cloud(stage, store) as cloud:
        read("HTTP", cloud.http)
        read("MQTT", cloud.mqtt)
    stage.rows.append(listen_row(store, packages, stage.step("hearing a conversation")))
    stage.rows += parity_rows(store, packages, stage.step("one net on every engine"))
    with _cloud(stage, store) as cloud:
        read("HTTP", cloud.http, ("endpoint", cloud.kill_endpoint))
    with _cloud(stage, store) as cloud:
        read("MQTT", cloud.mqtt, ("broker", cloud.kill_broker))


def _cloud(stage: Stage, store: Path) -> Cloud:
    stage.step("starting a broker and an endpoint")
    cloud = Cloud(store)
    try:
        cloud.wait()
    except BaseException:
        cloud.close()
        raise
    return cloud


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--html", type=Path, default=Path("report.html"), metavar="FILE", help="write the page there")
    parser.add_argument("--packages", type=Path, default=Path(".packages"), metavar="DIR", help="where the inputs are")


if __name__ == "__main__":
    main("demo", __doc__, run, add=_add)
