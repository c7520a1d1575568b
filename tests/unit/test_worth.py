"""What an answer of each side is worth, by what was measured; and that no call looks at the wall clock."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

import edge_runtime
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Accuracy
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.routing.policy import Policy
from edge_runtime.worth import CLOUD, LOCAL, worths
from tests.doubles import HERE, PythonSession, manifest


def loaded(own: Accuracy | None, partner: Accuracy | None) -> Loaded:
    """A model whose variant and whose partner were measured so."""
    described = manifest()
    variant = msgspec.structs.replace(described.variants[0], accuracy=own)
    described = msgspec.structs.replace(
        described, variants=(variant,), partner_accuracy=UNSET if partner is None else partner
    )
    return Loaded(Bundle(described, Path("nowhere")), Candidate(variant, HERE), PythonSession(), "a test")


RIGHT = Accuracy("accuracy", 0.9, "digits")


@pytest.mark.parametrize(
    ("own", "partner", "expected"),
    [
        (RIGHT, Accuracy("accuracy", 0.98, "digits"), (0.9, 0.98)),
        (Accuracy("error rate", 0.1, "pages"), Accuracy("error rate", 0.02, "pages"), (0.9, 0.98)),
        (RIGHT, Accuracy("accuracy", 0.98, "other digits"), (LOCAL, CLOUD)),
        (RIGHT, Accuracy("F1", 0.98, "digits"), (LOCAL, CLOUD)),
        (RIGHT, None, (LOCAL, CLOUD)),
        (None, RIGHT, (LOCAL, CLOUD)),
    ],
)
def test_accuracies_are_worth_what_they_are_where_they_can_be_compared(
    own: Accuracy | None, partner: Accuracy | None, expected: tuple[float, float]
) -> None:
    """In the same measure on the same data; else the partner is taken to be the better one."""
    made = loaded(own, partner)
    assert worths(made.bundle.manifest, made, Policy()) == pytest.approx(expected)


def test_the_policy_may_say_what_answers_are_worth() -> None:
    """Of each side; without a local variant there is no local answer."""
    made = loaded(RIGHT, None)
    assert worths(made.bundle.manifest, made, Policy(local_worth=0.3, cloud_worth=0.4)) == (0.3, 0.4)
    assert worths(made.bundle.manifest, None, Policy()) == (None, CLOUD)


def test_nothing_on_the_way_of_a_call_reads_the_wall_clock() -> None:
    """It may jump by an hour. The decision log notes it once a file, for whoever reads it, and nothing else does."""
    root = Path(edge_runtime.__file__).parent
    on_the_way = [
        *(root / "routing").glob("*.py"),
        *(root / f"{n}.py" for n in ("dispatch", "race", "local", "model", "raw")),
    ]
    for path in on_the_way:
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime")
            for alias in node.names
        }
        assert imported <= {"monotonic"}, path
