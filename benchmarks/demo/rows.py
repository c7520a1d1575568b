"""The rows of the demo: each one pipeline over one link, on real input, with what it got right and how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import TypeVar

import msgspec

from edge_runtime import Result, Runtime
from edge_runtime.backends import devices
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Candidate, candidates, open_candidate
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.values import Array
from models.pipelines import listen, parity, read, score, sources
from models.pipelines.model import Direct

BUDGET = 0.5
"""Seconds to find the lines of a page, and to read one line, wherever."""
FRAME_BUDGET = listen.FRAME / listen.RATE
"""Seconds to hear one frame: it must be done before the next is there."""
WINDOW_BUDGET = 1.0
"""Seconds for one window of the parity net."""

KILL_AFTER = 0.01
"""Seconds into a call that a process is killed: the shortest takes more than twice as long."""

WORST_CER = 0.01
LEAST_F1 = 0.98

T = TypeVar("T")
Told = Callable[[int, int], object]
"""Told how many steps of the row are done, and of how many."""


class Call(msgspec.Struct, frozen=True):
    """One answered call. Times in seconds; `at` from the row's start."""

    at: float
    elapsed: float
    budget: float
    target: str

    @property
    def met(self) -> bool:
        return self.elapsed <= self.budget


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    pipeline: str
    link: str
    ran: str
    """Where the models ran, and on what."""
    score: str
    right: bool
    calls: tuple[Call, ...]
    killed: float | None = None
    """Seconds from the row's start to the kill."""

    @property
    def met(self) -> int:
        """Calls that were answered inside their budget."""
        return sum(call.met for call in self.calls)

    @property
    def passed(self) -> bool:
        """Whether all was right and in time; with a kill also whether the cloud answered before it, the device after."""
        lively = self.killed is None or any(call.target == "cloud" for call in self.calls)
        taken_over = self.killed is None or self.calls[-1].target == "local"
        return self.right and self.met == len(self.calls) and lively and taken_over


class Page:
    """The page that is read, and what it says."""

    def __init__(self, store: Path, packages: Path) -> None:
        self.store = store
        self.image = read_image(packages / sources.PAGE)
        self.truth = sources.transcript()


def read_row(
    page: Page, link: str, url: str | None, pages: int, told: Told, kill: tuple[str, Callable[[], None]] | None = None
) -> Row:
    """Read the page again and again over one link: lines found on the device, each line read where routing sends it.

    With `kill`, what is named there is killed a third of the way in, in the middle of a call.
    """
    calls: list[Call] = []
    readers: Counter[str] = Counter()
    texts: list[str] = []
    killed: list[float] = []
    with Runtime(page.store, cloud=url) as runtime:
        detector, reader = runtime.model("ppocr_det"), runtime.model("ppocr_rec")
        for remote in runtime.remotes:
            remote.health(10.0)  # a link that is just being made is no reason to read the first line here
        start = monotonic()

        def timed(answer: Callable[[], T], result_of: Callable[[T], Result]) -> T:
            at = monotonic() - start
            answered = answer()
            result = result_of(answered)
            calls.append(Call(at, result.elapsed, result.budget or 0.0, result.target))
            return answered

        for number in range(pages):
            lines, search = timed(lambda: read.find_lines(page.image, detector, budget=BUDGET), lambda found: found[1])
            if kill is not None and number == pages // 3:
                _kill_soon(kill[1], killed, start)
            readings = [
                timed(lambda crop=line.crop: read.read_line(crop, reader, budget=BUDGET), lambda r: r.result)  # type: ignore[misc]
                for line in lines
            ]
            readers.update(_where(reading.result) for reading in readings)
            texts.append(read.Page(lines, tuple(readings), search).text)
            told(number + 1, pages)
    errors = max((score.compare_text(text, page.truth) for text in texts), key=lambda e: e.rate)
    read_by = ", ".join(f"{count} by {where}" for where, count in readers.most_common())
    return Row(
        pipeline="read", link=f"{link}, {kill[0]} killed" if kill else link,
        ran=f"found by {_where(search)}; lines read {read_by}", score=f"worst {errors}",
        right=errors.rate <= WORST_CER, calls=tuple(calls), killed=killed[0] if killed else None,
    )  # fmt: skip


def listen_row(store: Path, packages: Path, told: Told) -> Row:
    """Hear 30 s of conversation frame by frame, as it would come in, on the device."""
    audio = read_wav(packages / sources.SPEECH, listen.RATE)
    segments = sources.read_rttm(packages / sources.SPEAKERS)
    with Runtime(store) as runtime:
        model = runtime.model("silero_vad")
        heard = listen.listen(audio, model.stream())
        assert model.loaded is not None  # noqa: S101  (it has no partner)
        variant = model.loaded.candidate.variant.name
    told(1, 1)
    found = score.compare_frames(heard.speech(), listen.reference(segments, len(heard.probabilities)))
    at = 0.0
    calls = []
    for elapsed in heard.steps.tolist():
        calls.append(Call(at, elapsed, FRAME_BUDGET, "local"))
        at += elapsed
    return Row(
        pipeline="listen", link="on the device", ran=f"{variant} on {heard.engine} {heard.device}", score=str(found),
        right=found.f1 >= LEAST_F1, calls=tuple(calls),
    )  # fmt: skip


def parity_rows(store: Path, packages: Path, told: Told) -> list[Row]:
    """The same sound through every engine and variant, held against the first: fp32 ONNX on ONNX Runtime."""
    audio = read_wav(packages / sources.SPEECH, parity.SOURCE_RATE)
    _, judged = parity.split(parity.windows(parity.resample(audio)))
    bundle = Store(store).bundle("basic_pitch")
    ways = candidates(bundle.manifest, devices())
    outputs = []
    for number, candidate in enumerate(ways):
        outputs.append(_through(bundle, candidate, judged))
        told(number + 1, len(ways))
    reference = next(
        made for candidate, (made, _) in zip(ways, outputs, strict=True)
        if (candidate.device.backend, candidate.variant.precision) == ("onnx", "fp32")
    )  # fmt: skip
    rows = []
    for candidate, (made, calls) in zip(ways, outputs, strict=True):
        apart = score.compare_tensors([r.outputs for r in made], [r.outputs for r in reference])
        rows.append(
            Row(
                pipeline="parity", link="on the device", ran=_where(made[0]), score=str(apart),
                right=apart.worst <= parity.TOLERANCE[candidate.variant.precision], calls=calls,
            )
        )  # fmt: skip
    return rows


def _through(bundle: Bundle, candidate: Candidate, windows: Sequence[Array]) -> tuple[list[Result], tuple[Call, ...]]:
    """Every window through one candidate."""
    session = open_candidate(bundle, candidate)
    model = Direct(session, session.device, candidate.variant.name)
    model.infer({"audio": windows[0]})  # the first run allocates
    start = monotonic()
    results, calls = [], []
    for window in windows:
        at = monotonic() - start
        result = model.infer({"audio": window}, budget=WINDOW_BUDGET)
        results.append(result)
        calls.append(Call(at, result.elapsed, WINDOW_BUDGET, "local"))
    session.close()
    return results, tuple(calls)


def _kill_soon(kill: Callable[[], None], killed: list[float], start: float) -> None:
    """Kill from another thread in a moment, while a call is under way."""

    def act() -> None:
        kill()
        killed.append(monotonic() - start)

    Timer(KILL_AFTER, act).start()


def _where(result: Result) -> str:
    place = "" if result.target == "local" else " in the cloud"
    return f"{result.variant} on {result.engine} {result.device}{place}"
