"""Train a net and write it as ONNX and TFLite, in a process of its own: what torch and its converters leave behind
(threads, gigabytes, the locks of other libraries) ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from edge_runtime.errors import ArtifactError, EdgeError
from models import recipe as recipes
from models import toolchain
from models.recipe import Recipe

THREADS = 2
"""Of torch, on every machine: sums in another order give another net."""


PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for one another sleep. On two cores that others used too, a training of 22 s took 280 without."""


class Exported(msgspec.Struct, frozen=True):
    """What came of a training."""

    parameters: int
    seconds: float
    """Of the training alone."""
    tflite_names: dict[str, str] = {}
    """The signature's names -> the TFLite file's own."""
    trouble: str = ""
    """Why there is no TFLite file, when there is none."""


class _Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that the process writes."""

    done: int = 0
    total: int = 0
    exported: Exported | None = None


def artifact(recipe: Recipe, form: str) -> str:
    """The name of the file in one format."""
    return f"{recipe.name}.fp32.{form}"


def train(recipe: Recipe, packages: Path, folder: Path, progress: Callable[[int, int], Any]) -> Exported:
    """Train a recipe's net and write its artifacts into the folder. Raises ArtifactError when that fails."""
    command = [sys.executable, "-m", __name__, recipe.name, str(packages.absolute()), str(folder.absolute())]
    with tempfile.TemporaryFile() as noise:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, env=os.environ | PATIENT) as process:  # noqa: S603
            exported = None
            for line in process.stdout or ():
                try:
                    said = msgspec.json.decode(line, type=_Said)
                except msgspec.MsgspecError:  # a converter that prints
                    continue
                exported = said.exported or exported
                if said.total:
                    progress(said.done, said.total)
        if process.returncode or exported is None:
            noise.seek(0)
            told = noise.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise ArtifactError(f"training {recipe.name} failed with status {process.returncode}: {told[0]}")
    return exported


def _main(name: str, packages: Path, folder: Path) -> int:
    try:
        torch = toolchain.engine()
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        _say(_Said(exported=_export(recipes.load(name), packages, folder)))
    except EdgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _export(recipe: Recipe, packages: Path, folder: Path) -> Exported:
    assert recipe.trained is not None  # noqa: S101  (the caller saw to it)
    start = perf_counter()
    net = import_module(f"models.{recipe.name}.train").train(packages, lambda done, of: _say(_Said(done, of)))
    exported = Exported(toolchain.parameters(net), perf_counter() - start)
    toolchain.to_onnx(net, recipe.signature, folder / artifact(recipe, "onnx"), recipe.trained.exporter)
    try:
        names = toolchain.to_tflite(net, recipe.signature, folder / artifact(recipe, "tflite"))
    except ArtifactError as error:
        return msgspec.structs.replace(exported, trouble=str(error))
    return msgspec.structs.replace(exported, tflite_names=names)


def _say(said: _Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
