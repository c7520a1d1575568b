"""What must be true when all is over, held against what was found. Pure.

What is counted: the changes of what is active on a device (effects.py). "Exactly once" says of a job that has SUCCEEDED on
a device: over all its executions there one trial was kept, and all others taken back; of a rollback: it moved once. Of any
other job: nothing is left of it. Steps before that (downloading, installing, checking) do no harm when they are done again,
and are not counted. What was interrupted by a kill on trial may fail, and says so; no other excuse counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from benchmarks.chaos.effects import Effect, Told, effects
from benchmarks.chaos.evidence import Device, Evidence, Rolled
from benchmarks.chaos.plan import DEPLOYED, FIRST, Course, Kind, Ordered, Plan
from benchmarks.chaos.stage import decisions
from cloud_bridge.agent.work import OPEN, Job
from cloud_bridge.fleet.state import OVER
from cloud_bridge.protocol.fleet.jobs import TERMINAL, JobExecution

INTERRUPTED = ("stopped during", "cannot be committed: active is")
"""What a device says of what a kill has ended: the second where it was about to keep a version."""

FAILS: Mapping[Kind, str] = {
    "wrong": "golden", "slow": "its budget is", "ill": "it is ill", "missing": "is not installed",
    "rollback": "no version was active before",
}  # fmt: skip
"""Why a job of a kind that has to fail does so; a rollback only where there is nothing to go back to."""

MAY: Mapping[Course, frozenset[str]] = {
    "plain": frozenset(), "retry": frozenset(), "cancel": frozenset({"CANCELED"}), "abort": frozenset({"CANCELED"}),
    "stop": frozenset({"CANCELED"}), "expire": frozenset({"TIMED_OUT", "REJECTED", "CANCELED"}),
    "late": frozenset({"TIMED_OUT"}),
}  # fmt: skip
"""How executions of a course may end, beside SUCCEEDED and FAILED."""


class Violation(msgspec.Struct, frozen=True):
    """Something that must not be."""

    rule: str
    where: str
    told: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.told}"


OPEN_END, STATE, ONCE, HALF = (
    "a job is not terminal",
    "a state is wrong",
    "an effect is not once",
    "a version is half-active",
)
RULES = (OPEN_END, STATE, ONCE, HALF)


def judge(plan: Plan, digests: Mapping[str, str], evidence: Evidence) -> list[Violation]:
    """All that is wrong."""
    told = {thing: effects(device.witness) for thing, device in evidence.devices.items()}
    found: list[Violation] = []
    for what in plan.ordered:
        rolled = evidence.jobs[what.job]
        found += _ended(what, rolled)
        for thing in what.rollout.groups[0].things + tuple(t for g in what.rollout.groups[1:] for t in g.things):
            of = Execution(what, thing, rolled, evidence.devices[thing], told[thing], digests.get(what.version, ""))
            found += of.judged()
    for thing, device in evidence.devices.items():
        found += _stands(thing, device, told[thing], plan)
    return found


def raced(plan: Plan, evidence: Evidence) -> Counter[str]:
    """Executions that a controller ended and their devices otherwise, unheard: by how both did."""
    return Counter(
        f"{execution.status} there, {job.state} on the device"
        for what in plan.ordered
        for thing, execution in evidence.jobs[what.job].executions.items()
        if (job := evidence.devices[thing].jobs.get(what.job)) is not None and job.state != execution.status
    )


def _ended(what: Ordered, rolled: Rolled) -> Iterator[Violation]:
    """The rollout is over, and its log says the same as its executions."""
    if rolled.phase not in OVER:
        yield Violation(OPEN_END, what.job, f"its rollout is {rolled.phase}: {rolled.why}")
    elif rolled.replayed != rolled.phase:
        yield Violation(STATE, what.job, f"it is {rolled.phase}, and its log comes to {rolled.replayed}")
    for thing, execution in rolled.executions.items():
        if execution.status not in TERMINAL:
            yield Violation(OPEN_END, f"{what.job} on {thing}", f"it is {execution.status}")
        elif rolled.ended.get(thing) != execution.status:
            yield Violation(STATE, f"{what.job} on {thing}", f"{execution.status}, in the log {rolled.ended.get(thing)}")


class Execution(msgspec.Struct, frozen=True):
    """One job on one device, as both ends have it."""

    what: Ordered
    thing: str
    rolled: Rolled
    device: Device
    told: Told
    digest: str

    def judged(self) -> Iterator[Violation]:
        """All that is wrong with it."""
        execution, job = self.rolled.executions.get(self.thing), self.device.jobs.get(self.what.job)
        if job is not None and job.state in OPEN:
            yield self._wrong(OPEN_END, f"the device has it as {job.state}, at {job.step}")
            return
        if execution is None:
            if job is not None or self._mine():
                yield self._wrong(STATE, "the device was never told, and has it")
            return
        if execution.status in TERMINAL:
            yield from self._stated(execution, job)
        yield from self._once(job)

    def _stated(self, execution: JobExecution, job: Job | None) -> Iterator[Violation]:
        """Its state is one that it may have, and both ends agree."""
        status, kind = execution.status, self.what.kind
        if status in ("SUCCEEDED", "FAILED"):
            if job is None or (job.state, job.execution) != (status, execution.execution_number):
                yield self._wrong(STATE, f"{status} {execution.execution_number}, on the device {_shown(job)}")
        elif status not in MAY[self.what.course]:
            yield self._wrong(STATE, f"{status}, which nobody has asked for: {execution.status_details}")
        elif status == "REJECTED" and job is not None and job.state != "REJECTED":
            yield self._wrong(STATE, f"REJECTED, on the device {_shown(job)}")
        if job is not None and job.state == "SUCCEEDED":
            yield from self._succeeded(execution, job)
        if job is not None and job.state == "FAILED" and not self._excused(job):
            yield self._wrong(STATE, f"it has failed for no reason that a {kind} job has: {_shown(job)}")

    def _succeeded(self, execution: JobExecution, job: Job) -> Iterator[Violation]:
        if self.what.kind in ("wrong", "slow", "ill", "missing"):
            yield self._wrong(STATE, f"a {self.what.kind} version has SUCCEEDED")
        if self.what.kind in DEPLOYED and job.details.get("digest") != self.digest:
            yield self._wrong(STATE, f"it is to run {self.digest}, and runs {job.details.get('digest')}")
        result = self.rolled.results.get(self.thing)
        if self.what.kind == "collect" and execution.status == "SUCCEEDED" and result != decisions(self.thing):
            yield self._wrong(STATE, f"its log did not come back as it is: {result!r:.200}")

    def _excused(self, job: Job) -> bool:
        reason = job.details.get("reason", "")
        if any(words in reason for words in INTERRUPTED):
            return any(boot >= job.received for boot in self.told.boots)
        if self.what.course == "expire" and "expired" in reason:
            return any(boot >= job.received for boot in self.told.boots)
        words = FAILS.get(self.what.kind)
        if self.what.kind == "rollback" and not self._had_nothing():
            return False
        return words is not None and words in reason

    def _had_nothing(self) -> bool:
        """Whether there ever was a moment without a version to go back to."""
        return any(not effect.after.history for effect in self.told.effects)

    def _once(self, job: Job | None) -> Iterator[Violation]:
        """What it did to what is active is there once, or not at all."""
        mine = self._mine()
        did = Counter(effect.deed for effect in mine)
        kept = job is not None and job.state == "SUCCEEDED"
        moving = self.what.kind == "rollback"
        if did["odd"] or (not moving and did["move"]) or (moving and did["trial"]):
            yield self._wrong(ONCE, f"it did {_listed(mine)}")
        if did["trial"] != did["commit"] + did["back"]:
            yield self._wrong(ONCE, f"its trials were not each ended once: {_listed(mine)}")
        if not kept and (did["commit"] or did["move"]):
            yield self._wrong(ONCE, f"it has not succeeded, and is there: {_shown(job)}: {_listed(mine)}")
        if kept and moving and did["move"] != 1:
            yield self._wrong(ONCE, f"it moved {did['move']} times: {_listed(mine)}")
        once = (
            1 if self.what.kind in DEPLOYED else min(1, did["trial"])
        )  # what was active may be activated: nothing changes
        if kept and did["commit"] != once:
            yield self._wrong(ONCE, f"it was kept {did['commit']} times: {_listed(mine)}")
        if self.what.kind in ("wrong", "slow", "missing") and did["trial"]:
            yield self._wrong(HALF, f"a {self.what.kind} version was active: {_listed(mine)}")

    def _mine(self) -> list[Effect]:
        return [effect for effect in self.told.effects if effect.job == self.what.job]

    def _wrong(self, rule: str, told: str) -> Violation:
        return Violation(rule, f"{self.what.job} on {self.thing}", told)


def _stands(thing: str, device: Device, told: Told, plan: Plan) -> Iterator[Violation]:
    """A whole version is active, and no other than the last effect left."""
    state = device.state
    if state.trial:
        yield Violation(HALF, thing, f"{state.active} is on trial, and nothing runs")
    if device.damaged:
        yield Violation(HALF, thing, f"not whole: {'; '.join(device.damaged)}")
    if state.active not in device.versions:
        yield Violation(HALF, thing, f"{state.active} is active, and {device.versions} are installed")
    if state.active not in (*FIRST, *plan.versions("good")):
        yield Violation(HALF, thing, f"{state.active} is active, which is no good version")
    if told.odd:
        yield Violation(ONCE, thing, "; ".join(told.odd))
    if told.effects and told.effects[-1].after != state:
        yield Violation(ONCE, thing, f"{state} is there, and the last that was done is {told.effects[-1].after}")
    mine = [effect for effect in told.effects if not effect.job]
    did = Counter(effect.deed for effect in mine)
    if did["trial"] != did["commit"] + did["back"] or did["move"] or did["odd"]:
        yield Violation(ONCE, f"the shadow on {thing}", _listed(mine))
    if device.unsent:
        yield Violation(OPEN_END, thing, f"{device.unsent} reports were never accepted")


def _shown(job: Job | None) -> str:
    if job is None:
        return "nothing"
    return f"{job.state} {job.execution} at {job.step}: {job.details.get('reason', '')}"


def _listed(mine: list[Effect]) -> str:
    return ", ".join(
        f"{each.deed} {each.before.active} -> {each.after.active} ({each.job or 'shadow'} {each.execution}, {each.at:.3f})"
        for each in mine
    )
