"""Triton's server as NVIDIA puts it on PyPI (nvidia-pytriton: HTTP front in C++, the model in Python), with batching.

`python triton_app.py FOLDER PORT RUNTIME-DELAY_US`. Its ONNX Runtime backend is in NVIDIA's images only.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from booster import load, names
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if __name__ == "__main__":
    runtime, _, delay_us = sys.argv[3].partition("-")
    port = int(sys.argv[2])
    columns, score = names(sys.argv[1]), load(sys.argv[1], runtime)

    @batch
    def infer(x: Any) -> dict[str, Any]:
        return {"scores": np.asarray(score(x), dtype=np.float64).reshape(-1, 1)}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        grpc_address="127.0.0.1",
        grpc_port=port + 1,
        metrics_port=port + 2,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="bench",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float64, shape=(len(columns),))],
            outputs=[Tensor(name="scores", dtype=np.float64, shape=(1,))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=int(delay_us))),
        )
        triton.serve()
