"""Make the whole zoo anew, from nothing, and hold it against what is committed: `make zoo`.

Every net is trained, converted, quantized and judged again; every package's model is converted, quantized and judged again.
A model passes when each variant of its committed card is there again, its accuracy within a point.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import msgspec
from tqdm import tqdm

from edge_runtime.bench import harness
from edge_runtime.bench.fingerprint import Fingerprint, fingerprint
from edge_runtime.errors import EdgeError
from models import cards, pictures
from models import recipe as recipes
from models.cards import Card
from models.make import BUNDLE, make

POINT = 0.01
"""How far an accuracy may be from the committed one."""
RUNS, SECONDS = 200, 0.5
"""Of each variant on each engine, for the card's latencies."""
REPORT = "zoo.json"

EXAMPLE = """\
example:
  make zoo                                    # all of it, in an environment of its own
  python -m models.zoo build/zoo --only digits_cnn --update
"""


class Remade(msgspec.Struct, frozen=True):
    """One model, made anew."""

    name: str
    seconds: float
    accuracies: dict[str, float] = {}
    """By variant."""
    committed: dict[str, float] = {}
    trouble: tuple[str, ...] = ()
    """What is not as committed."""

    @property
    def worst(self) -> float:
        """The largest distance of an accuracy from the committed one."""
        both = self.accuracies.keys() & self.committed.keys()
        return max((abs(self.accuracies[name] - self.committed[name]) for name in both), default=0.0)


class Report(msgspec.Struct, frozen=True):
    """What `make zoo` found."""

    seconds: float
    models: tuple[Remade, ...]
    fingerprint: Fingerprint


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, compare, tell; 0 when all is as committed, 1 when something is not, 2 when a model cannot be made."""
    chosen = _parser().parse_args(arguments)
    start = perf_counter()
    names = chosen.only or list(recipes.names())
    done: list[Remade] = []
    for number, name in enumerate(names, 1):
        try:
            remade = _remake(name, chosen.packages, chosen.out, update=chosen.update, at=f"{number}/{len(names)}")
        except EdgeError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 2
        done.append(remade)
        print(_told(remade), flush=True)
    if chosen.update:
        cards.write_pages()
    report = Report(round(perf_counter() - start, 1), tuple(done), fingerprint())
    (chosen.out / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    bad = [remade.name for remade in done if remade.trouble]
    worst = max((remade.worst for remade in done), default=0.0)
    print(f"{len(done)} models in {report.seconds / 60:.1f} min; furthest accuracy {100 * worst:.2f} points from its card; "
          f"{'not as committed: ' + ', '.join(bad) if bad else 'all as committed'}")  # fmt: skip
    return 1 if bad else 0


def compared(card: Card, committed: Card | None) -> tuple[str, ...]:
    """What of a card is not as in the committed one: variants that are gone, accuracies that are a point away."""
    if committed is None:
        return ()
    there = {row.name: row.accuracy for row in card.rows}
    trouble = []
    for row in committed.rows:
        found = there.get(row.name)
        if row.name not in there:
            trouble.append(f"{row.name} is gone")
        elif row.accuracy is not None and (found is None or not abs(found.value - row.accuracy.value) <= POINT):
            now = "none" if found is None else f"{found.value:.4g}"
            trouble.append(f"{row.name}: {row.accuracy.metric} {now}, committed {row.accuracy.value:.4g}")
    return tuple(trouble)


def _remake(name: str, packages: Path, out: Path, *, update: bool, at: str) -> Remade:
    recipe, start = recipes.load(name), perf_counter()
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tqdm(total=100, leave=False, disable=None, file=sys.stderr, bar_format="{desc} {bar:30} {elapsed}") as bar:

        def progress(what: str, share: float) -> None:
            bar.set_description_str(f"{at} {name}: {what}", refresh=False)
            bar.update(100 * share - bar.n)

        made = make(recipe, packages, folder, progress)
        progress("measuring", 1.0)
        report = harness.bench([made.bundle], runs=RUNS, seconds=SECONDS)
    card = cards.card_of(
        made.bundle, made.trials, made.missing, report, parameters=made.parameters, training=made.training
    )  # fmt: skip
    committed = cards.load(name)
    (folder / cards.CARD).write_bytes(cards.encode(card))
    if update:
        _commit(name, folder, card, packages)
    known = {} if committed is None else {row.name: row.accuracy.value for row in committed.rows if row.accuracy}
    found = {row.name: row.accuracy.value for row in card.rows if row.accuracy}
    return Remade(name, round(perf_counter() - start, 1), found, known, compared(card, committed))


def _commit(name: str, folder: Path, card: Card, packages: Path) -> None:
    """Put what was made in the model's own folder, to be committed: a trained net's bundle too."""
    home, recipe = recipes.HERE / name, recipes.load(name)
    if recipe.trained is not None:
        shutil.rmtree(home / BUNDLE, ignore_errors=True)
        shutil.copytree(folder / BUNDLE, home / BUNDLE)
    if name in pictures.names():
        pictures.write(name, packages)
    (home / cards.CARD).write_bytes(cards.encode(card))


def _told(remade: Remade) -> str:
    lines = [f"{remade.name} ({remade.seconds:.0f} s)"]
    for name, value in remade.accuracies.items():
        before = remade.committed.get(name)
        lines.append(f"  {name:20} {value:.4f}" + ("" if before is None else f"  committed {before:.4f}"))
    lines += [f"  NOT AS COMMITTED: {trouble}" for trouble in remade.trouble]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.zoo", description=__doc__, epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("out", type=Path, metavar="DIR", help="where to make it")
    parser.add_argument("--packages", type=Path, default=Path(".packages"), help="where the packages are (%(default)s)")
    parser.add_argument("--only", action="append", choices=recipes.names(), metavar="NAME", help="this model (repeatable)")
    parser.add_argument("--update", action="store_true", help="put what was made into models/, to be committed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
