"""One call that went to the cloud: its answer raced against the local run that is held back."""

from __future__ import annotations

from time import monotonic

from msgspec import structs

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.dispatch import Dispatch
from edge_runtime.errors import BudgetError, EdgeError, LateError, RemoteError, RunError
from edge_runtime.local import Local
from edge_runtime.remote import Call, Pending
from edge_runtime.replies import check_reply
from edge_runtime.routing.events import Answered, Done, GivenUp, Ran, Run
from edge_runtime.routing.policy import Plan
from edge_runtime.values import Attempt, Result, Tensors


class Race:
    """Made for one call and run once, on the caller's thread. Instants are of `monotonic()`."""

    def __init__(
        self, dispatch: Dispatch, number: int, plan: Plan, manifest: Manifest, local: Local | None, call: Call,
        budget: float | None, start: float,
    ) -> None:  # fmt: skip
        self._dispatch, self._number, self._plan = dispatch, number, plan
        self._manifest, self._local, self._call = manifest, local, call
        self._budget, self._start = budget, start
        self._asked = monotonic()
        self._until = self._asked + (plan.give_up or 0.0)
        self._attempts: list[Attempt] = []
        self._failure: EdgeError | None = None
        self._settled = False

    def run(self) -> Result:
        """The answer that counts. Raises BudgetError or RunError when there is none."""
        pending = self._send()
        result: Result | None = None
        try:
            result = self._answer(pending)
            return result
        finally:
            if pending is not None:
                self._let_go(pending)
            target = "none" if result is None else result.target
            now = monotonic()
            met = result is not None and result.met
            self._dispatch.observe(Done(now, self._number, target, now - self._start, met))

    def _send(self) -> Pending | None:
        try:
            pending = self._dispatch.remotes[self._plan.endpoint].send(self._call, deadline=self._until)
        except RemoteError as error:
            self._failed(error)
            return None
        pending.add_done_callback(self._dispatch.wake)
        return pending

    def _answer(self, pending: Pending | None) -> Result:
        asked, here = pending, None
        can_run = self._local is not None and self._plan.hold is not None
        until = self._until
        while asked is not None or can_run:
            turn = self._dispatch.await_turn(self._number, _never if asked is None else asked.done, until)
            if turn == "settled" and asked is not None:
                if (answer := self._accept(asked)) is not None:
                    return answer
                asked = None
            elif turn == "run" and self._local is not None:
                can_run = False
                here = self._run_local(self._local)
                if here is not None:  # the cloud's is the better answer, as long as it can be handed over in time
                    until = self._until - self._dispatch.policy.spare(self._until - self._asked)
            elif turn == "shed":
                can_run = False
            else:
                break
        if here is None:
            raise self._no_answer()
        return self._told(here)

    def _accept(self, pending: Pending) -> Result | None:
        """The cloud's answer, if it is one."""
        try:
            reply = pending.result(0.0)
            check_reply(self._manifest, reply)
        except LateError as error:
            self._note(error)
            return None  # it is given up when all is over
        except RemoteError as error:
            self._failed(error)
            return None
        now = monotonic()
        received = sum(array.nbytes for array in reply.outputs.values())
        self._settled = True
        self._dispatch.observe(
            Answered(now, self._number, received, reply.seconds, reply.uploading, reply.waited, reply.wait)
        )
        self._attempts.insert(0, Attempt("cloud", self._asked - self._start, now - self._asked, "answered"))
        return Result(
            reply.outputs, "cloud", reply.engine, reply.device, reply.variant, now - self._start, self._budget,
            tuple(self._attempts), self._plan.reason,
        )  # fmt: skip

    def _run_local(self, local: Local) -> Result | None:
        try:
            result = run_local(self._dispatch, self._number, local, self._call, self._budget, self._start)
        except RunError as error:
            self._failure = error
            return None
        self._attempts += result.attempts
        return result

    def _told(self, here: Result) -> Result:
        """The local result, with what became of the cloud."""
        if not any(attempt.target == "cloud" for attempt in self._attempts):
            self._note(LateError("no answer in time"))
        cloud = next(attempt for attempt in self._attempts if attempt.target == "cloud")
        why = f"{self._plan.reason}, but {cloud.outcome} after {cloud.seconds * 1e3:.0f} ms; the local model answered"
        elapsed = monotonic() - self._start
        return structs.replace(here, attempts=tuple(sorted(self._attempts, key=_started)), reason=why, elapsed=elapsed)

    def _no_answer(self) -> EdgeError:
        if isinstance(self._failure, RunError):
            return self._failure
        if not self._attempts:
            self._note(LateError("no answer in time"))
        told = "; ".join(attempt.outcome for attempt in self._attempts)
        why = "no local run can" if self._local is None or self._plan.hold is None else "the local model had no turn"
        return BudgetError(f"{self._manifest.name}: the cloud gave no answer ({told}) and {why}", tuple(self._attempts))

    def _failed(self, error: RemoteError) -> None:
        self._note(error)
        self._settled = True
        self._dispatch.failed(self._number, error)

    def _note(self, error: EdgeError) -> None:
        now = monotonic()
        outcome = f"{type(error).__name__}: {error}"
        self._attempts.append(Attempt("cloud", self._asked - self._start, now - self._asked, outcome))

    def _let_go(self, pending: Pending) -> None:
        """Stop the bytes of a call that was not answered, and learn from how many had left."""
        sent = pending.cancel()
        if not self._settled:
            self._dispatch.observe(GivenUp(monotonic(), self._number, sent))


def answer_here(
    dispatch: Dispatch,
    number: int,
    plan: Plan,
    local: Local,
    inputs: Tensors,
    size: int,
    budget: float | None,
    start: float,
) -> Result:
    """A call of `size` bytes that is answered on the device, in its turn. Raises BudgetError when it would be late and
    others wait."""
    if not plan.begun and dispatch.await_turn(number, _never, start + _FOREVER) == "shed":
        now = monotonic()
        dispatch.observe(Done(now, number, "none", now - start, False))
        raise BudgetError(f"{local.key}: {plan.reason}; others wait for the device, and this call would be late")
    try:
        result = local.answer(inputs, budget, start, plan.reason)
    except BaseException:
        now = monotonic()
        dispatch.observe(Done(now, number, "none", now - start, False, Run(local.key, size, 0.0, failed=True)))
        raise
    elapsed = result.elapsed
    run = Run(local.key, size, result.attempts[0].seconds)
    dispatch.observe(Done(start + elapsed, number, "local", elapsed, budget is None or elapsed <= budget, run))
    return result


def run_local(
    dispatch: Dispatch, number: int, local: Local, call: Call, budget: float | None, start: float
) -> Result:  # fmt: skip
    """The local run of a call whose turn it is; then it is the next one's."""
    result: Result | None = None
    try:
        result = local.answer(call.inputs, budget, start, "")
        return result
    finally:
        seconds = 0.0 if result is None else result.attempts[0].seconds
        dispatch.observe(Ran(monotonic(), number, Run(local.key, call.size, seconds, failed=result is None)))


_FOREVER = 1e6
"""Seconds that a thread may be told to wait."""


def _never() -> bool:
    return False


def _started(attempt: Attempt) -> float:
    return attempt.started
