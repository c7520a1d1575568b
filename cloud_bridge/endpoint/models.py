"""The models of a store that are open, and all that is needed to run calls on them.

Whoever asks for no version is answered by the active one. When another one becomes active, the old one goes on answering
until the new one was verified, opened, and gave its golden outputs; one that does not never answers.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

import msgspec

from cloud_bridge.endpoint.rows import joinable
from cloud_bridge.protocol.metadata import IndexEntry
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded
from edge_runtime.errors import EdgeError, ManifestError, NotInstalledError
from edge_runtime.signature import Check, input_check
from edge_runtime.values import Tensors

SAMPLES = 2
"""Golden samples that a model is tried on as it is opened."""

Key: TypeAlias = "tuple[str, str]"
"""A model's name and version."""

_log = logging.getLogger(__name__)


class Model(msgspec.Struct, frozen=True):
    """One version of a model, open."""

    loaded: Loaded
    check: Check
    outputs: frozenset[str]
    joinable: bool
    """Whether rows of different calls may run together."""

    def group(self, inputs: Tensors) -> tuple[Hashable, int]:
        """What (checked) inputs may run with, and how many rows they are."""
        manifest = self.loaded.bundle.manifest
        shapes = [inputs[spec.name].shape for spec in manifest.signature.inputs]
        rows = shapes[0][0] if self.joinable else 1
        return (manifest.name, manifest.version, *(shape[self.joinable :] for shape in shapes)), rows


class Models:
    """Opened when they are first asked for, by `opener`; those that were used last are kept, `capacity` of them. Every
    method may be called from any thread. `join` tries whether rows of different calls may run together; `later` does
    something on another thread."""

    def __init__(
        self,
        store: Store,
        opener: Callable[[Bundle], Loaded],
        capacity: int,
        *,
        join: bool,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.store = store
        self._opener, self._capacity, self._join, self._later = opener, capacity, join, later
        self._open: OrderedDict[Key, Model] = OrderedDict()
        self._serving: dict[str, str] = {}
        self._trying: set[Key] = set()
        self._bad: dict[Key, str] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def find(self, name: str, version: str | None) -> Model | None:
        """The model, if it is open. Without a version, the active one. Raises NotInstalledError."""
        with self._lock:
            key = name, version or self._serves(name)
            if (model := self._open.get(key)) is not None:
                self._open.move_to_end(key)
            return model

    def open(self, name: str, version: str | None) -> Model:
        """The model, opened now if it must be. Raises NotInstalledError or a BackendError."""
        if (model := self.find(name, version)) is not None:
            return model
        with self._opening:  # one at a time, and the others that ask for the same one wait for it here
            return self.find(name, version) or self._load(self.bundle(name, version or self._active(name)))

    def bundle(self, name: str, version: str | None) -> Bundle:
        """Raises NotInstalledError."""
        _named(name, version)
        return self.store.bundle(name, version)

    def index(self) -> list[IndexEntry]:
        """Every version of every model in the store, and whether it is open."""
        with self._lock:
            is_open = set(self._open)
        entries = []
        for name in self.store.names():
            active = self.store.active(name)
            for version in self.store.versions(name):
                ready = (name, version) in is_open
                otherwise = "opened at its first call" if version == active else "not the active version"
                why = "" if ready else self._bad.get((name, version), otherwise)
                entries.append(IndexEntry(name, version, "READY" if ready else "UNAVAILABLE", why))
        return entries

    def close(self) -> None:
        """Free them all."""
        with self._lock:
            models = list(self._open.values())
            self._open.clear()
        for model in models:
            model.loaded.session.close()

    def _serves(self, name: str) -> str:
        """The version that answers who asks for none."""
        active = self._active(name)
        serving = self._serving.get(name, active)
        if serving == active or (name, active) in self._open or (name, serving) not in self._open:
            self._serving[name] = active
            return active
        if (name, active) not in self._trying and (name, active) not in self._bad:
            self._trying.add((name, active))
            self._later(lambda: self._try(name, active))
        return serving

    def _try(self, name: str, version: str) -> None:
        """Open a version that is to take another one's place."""
        try:
            bundle = self.bundle(name, version)
            self.store.verify(bundle)
            with self._opening:
                if self.find(name, version) is None:
                    self._load(bundle)
        except EdgeError as error:
            _log.error("%s %s does not take over: %s", name, version, error)
            self._bad[name, version] = f"it did not take over: {error}"
        finally:
            self._trying.discard((name, version))

    def _load(self, bundle: Bundle) -> Model:
        loaded = self._opener(bundle)
        session, manifest = loaded.session, loaded.bundle.manifest
        _check_golden(loaded)
        signature = session.signature
        tolerance = loaded.candidate.variant.tolerance
        together = self._join and joinable(session.run, signature, manifest.sizes, tolerance)
        outputs = frozenset(spec.name for spec in signature.outputs)
        model = Model(loaded, input_check(signature.inputs), outputs, together)
        with self._lock:
            self._open[manifest.name, manifest.version] = model
            # Not closed, only let go of: an inference may be running on it, and the engine frees it after that.
            while len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return model

    def _active(self, name: str) -> str:
        return (_named(name, None) and self.store.active(name)) or self.bundle(name, None).manifest.version


def _check_golden(loaded: Loaded) -> None:
    """RunError where the outputs are not the golden ones."""
    bundle, variant = loaded.bundle, loaded.candidate.variant
    if bundle.manifest.golden is None or variant.tolerance is None or bundle.manifest.signature.hidden_state:
        return
    inputs, outputs = golden.load(bundle)
    golden.check(loaded.session.run, inputs[:SAMPLES], outputs[:SAMPLES], variant.tolerance)


def _named(name: str, version: str | None) -> bool:
    """NotInstalledError for what cannot be the name or version of a model: to a caller, it is not here."""
    try:
        check_name(name)
        if version is not None:
            check_version(version)
    except ManifestError as error:
        raise NotInstalledError(f"there is no such model here: {error}") from error
    return True
