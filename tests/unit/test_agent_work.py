"""What comes next of a job on a device, case by case; as a whole it is driven in test_agent_duty.py."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.agent.commands import steps_of
from cloud_bridge.agent.work import (
    ATTEMPTS,
    LONGEST,
    WAITING,
    Back,
    Begin,
    Begun,
    Done,
    Failed,
    Finish,
    Here,
    Job,
    Known,
    Offer,
    Order,
    Refused,
    Report,
    Run,
    Taken,
    Undone,
    admit,
    decide,
    report_of,
)
from cloud_bridge.protocol.fleet.commands import Deploy
from cloud_bridge.protocol.fleet.jobs import LONGEST_DETAIL, State

NOW = 1000.0
SHA, OTHER = "a" * 64, "b" * 64
DEPLOY = Deploy(model="text", version="1.1", digest=SHA, target="text/text-1.1.bundle")
STEPS = steps_of(DEPLOY)
ORDER = Order("j", DEPLOY, NOW + 60.0)
OFFER = Offer("j", SHA, 2, 5)


def job(**fields: object) -> Job:
    return msgspec.structs.replace(Job(id="j", sha256=SHA, expires=NOW + 60.0, received=NOW, execution=2), **fields)


def running(step: str, **fields: object) -> Job:
    return job(state="IN_PROGRESS", step=step, attempts=1, **fields)


def reason(admitted: object) -> str:
    assert isinstance(admitted, Refused)
    assert (admitted.report.job, admitted.report.execution, admitted.report.state) == ("j", 2, "REJECTED")
    return admitted.report.details["reason"]


def test_a_job_is_taken_once() -> None:
    """What is known already is known, whatever its document is worth by now."""
    assert admit(OFFER, None, ORDER, 0, NOW) == Taken(job(version=5))
    for known in (job(), running("soak"), job(state="SUCCEEDED"), job(state="FAILED"), job(state="CANCELED")):
        assert admit(OFFER, known, "no signature", WAITING, NOW + 1e6) == Known(known)


@pytest.mark.parametrize("state", ["FAILED", "TIMED_OUT", "REMOVED"])
def test_a_new_execution_of_what_failed_is_a_new_run(state: State) -> None:
    """As long as it may still be begun; of what succeeded, runs, or was ended on purpose it is not."""
    again = Offer("j", SHA, 3)
    failed = job(state=state, step="check", details={"reason": "x"})
    assert admit(again, failed, ORDER, 0, NOW) == Taken(job(execution=3))
    assert isinstance(admit(again, failed, ORDER, 0, NOW + 60.0), Refused)
    for known in (job(state="SUCCEEDED"), job(state="CANCELED"), running("check"), job()):
        assert admit(again, known, ORDER, 0, NOW) == Known(known)


def test_what_is_refused() -> None:
    """Another document under a known id, one that cannot be trusted, one of another job, too late, too early, too many."""
    assert "another document" in reason(admit(msgspec.structs.replace(OFFER, sha256=OTHER), job(), ORDER, 0, NOW))
    assert reason(admit(OFFER, None, "no signature of ours", 0, NOW)) == "no signature of ours"
    assert "that of job k" in reason(admit(OFFER, None, Order("k", DEPLOY, NOW + 1.0), 0, NOW))
    assert "expired 0 s ago" in reason(admit(OFFER, None, Order("j", DEPLOY, NOW), 0, NOW))
    assert "too far" in reason(admit(OFFER, None, Order("j", DEPLOY, NOW + LONGEST + 1.0), 0, NOW))
    assert "expires" in reason(admit(OFFER, None, Order("j", DEPLOY, float("nan")), 0, NOW))
    assert "100 jobs wait" in reason(admit(OFFER, None, ORDER, WAITING, NOW))


def test_a_deploy_goes_step_by_step() -> None:
    """Each step is journaled, then done; what it found is kept for the next; after the last it has succeeded."""
    at, acts = job(), []
    here: Here = None
    while True:
        act = decide(at, STEPS, here, None, NOW)
        acts.append(act)
        match act:
            case Begin(begun):
                at, here = begun, Begun()
            case Run(step):
                here = Done({step: "found"})
            case _:
                break
    names = ["install", "check", "activate", "soak", "commit"]
    assert [act.step for act in acts if isinstance(act, Run)] == names
    assert [act.job.step for act in acts if isinstance(act, Begin)] == names
    assert acts[-1] == Finish(job(state="SUCCEEDED", step="commit", attempts=1, details=dict.fromkeys(names, "found")))


def test_what_fails_goes_back_before_it_is_said() -> None:
    """The outcome tells the step, the reason, and what is active."""
    at = running("soak", details={"engine": "onnx"})
    assert decide(at, STEPS, Failed("not well"), None, NOW) == Back("not well")
    ended = decide(at, STEPS, Undone("not well", {"active": "1.0"}), None, NOW)
    told = {"engine": "onnx", "active": "1.0", "step": "soak", "reason": "not well"}
    assert ended == Finish(job(state="FAILED", step="soak", attempts=1, details=told))


@pytest.mark.parametrize("step", ["install", "check", "commit"])
def test_what_was_interrupted_goes_on(step: str) -> None:
    """A few times: it may be what stops the device."""
    assert decide(running(step), STEPS, None, None, NOW) == Begin(msgspec.structs.replace(running(step), attempts=2))
    last = decide(msgspec.structs.replace(running(step), attempts=ATTEMPTS), STEPS, None, None, NOW)
    assert last == Back(f"the device or its agent stopped during {step}, {ATTEMPTS} times")


@pytest.mark.parametrize("step", ["activate", "soak"])
def test_what_was_interrupted_on_trial_goes_back(step: str) -> None:
    """Nobody has watched it since."""
    assert decide(running(step), STEPS, None, None, NOW) == Back(f"the device or its agent stopped during {step}")


def test_a_step_of_another_version_of_the_agent() -> None:
    """Goes back; it is not guessed at."""
    assert isinstance(decide(running("dream"), STEPS, None, None, NOW), Back)


def test_what_waited_too_long_is_not_begun() -> None:
    """It is rejected: a device does not say that something timed out."""
    ended = decide(job(), STEPS, None, None, NOW + 60.0)
    assert ended == Finish(job(state="REJECTED", details={"reason": "it expired before its turn came"}))


def test_what_the_server_has_ended() -> None:
    """Does not begin, or goes back, and nobody is told; but what is done is done."""
    assert decide(job(), STEPS, None, "CANCELED", NOW) == Finish(job(state="CANCELED"), tell=False)
    for here in (None, Begun(), Done()):
        assert isinstance(decide(running("soak"), STEPS, here, "TIMED_OUT", NOW), Back)
    ended = decide(running("soak"), STEPS, Undone("x", {"active": "1.0"}), "TIMED_OUT", NOW)
    assert isinstance(ended, Finish)
    assert (ended.job.state, ended.tell) == ("TIMED_OUT", False)
    ended = decide(running("commit"), STEPS, Done(), "CANCELED", NOW)
    assert isinstance(ended, Finish)
    assert (ended.job.state, ended.tell) == ("SUCCEEDED", False)


HERE = st.one_of(
    st.none(), st.just(Begun()), st.builds(Done, st.just({"a": "b"})), st.builds(Failed, st.text()),
    st.builds(Undone, st.text(), st.just({"active": "1"})),
)  # fmt: skip


@given(
    st.sampled_from(["QUEUED", "IN_PROGRESS"]), st.sampled_from([*(step.name for step in STEPS), "other"]),
    st.integers(1, 5), HERE, st.sampled_from([None, "CANCELED", "TIMED_OUT", "REMOVED"]), st.floats(0.0, 2000.0),
)  # fmt: skip
def test_there_is_always_a_next_act(
    state: State, step: str, attempts: int, here: Here, told: State | None, now: float
) -> None:
    """Whatever happened; a device never reports what is the server's to say, and no step runs that is not journaled."""
    at = job() if state == "QUEUED" else job(state=state, step=step, attempts=attempts)
    if step == "other" and here is not None:
        return  # this process began no such step
    act = decide(at, STEPS, here, told, now)
    match act:
        case Run(name):
            assert name == at.step
            assert isinstance(here, Begun)
        case Finish(ended, tell):
            assert not tell or ended.state in ("SUCCEEDED", "FAILED", "REJECTED")
        case Begin(begun):
            assert begun.attempts <= max(ATTEMPTS, 1)


def test_details_are_such_as_a_server_takes() -> None:
    """None is empty or too long."""
    told = report_of(job(details={"reason": "x" * 5000, "nothing": ""}))
    assert told == Report("j", 2, "QUEUED", {"reason": "x" * LONGEST_DETAIL})
