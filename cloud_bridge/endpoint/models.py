"""The models of a store that are open, and all that is needed to run calls on them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from cloud_bridge.endpoint.rows import joinable
from cloud_bridge.protocol.metadata import IndexEntry
from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded
from edge_runtime.errors import ManifestError, NotInstalledError
from edge_runtime.signature import Check, input_check
from edge_runtime.values import Tensors


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
    method may be called from any thread. `join` tries whether rows of different calls may run together."""

    def __init__(self, store: Store, opener: Callable[[Bundle], Loaded], capacity: int, *, join: bool) -> None:
        self.store = store
        self._opener, self._capacity, self._join = opener, capacity, join
        self._open: OrderedDict[tuple[str, str], Model] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def find(self, name: str, version: str | None) -> Model | None:
        """The model, if it is open. Without a version, the active one. Raises NotInstalledError."""
        with self._lock:
            key = name, version or self._active(name)
            if (model := self._open.get(key)) is not None:
                self._open.move_to_end(key)
            return model

    def open(self, name: str, version: str | None) -> Model:
        """The model, opened now if it must be. Raises NotInstalledError or a BackendError."""
        if (model := self.find(name, version)) is not None:
            return model
        with self._opening:  # one at a time, and the others that ask for the same one wait for it here
            return self.find(name, version) or self._load(name, version or self._active(name))

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
                why = "" if ready else "opened at its first call" if version == active else "not the active version"
                entries.append(IndexEntry(name, version, "READY" if ready else "UNAVAILABLE", why))
        return entries

    def close(self) -> None:
        """Free them all."""
        with self._lock:
            models = list(self._open.values())
            self._open.clear()
        for model in models:
            model.loaded.session.close()

    def _load(self, name: str, version: str) -> Model:
        loaded = self._opener(self.bundle(name, version))
        session, manifest = loaded.session, loaded.bundle.manifest
        signature = session.signature
        tolerance = loaded.candidate.variant.tolerance
        together = self._join and joinable(session.run, signature, manifest.sizes, tolerance)
        outputs = frozenset(spec.name for spec in signature.outputs)
        model = Model(loaded, input_check(signature.inputs), outputs, together)
        with self._lock:
            self._open[name, version] = model
            # Not closed, only let go of: an inference may be running on it, and the engine frees it after that.
            while len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return model

    def _active(self, name: str) -> str:
        return (_named(name, None) and self.store.active(name)) or self.bundle(name, None).manifest.version


def _named(name: str, version: str | None) -> bool:
    """NotInstalledError for what cannot be the name or version of a model: to a caller, it is not here."""
    try:
        check_name(name)
        if version is not None:
            check_version(version)
    except ManifestError as error:
        raise NotInstalledError(f"there is no such model here: {error}") from error
    return True
