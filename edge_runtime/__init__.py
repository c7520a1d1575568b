"""Edge Runtime: one call with an input and a latency budget; the best answer that can arrive in time.

    from edge_runtime import Runtime

The device half: it knows a cloud only as the port `Remote`, which `cloud_bridge` implements.
"""

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
from edge_runtime.local import ModelStream
from edge_runtime.model import Model
from edge_runtime.profile import Profile
from edge_runtime.remote import Call, Pending, Remote, Reply
from edge_runtime.routing.policy import Policy
from edge_runtime.runtime import Runtime
from edge_runtime.values import Attempt, Device, Result, Settings, Tensors

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
