"""Every question of KServe's Python client, over gRPC and HTTP, with answers that must be right. A script for the client's
own environment: python kserve_calls.py HOST:PORT URL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

X = np.random.default_rng(0).random((200, 2), np.float32)
GONE = (grpc.RpcError, httpx.HTTPStatusError)


def request(model: str, *, binary: bool = True) -> InferRequest:
    """x for a model, raw or typed."""
    tensor = InferInput("x", list(X.shape), "FP32")
    tensor.set_data_from_numpy(X, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="seven")


async def refused(call: Awaitable[object], words: str) -> None:
    """It must be, with these words."""
    told = ""
    try:
        await call
    except GONE as error:
        told = str(error)
    assert words in told, told


async def over_grpc(address: str) -> None:
    """All that InferenceGRPCClient has."""
    async with InferenceGRPCClient(address, timeout=30) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready(headers=[("budget-ms", "30000")])
        assert await client.is_model_ready("double")
        assert not await client.is_model_ready("nothing")
        for binary in (True, False):
            answer = await client.infer(request("double", binary=binary), timeout=30)
            assert (answer.id, answer.model_name, answer.model_version) == ("seven", "double", "1.0")
            assert np.array_equal(answer.outputs[0].as_numpy(), 2 * X)
        await refused(client.infer(request("nothing")), "not installed")
        await refused(client.infer(request("double"), headers=[("budget-ms", "0")]), "budget")


async def over_http(url: str) -> None:
    """All that InferenceRESTClient has, but for what is no part of the two protocols."""
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, "double")
        assert not await client.is_model_ready(url, "nothing")
        for binary in (True, False):
            answer = await client.infer(url, request("double", binary=binary), model_name="double")
            assert (answer.id, answer.model_name) == ("seven", "double")
            assert np.array_equal(answer.outputs[0].as_numpy(), 2 * X)
        await refused(client.infer(url, request("nothing"), model_name="nothing"), "not installed")
    async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=30)) as client:
        answer = await client.infer(url, {"instances": X.tolist()}, model_name="double")
        assert np.array_equal(np.array(answer["predictions"], np.float32), 2 * X)


if __name__ == "__main__":
    asyncio.run(over_grpc(sys.argv[1]))
    asyncio.run(over_http(sys.argv[2]))
    print("all answered")
