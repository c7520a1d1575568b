"""The accuracy of a classifier: the share of samples of which the highest output is that of the right class."""

from __future__ import annotations

from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import InputError
from edge_runtime.optimize.gate import Measure
from edge_runtime.optimize.samples import Data
from edge_runtime.signature import TensorSpec


def by_labels(bundle: Bundle, judged: Data, data: str) -> Measure:
    """The accuracy on these samples, by the model's first output that is no state. `data` says in words what they are.

    Raises InputError for a label that is no class of that output, and for a labels file of another length.
    """
    if not judged.labels:
        raise InputError("no labels to judge by were given")
    output = _scores(bundle)
    _check(bundle, judged.labels, output)
    pairs = tuple(zip(judged.samples, judged.labels, strict=True))

    def accuracy(session: Session) -> float:
        right = 0
        for sample, label in pairs:
            scores = session.run(sample)[output.name]
            if scores.size != scores.shape[-1]:
                raise InputError(f"output {output.name!r} is {list(scores.shape)}: not one row of scores for a sample")
            right += int(scores.argmax()) == label
        return right / len(pairs)

    return Measure("accuracy", data, accuracy, judged.digest)


def _scores(bundle: Bundle) -> TensorSpec:
    signature = bundle.manifest.signature
    carried = {pair.output for pair in signature.state}
    output = next((spec for spec in signature.outputs if spec.name not in carried and spec.shape), None)
    if output is None:
        raise InputError(f"{bundle.manifest.name} has no output with classes to hold labels against")
    return output


def _check(bundle: Bundle, labels: tuple[int, ...], output: TensorSpec) -> None:
    words, size = bundle.labels(), output.shape[-1]
    if words and isinstance(size, int) and len(words) != size:
        raise InputError(
            f"{bundle.manifest.name} has {len(words)} labels in its file of labels, and {size} classes in its output "
            f"{output.name!r}: one of the two is wrong"
        )
    classes = size if isinstance(size, int) else len(words) or None
    for number, label in enumerate(labels, 1):
        if label < 0 or (classes is not None and label >= classes):
            known = "from 0" if classes is None else f"from 0 to {classes - 1}"
            raise InputError(f"label {number} of {len(labels)} is {label}; the classes of {output.name!r} are {known}")
