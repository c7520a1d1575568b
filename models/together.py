"""Several models at once, each process with a line of the screen."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from edge_runtime.bundles.store import Store
from models import recipe as recipes
from models.build import Built, build

_line = 0
"""Where this process's bar is."""


def build_all(names: Sequence[str], packages: Path, store: Path, jobs: int) -> Iterator[str]:
    """Build these, so many at once, and install them; what to tell of each, in their order. Raises what `build` raises."""
    spawn = multiprocessing.get_context("spawn")  # engines have threads, which a fork would lose
    with ProcessPoolExecutor(jobs, spawn, _begin, (spawn.Value("i", 0),)) as pool:
        yield from pool.map(partial(_build, packages=packages, store=store), names)


def _begin(lines: Synchronized[int]) -> None:
    """A process begins: it takes the next line."""
    global _line
    tqdm.set_lock(lines.get_lock())
    with lines.get_lock():
        _line = lines.value
        lines.value += 1


def _build(name: str, packages: Path, store: Path) -> str:
    start = perf_counter()
    form = "{desc} {bar:30} {elapsed}"
    with tqdm(total=100, leave=False, disable=None, file=sys.stderr, position=_line, bar_format=form) as bar:

        def progress(what: str, share: float) -> None:
            bar.set_description_str(f"{name}: {what}", refresh=False)
            bar.update(100 * share - bar.n)

        built = build(recipes.load(name), packages, Store(store), progress)
    return _told(built, perf_counter() - start)


def _told(built: Built, seconds: float) -> str:
    manifest = built.bundle.manifest
    variants = ", ".join(variant.name for variant in manifest.variants)
    how = f"built in {seconds:.1f} s" if built.fresh else "there already"
    lines = [f"{manifest.name} {manifest.version}: {variants} ({how})"]
    lines += [f"  {refusal.name} is left out: {refusal.reason}" for refusal in built.refused]
    lines += [f"  {line}" for trial in built.trials for line in str(trial).splitlines()]
    return "\n".join(lines)
