"""SeldonIO's MLServer: `python -m benchmarks.peers.serve_mlserver FILE`, in an environment that has it.

One worker process, as it comes, and adaptive batching, which has to be turned on.
"""

from __future__ import annotations

import asyncio
import sys
import time
from urllib.request import urlopen

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.engine import MODEL, OUTPUT, ROWS, ended, free_ports, opened, ready

DELAY = 0.01
"""Seconds that a batch is open at most."""


class Embedder(MLModel):
    """A model that is run by our common engine."""

    async def load(self) -> bool:
        assert self.settings.parameters is not None  # noqa: S101
        self._embed = opened(str(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = self._embed(**{tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs})
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[NumpyCodec.encode_output(OUTPUT, outputs)])


def _wait_for(url: str) -> None:
    while True:
        try:
            with urlopen(url, timeout=1.0):  # noqa: S310
                return
        except OSError:
            time.sleep(0.1)


async def serve(path: str) -> None:
    http, grpc = free_ports(2)
    here = "127.0.0.1"
    settings = Settings(
        host=here,
        http_port=http,
        grpc_port=grpc,
        metrics_endpoint=None,
        parallel_workers=1,
        debug=False,
        use_structured_logging=False,
    )
    model = ModelSettings(
        name=MODEL,
        implementation=Embedder,
        parameters=ModelParameters(uri=path),
        max_batch_size=ROWS,
        max_batch_time=DELAY,
    )
    server = MLServer(settings)
    running = asyncio.create_task(server.start([model]))
    await asyncio.to_thread(_wait_for, f"http://{here}:{http}/v2/models/{MODEL}/ready")
    ready(http=f"http://{here}:{http}", grpc=f"{here}:{grpc}")
    await asyncio.to_thread(ended)
    await server.stop()
    await running


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
