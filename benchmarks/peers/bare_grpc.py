"""As `benchmarks.endpoint.bare`, for servers that take raw tensors over gRPC alone: closed loops on
GRPCInferenceService/ModelInfer. A request is bytes that were written before, and an answer is not read.
"""

from __future__ import annotations

import asyncio
import sys
import time

import grpc
import msgspec

from benchmarks.endpoint.bare import Loaded, Order

METHOD = "/inference.GRPCInferenceService/ModelInfer"


async def closed(order: Order) -> Loaded:
    """Each client calls again when it has its answer."""
    took: list[float] = []
    statuses: list[int] = []
    ends: list[float] = []

    async with grpc.aio.insecure_channel(order.url) as channel:
        infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        start = time.perf_counter()

        async def client() -> None:
            while (now := time.perf_counter()) < start + order.seconds:
                try:
                    await infer(order.asked.body)
                    statuses.append(200)
                except grpc.aio.AioRpcError:
                    statuses.append(500)
                ends.append(time.perf_counter() - start)
                took.append(ends[-1] - (now - start))

        await asyncio.gather(*(client() for _ in range(order.clients)))
        return Loaded(tuple(took), tuple(statuses), time.perf_counter() - start, tuple(ends))


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(closed(order))))


if __name__ == "__main__":
    main()
