"""What a user imports: complete, sorted, documented, and small."""

from __future__ import annotations

import inspect
import subprocess
import sys

import edge_runtime
from edge_runtime import errors


def test_all_names_what_is_there() -> None:
    """Every public name of the package is in __all__, and the other way round."""
    assert all(hasattr(edge_runtime, name) for name in edge_runtime.__all__)  # each is loaded when it is first named
    assert set(edge_runtime.__all__) <= set(dir(edge_runtime))
    public = {
        name for name, value in vars(edge_runtime).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(edge_runtime.__all__)
    assert list(edge_runtime.__all__) == sorted(edge_runtime.__all__)


def test_every_error_is_public_documented_and_in_the_drawn_tree() -> None:
    """One root, and nothing raised that a user cannot name."""
    tree = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.EdgeError)]
    assert len(tree) > 10
    for kind in tree:
        assert getattr(edge_runtime, kind.__name__) is kind
        assert kind.__doc__
        assert kind.__name__ in (errors.__doc__ or "").split()


def test_everything_public_has_a_docstring() -> None:
    """help() says what each is."""
    for name in edge_runtime.__all__:
        value = getattr(edge_runtime, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value), name
            methods = [m for n, m in vars(value).items() if inspect.isfunction(m) and not n.startswith("_")]
            assert all(m.__doc__ for m in methods), name


def test_importing_the_device_imports_no_vendor_no_network_and_no_event_loop() -> None:
    """A device that infers pays for nothing else."""
    script = "import sys, edge_runtime; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())
    unwanted = {
        "onnxruntime",
        "openvino",
        "ai_edge_litert",
        "asyncio",
        "numpy",
        "ssl",
        "httptools",
        "paho",
        "tqdm",
        "cloud_bridge",
        "cv2",
        "tokenizers",
        "pymicro_features",
    }
    assert not unwanted & loaded
    parts = {name for name in loaded if name.startswith("edge_runtime.processing.")}
    assert parts <= {"edge_runtime.processing.steps"}
