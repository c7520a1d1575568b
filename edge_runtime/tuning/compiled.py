"""What engines make of the chosen models, kept beside the profile under each choice's key: a second start is fast."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from edge_runtime.bench.process import Limits, Worker, request_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate
from edge_runtime.errors import EdgeError
from edge_runtime.profile import Key


def keep(bundle: Bundle, candidate: Candidate, key: Key, caches: Path, limits: Limits = Limits()) -> str:
    """Let the engine compile a candidate, in a process of its own, and keep what it leaves. Tells in words what came of it:
    a cache that cannot be written costs time at the next start, and nothing else."""
    folder = caches / key.digest
    fresh = caches / f"{key.digest}.{os.getpid()}"
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        with Worker(request_of(bundle, candidate, cache=fresh), limits) as worker:
            worker.started()
        with Worker(request_of(bundle, candidate, cache=fresh), limits) as worker:
            worker.started()  # from what is kept now: it must give the golden outputs too
        if not any(fresh.iterdir()):
            return "its engine keeps no compiled form"
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    except (OSError, EdgeError) as error:
        return f"its compiled form could not be kept: {error}"
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"its compiled form takes {size / 1e6:.1f} MB"


def prune(caches: Path, keys: Iterable[Key]) -> None:
    """Remove what belongs to none of these choices."""
    wanted = {key.digest for key in keys}
    if caches.is_dir():
        for folder in caches.iterdir():
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
