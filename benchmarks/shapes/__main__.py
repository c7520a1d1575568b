"""Build the thirteen shapes as bundles, every variant that the tools make of them, into a store of their own.

    python -m benchmarks.shapes [OUT]

It needs torch and the converters (`make shapes` brings them, in an environment of their own). What is there already, of the
same sources, stays.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from benchmarks.shapes.table import SHAPES, Shape
from edge_runtime.bundles import golden
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_variant
from edge_runtime.errors import ArtifactError, EdgeError
from edge_runtime.optimize import agreement, optimize
from edge_runtime.values import Array, Tensors
from models.make import furthest, stated

HERE = Path(__file__).parent
CALIBRATION, GOLDEN = 32, 4
FURTHEST = 0.25
"""An int8 variant whose outputs are further than this from fp32's (relative root mean square) is left out: random weights
suffer more from rounding than trained ones, but the work that it does should be the same."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("build/shapes"), help="the store (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    store, digest = Store(arguments.out, create=True), _digest()
    built = arguments.out / ".built.json"
    known: dict[str, str] = json.loads(built.read_text()) if built.is_file() else {}
    chosen = [shape for shape in SHAPES if not arguments.only or shape.name in arguments.only]
    for shape in tqdm(chosen, desc="shapes", disable=None):
        if known.get(shape.name) == digest and shape.model in store.names():
            continue
        with tempfile.TemporaryDirectory() as room:
            try:
                bundle, left_out = make(shape, Path(room))
            except EdgeError as error:
                print(f"{shape.name}: {error}", file=sys.stderr)
                return 1
            if shape.model in store.names():
                shutil.rmtree(arguments.out / shape.model)
            store.install(bundle.folder)
        known[shape.name] = digest
        built.write_text(json.dumps(known))
        told = ", ".join(f"{v.name} {v.tolerance:g}" for v in bundle.manifest.variants)
        tqdm.write(f"{shape.model}: {told}" + "".join(f"\n  without {line}" for line in left_out))
    return 0


def make(shape: Shape, room: Path) -> tuple[Bundle, list[str]]:
    """A shape's bundle, and which variants were left out and why."""
    plain = room / "plain"
    plain.mkdir()
    command = [sys.executable, "-m", "benchmarks.shapes.export", shape.name, str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ArtifactError(f"the net could not be exported: {done.stderr.strip().splitlines()[-1:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    left_out = [f"fp32-tflite: {said['trouble']}"] if "trouble" in said else []
    variants = tuple(
        Variant(f"fp32-{form}", form, "fp32", (file_of(plain, f"{shape.name}.fp32.{form}"),), names=names)
        for form, names in (("onnx", {}), ("tflite", said.get("names", {})))
        if (plain / f"{shape.name}.fp32.{form}").is_file()
    )
    manifest = Manifest(name=shape.model, version="1.0", task=shape.task, signature=shape.signature, variants=variants)
    bundle = _with_golden(shape, manifest, plain)
    held_out = agreement(_inputs(shape, 16, seed=2), 2 * FURTHEST, "random inputs")
    outcome = optimize(bundle, _inputs(shape, CALIBRATION, seed=1), held_out, out=room / "optimized")
    left_out += [str(trial) for trial in outcome.trials if not trial.admitted]
    return _stated(outcome.bundle or bundle, left_out), left_out


def _inputs(shape: Shape, count: int, seed: int) -> list[Tensors]:
    random = np.random.default_rng(seed)

    def one(name: str) -> Array:
        spec = next(spec for spec in shape.signature.inputs if spec.name == name)
        if shape.classes:
            return random.integers(0, shape.classes, spec.sized({})).astype(spec.dtype)
        scale = 0.3 if name in {pair.input for pair in shape.signature.state} else 1.0
        return (scale * random.standard_normal(spec.sized({}))).astype(spec.dtype)

    return [{spec.name: one(spec.name) for spec in shape.signature.inputs} for _ in range(count)]


def _with_golden(shape: Shape, manifest: Manifest, folder: Path) -> Bundle:
    (folder / MANIFEST).write_bytes(encode(manifest))
    bundle, inputs = read_bundle(folder), _inputs(shape, GOLDEN, seed=0)
    with closing(open_variant(bundle, manifest.variants[0], "onnx")) as session:
        outputs = [session.run(sample) for sample in inputs]
    golden.write(folder / "golden.npz", manifest.signature, inputs, outputs)
    manifest = msgspec.structs.replace(manifest, golden=file_of(folder, "golden.npz"))
    (folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(folder)


def _stated(bundle: Bundle, left_out: list[str]) -> Bundle:
    """With a tolerance for each variant, and without those that are too far off."""
    known, kept = golden.load(bundle), []
    for variant in bundle.manifest.variants:
        distance = furthest(bundle, variant, known)
        if distance > FURTHEST:
            left_out.append(f"{variant.name}: {distance:.2g} from fp32's outputs")
        else:
            kept.append(msgspec.structs.replace(variant, tolerance=stated(variant.precision, distance)))
    manifest = msgspec.structs.replace(bundle.manifest, variants=tuple(kept))
    (bundle.folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(bundle.folder)


def _digest() -> str:
    parts = [*sorted(HERE.glob("*.py")), HERE.parents[1] / "models/toolchain.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
