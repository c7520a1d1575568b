"""A device's duty as a whole: messages that come twice, late, in any order, and a device that dies between any two acts."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud_bridge.agent.duty import LONGEST_DOCUMENT, Duty, Sent
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.work import OPEN, Done, Order
from cloud_bridge.protocol.fleet.commands import Command, Deploy, Rollback
from cloud_bridge.protocol.fleet.jobs import State
from edge_runtime.bundles.bundle import State as Active
from edge_runtime.errors import BundleError, CancelledError, InputError, RunError

NOW = 1000.0
BAD = "9."
"""Versions that begin with it fail their check; those with "8." their soak."""


class Crash(BaseException):
    """The device stops here."""


class Fuse:
    """Counts writes, and stops the device before or after the one that it was set to."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class Fragile(Journal):
    """A journal whose device may stop before and after each of its writes. The file is what survives."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse
        super().__init__(":memory:")

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._fuse.burn()
        with super()._change():
            yield
        self._fuse.burn()


class World:
    """The steps' effects on one model, counted where something really changes."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse
        self.active = Active("0")
        self.installed: set[str] = set()
        self.changes: Counter[tuple[str, str]] = Counter()

    def settle(self) -> tuple[str, ...]:
        self._change("settle", "", self.active.abandon())
        return ()

    def back(self, work: Command) -> dict[str, str]:
        self._change("back", "", self.active.abandon())
        return {"active": str(self.active.active)}

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        if halt.is_set():
            raise CancelledError("given up")
        if isinstance(work, Rollback):
            return self._rollback(step, details)
        assert isinstance(work, Deploy)
        version = work.version
        if step == "install":
            self._fuse.burn()
            self.installed.add(version)
            self._fuse.burn()
        elif step == "activate":
            assert version in self.installed
            self._change(step, version, self.active.activate(version, trial=True))
        elif step == "commit":
            if self.active.active != version:
                raise BundleError("it is not active")
            self._change(step, version, self.active.commit())
        elif version.startswith({"check": "9.", "soak": "8."}[step]):
            raise RunError(f"{step} failed")
        return Done({"active": version} if step == "commit" else {})

    def _rollback(self, step: str, details: dict[str, str]) -> Done:
        if step == "choose":
            return Done({"from": str(self.active.active), "to": str(self.active.rollback().active)})
        if self.active.active == details["from"] != details["to"]:
            self._change("rollback", "", self.active.rollback())
        return Done({"active": str(self.active.active)})

    def _change(self, what: str, version: str, state: Active) -> None:
        self._fuse.burn()
        if state != self.active:
            self.active = state
            self.changes[what, version] += 1
        self._fuse.burn()


def read(document: bytes) -> Order:
    """A document that is trusted when it says so."""
    id, _, word = document.decode().partition(" ")
    if word == "forged":
        raise InputError("nobody whom this device obeys has signed it")
    if word == "rollback":
        return Order(id, Rollback(model="m"), NOW + 60.0)
    return Order(id, Deploy(model="m", version=word, digest="a" * 64, target="t"), NOW + 60.0)


class Execution(msgspec.Struct):
    """A job as the server has it."""

    document: bytes
    state: State = "QUEUED"
    number: int = 1
    version: int = 1


class Message(msgspec.Struct, frozen=True):
    """A job on its way to the device."""

    id: str
    document: bytes
    execution: int
    version: int


class Answer(msgspec.Struct, frozen=True):
    """The server's, on its way to the device."""

    sent: Sent
    accepted: bool
    state: State
    version: int


