"""Which calls run next, and together. Pure: no I/O, no clock, no threads; time is an argument, in seconds of one monotonic
clock.

The rules:
- the higher priority first, then the earlier deadline, then who came first;
- a call is refused at the door when it, or one that was accepted before it, could then not make its deadline;
- a free instance takes the first call, and with it those of its group that wait, in that order, as long as none of them
  and not the first call of another group would miss its deadline by that; nobody waits for others to come;
- a call that cannot make its deadline any more when its turn comes is dropped.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Sequence
from typing import TypeAlias

import msgspec

from cloud_bridge.endpoint.cost import Cost

NEVER = float("inf")

KNOWN = 4096
"""Groups whose cost is known: those of a model that takes any length are without end."""

Times: TypeAlias = dict[int, tuple[float, float]]
"""By a call's id(): when it begins, and when it has ended."""


class Work(msgspec.Struct, eq=False):
    """A call that is to run: the same object from `offer` to `ended`."""

    group: Hashable
    """What may run together with it, and costs as much: the same model on inputs of the same shapes beside the rows."""
    rows: int = 1
    most: int = 1
    """Rows that may run together."""
    deadline: float = NEVER
    priority: int = 0
    """The higher, the sooner."""


Queue: TypeAlias = Sequence[tuple[int, float, int, Work]]
"""In the order in which they go: priority, deadline, number, call."""


class Offer(msgspec.Struct, frozen=True):
    """What comes of a call at the door."""

    accepted: bool
    wait: float
    """Seconds until it is predicted to begin."""
    done: float
    """Seconds until it is predicted to have ended; carefully."""


class Scheduler:
    """The calls that wait for `instances`, of each of which one batch runs at a time. Not locked: callers lock."""

    def __init__(self, instances: int) -> None:
        self._instances = instances
        self._queue: list[tuple[int, float, int, Work]] = []
        self._running: dict[int, float] = {}
        self._costs: dict[Hashable, Cost] = {}
        self._number = 0

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    def cost(self, group: Hashable) -> Cost:
        """What is known of a group's runs."""
        if (cost := self._costs.get(group)) is None:
            if len(self._costs) >= KNOWN:
                self._costs.pop(next(iter(self._costs)))
            cost = self._costs[group] = Cost()
        return cost

    def offer(self, work: Work, now: float) -> Offer:
        """A call comes. Where it is accepted it waits from now on."""
        queue = [*self._queue]
        insort(queue, self._entry(work))
        times = self._run_down(queue, now)
        begin, done = times[id(work)]
        accepted = done <= work.deadline and not self._hurts(times, queue, work, now)
        if accepted:
            self._queue = queue
        return Offer(accepted, begin - now, done - now)

    def drop(self, work: Work) -> bool:
        """A call is not wanted any more. Whether it still waited."""
        for at, entry in enumerate(self._queue):
            if entry[3] is work:
                del self._queue[at]
                return True
        return False

    def next(self, now: float) -> tuple[Sequence[Work], Sequence[Work]]:
        """What a free instance is to run together; nothing if nothing waits, or none is free. And what waited in vain: it
        is to be refused."""
        if len(self._running) >= self._instances:
            return (), ()
        late: list[Work] = []
        while self._queue and self._misses(self._queue[0][3], now):
            late.append(self._queue.pop(0)[3])
        if not self._queue:
            return (), late
        batch = self._close([entry[3] for entry in self._queue], now)
        chosen = set(map(id, batch))
        self._queue = [entry for entry in self._queue if id(entry[3]) not in chosen]
        self._running[id(batch[0])] = now + self._safe(batch)
        return batch, late

    def ended(self, batch: Sequence[Work], seconds: float, *, failed: bool = False) -> None:
        """A batch ran for so long."""
        del self._running[id(batch[0])]
        if not failed:
            self.cost(batch[0].group).observe(sum(work.rows for work in batch), seconds)

    def backlog(self, now: float, group: Hashable = None, most: int = 1) -> float:
        """Seconds until a call (of this group, which runs up to `most` rows together) that came last would begin, if
        nobody else came."""
        if not self._queue and len(self._running) < self._instances:
            return 0.0
        last = Work(group, most=most, priority=-(1 << 30))
        return self._run_down([*self._queue, self._entry(last)], now)[id(last)][0] - now

    def _entry(self, work: Work) -> tuple[int, float, int, Work]:
        self._number += 1
        return (-work.priority, work.deadline, self._number, work)

    def _misses(self, work: Work, now: float) -> bool:
        return now + self.cost(work.group).of(work.rows) > work.deadline

    def _safe(self, batch: Sequence[Work]) -> float:
        return self.cost(batch[0].group).safe(sum(work.rows for work in batch))

    def _close(self, waiting: Sequence[Work], now: float) -> list[Work]:
        """The first of those that wait, and who runs with it."""
        first = waiting[0]
        batch, rows, until = [first], first.rows, first.deadline
        cost = self.cost(first.group)
        other = next((work for work in waiting if work.group != first.group), None)
        for work in waiting[1:]:
            if work.group != first.group:
                continue
            done = now + cost.safe(rows + work.rows)
            until = min(until, work.deadline)
            if rows + work.rows > first.most or done > until:
                break
            if other is not None and self._harms(other, now + cost.safe(rows), done):
                break
            batch.append(work)
            rows += work.rows
        return batch

    def _harms(self, other: Work, before: float, after: float) -> bool:
        """Whether it would make its deadline if it began then, and not if it began later."""
        seconds = self.cost(other.group).safe(other.rows)
        return before + seconds <= other.deadline < after + seconds

    def _hurts(self, times: Times, queue: Queue, work: Work, now: float) -> bool:
        """Whether somebody who would have made it without this call does not make it with it."""
        missed = [each for _, deadline, _, each in queue if times[id(each)][1] > deadline and each is not work]
        if not missed:
            return False
        without = self._run_down(self._queue, now)
        return any(without[id(each)][1] <= each.deadline for each in missed)

    def _run_down(self, queue: Queue, now: float) -> Times:
        """When each call would begin and have ended if nobody else came."""
        free = sorted([max(now, until) for until in self._running.values()])
        free = [now] * (self._instances - len(free)) + free
        waiting = [entry[3] for entry in queue]
        times: Times = {}
        while waiting:
            begin = free.pop(0)
            batch = self._close(waiting, begin)
            done = begin + self._safe(batch)
            insort(free, done)
            times |= {id(work): (begin, done) for work in batch}
            waiting = [work for work in waiting if id(work) not in times]
        return times
