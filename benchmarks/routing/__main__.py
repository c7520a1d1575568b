"""Routing policies over recorded links, in a simulator that drives the very router that ships.

Links x budgets x payloads x workloads: in each cell every policy, and a greedy oracle that knows what each call would
take, meets the same calls on the same link. Without recordings (`--trace-dir`: mahimahi packet-delivery files, CSV with a
time, a rate and a round trip, JSON and columns, in any folder) links are made up from a seed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import msgspec

from benchmarks.convention import Options, Outcome, main
from benchmarks.routing.bars import bars, rows
from benchmarks.routing.cells import Scored, ablations, score_cell
from benchmarks.routing.generate import links_of
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.page import render
from benchmarks.routing.world import FAST_LOCAL, Cell

BUDGETS = (0.05, 0.1, 0.2, 0.5)
SIZES = (10_000, 150_000, 600_000)
SLOW_BUDGETS = (0.2, 0.5, 1.0)
SLOW = 0.120
CALLS, SEEDS = 1500, 2


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    links: tuple[str, ...]
    calls: int
    cells: tuple[Scored, ...]
    ablated: tuple[Scored, ...] = ()


def run(options: Options) -> Outcome:
    """Every policy in every cell."""
    links = links_of(options.own["trace_dir"])
    if options.quick:
        links = links[:: max(1, len(links) // 4)][:4]
    calls, seeds = (300, 1) if options.quick else (CALLS, SEEDS)
    cells = list(_cells(links, seeds, quick=options.quick))
    by_name = {link.name: link for link in links}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(score_cell, cell, by_name[cell.link], calls) for cell in cells]
        scored = []
        for number, job in enumerate(jobs):
            options.progress(number, len(jobs))
            scored.append(Scored(cells[number], tuple(job.result())))
        some = [] if options.quick else [cell for cell in cells if cell.seed == 0 and cell.workload == "poisson"]
        ablated = [pool.submit(ablations, cell, by_name[cell.link], calls) for cell in some]
        without = [Scored(cell, tuple(job.result())) for cell, job in zip(some, ablated, strict=True)]
    found = Found(tuple(by_name), calls, tuple(scored), tuple(without))
    if (html := options.own.get("html")) is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render(found.cells, found.ablated, links, calls))
    return Outcome(bars(found.cells), rows(found.cells, found.ablated), found)


def _cells(links: Sequence[LinkTrace], seeds: int, *, quick: bool) -> Iterator[Cell]:
    names = [link.name for link in links]
    workloads = ("poisson", "bursts") if quick else ("poisson", "periodic", "bursts")
    for seed, name, workload, budget, size in product(range(seeds), names, workloads, BUDGETS, SIZES):
        yield Cell(name, workload, budget, size, FAST_LOCAL, seed)
    for seed, name, budget, size in product(range(seeds), names, SLOW_BUDGETS, SIZES):
        yield Cell(name, "poisson", budget, size, SLOW, seed)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trace-dir", type=Path, metavar="DIR", help="recorded links (default: made up from a seed)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")


if __name__ == "__main__":
    main("routing", __doc__, run, add=_options)