class Fleet(RuleBasedStateMachine):
    """One device, one server, and a broker that repeats, reorders and loses."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse = Fuse()
        self.journal, self.world = Fragile(self.fuse), World(self.fuse)
        self.duty = Duty(self.journal, read, self.world)
        self.server: dict[str, Execution] = {}
        self.messages: list[Message] = []
        self.answers: list[Answer] = []
        self.rollbacks = 0

    @rule(kind=st.sampled_from(["good", "8.", "9.", "rollback", "forged"]))
    def order(self, kind: str) -> None:
        """The server has a new job."""
        number = len(self.server)
        id = f"job{number}"
        self.rollbacks += kind == "rollback"
        word = kind if kind in ("rollback", "forged") else f"{'1.' if kind == 'good' else kind}{number}"
        self.server[id] = Execution(f"{id} {word}".encode())
        self._notify(id)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), again=st.booleans(), crash=st.none() | st.integers(0, 3))
    def deliver(self, data: st.DataObject, again: bool, crash: int | None) -> None:
        """A message comes, maybe not for the last time; it is acknowledged when it is on the disk, or else comes again."""
        message = data.draw(st.sampled_from(self.messages))
        if self._crashing(crash, lambda: self._receive(message)) and not again:
            self.messages.remove(message)

    @rule(crash=st.none() | st.integers(0, 5))
    def act(self, crash: int | None) -> None:
        """The device does the next thing, and may die of it."""
        self._crashing(crash, lambda: self.duty.act(NOW))

    @rule()
    def reboot(self) -> None:
        """The device dies between two acts."""
        self.duty = Duty(self.journal, read, self.world)

    @rule(data=st.data(), lost=st.booleans())
    def publish(self, data: st.DataObject, lost: bool) -> None:
        """A report gets to the server; the answer may get lost."""
        if letters := self.duty.letters():
            answer = self._judge(data.draw(st.sampled_from(letters)))
            if not lost:
                self.answers.append(answer)

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), again=st.booleans(), crash=st.none() | st.integers(0, 3))
    def hear(self, data: st.DataObject, again: bool, crash: int | None) -> None:
        """An answer comes, maybe not for the last time."""
        answer = data.draw(st.sampled_from(self.answers))
        if self._crashing(crash, lambda: self._tell(answer)) and not again:
            self.answers.remove(answer)

    @precondition(lambda self: self.server)
    @rule(data=st.data(), state=st.sampled_from(["CANCELED", "TIMED_OUT"]), told=st.booleans())
    def end(self, data: st.DataObject, state: State, told: bool) -> None:
        """The server ends a job; the device may hear of it at once, or by the answer to its next report."""
        id = data.draw(st.sampled_from(sorted(self.server)))
        if (execution := self.server[id]).state in OPEN:
            execution.state, execution.version = state, execution.version + 1
            if told:
                self.duty.end(id, execution.number, state)

    @precondition(lambda self: self.server)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """The server tries once more what failed or took too long."""
        id = data.draw(st.sampled_from(sorted(self.server)))
        if (execution := self.server[id]).state in ("FAILED", "TIMED_OUT"):
            self.server[id] = Execution(execution.document, number=execution.number + 1)
            self.rollbacks += b"rollback" in execution.document
            self._notify(id)

    @invariant()
    def nothing_bad_is_kept(self) -> None:
        """A version that fails its check is never active, one that fails its soak never without being on trial; and what is
        committed was committed once."""
        active = str(self.world.active.active)
        assert not active.startswith("9.")
        assert not active.startswith("8.") or self.world.active.trial
        assert all(count == 1 for (what, _), count in self.world.changes.items() if what == "commit")

    def teardown(self) -> None:
        """The links are back: every job ends, in the state that both sides know, and nothing is left to be sent."""
        for _ in range(3):
            for message in self.messages:
                self._receive(message)
            while self.duty.act(NOW):
                pass
            while letters := self.duty.letters():
                for sent in letters:
                    self._tell(self._judge(sent))
        assert not self.world.active.trial
        rollbacks = 0
        for id, execution in self.server.items():
            assert execution.state not in OPEN
            job = self.journal.find(id)
            if b"forged" in execution.document:
                assert job is None
                continue
            if job is None or job.execution < execution.number:  # ended before its message came
                assert execution.state in ("CANCELED", "TIMED_OUT")
                continue
            assert job.state == execution.state or execution.state in ("CANCELED", "TIMED_OUT")
            word = execution.document.decode().split()[1]
            if word == "rollback":
                rollbacks += job.state == "SUCCEEDED"
            elif job.state == "SUCCEEDED":
                assert self.world.changes["commit", word] == 1
        assert rollbacks <= self.world.changes["rollback", ""] <= self.rollbacks
        self.journal.close()

    def _notify(self, id: str) -> None:
        execution = self.server[id]
        self.messages.append(Message(id, execution.document, execution.number, execution.version))

    def _receive(self, message: Message) -> None:
        refused = self.duty.receive(message.id, message.document, NOW, execution=message.execution, version=message.version)
        execution = self.server[message.id]
        if refused is not None and execution.number == refused.execution and execution.state in OPEN:
            execution.state, execution.version = refused.state, execution.version + 1

    def _judge(self, sent: Sent) -> Answer:
        """What the server makes of a report: compare, and set."""
        report, execution = sent.report, self.server[sent.report.job]
        accepted = (execution.number, execution.version) == (report.execution, sent.version) and execution.state in OPEN
        if accepted:
            assert report.state in ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
            execution.state, execution.version = report.state, execution.version + 1
        return Answer(sent, accepted, execution.state, execution.version)

    def _tell(self, answer: Answer) -> None:
        current = self.server[answer.sent.report.job].number == answer.sent.report.execution
        if answer.accepted:
            self.duty.accepted(answer.sent, answer.version)
        elif current:
            self.duty.rejected(answer.sent, answer.state, answer.version)
        else:
            self.duty.rejected(answer.sent, None)

    def _crashing(self, crash: int | None, call: object) -> bool:
        """Whether it came to its end."""
        assert callable(call)
        self.fuse.left = crash
        try:
            call()
        except Crash:
            self.fuse.left = None
            self.duty = Duty(self.journal, read, self.world)
            return False
        self.fuse.left = None
        return True


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


class Full(Journal):
    """On a disk that is full every third time."""

    turns = 0

    @contextmanager
    def _change(self) -> Iterator[None]:
        self.turns += 1
        with super()._change():
            yield
            if self.turns % 3 == 0:
                raise sqlite3.OperationalError("database or disk is full")


def test_a_disk_that_is_full_now_and_then() -> None:
    """What could not be written is told, and is not done; tried again, it goes on as if nothing had been."""
    journal, world = Full(":memory:"), World(Fuse())
    duty = Duty(journal, read, world)
    failures: list[str] = []

    def insist(call: Callable[[], object]) -> object:
        while True:
            try:
                return call()
            except InputError as error:
                failures.append(str(error))

    insist(lambda: duty.receive("j", b"j 1.1", NOW))
    while insist(lambda: duty.act(NOW)):
        pass
    [sent] = duty.letters()
    assert sent.report.state == "SUCCEEDED"
    insist(lambda: duty.accepted(sent, 2))
    assert (journal.outbox(), world.active, world.changes["commit", "1.1"]) == ((), Active("1.1", ("0",)), 1)
    assert len(failures) >= 3
    assert all("disk is full" in failure for failure in failures)
    journal.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_job_that_expires_before_its_turn(restarted: bool) -> None:
    """It is REJECTED, as whoever ordered it knows that state, though its document cannot be verified any more."""
    journal, world, clock = Journal(":memory:"), World(Fuse()), [NOW]

    def verified(document: bytes) -> Order:
        if clock[0] >= NOW + 60.0:
            raise InputError("it is not valid any more")
        return read(document)

    duty = Duty(journal, verified, world)
    assert duty.receive("j", b"j 1.1", NOW) is None
    clock[0] = NOW + 60.0
    if restarted:
        duty = Duty(journal, verified, world)
    while duty.act(clock[0]):
        pass
    [sent] = duty.letters()
    assert (sent.report.state, sent.report.details["reason"]) == ("REJECTED", "it expired before its turn came")
    assert world.active == Active("0")
    journal.close()


def test_what_follows_from_a_success_is_done_before_it_is_journaled() -> None:
    """After a crash in between it is done once more, and the job still succeeds once."""
    fuse = Fuse()
    journal, world = Fragile(fuse), World(fuse)
    told: list[State] = []

    def succeeds(id: str) -> None:
        job = journal.find(id)
        assert job is not None
        told.append(job.state)
        if len(told) == 1:
            raise Crash

    duty = Duty(journal, read, world, succeeds)
    assert duty.receive("j", b"j 1.1", NOW) is None

    def work() -> None:
        while duty.act(NOW):
            pass

    with pytest.raises(Crash):
        work()
    again = Duty(journal, read, world, succeeds)
    while again.act(NOW):
        pass
    [sent] = again.letters()
    assert (sent.report.state, told, world.changes["commit", "1.1"]) == ("SUCCEEDED", ["IN_PROGRESS"] * 2, 1)
    journal.close()


class Waiting(World):
    """Soaks until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(Fuse())
        self.soaking = Event()

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        if step == "soak":
            self.soaking.set()
            assert halt.wait(30)
        return super().run(work, step, details, halt)


