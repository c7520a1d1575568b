"""Nvidia's Triton with pytriton: `python -m benchmarks.peers.serve_pytriton FILE`, in an environment that has them.

Its dynamic batcher takes what waits as the engine becomes free, without a delay: what its guide says to begin with.
"""

from __future__ import annotations

import logging
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.engine import INPUTS, MODEL, OUTPUT, ROWS, TOKENS, WIDTH, ended, free_ports, opened, ready

DELAY = 0
"""Microseconds that a call waits for others."""


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    embed = opened(sys.argv[1])
    http, grpc = free_ports(2)
    here = "127.0.0.1"
    config = TritonConfig(http_address=here, http_port=http, grpc_address=here, grpc_port=grpc, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            MODEL,
            batch(lambda **inputs: {OUTPUT: embed(**inputs)}),
            inputs=[Tensor(name=name, dtype=np.int64, shape=(TOKENS,)) for name in INPUTS],
            outputs=[Tensor(name=OUTPUT, dtype=np.float32, shape=(TOKENS, WIDTH))],
            config=ModelConfig(max_batch_size=ROWS, batcher=DynamicBatcher(max_queue_delay_microseconds=DELAY)),
            strict=False,
        )
        triton.run()
        ready(http=f"http://{here}:{http}", grpc=f"{here}:{grpc}")
        ended()


if __name__ == "__main__":
    main()
