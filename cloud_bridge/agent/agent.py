"""A device's agent: the link, the talk and the duty together, on two threads of its own. In a process of its own
(`cloud-bridge agent`), or in an application's:

    with Agent("mqtts://broker.example", store="store/", thing="press-17", keys=["operator.pub"], runtime=runtime):
        ...

One thread reads and says; the other does jobs, one step at a time. They meet in the journal.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cloud_bridge.agent import deploy
from cloud_bridge.agent.commands import resolve, steps_of
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.figures import figures
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.obey import Hands, unwatched
from cloud_bridge.agent.orders import Orders, moved_by, read_keys
from cloud_bridge.agent.shadows import Shadows
from cloud_bridge.agent.talk import Talk
from cloud_bridge.agent.when import Instant
from cloud_bridge.control.link import Down, Event, Link, Said, Taken, Up
from cloud_bridge.control.paho import PahoLink, Tls
from cloud_bridge.protocol.fleet.commands import Activate, Command
from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.fleet.rpc import DeviceStatus, Running
from cloud_bridge.protocol.fleet.shadow import Config
from cloud_bridge.protocol.fleet.telemetry import Figures
from cloud_bridge.protocol.fleet.topics import Tree
from cloud_bridge.protocol.topics import Address
from edge_runtime.bundles.store import Store
from edge_runtime.errors import CancelledError, EdgeError, InputError
from edge_runtime.routing.policy import Policy

if TYPE_CHECKING:
    from edge_runtime.runtime import Runtime

STATE = ".agent"
"""Where an agent keeps what it needs, in its store."""

GROUPS = 64
"""It can be of so many: as a birth says at most."""

_TROUBLE = 5.0
"""Seconds of rest where the disk fails."""
_SWEEP = 3600.0
_log = logging.getLogger(__name__)


class Agent:
    """Obeys a fleet's commands on this device, from `with` to its end. One process at a time is a device's agent.

    `broker` is mqtt[s]://[user[:password]@]host[:port][/ROOT][?ca=FILE]; `own` the device's certificate and key. It obeys
    whatever `threshold` of the `keys` have signed: files, or folders of .pub files. Bundles come from `artifacts`, the URL
    of a repository that is trusted by `root_metadata`, the root.json that came with the device. With `runtime`, the one
    that serves this store in this process, budgets and policy of the shadow `config` rule it; `health` says what is wrong
    with a model on trial, given its name and the share of calls that may fail. `state` is a folder for the journal
    (default: STORE/.agent). Figures are told each `telemetry` seconds; None: never. Raises InputError and BundleError for
    what cannot be used; a broker that is away is waited for.
    """

    def __init__(
        self, broker: str, *, store: str | Path | Store, thing: str, keys: Sequence[str | Path], threshold: int = 1,
        groups: Sequence[str] = (), artifacts: str | None = None, root_metadata: str | Path | None = None,
        own: Tls | None = None, aws: bool = False, runtime: Runtime | None = None,
        health: deploy.Health = unwatched, log: str | Path | None = None, device: str | None = None,
        state: str | Path | None = None, telemetry: float | None = 60.0, link: Link | None = None,
    ) -> None:  # fmt: skip
        address = Address.parse(broker)
        if len(groups) > GROUPS:
            raise InputError(f"a device of {len(groups)} groups: it can be of {GROUPS}")
        if telemetry is not None and not telemetry >= 1.0:
            raise InputError(f"figures each {telemetry} seconds: give 1 or more, or None")
        self.thing, self.groups = check(thing, "thing"), tuple(check(group, "group") for group in groups)
        self._store = store if isinstance(store, Store) else Store(store)
        folder = Path(state) if state is not None else self._store.path / STATE
        fetch = _fetcher(folder, artifacts, root_metadata)
        known = [key for path in keys for key in read_keys(Path(path))]
        tree = Tree(address.root, aws)
        self._link = link or PahoLink(address, thing, tree.heard_by(thing, self.groups), own=own)
        self._hands = Hands(
            self._store, fetch, health=health, log=None if log is None else Path(log), device=device
        )  # fmt: skip
        self._runtime, self._began = runtime, time.monotonic()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._work, self._stopping, self._halt = threading.Event(), threading.Event(), threading.Event()
        self._trouble = ""
        self.session = str(uuid.uuid4())
        orders = Orders(self.thing, self.groups, known, threshold, time.time, lambda: self.config.budgets)
        self._journal = _journal(folder)
        try:
            self._duty = Duty(self._journal, orders.read, self._hands)
            self._shadows = Shadows(
                tree, thing, self._journal, self._active, self._apply, Policy() if runtime is None else runtime.policy
            )
            self._talk = Talk(
                tree, thing, self.groups, self._duty, self._journal, self._shadows, self._describe,
                session=self.session, agent=version("edge-runtime"),
                figures=None if telemetry is None else self._figures, every=telemetry or 0.0,
            )  # fmt: skip
        except BaseException:
            self._journal.close()
            raise
        self._threads = [
            threading.Thread(target=run, name=f"agent-{run.__name__.strip('_')}", daemon=True)
            for run in (self._converse, self._do)
        ]
        for trouble in self._duty.troubles:
            _log.error("what was on trial could not be taken back: %s", trouble)

    @property
    def config(self) -> Config:
        """What the shadow `config` desires of this device, as far as it is taken."""
        return self._shadows.config

    def start(self) -> Self:
        """Begin; `with` does."""
        for thread in self._threads:
            thread.start()
        self._link.open(lambda: self._talk.will(_now()), self._events.put)
        return self

    def close(self) -> None:
        """Let the step under way end soon, say that this device leaves on purpose, and end. A version on trial goes back at
        the next start, and a job goes on then."""
        self._stopping.set()
        self._halt.set()
        self._duty.stop()
        self._work.set()
        self._events.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._link.close(self._talk.farewell())
        self._journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _converse(self) -> None:
        """The first thread: what is heard, and what is to be said by now."""
        while not self._stopping.is_set():
            now = _now()
            try:
                event = self._events.get(timeout=max(0.0, self._talk.next(now) - now.mono))
            except queue.Empty:
                event = None
            try:
                self._say([*self._react(event), *self._talk.due(_now())])
            except EdgeError as error:
                self._troubled(error)
                self._link.renew()  # what was not acknowledged comes again
                self._stopping.wait(_TROUBLE)

    def _react(self, event: Event | None) -> list[Said]:
        match event:
            case None | Taken():
                return []
            case Up():
                return self._talk.up(event, _now())
            case Down():
                self._talk.down()
                return []
        said = self._talk.heard(event, _now())
        self._link.ack(event)  # the journal has it
        self._work.set()
        return said

    def _say(self, said: Sequence[Said]) -> None:
        for each in said:
            try:
                self._link.say(each)
            except InputError as error:
                _log.error("not said: %s", error)

    def _do(self) -> None:
        """The second thread: jobs first, then what the shadow desires."""
        swept = 0.0
        while not self._stopping.is_set():
            self._work.clear()
            try:
                while self._act():
                    self._events.put(None)
                if time.monotonic() > swept:
                    swept = time.monotonic() + _SWEEP
                    self._journal.sweep(time.time())
            except EdgeError as error:
                self._troubled(error)
                self._stopping.wait(_TROUBLE)
            else:
                self._trouble = ""
                self._work.wait(_SWEEP)

    def _act(self) -> bool:
        """One act of a job, or one wish of the shadow; False when there is nothing to do."""
        job = self._journal.next()
        if self._duty.act(time.time()):
            if job is not None and (ended := self._journal.find(job.id)) is not None and ended.state == "SUCCEEDED":
                self._shadows.acted(moved_by(self._journal.document(job.id)))
            else:
                self._shadows.acted()
            return True
        if self._stopping.is_set() or (wish := self._shadows.wanted()) is None:
            return False
        model, version = wish
        trouble = self._activate(resolve(Activate(model=model, version=version), self.config.budgets))
        if not self._stopping.is_set():
            self._shadows.tried(model, version, trouble)
        return True

    def _activate(self, work: Command) -> str:
        """What a shadow desires goes through the same steps as a job, and back like it: why it could not be."""
        try:
            for step in steps_of(work):
                self._hands.run(work, step.name, {}, self._halt)
        except (EdgeError, CancelledError) as error:
            try:
                self._hands.back(work)
            except EdgeError as worse:
                return f"{error}; and what was before could not be brought back: {worse}"
            return str(error)
        return ""

    def _apply(self, config: Config) -> None:
        if self._runtime is not None:
            self._runtime.policy = config.policy
            self._runtime.budgets = config.budgets

    def _active(self) -> Mapping[str, str]:
        try:
            found = {name: self._store.active(name) for name in self._store.names()}
        except EdgeError as error:
            self._troubled(error)
            return {}
        return {name: active for name, active in found.items() if active is not None}

    def _troubled(self, error: EdgeError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            _log.error("%s", error)

    def _figures(self, unix: float) -> Figures:
        waiting = len(self._journal.outbox())
        return figures(self._store.path, unix=unix, uptime=time.monotonic() - self._began, waiting=waiting)

    def _describe(self, unix: float) -> DeviceStatus:
        """How this device is."""
        problems = [*self._duty.troubles, *(f"the broker grants no {each}" for each in self._talk.refused)]
        models = {}
        for name, active in self._active().items():
            try:
                models[name] = Running(version=active, digest=self._store.bundle(name, active).digest)
            except EdgeError as error:
                problems.append(f"{name}: {error}")
        job = self._journal.next()
        return DeviceStatus(
            thing=self.thing, session=self.session, agent=version("edge-runtime"), timestamp=unix,
            uptime=time.monotonic() - self._began, models=models, job=None if job is None else job.id,
            waiting=len(self._journal.outbox()), free=shutil.disk_usage(self._store.path).free,
            problems=(*problems, *([self._trouble] if self._trouble else [])),
        )  # fmt: skip


def _now() -> Instant:
    return Instant(time.time(), time.monotonic())


def _journal(folder: Path) -> Journal:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}; give another folder for the agent's state") from error
    return Journal(folder / "journal.sqlite")


def _fetcher(folder: Path, url: str | None, root: str | Path | None) -> deploy.Fetch:
    """Where bundles come from."""
    if (url is None) != (root is None):
        raise InputError(
            "bundles come from a repository, trusted by a root: give both its URL and its root.json, or neither"
        )
    if url is None or root is None:
        return _nowhere
    from cloud_bridge.artifacts.trusted import Trusted  # here: a device that is given no bundles needs no tuf

    try:
        trusted = Trusted(folder / "artifacts", Path(root).read_bytes(), url)
    except OSError as error:
        raise InputError(f"the root of the repository cannot be read at {root}: {error.strerror}") from error

    def fetch(target: str, halt: threading.Event) -> Path:
        trusted.refresh(cancel=halt)
        return trusted.download(trusted.find_path(target), cancel=halt)

    return fetch


def _nowhere(target: str, halt: threading.Event) -> Path:
    raise InputError(
        f"{target} cannot be fetched: this device's agent was given no repository (--artifacts, --root-metadata)"
    )