def soaking() -> tuple[Duty, Journal, Waiting, Thread]:
    """A device whose thread is in the middle of a trial."""
    journal, world = Journal(":memory:"), Waiting()
    duty = Duty(journal, read, world)
    assert duty.receive("j", b"j 1.1", NOW) is None

    def work() -> None:
        while duty.act(NOW):
            pass

    thread = Thread(target=work)
    thread.start()
    assert world.soaking.wait(30)
    assert world.active == Active("1.1", ("0",), trial=True)
    return duty, journal, world, thread


def test_the_server_ends_a_job_in_the_middle_of_a_step() -> None:
    """The step ends at once, and what was before is back."""
    duty, journal, world, thread = soaking()
    duty.end("j", 1, "CANCELED")
    thread.join(30)
    job = journal.find("j")
    assert job is not None
    assert (job.state, job.details["active"], world.active) == ("CANCELED", "0", Active("0"))
    assert journal.outbox() == ()
    journal.close()


def test_the_agent_is_stopped_in_the_middle_of_a_step() -> None:
    """Nothing more is done; the next start brings back what was before, and says so."""
    duty, journal, world, thread = soaking()
    duty.stop()
    thread.join(30)
    job = journal.find("j")
    assert job is not None
    assert (job.state, job.step, duty.act(NOW)) == ("IN_PROGRESS", "soak", False)
    assert world.active.trial
    again = Duty(journal, read, world)
    assert world.active == Active("0")
    while again.act(NOW):
        pass
    [sent] = again.letters()
    assert (sent.report.state, sent.report.details["active"]) == ("FAILED", "0")
    assert "stopped during soak" in sent.report.details["reason"]
    journal.close()


