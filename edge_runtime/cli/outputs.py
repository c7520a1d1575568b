"""What the command line makes of a result: for people, as JSON, and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.cli.shell import columns
from edge_runtime.errors import InputError
from edge_runtime.processing import answers
from edge_runtime.processing.answers import Answer
from edge_runtime.values import Result


def as_json(result: Result) -> str:
    """Where it ran and why, the answer, and the outputs' shapes."""
    fields = ("target", "engine", "device", "variant", "elapsed", "budget", "met", "reason")
    attempts = [
        {"target": a.target, "started": a.started, "seconds": a.seconds, "outcome": a.outcome} for a in result.attempts
    ]
    outputs = {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in result.outputs.items()}
    answer = json.loads(answers.encode(result.answer))
    told = {field: getattr(result, field) for field in fields}
    return json.dumps({**told, "answer": answer, "attempts": attempts, "outputs": outputs}, indent=2)


def as_text(result: Result) -> str:
    """The answer, or the outputs' shapes where there is none; where it ran, and why."""
    budget = "" if result.budget is None else f" of {result.budget * 1e3:.0f} ms ({'met' if result.met else 'MISSED'})"
    lines = [
        f"{result.target}: {result.variant} on {result.engine} {result.device}, {result.elapsed * 1e3:.1f} ms{budget}",
        f"why: {result.reason}",
    ]
    return "\n".join(
        [*lines, *(_shapes(result) if result.answer is None else _ANSWERS[type(result.answer)](result.answer))]
    )


def save(result: Result, path: Path) -> None:
    """The outputs as an .npz file, or, by its suffix, the picture or the sound that the model made. Raises InputError."""
    answer = result.answer
    if path.suffix.lower() == ".npz" or answer is None:
        _save_outputs(result, path)
        return
    from edge_runtime.processing import files

    if isinstance(answer, answers.Picture) and path.suffix.lower() in files.PICTURES:
        files.write_image(path, answer.pixels)
    elif isinstance(answer, answers.Sound) and path.suffix.lower() == ".wav" and answer.rate is not None:
        files.write_wav(path, answer.samples, answer.rate)
    else:
        raise InputError(f"--output {path}: this model's outputs are written as .npz, a picture as .png, a sound as .wav")


def _save_outputs(result: Result, path: Path) -> None:
    try:
        np.savez(path, allow_pickle=False, **result.outputs)
    except OSError as error:
        raise InputError(f"the outputs could not be written: {error}") from error


def _shapes(result: Result) -> list[str]:
    lines = []
    for name, array in result.outputs.items():
        numeric = array.size and array.dtype != object
        span = f", {array.min():.4g} to {array.max():.4g}" if numeric else ""
        lines.append(f"{name}: {array.dtype} {list(array.shape)}{span}")
    return lines


def _labels(answer: answers.Labels) -> list[str]:
    return columns(("LABEL", "SCORE"), [(label.name, f"{label.score:.3f}") for label in answer.labels])


def _boxes(answer: answers.Boxes) -> list[str]:
    rows = [(*(f"{x:.0f},{y:.0f}" for x, y in region.corners), f"{region.score:.3f}") for region in answer.boxes]
    return _or_nothing(("TOP LEFT", "TOP RIGHT", "BOTTOM RIGHT", "BOTTOM LEFT", "SCORE"), rows)


def _text(answer: answers.Text) -> list[str]:
    return [f"text: {answer.text}", f"score: {answer.score:.3f}"]


def _events(answer: answers.Events) -> list[str]:
    rows = [(e.name, f"{e.start:.3f} s", f"{e.end:.3f} s", f"{e.score:.3f}") for e in answer.events]
    return _or_nothing(("WHAT", "FROM", "TO", "SCORE"), rows)


def _embedding(answer: answers.Embedding) -> list[str]:
    first = " ".join(f"{number:.4f}" for number in answer.vector[:6].tolist())
    return [f"embedding of {len(answer.vector)} numbers, of length 1: {first} ..."]


def _picture(answer: answers.Picture) -> list[str]:
    height, width = answer.pixels.shape
    return [f"a picture, {width} x {height} pixels (--output FILE.png writes it)"]


def _sound(answer: answers.Sound) -> list[str]:
    rate = "" if answer.rate is None else f", {len(answer.samples) / answer.rate:.2f} s"
    return [f"a sound, {len(answer.samples)} samples{rate} (--output FILE.wav writes it)"]


def _anomaly(answer: answers.Anomaly) -> list[str]:
    told = "anomalous" if answer.anomalous else "as usual"
    return [f"{told}: mean squared difference {max(answer.errors):.4g} (the largest of {len(answer.errors)})"]


def _or_nothing(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return columns(head, rows) if rows else ["nothing was found"]


_ANSWERS: dict[type[Answer], Callable[[Any], list[str]]] = {
    answers.Labels: _labels,
    answers.Boxes: _boxes,
    answers.Text: _text,
    answers.Events: _events,
    answers.Embedding: _embedding,
    answers.Picture: _picture,
    answers.Sound: _sound,
    answers.Anomaly: _anomaly,
}
