"""The device's one object: a store of models, what was measured here, and maybe a cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime import links
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.installed import Installed
from edge_runtime.decisions import DecisionLog
from edge_runtime.dispatch import Dispatch
from edge_runtime.engines import Loaded
from edge_runtime.errors import EdgeError, InputError
from edge_runtime.local import check_budget
from edge_runtime.model import Model
from edge_runtime.profile import PROFILE, Profile, load
from edge_runtime.remote import Remote
from edge_runtime.routing.policy import Policy
from edge_runtime.tally import Tally
from edge_runtime.upkeep import Upkeep
from edge_runtime.values import Result
from edge_runtime.worth import worths

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WARM_UP = 3
"""Local runs before a model with a cloud partner takes calls: routing must know how late the local model may start."""


class Runtime:
    """Runs the models of a store, and asks a cloud where that pays.

        with Runtime("store/", cloud="mqtts://broker.example/site-7") as runtime:
            result = runtime.model("ppocr_rec").infer({"image": image}, budget=0.200)

    `store` is a folder of bundles, or None to use `open` alone. `cloud` is a URL whose scheme some installed package serves
    (cloud_bridge: http, https, mqtt, mqtts), or any object with the `Remote` port, or None. `profile` is what was measured
    on this device: a value, a path, or None for STORE/profile.json. `device` narrows the choice of engine ("openvino",
    "onnx:CUDA"): a model that cannot run there is an error, never run elsewhere. With `retune`, a model that was tuned
    (`edge-runtime tune`) is tuned again in the background when an engine, a driver or the cores allowed have changed since;
    until then the last choice serves (`Model.status` tells). A remote made from a URL is closed with
    the runtime; one that was handed in stays its owner's.
    """

    def __init__(
        self,
        store: str | Path | Installed | None,
        *,
        cloud: str | Remote | Sequence[str | Remote] | None = None,
        profile: Profile | str | Path | None = None,
        policy: Policy = Policy(),
        log: str | Path | DecisionLog | None = None,
        device: str | None = None,
        retune: bool = True,
    ) -> None:
        self._store = store if isinstance(store, Installed | None) else Installed(store)
        path = self._profile_path(profile)
        measured = profile if isinstance(profile, Profile) else Profile() if path is None else load(path)
        self._upkeep = Upkeep(measured, path, device, retune)
        self._models: dict[tuple[str, str, str], Model] = {}
        self._budgets: Mapping[str, float] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._opening = Lock()  # held for as long as a model takes to open; the other one never for long
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        given = [] if cloud is None else [cloud] if isinstance(cloud, str) or not isinstance(cloud, Sequence) else cloud
        self._remotes = [connect(each) if isinstance(each, str) else each for each in given]
        self._own = [remote for each, remote in zip(given, self._remotes, strict=True) if isinstance(each, str)]
        decisions = log if isinstance(log, DecisionLog) or log is None else DecisionLog(log)
        self._dispatch = Dispatch(self._remotes, policy, decisions) if self._remotes else None
        self._links = links.Links()
        if self._dispatch is not None and self._store is not None:
            self._links = links.load(self._store.path / links.LINKS)
            self._dispatch.linked(self._links)

    @property
    def remotes(self) -> Sequence[Remote]:
        """The clouds that may be asked."""
        return tuple(self._remotes)

    @property
    def policy(self) -> Policy:
        """How calls are routed. Another one may be set at any time, and rules from the next call on."""
        return Policy() if self._dispatch is None else self._dispatch.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        if self._dispatch is not None:
            self._dispatch.policy = policy

    @property
    def budgets(self) -> Mapping[str, float]:
        """Seconds that a call of a model may take where it names no budget, by the model's name. Others may be set at any
        time, and hold from the next call on."""
        return self._budgets

    @budgets.setter
    def budgets(self, budgets: Mapping[str, float]) -> None:
        for budget in budgets.values():
            check_budget(budget)
        self._budgets = dict(budgets)
        for model in list(self._models.values()):
            model.budget = self._budgets.get(model.name)

    def watch(self, name: str, version: str) -> Tally:
        """Count how the calls of a version end, from now on until `unwatch`: also where it cannot be opened for one."""
        tally = self._tallies[name, version] = Tally()
        self._hand(name, version, tally)
        return tally

    def unwatch(self, name: str, version: str) -> None:
        """Count them no more."""
        self._tallies.pop((name, version), None)
        self._hand(name, version, None)

    def model(self, name: str, version: str | None = None) -> Model:
        """The model of this name: its active version, or the one asked for. It is loaded at the first call and shared
        after that. Raises NotInstalledError, or a BackendError when it does not run here."""
        if self._store is None:
            raise InputError("this runtime has no store; give it one, or hand it a bundle with open()")
        return self.open(self._store.bundle(name, version))

    def open(self, bundle: Bundle) -> Model:
        """The model of a bundle that need not be in the store. Otherwise as `model`."""
        manifest = bundle.manifest
        key = (manifest.name, manifest.version, str(bundle.folder))
        model = self._models.get(key)
        if model is None:
            with self._opening:  # one at a time, and whoever asks for the same one waits for it here
                self._check_open()
                model = self._models.get(key) or self._opened(bundle)
                self._models[key] = model
                model.budget = self._budgets.get(model.name)
                model.tally = self._tallies.get(key[:2])
        return model

    def close(self) -> None:
        """Free every session and the connection. Calls under way end first; models of this runtime are unusable after."""
        with self._lock:
            self._closed = True
        with self._opening:
            models, self._models = list(self._models.values()), {}
        self._upkeep.close()
        if self._pool is not None:
            self._pool.shutdown()
        if self._dispatch is not None:
            self._dispatch.close()
        for remote in self._own:
            remote.close()
        for model in models:
            if model.loaded is not None:
                model.loaded.session.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _hand(self, name: str, version: str, tally: Tally | None) -> None:
        for model in list(self._models.values()):
            if (model.name, model.manifest.version) == (name, version):
                model.tally = tally

    def _opened(self, bundle: Bundle) -> Model:
        try:
            return self._load(bundle)
        except EdgeError as error:
            tally = self._tallies.get((bundle.manifest.name, bundle.manifest.version))
            if tally is not None:
                tally.fail(error)
            raise

    def _load(self, bundle: Bundle) -> Model:
        manifest = bundle.manifest
        dispatch = self._dispatch if manifest.partner is not None else None
        loaded = self._upkeep.open(bundle) if manifest.variants or dispatch is None else None
        model = Model(manifest, loaded, dispatch, self._submit, bundle)
        if dispatch is not None and manifest.partner is not None:
            pace, worked = None if loaded is None else _pace(model, loaded), self._links.work(manifest.partner)
            dispatch.know(model.key, *worths(manifest, loaded, dispatch.policy), pace, worked)
        self._upkeep.attend(model, bundle)
        return model

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this runtime is closed")

    def _profile_path(self, given: Profile | str | Path | None) -> Path | None:
        if isinstance(given, Profile):
            return None
        if given is None:
            return None if self._store is None else self._store.path / PROFILE
        if not Path(given).is_file():
            raise InputError(f"there is no profile at {given}; make one with edge-runtime tune --profile {given}")
        return Path(given)

    def _submit(self, call: Callable[[], Result]) -> Future[Result]:
        with self._lock:
            self._check_open()
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # here: `infer` alone needs no threads

                self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="edge-runtime")
            return self._pool.submit(copy_context().run, call)  # who traces the caller traces the call


def connect(url: str) -> Remote:
    """A remote for this URL, made by the package that has registered its scheme. Raises InputError when none has."""
    from importlib.metadata import entry_points  # here: only a device with a cloud pays for it

    scheme = url.partition("://")[0].lower()
    registered = entry_points(group="edge_runtime.remotes")
    for entry in registered:
        if entry.name == scheme:
            remote: Remote = entry.load()(url)
            return remote
    known = ", ".join(sorted({entry.name for entry in registered})) or "none"
    # Only what stands before "://" is repeated: without it, all may be a secret.
    told = f"{scheme[:20]!r} URLs" if "://" in url else "a URL without a scheme"
    raise InputError(f"no installed package serves {told} (known schemes: {known})")


def _pace(model: Model, loaded: Loaded) -> tuple[int, float, float] | None:
    """How long the local variant takes on inputs of its typical sizes. What was measured on this device tells more of the
    slow runs than a few runs now can."""
    manifest = loaded.bundle.manifest
    inputs = {spec.name: np.zeros(spec.sized(manifest.sizes), spec.dtype) for spec in manifest.signature.inputs}
    pace = model.warm_up(inputs, WARM_UP)
    if pace is None or loaded.measured is None:
        return pace
    size, typical, slowest = pace
    return size, typical, max(slowest, loaded.measured.at(0.99))