def test_a_message_under_a_new_execution_while_it_runs() -> None:
    """The run goes on, and its end is that of the new execution."""
    duty, journal, _, thread = soaking()
    duty.receive("j", b"j 1.1", NOW, execution=2)
    duty.end("j", 1, "TIMED_OUT")  # of the one before: too late to matter
    assert thread.is_alive()
    duty.end("j", 2, "CANCELED")
    thread.join(30)
    job = journal.find("j")
    assert job is not None
    assert (job.execution, job.state) == (2, "CANCELED")
    journal.close()


def test_a_retry_of_what_the_server_has_left_behind() -> None:
    """The device gives it up, for a report of the execution before is refused; then the retry comes, and is a new run."""
    journal, world = Journal(":memory:"), World(Fuse())
    duty = Duty(journal, read, world)
    duty.receive("j", b"j 1.1", NOW)
    assert duty.act(NOW)
    [sent] = duty.letters()
    duty.rejected(sent, None)
    while duty.act(NOW):
        pass
    given_up = journal.find("j")
    assert given_up is not None
    assert (given_up.state, duty.letters(), world.active) == ("REMOVED", (), Active("0"))
    assert duty.receive("j", b"j 1.1", NOW, execution=2) is None
    while duty.act(NOW):
        pass
    [sent] = duty.letters()
    assert (sent.report.execution, sent.report.state, world.active) == (2, "SUCCEEDED", Active("1.1", ("0",)))
    journal.close()


