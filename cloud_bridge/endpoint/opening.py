"""How an endpoint opens a bundle: as it was tuned for many calls (`cloud-bridge tune`); else as it was tuned for one
(`edge-runtime tune`); else the first way that loads."""

from __future__ import annotations

import logging
from pathlib import Path

from cloud_bridge.endpoint.followed import Followed
from cloud_bridge.endpoint.plans import CACHE as ENDPOINT_CACHE
from cloud_bridge.endpoint.plans import FILE, Plans, Trial, load
from edge_runtime import backends
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded, candidates, open_best, open_candidate
from edge_runtime.errors import BackendError, BundleError, InputError
from edge_runtime.host import host
from edge_runtime.profile import CACHE, PROFILE, Candidate, key_of
from edge_runtime.profile import load as load_profile

_log = logging.getLogger(__name__)


class Opening:
    """Opens the bundles of a store, by what its files say at that moment."""

    def __init__(self, store: Store) -> None:
        """Raises InputError where the plans are damaged."""
        self._folder = store.path
        path = store.path / FILE
        self._plans = Followed(path, load, load(path))

    @property
    def plans(self) -> Plans:
        """As the file has them now; the last good ones where it was damaged since."""
        return self._plans.now

    def rows(self, manifest: Manifest) -> int | None:
        """Rows that are as good together as any number; None where that was not measured."""
        plan = self.plans.plan(manifest)
        return None if plan is None else plan.best.rows

    def __call__(self, bundle: Bundle) -> Loaded:
        """Raises a BackendError, or BundleError where the store's profile is damaged."""
        plan = self.plans.plan(bundle.manifest)
        if plan is not None and (loaded := _planned(bundle, plan, self._folder / ENDPOINT_CACHE)) is not None:
            return loaded
        try:
            profile = load_profile(self._folder / PROFILE)
        except InputError as error:  # which is not the caller's
            raise BundleError(str(error)) from error
        return open_best(bundle, profile, caches=self._folder / CACHE)


def planned(bundle: Bundle, plan: Trial) -> Candidate | None:
    """What a plan says to run; None where that is not here any more."""
    plain = candidates(bundle.manifest, backends.backend(plan.key.backend).devices())
    found = next((c for c in plain if c.variant.name == plan.variant and c.device.name == plan.key.device), None)
    return None if found is None else Candidate(found.variant, found.device, plan.key.settings)


def _planned(bundle: Bundle, plan: Trial, caches: Path) -> Loaded | None:
    """The bundle as planned; None where that is not here any more, or fails."""
    name = bundle.manifest.name
    candidate = planned(bundle, plan)
    if candidate is None:
        _log.warning("%s: %s is not here any more: tune again (cloud-bridge tune)", name, plan.name)
        return None
    stale = plan.key.changes(key_of(candidate, host()))
    if stale:
        _log.warning("%s was tuned before something changed (%s): tune again", name, "; ".join(stale))
    compiled = caches / plan.key.digest
    try:
        session = open_candidate(bundle, candidate, compiled if compiled.is_dir() and not stale else None)
    except (BackendError, InputError) as error:
        _log.error("%s does not open as it was tuned: %s", name, error)
        return None
    reason = f"tuned for many calls: {plan.best.rate:.0f} a second, {plan.best.rows} rows together"
    return Loaded(bundle, candidate, session, reason, stale)
