"""The models of a store that are open, and all that is needed to run calls on them.

Whoever asks for no version is answered by the active one, or by those that share the traffic (`versions.py`). When another
one becomes active, the old one goes on answering until the new one was verified, opened, and gave its golden outputs; one
that does not never answers.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

import msgspec

from cloud_bridge.endpoint.followed import Followed
from cloud_bridge.endpoint.rows import joinable
from cloud_bridge.endpoint.versions import ANY, FILE, Rule, Rules, Split, read
from cloud_bridge.protocol.repository import IndexEntry
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import Manifest, check_name, check_version
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
    most: int
    """Rows of different calls that may run together; 1: none."""

    def group(self, inputs: Tensors) -> tuple[Hashable, int]:
        """What (checked) inputs may run with, and how many rows they are."""
        manifest = self.loaded.bundle.manifest
        shapes = [inputs[spec.name].shape for spec in manifest.signature.inputs]
        joins = self.most > 1
        return (manifest.name, manifest.version, *(shape[joins:] for shape in shapes)), shapes[0][0] if joins else 1


class Models:
    """Opened when they are first asked for, by `opener`; those that were used last are kept, `capacity` of them. Every
    method may be called from any thread. `rows` tells how many rows of different calls are worth running together, where a
    trial shows that they may; `later` does something on another thread."""

    def __init__(
        self,
        store: Store,
        opener: Callable[[Bundle], Loaded],
        capacity: int,
        *,
        rows: Callable[[Manifest], int],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.store = store
        self._opener, self._capacity, self._rows, self._later = opener, capacity, rows, later
        self._open: OrderedDict[Key, Model] = OrderedDict()
        self._rules: Followed[Rules] = Followed(store.path / FILE, read, {})
        self._splits: dict[str, Split] = {}
        self._serving: dict[str, str] = {}
        self._trying: set[Key] = set()
        self._bad: dict[Key, str] = {}
        self._unloaded: set[str] = set()
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def find(self, name: str, version: str | None) -> Model | None:
        """The model, if it is open. Without a version, the one whose turn it is. Raises NotInstalledError."""
        with self._lock:
            key = name, self._asked(name, version)
            if (model := self._open.get(key)) is not None:
                self._open.move_to_end(key)
            return model

    def open(self, name: str, version: str | None) -> Model:
        """The model, opened now if it must be. Raises NotInstalledError or a BackendError."""
        if (model := self.find(name, version)) is not None:
            return model
        with self._opening:  # one at a time, and the others that ask for the same one wait for it here
            return self.find(name, version) or self._load(self.store.bundle(name, version or self._active(name)))

    def preload(self, name: str) -> None:
        """Open those versions of a model that answer calls which name none. Raises as `open` does."""
        for version in {self._active(name): None, **self._rule(name).traffic}:
            self.open(name, version)

    def load(self, name: str) -> None:
        """Open the active version of a model anew, and let it take the place of what is open once it is proved. What was
        unloaded, and what was found bad, gets another chance. Raises NotInstalledError or a BackendError."""
        active = self._active(name)
        with self._opening:
            self._load(self.store.bundle(name, active))
        with self._lock:
            self._unloaded.discard(name)
            self._bad = {key: why for key, why in self._bad.items() if key[0] != name}
            self._serving[name] = active

    def unload(self, name: str) -> None:
        """Let go of a model, which answers no more until it is loaded. Raises NotInstalledError."""
        self._active(name)
        with self._lock:
            self._unloaded.add(name)
            for key in [key for key in self._open if key[0] == name]:
                del self._open[key]  # calls that wait for it, or run on it, still end

    def bundle(self, name: str, version: str | None) -> Bundle:
        """Raises NotInstalledError."""
        return self.store.bundle(name, self._allowed(name, version) if version else self._active(name))

    def versions(self, name: str) -> tuple[str, ...]:
        """Those that answer, oldest first."""
        _named(name, None)
        return self._rule(name).served(self.store.versions(name), self.store.active(name))

    def index(self) -> list[IndexEntry]:
        """Every version of every model in the store, and whether it is open."""
        with self._lock:
            is_open = set(self._open)
        return [
            IndexEntry(name, version, *(("READY", "") if (name, version) in is_open else ("UNAVAILABLE", why)))
            for name in self.store.names()
            for version, why in self._closed(name)
        ]

    def close(self) -> None:
        """Free them all."""
        with self._lock:
            models = list(self._open.values())
            self._open.clear()
        for model in models:
            model.loaded.session.close()

    def _rule(self, name: str) -> Rule:
        return self._rules.now.get(name, ANY)

    def _closed(self, name: str) -> list[tuple[str, str]]:
        """Each version, and why it does not answer, if it does not."""
        rule, active = self._rule(name), self.store.active(name)
        installed = self.store.versions(name)
        served = rule.served(installed, active)
        reasons = []
        for version in installed:
            why = "opened at its first call" if version == active or version in rule.traffic else "not the active version"
            if version not in served:
                why = "not among the versions that are served"
            if name in self._unloaded:
                why = "unloaded"
            reasons.append((version, self._bad.get((name, version), why)))
        return reasons

    def _asked(self, name: str, version: str | None) -> str:
        """The version that a call gets."""
        if name in self._unloaded:
            raise NotInstalledError(f"{name} was unloaded: load it again")
        return self._serves(name) if version is None else self._allowed(name, version)

    def _allowed(self, name: str, version: str) -> str:
        _named(name, version)
        served = () if self._rule(name).serve == "all" else self.versions(name)
        if served and version not in served:
            raise NotInstalledError(f"version {version} of {name} is not served here; served are {', '.join(served)}")
        return version

    def _serves(self, name: str) -> str:
        """The version that answers who asks for none: the active one or one by its share, as soon as that is open. Until
        then, or if it is bad, the one that answered before."""
        active = self._active(name)
        wanted = self._share(name) or active
        if (name, wanted) in self._open:
            if wanted == active:
                self._serving[name] = active
            return wanted
        serving = self._serving.get(name, active)
        if (name, serving) not in self._open:
            self._serving[name] = active
            return active
        if (name, wanted) not in self._trying and (name, wanted) not in self._bad:
            self._trying.add((name, wanted))
            self._later(lambda: self._try(name, wanted))
        return serving

    def _share(self, name: str) -> str | None:
        """Whose turn it is of those that share the traffic."""
        shares = self._rule(name).traffic
        weights = {version: weight for version, weight in shares.items() if (name, version) not in self._bad}
        return self._splits.setdefault(name, Split()).next(weights) if weights else None

    def _try(self, name: str, version: str) -> None:
        """Open a version that is to take another one's place."""
        try:
            with self._opening:
                if self.find(name, version) is None:
                    self._load(self.store.bundle(name, version))
        except EdgeError as error:
            _log.error("%s %s does not take over: %s", name, version, error)
            self._bad[name, version] = f"it did not take over: {error}"
        finally:
            self._trying.discard((name, version))

    def _load(self, bundle: Bundle) -> Model:
        """Open a version, if its files are as its manifest says and its outputs are right."""
        self.store.verify(bundle)
        loaded = self._opener(bundle)
        session, manifest = loaded.session, loaded.bundle.manifest
        _check_golden(loaded)
        signature = session.signature
        tolerance = loaded.candidate.variant.tolerance
        most = self._rows(manifest)
        if most > 1 and not joinable(session.run, signature, manifest.sizes, tolerance):
            most = 1
        outputs = frozenset(spec.name for spec in signature.outputs)
        model = Model(loaded, input_check(signature.inputs), outputs, most)
        with self._lock:
            self._open[manifest.name, manifest.version] = model
            # Not closed, only let go of: an inference may be running on it, and the engine frees it after that.
            while len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return model

    def _active(self, name: str) -> str:
        return (_named(name, None) and self.store.active(name)) or self.store.bundle(name, None).manifest.version


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
