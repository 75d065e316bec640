"""Run by an interpreter that has the kserve client: asks the server at the URL and address given, prints what came."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np


async def rest(url: str, rows: list[list[float]]) -> dict[str, Any]:
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    said: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "flowers"),
    }
    for binary in (False, True):
        tensor = InferInput("X", list(np.shape(rows)), "FP64")
        tensor.set_data_from_numpy(np.array(rows), binary_data=binary)
        request = InferRequest("flowers", [tensor], request_id="seven")
        if binary:  # asks for bytes back as well
            request.parameters = {"binary_data_output": True}
        answer = await client.infer(url, request, model_name="flowers")
        outputs = {each.name: each.as_numpy().tolist() for each in answer.outputs}
        said["bytes" if binary else "json"] = outputs["predict"]
        said["shares"] = outputs["predict_proba"]
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    said["v1"] = (await first.infer(url, {"instances": rows}, model_name="flowers"))["predictions"]
    return said


async def grpc(address: str, rows: list[list[float]]) -> dict[str, Any]:
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async with InferenceGRPCClient(address) as client:
        said: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("flowers"),
        }
        for binary in (False, True):
            tensor = InferInput("X", list(np.shape(rows)), "FP64")
            tensor.set_data_from_numpy(np.array(rows), binary_data=binary)
            answer = await client.infer(InferRequest("flowers", [tensor], request_id="seven"))
            outputs = {each.name: each.as_numpy().tolist() for each in answer.outputs}
            said["bytes" if binary else "typed"] = outputs["predict"]
    return said


async def main(url: str, address: str, rows: list[list[float]]) -> dict[str, Any]:
    return {"rest": await rest(url, rows), "grpc": await grpc(address, rows)}


if __name__ == "__main__":
    print("SAID " + json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
