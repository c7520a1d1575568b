"""A cloud's answer, held against what the model's signature says: it crossed a network, and the application will index
into it."""

from __future__ import annotations

import numpy as np

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import ProtocolError
from edge_runtime.remote import Reply


def check_reply(manifest: Manifest, reply: Reply) -> None:
    """Raise ProtocolError unless the reply has every output, in its dtype and shape, and no NaN."""
    sizes: dict[str, int] = {}
    for spec in manifest.signature.outputs:
        array = reply.outputs.get(spec.name)
        if array is None:
            raise ProtocolError(f"the cloud's answer lacks output {spec.name!r}; it has {', '.join(reply.outputs)}")
        if array.dtype != np.dtype(spec.dtype) or array.ndim != len(spec.shape):
            raise ProtocolError(
                f"the cloud's output {spec.name!r} is {array.dtype} {list(array.shape)}, not as the manifest says"
            )
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ProtocolError(f"the cloud's output {spec.name!r} has NaN in it")
        for size, given in zip(spec.shape, array.shape, strict=True):
            known = sizes.setdefault(size, given) if isinstance(size, str) else size
            if known != given:
                raise ProtocolError(
                    f"the cloud's output {spec.name!r} has shape {list(array.shape)}, not {list(spec.shape)}"
                )
