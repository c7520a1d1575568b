"""Edge Runtime: one call with an input and a latency budget; the best answer that can arrive in time.

    from edge_runtime import Runtime

The device half: it knows a cloud only as the port `Remote`, which `cloud_bridge` implements. What is imported from here is
loaded when it is first named, for an agent that waits for orders runs no model.
"""

import importlib
import typing

from edge_runtime.errors import (
    ArtifactError,
    BackendError,
    BudgetError,
    BundleError,
    CancelledError,
    DeviceMissingError,
    DigestError,
    DiskFullError,
    EdgeError,
    EngineMissingError,
    InputError,
    LateError,
    ManifestError,
    NotInstalledError,
    ProtocolError,
    RefusedError,
    RemoteError,
    RunError,
    UnreachableError,
    UntrustedError,
)

if typing.TYPE_CHECKING:
    from edge_runtime.local import ModelStream
    from edge_runtime.model import Model
    from edge_runtime.profile import Profile
    from edge_runtime.remote import Call, Pending, Remote, Reply
    from edge_runtime.routing.policy import Policy
    from edge_runtime.runtime import Runtime
    from edge_runtime.values import Attempt, Device, Result, Settings, Tensors
else:
    _PLACES = {
        "ModelStream": "local",
        "Model": "model",
        "Profile": "profile",
        **dict.fromkeys(("Call", "Pending", "Remote", "Reply"), "remote"),
        "Policy": "routing.policy",
        "Runtime": "runtime",
        **dict.fromkeys(("Attempt", "Device", "Result", "Settings", "Tensors"), "values"),
    }

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "ArtifactError",
    "Attempt",
    "BackendError",
    "BudgetError",
    "BundleError",
    "Call",
    "CancelledError",
    "Device",
    "DeviceMissingError",
    "DigestError",
    "DiskFullError",
    "EdgeError",
    "EngineMissingError",
    "InputError",
    "LateError",
    "ManifestError",
    "Model",
    "ModelStream",
    "NotInstalledError",
    "Pending",
    "Policy",
    "Profile",
    "ProtocolError",
    "RefusedError",
    "Remote",
    "RemoteError",
    "Reply",
    "Result",
    "RunError",
    "Runtime",
    "Settings",
    "Tensors",
    "UnreachableError",
    "UntrustedError",
]