def test_a_document_that_cannot_be_read_any_more() -> None:
    """The keys were changed while the device was off: the job has failed, and says why."""
    journal, world = Journal(":memory:"), World(Fuse())
    duty = Duty(journal, read, world)
    duty.receive("j", b"j 1.1", NOW)
    duty.act(NOW)

    def changed(document: bytes) -> Order:
        raise InputError("no signature that counts")

    again = Duty(journal, changed, world)
    assert again.act(NOW)
    assert not again.act(NOW)
    [sent] = again.letters()
    assert (sent.report.state, "no signature that counts" in sent.report.details["reason"]) == ("FAILED", True)
    journal.close()


def test_what_never_gets_into_the_journal() -> None:
    """An id that can be none, a document that is too large, one that nobody has signed, another one under a known id."""
    journal = Journal(":memory:")
    duty = Duty(journal, read, World(Fuse()))
    for id in ("", "a/b", "a" * 65, "é", "a\n"):
        with pytest.raises(InputError, match="job id"):
            duty.receive(id, b"", NOW)
    duty.receive("known", b"known 1.1", NOW)
    for id, document in (("j", bytes(LONGEST_DOCUMENT + 1)), ("j", b"j forged"), ("known", b"known 1.2")):
        refused = duty.receive(id, document, NOW)
        assert refused is not None
        assert refused.state == "REJECTED"
    assert journal.find("j") is None
    known = journal.find("known")
    assert known is not None
    assert known.sha256 == hashlib.sha256(b"known 1.1").hexdigest()
    journal.close()


def test_the_network_and_the_work_on_threads_of_their_own() -> None:
    """Messages come twice and reports are accepted while jobs run: each job ends once, and nothing is left to be sent."""
    journal, world = Journal(":memory:"), World(Fuse())
    duty = Duty(journal, read, world)
    jobs, done = [f"job{number}" for number in range(40)], Event()
    troubles: list[BaseException] = []

    def work() -> None:
        try:
            while not done.is_set() or journal.waiting():
                duty.act(NOW)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            troubles.append(error)

    thread = Thread(target=work)
    thread.start()
    told: dict[str, list[State]] = {}
    for number, id in enumerate(jobs):
        for execution in (1, 1, 2):
            assert duty.receive(id, f"{id} 1.{number}".encode(), NOW, execution=execution) is None
        for sent in duty.letters():
            told.setdefault(sent.report.job, []).append(sent.report.state)
            duty.accepted(sent, sent.version + 1)
    done.set()
    thread.join(60)
    assert (troubles, thread.is_alive()) == ([], False)
    for sent in duty.letters():
        told.setdefault(sent.report.job, []).append(sent.report.state)
        duty.accepted(sent, sent.version + 1)
    assert journal.outbox() == ()
    for number, id in enumerate(jobs):
        job = journal.find(id)
        assert job is not None
        assert (job.state, job.execution, told[id][-1]) == ("SUCCEEDED", 2, "SUCCEEDED")
        assert world.changes["commit", f"1.{number}"] == 1
    journal.close()


def test_an_agent_that_is_closed_leaves_nothing_on_trial() -> None:
    """An application may go on without it: what was before serves again at once."""
    duty, _, world, thread = soaking()
    duty.stop()
    thread.join(30)
    duty.close()
    assert world.active == Active("0")
    with pytest.raises(InputError, match="it is closed"):
        duty.receive("k", b"k 1.1", NOW)
