"""What the contract tests share: each backend with a real model that it loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_runtime import backends
from edge_runtime.backends import Backend
from edge_runtime.backends.base import Session


class Engine(msgspec.Struct, frozen=True):
    """A backend, and basic-pitch (a CNN with a dynamic batch) in a format that it loads."""

    backend: Backend
    artifact: Path


@pytest.fixture(scope="session", params=backends.NAMES)
def engine(request: pytest.FixtureRequest, packages: Path) -> Engine:
    """Each backend in turn."""
    backend = backends.backend(request.param)
    suffix = "onnx" if "onnx" in backend.formats else "tflite"
    return Engine(backend, packages / f"basic_pitch/saved_models/icassp_2022/nmp.{suffix}")


@pytest.fixture(scope="session")
def session(engine: Engine) -> Iterator[Session]:
    """Each backend's session of basic-pitch, under the artifact's own names. Not to be closed by a test."""
    session = engine.backend.load(engine.artifact)
    yield session
    session.close()


@pytest.fixture(scope="session", params=[name for name in backends.NAMES if "onnx" in backends.backend(name).formats])
def onnx_backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend that loads ONNX files."""
    return backends.backend(request.param)
