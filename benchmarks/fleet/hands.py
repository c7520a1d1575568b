"""Who does the steps of simulated devices: nobody, where the way of a command is measured; or the agent's own hands on a
store of each device's own, whose health checks share a few processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event, Lock

import msgspec

from benchmarks.fleet.board import Board
from cloud_bridge.agent import child, obey
from cloud_bridge.agent.work import Done
from cloud_bridge.artifacts.trusted import Trusted
from cloud_bridge.protocol.fleet.commands import Activate, Command, Deploy
from edge_runtime.bundles.store import Store
from edge_runtime.errors import EdgeError, RunError

BRAND = "onnx"
"""The engine that models are held to."""

_answers = msgspec.json.Decoder(child.Answer)


class NoHands:
    """Every step is done at once, and nothing comes of it."""

    def __init__(self, thing: str, board: Board) -> None:
        self._thing, self._board = thing, board

    def settle(self) -> tuple[str, ...]:
        """See duty.Hands."""
        return ()

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        """See duty.Hands."""
        self._board.do(self._thing)
        return Done()

    def back(self, work: Command) -> dict[str, str]:
        """See duty.Hands."""
        return {}


class Seen:
    """Which versions were let in, by how many devices and how often; for any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.activated: Counter[str] = Counter()

    def activate(self, version: str) -> None:
        """A device is about to let this version serve."""
        with self._lock:
            self.activated[version] += 1


class RealHands(obey.Hands):
    """The agent's, on this store; bundles come from a repository by its URL, trusted by these bytes of a root.json."""

    def __init__(
        self, thing: str, store: Store, state: Path, root: bytes, url: str, measure: obey.Measure, board: Board, seen: Seen
    ) -> None:
        self._trusted = Trusted(state / "artifacts", root, url)
        super().__init__(store, self._bring, measure=measure, device=BRAND)
        self._thing, self._board, self._seen = thing, board, seen

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        """See obey.Hands."""
        if step == "install":
            self._board.do(self._thing)
        if step == "activate" and isinstance(work, Deploy | Activate):
            self._seen.activate(work.version)
        return super().run(work, step, details, halt)

    def _bring(self, target: str, halt: Event) -> Path:
        self._trusted.refresh(cancel=halt)
        return self._trusted.download(self._trusted.find_path(target), cancel=halt)


def shared(pool: ProcessPoolExecutor) -> Callable[[child.Asked, Event], Done]:
    """Steps that open engines, in processes that devices share; an agent starts one for each step."""

    def measure(asked: child.Asked, halt: Event) -> Done:
        answer = _answers.decode(pool.submit(measured, msgspec.json.encode(asked)).result())
        if answer.done is None:
            raise RunError(f"{asked.step}: {answer.error}")
        return answer.done

    return measure


def measured(data: bytes) -> bytes:
    """In one of the processes: what `cloud_bridge.agent.child` does in one of its own."""
    from cloud_bridge.agent.measure import run

    asked = msgspec.json.decode(data, type=child.Asked)
    try:
        answer = child.Answer(run(Path(asked.store), asked.work, asked.step, asked.device))
    except EdgeError as error:
        answer = child.Answer(error=str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}")
    return msgspec.json.encode(answer)
