"""What an answer of each side is worth: the measured accuracies, where they can be held against each other. Pure."""

from __future__ import annotations

from edge_runtime.bundles.manifest import Accuracy, Manifest, less_is_better
from edge_runtime.engines import Loaded
from edge_runtime.routing.policy import Policy

LOCAL, CLOUD = 0.9, 1.0
"""Where nothing that can be compared was measured: the partner answers at least as well, or it would be none."""


def worths(manifest: Manifest, loaded: Loaded | None, policy: Policy) -> tuple[float | None, float]:
    """Of a local answer (None: there is no local variant) and of the cloud's."""
    here = None if loaded is None else loaded.candidate.variant.accuracy
    there = manifest.partner_accuracy
    local, cloud = LOCAL, CLOUD
    if here is not None and isinstance(there, Accuracy) and (here.metric, here.data) == (there.metric, there.data):
        local, cloud = _worth(here), _worth(there)
    return (
        None if loaded is None else local if policy.local_worth is None else policy.local_worth,
        cloud if policy.cloud_worth is None else policy.cloud_worth,
    )  # fmt: skip


def _worth(accuracy: Accuracy) -> float:
    """The share of what is right, of a metric that may count what is wrong."""
    return max(0.0, 1.0 - accuracy.value) if less_is_better(accuracy.metric) else accuracy.value
