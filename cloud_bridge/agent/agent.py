"""A device's agent: the link, the talk and the duty together, on two threads of its own. In a process of its own
(`cloud-bridge agent`), or in an application's:

    with Agent("mqtts://broker.example", store="store/", thing="press-17", keys=["operator.pub"], runtime=runtime):
        ...

One thread reads and says; the other does jobs, one step at a time. They meet in the journal.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cloud_bridge.agent import child, deploy
from cloud_bridge.agent.acts import Acts
from cloud_bridge.agent.calls import Calls
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.obey import Hands, Measure, unwatched
from cloud_bridge.agent.orders import Orders, moved_by, read_keys
from cloud_bridge.agent.shadows import Shadows
from cloud_bridge.agent.source import LIMIT, source
from cloud_bridge.agent.standing import Standing
from cloud_bridge.agent.talk import Talk
from cloud_bridge.agent.when import Instant
from cloud_bridge.control.link import Down, Event, Link, Said, Taken, Up
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.control.trouble import Trouble
from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.fleet.shadow import Config
from cloud_bridge.protocol.fleet.topics import Tree
from cloud_bridge.protocol.topics import Address
from edge_runtime.bundles.store import Store
from edge_runtime.errors import EdgeError, InputError
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

    `broker` is mqtt[s]://[user[:password]@]host[:port][/ROOT][?ca=FILE&cert=FILE&key=FILE]. It obeys whatever `threshold`
    of the `keys` have signed: files, or folders of .pub files. Bundles come from `artifacts`, the URL of a repository that
    is trusted by `root_metadata`, the root.json that came with the device. With `runtime`, the one that serves this store
    in this process, budgets and policy of the shadow `config` rule it, and a version on trial goes back when too many of
    its calls fail; `health` says what else is wrong with a model on trial, given its name and the share of calls that may
    fail. `state` is a folder for the journal (default: STORE/.agent). Figures are told each `telemetry` seconds; None:
    never. A bundle that is not there `fetch_limit` seconds after it was asked for is given up; it comes at `fetch_rate`
    bytes a second at most, and `spare` bytes of the disk stay free. After a deploy, `keep` others of the model's versions
    stay beside the active one. `measure` does the steps that open engines, by default in a process of their own. Raises
    InputError and BundleError for what cannot be used; a broker that is away is waited for.
    """

    def __init__(
        self, broker: str, *, store: str | Path | Store, thing: str, keys: Sequence[str | Path], threshold: int = 1,
        groups: Sequence[str] = (), artifacts: str | None = None, root_metadata: str | Path | None = None,
        aws: bool = False, runtime: Runtime | None = None, health: deploy.Health = unwatched,
        log: str | Path | None = None, device: str | None = None,
        state: str | Path | None = None, telemetry: float | None = 60.0, link: Link | None = None, keep: int = 1,
        fetch_limit: float = LIMIT, fetch_rate: float | None = None, spare: int | None = None, measure: Measure = child.ask,
    ) -> None:  # fmt: skip
        address = Address.parse(broker)
        if len(groups) > GROUPS:
            raise InputError(f"a device of {len(groups)} groups: it can be of {GROUPS}")
        if keep < 1:
            raise InputError(f"{keep} versions beside the active one: keep 1 or more, for there to be one to go back to")
        if telemetry is not None and not telemetry >= 1.0:
            raise InputError(f"figures each {telemetry} seconds: give 1 or more, or None")
        self.thing, self.groups = check(thing, "thing"), tuple(check(group, "group") for group in groups)
        held = store if isinstance(store, Store) else Store(store)
        folder = Path(state) if state is not None else held.path / STATE
        fetch = source(folder / "artifacts", artifacts, root_metadata, fetch_limit, rate=fetch_rate, spare=spare)
        known = [key for path in keys for key in read_keys(Path(path))]
        tree = Tree(address.root, aws)
        self._link = link or PahoLink(address, thing, tree.heard_by(thing, self.groups))
        hands = Hands(
            held, fetch, health=health, log=None if log is None else Path(log), device=device, keep=keep,
            calls=None if runtime is None else Calls(runtime), measure=measure,
        )  # fmt: skip
        self._runtime = runtime
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._work, self._stopping = threading.Event(), threading.Event()
        self._trouble = Trouble(_log)
        self.session, agent = str(uuid.uuid4()), version("edge-runtime")
        orders = Orders(self.thing, self.groups, known, threshold, time.time, lambda: self.config.budgets)
        self._journal = _journal(folder)
        try:
            self._duty = Duty(self._journal, orders.read, hands, self._succeeds)
            standing = Standing(
                thing, held, self._journal, self._trouble, self._problems, session=self.session, agent=agent
            )  # fmt: skip
            self._shadows = Shadows(
                tree, thing, self._journal, standing.active, self._apply, Policy() if runtime is None else runtime.policy
            )
            self._talk = Talk(
                tree, thing, self.groups, self._duty, self._journal, self._shadows, standing.status,
                session=self.session, agent=agent, figures=None if telemetry is None else standing.figures,
                every=telemetry or 0.0,
            )  # fmt: skip
            self._acts = Acts(self._duty, self._shadows, hands)
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
        self._acts.stop()
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
                self._trouble.meet(error)
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
                while self._acts.act(time.time()):
                    self._events.put(None)
                if time.monotonic() > swept:
                    swept = time.monotonic() + _SWEEP
                    self._journal.sweep(time.time())
            except EdgeError as error:
                self._trouble.meet(error)
                self._stopping.wait(_TROUBLE)
            else:
                self._trouble.end()
                self._work.wait(_SWEEP)

    def _succeeds(self, job: str) -> None:
        """What was desired before is noted to be over while the job is not: a crash in between leaves no old wish."""
        self._shadows.acted(moved_by(self._journal.document(job)))

    def _apply(self, config: Config) -> None:
        if self._runtime is not None:
            self._runtime.policy = config.policy
            self._runtime.budgets = config.budgets

    def _problems(self) -> list[str]:
        return [*self._duty.troubles, *(f"the broker grants no {each}" for each in self._talk.refused)]


def _now() -> Instant:
    return Instant(time.time(), time.monotonic())


def _journal(folder: Path) -> Journal:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}; give another folder for the agent's state") from error
    return Journal(folder / "journal.sqlite")
