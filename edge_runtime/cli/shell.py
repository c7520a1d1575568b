"""What all commands share: errors to exit statuses, help with examples, tables, times, progress."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edge_runtime.bundles.store import Bundle, Store, read_bundle
from edge_runtime.errors import (
    BackendError,
    BudgetError,
    BundleError,
    EdgeError,
    InputError,
    NotInstalledError,
    RemoteError,
)  # fmt: skip

if TYPE_CHECKING:
    from edge_runtime.routing.policy import Policy

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

EXIT_CODES: tuple[tuple[type[EdgeError], int], ...] = (
    (InputError, 2),
    (BundleError, 3),
    (BackendError, 4),
    (RemoteError, 5),
    (BudgetError, 5),
)
EXIT_TEXT = (
    "exit status: 0 done; 1 an aim, a budget or a gate was missed; 2 wrong use or input; 3 bundle or store; "
    "4 engine or device; 5 cloud or link"
)


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run the chosen subcommand, and turn an error of the tree into one line and an exit status."""
    arguments = parser.parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        status = command(arguments)
        print(end="", flush=True)  # while what goes wrong with it can still be told
    except EdgeError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe went away, as `head` does
        _drop_output()
        return 0
    except OSError as error:  # a file's is an error of the tree: this is standard output's, on a full disk
        _drop_output()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    else:
        return status


def _drop_output() -> None:
    """Let what is still buffered go nowhere: the interpreter would try once more as it ends, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def command_parser(program: str, description: str) -> tuple[argparse.ArgumentParser, Commands]:
    """A program's parser, and where its subcommands go."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {version('edge-runtime')}")
    return parser, parser.add_subparsers(metavar="COMMAND", required=True)


def subcommand(commands: Commands, name: str, what: str, example: str) -> argparse.ArgumentParser:
    """A subcommand whose --help ends with an example and the exit statuses."""
    return commands.add_parser(
        name, help=what, description=what[0].upper() + what[1:] + ".", epilog=f"example:\n  {example}\n\n{EXIT_TEXT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option that says which store."""
    parser.add_argument("--store", type=Path, default=Path("store"), metavar="DIR", help="the store (default: ./store)")


def resolve(text: str, store: Path) -> Bundle:
    """The bundle that a command line names: a folder that holds one, or NAME[@VERSION] in the store."""
    if os.path.isfile(Path(text) / "manifest.json"):  # which takes text that can be no path for a no
        return read_bundle(Path(text))
    name, _, version = text.partition("@")
    try:
        return Store(store).bundle(name, version or None)
    except NotInstalledError as error:
        raise NotInstalledError(f"{error}; {text!r} is no bundle's folder either") from error


def seconds(text: str) -> float:
    """A time on the command line: "50ms", "0.2s", "0.2"."""
    number, factor = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        value = float(number) * factor
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 50ms or 0.2s") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time above zero")
    return value


def count(text: str) -> int:
    """A number of times on the command line: at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def memory(text: str) -> int:
    """A size on the command line: "100MB", "1.5GB", "64000000"."""
    units = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}
    unit = next((unit for unit in units if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 100MB or 1.5GB") from None
    if not 1 <= value < 2**60:
        raise argparse.ArgumentTypeError(f"{text!r} is no size above zero")
    return int(value)


def watts(text: str) -> tuple[float, float]:
    """Two powers on the command line: "2.5,3.8"."""
    try:
        idle, core = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write the power idle and of one busy core, as 2.5,3.8") from None
    return idle, core


def told_to_end() -> threading.Event:
    """Set by SIGTERM and Ctrl-C, from now on: what a service waits for."""
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: ended.set())
    return ended


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in aligned columns."""
    print("\n".join(columns(head, rows)))


def columns(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows in aligned columns, as lines."""
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr while a terminal watches; silent otherwise. Told what is going on, and the share done."""
    from tqdm import tqdm

    with tqdm(total=100, bar_format="{l_bar}{bar:30}| {elapsed}<{remaining} {desc}", leave=False, disable=None) as bar:

        def tell(what: str, share: float) -> None:
            bar.set_description_str(what, refresh=False)
            bar.update(share * 100 - bar.n)

        yield tell


def policy(path: Path) -> Policy:
    """The routing policy in a file. Raises InputError."""
    from edge_runtime.routing.policy import decode

    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"no policy can be read at {path}: {error.strerror}") from error


def write(path: Path, text: str | bytes) -> None:
    """Write a result where the user asked for it. Raises InputError when that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}") from error
