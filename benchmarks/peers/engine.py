"""What every peer's program shares: the engine, with the options that our own backend gives it; the sizes of a batch; and
how a program says that it is ready. It runs in the peers' environments, which have onnxruntime but not this project.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

MODEL = "minilm"
INPUTS = {"ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}
"""Names in a request, which are our bundle's, and in the file."""
OUTPUT, OWN = "pieces", "last_hidden_state"
TOKENS, WIDTH = 32, 384
ROWS = 16
"""Rows of the largest batch: as many as there are clients."""


def opened(path: str) -> Callable[..., Any]:
    """The file's model: int64 arrays by our names in, the output out."""
    options = ort.SessionOptions()
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(**inputs: Any) -> Any:
        return session.run([OWN], {INPUTS[name]: array for name, array in inputs.items()})[0]

    blank = np.ones((ROWS, TOKENS), np.int64)
    run(ids=blank, mask=blank, types=blank - 1)  # its memory is there before the first call
    return run


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def ready(**addresses: str) -> None:
    """Tell whoever started this program where the server listens."""
    print(json.dumps(addresses), flush=True)


def ended() -> None:
    """Come back when whoever started this program closed its standard input, or is gone."""
    sys.stdin.read()
