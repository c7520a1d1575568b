"""The steps by which a version comes to serve: each does no harm when it is done once more.

Between `activate` and `commit` the version is on trial: the store itself says so, in the file that says what is active. So
whatever is on trial when an agent starts was interrupted, and `settle` brings back what was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Protocol, TypeAlias

from cloud_bridge.agent.work import Done
from cloud_bridge.protocol.fleet.commands import Activate, Deploy, Rollback
from edge_runtime.bundles import archive
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BundleError, CancelledError, DigestError, DiskFullError, EdgeError, RunError

Fetch: TypeAlias = Callable[[str, Event], Path]
"""The verified file of a target, on this disk, also when it is asked for again. Raises an EdgeError; CancelledError soon
after the event is set."""

Health: TypeAlias = Callable[[str, float], str]
"""What is wrong with a model that serves, of whose calls this share may fail; "" where nothing is. Raises an EdgeError
where that cannot be told."""


class Watch(Protocol):
    """Counts the calls of a version on trial: `calls.Calls`."""

    def begin(self, model: str, version: str) -> None:
        """It is about to be on trial."""
        ...

    def wrong(self, model: str, failures: float) -> str:
        """As Health."""
        ...

    def end(self, model: str) -> None:
        """It is on trial no more."""
        ...


GLANCE = 1.0
"""Seconds between two looks at the health of a version on trial."""


def settle(store: Store) -> tuple[str, ...]:
    """Bring back what was before every version on trial; where that fails, why."""
    troubles = []
    try:
        names = store.names()
    except EdgeError as error:
        return (str(error),)
    for name in names:
        try:
            store.abandon(name)
        except EdgeError as error:
            troubles.append(f"{name}: {error}")
    return tuple(troubles)


def install(store: Store, deploy: Deploy, fetch: Fetch, halt: Event) -> Done:
    """Have the version in the store; nothing is fetched where it is there already. Where there is no room for it, versions
    are removed that serve nothing any more. Raises DigestError for another one."""
    try:
        _install(store, deploy, fetch, halt)
    except DiskFullError:
        if not [version for name in store.names() for version in store.prune(name, 1)]:
            raise
        _install(store, deploy, fetch, halt)
    return Done()


def _install(store: Store, deploy: Deploy, fetch: Fetch, halt: Event) -> None:
    if not _installed(store, deploy):
        path = fetch(deploy.target, halt)
        with archive.opened(path) as (manifest, contents):
            found = (manifest.name, manifest.version, hashlib.sha256(contents.manifest).hexdigest())
        if found != (wanted := (deploy.model, deploy.version, deploy.digest)):
            raise DigestError(f"{deploy.target} holds {_shown(*found)}, and not {_shown(*wanted)}, as it was ordered")
        store.install(path, activate=False)


def activate(store: Store, work: Activate | Deploy) -> Done:
    """Let the version serve, on trial."""
    _ordered(store.bundle(work.model, work.version), work)
    store.activate(work.model, work.version, trial=True)
    return Done()


def soak(store: Store, work: Activate | Deploy, health: Health, clock: Callable[[], float], halt: Event) -> Done:
    """Watch it serve for as long as was ordered, and at least once. `clock` is in seconds. Raises RunError as soon as it is
    not well, BundleError when another version was activated meanwhile."""
    begin = clock()
    while True:
        if (active := store.active(work.model)) != work.version:
            raise BundleError(f"{work.model} {active} was activated while {work.version} was on trial")
        wrong, elapsed = health(work.model, work.health.failures), clock() - begin
        if wrong:
            raise RunError(f"{work.model} {work.version} is not well after {elapsed:.1f} s on trial: {wrong}")
        if elapsed >= work.soak:
            return Done({"soaked": f"{elapsed:.1f} s"} if work.soak else {})
        if halt.wait(min(GLANCE, work.soak - elapsed)):
            raise CancelledError(f"{work.model} {work.version} was given up on trial, after {clock() - begin:.1f} s")


def commit(store: Store, work: Activate | Deploy) -> Done:
    """Keep it: the digest that is active is what was ordered."""
    bundle = _ordered(store.bundle(work.model, work.version), work)
    store.commit(work.model, work.version)
    return Done({"active": work.version, "digest": bundle.digest})


def tidy(store: Store, model: str, keep: int) -> dict[str, str]:
    """Remove old versions of a model: which. That one cannot be removed is told, and no failure of what was deployed."""
    try:
        removed = store.prune(model, keep)
    except EdgeError as error:
        return {"removed": str(error)}
    return {"removed": ", ".join(removed)} if removed else {}


def back(store: Store, model: str) -> dict[str, str]:
    """End a trial, if there is one, and tell what is active now."""
    store.abandon(model)
    return standing(store, model)


def standing(store: Store, model: str) -> dict[str, str]:
    """The version that is active, and its digest."""
    active = store.active(model)
    return {"active": "none"} if active is None else {"active": active, "digest": store.bundle(model, active).digest}


def choose(store: Store, work: Rollback) -> Done:
    """What a rollback goes from, and to: journaled before it is done, so that it is never done twice. Raises
    NotInstalledError where nothing was active before."""
    to = store.before(work.model)
    store.bundle(work.model, to)
    return Done({"from": store.active(work.model) or "none", "to": to})


def rollback(store: Store, work: Rollback, details: dict[str, str]) -> Done:
    """Go back by one version, unless that was done. Raises BundleError when another one was activated meanwhile."""
    active = store.active(work.model)
    if active not in (details["from"], details["to"]):
        raise BundleError(f"{work.model} {active} was activated meanwhile: it stays")
    if active != details["to"]:
        store.rollback(work.model)
    return Done(standing(store, work.model))


def _installed(store: Store, deploy: Deploy) -> bool:
    if deploy.version not in store.versions(deploy.model):
        return False
    bundle = _ordered(store.bundle(deploy.model, deploy.version), deploy)
    try:
        store.verify(bundle)
    except DigestError:  # a file is damaged: installing it once more puts that right
        return False
    return True


def _ordered(bundle: Bundle, work: Activate | Deploy) -> Bundle:
    if isinstance(work, Deploy) and work.digest != bundle.digest:
        raise DigestError(
            f"{work.model} {work.version} is installed with digest {bundle.digest[:12]}, and {work.digest[:12]} was "
            "ordered: give a changed bundle a new version"
        )
    return bundle


def _shown(name: str, version: str, digest: str) -> str:
    return f"{name} {version} ({digest[:12]})"
