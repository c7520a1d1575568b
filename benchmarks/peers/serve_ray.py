"""Ray Serve: `python -m benchmarks.peers.serve_ray FILE`, in an environment that has it.

One replica with `serve.batch`; a body is the three tensors' bytes, an answer the output's: the protocol is its user's.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.engine import INPUTS, MODEL, ROWS, TOKENS, ended, free_ports, opened, ready

DELAY = 0.01
"""Seconds that a batch waits for more rows."""


class Embedder:
    """A model that is run by our common engine."""

    def __init__(self, path: str) -> None:
        self._embed = opened(path)

    @serve.batch(max_batch_size=ROWS, batch_wait_timeout_s=DELAY)
    async def embed(self, bodies: list[bytes]) -> list[bytes]:
        rows = np.frombuffer(b"".join(bodies), np.int64).reshape(len(bodies), len(INPUTS), TOKENS)
        outputs = self._embed(**{name: rows[:, number] for number, name in enumerate(INPUTS)})
        return [row.tobytes() for row in outputs]

    async def __call__(self, request: Request) -> Response:
        return Response(await self.embed(await request.body()), media_type="application/octet-stream")


def main() -> None:
    (http,) = free_ports(1)
    here = "127.0.0.1"
    ray.init(
        "local", include_dashboard=False, logging_level=logging.ERROR, _node_ip_address=here, object_store_memory=100 << 20
    )
    serve.start(http_options={"host": here, "port": http})
    quiet = {"enable_access_log": False}
    deployed: Any = serve.deployment(max_ongoing_requests=4 * ROWS, logging_config=quiet)(Embedder)
    serve.run(deployed.bind(sys.argv[1]), name=MODEL, route_prefix=f"/{MODEL}")
    ready(http=f"http://{here}:{http}/{MODEL}")
    ended()


if __name__ == "__main__":
    main()
