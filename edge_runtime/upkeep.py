"""What a runtime does about its models' engines while they serve: one thread, and never in the way of a call.

A model whose chosen engine takes long to compile is served by another candidate until it is there. A choice that was
measured before something changed (an engine was upgraded, a container moved) goes on serving while the model is tuned
again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Loaded, compiled, in_order, open_best, open_candidate
from edge_runtime.errors import BackendError, EdgeError
from edge_runtime.model import Model
from edge_runtime.profile import CACHE, Profile, load, save

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PATIENCE = 1.0
"""Seconds that a model may take to load before another candidate serves meanwhile."""


class Upkeep:
    """Opens models, and betters them while they serve."""

    def __init__(self, profile: Profile, path: Path | None, device: str | None, retune: bool) -> None:
        self._profile = profile
        self._path = path
        self._device = device
        self._retune = retune
        self._stop = Event()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def caches(self) -> Path | None:
        """The folder of compiled forms, beside the profile."""
        return None if self._path is None else self._path.parent / CACHE

    def open(self, bundle: Bundle) -> Loaded:
        """The best candidate, or one that is there sooner, where the best takes long to compile. Raises a BackendError."""
        sooner = self._sooner(bundle)
        if sooner is not None:
            return sooner
        return open_best(bundle, self._profile, device=self._device, caches=self.caches)

    def attend(self, model: Model, bundle: Bundle) -> None:
        """Do what is to be done for a model that was just opened."""
        loaded = model.loaded
        if loaded is None:
            return
        if loaded.meanwhile:
            model.status = f"{loaded.candidate} serves while {loaded.meanwhile} is compiled"
            self._later(lambda: self._compile(model, bundle))
        elif loaded.stale and self._retune and self._path is not None:
            choice = self._profile.choice(bundle.manifest.name, bundle.manifest.version)
            if choice is not None:
                model.status = f"waiting to be tuned again: {'; '.join(loaded.stale)}"
                self._later(lambda: self._tune(model, bundle))

    def close(self) -> None:
        """Stop what is under way."""
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _later(self, work: Callable[[], None]) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # here: most runtimes have nothing to do beside serving

            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-runtime-upkeep")
        self._pool.submit(work)

    def _sooner(self, bundle: Bundle) -> Loaded | None:
        """A measured candidate that loads in less than half of the time of the best, where that one takes too long."""
        turns = in_order(bundle.manifest, self._profile, self._device)
        best = next(turns, None)
        if best is None or best.measured is None or (best.measured.load or 0.0) <= PATIENCE:
            return None
        if compiled(self.caches, best.measured) is not None:
            return None
        for turn in turns:
            if turn.measured is None:
                return None
            if (turn.measured.load or PATIENCE) < 0.5 * (best.measured.load or 0.0):
                try:
                    session = open_candidate(bundle, turn.candidate)
                except BackendError:
                    continue
                reason = f"{turn.reason}; it serves while {best.candidate} is compiled"
                return Loaded(bundle, turn.candidate, session, reason, turn.stale, str(best.candidate), turn.measured)
        return None

    def _compile(self, model: Model, bundle: Bundle) -> None:
        try:
            model.adopt(open_best(bundle, self._profile, device=self._device, caches=self.caches))
        except EdgeError as error:
            model.status = f"the best candidate could not be opened: {error}"

    def _tune(self, model: Model, bundle: Bundle) -> None:
        from edge_runtime import backends
        from edge_runtime.tuning import compiled
        from edge_runtime.tuning.meters import meter
        from edge_runtime.tuning.tournament import tune

        manifest, path, caches = bundle.manifest, self._path, self.caches
        choice = self._profile.choice(manifest.name, manifest.version)
        if choice is None or path is None or caches is None:
            return

        def tell(what: str, share: float) -> None:
            if self._stop.is_set():
                raise _Stopped
            model.status = f"being tuned again ({share:.0%}): {what}"

        try:
            devices = [d for d in backends.devices() if d.fits(self._device)]
            tuned = tune(bundle, objective=choice.objective, meter=meter(choice.objective), devices=devices, progress=tell)
            self._profile = load(path).updated(tuned=(tuned,))
            save(self._profile, path)
            winner = next(iter(in_order(manifest, self._profile, self._device)))
            compiled.keep(bundle, winner.candidate, tuned.winner.key, caches)
            model.adopt(open_best(bundle, self._profile, device=self._device, caches=caches))
        except _Stopped:
            model.status = "not tuned again: the runtime was closed"
        except EdgeError as error:
            model.status = f"it could not be tuned again: {error}"


class _Stopped(Exception):  # noqa: N818  (no error: the runtime is being closed)
    pass
