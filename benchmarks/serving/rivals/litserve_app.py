"""LitServe with its batching. `python litserve_app.py FOLDER PORT RUNTIME-TIMEOUT_S`"""

import sys
from typing import Any

import litserve
import numpy as np
from booster import load, names


class Model(litserve.LitAPI):
    def __init__(self, folder: str, runtime: str, timeout_s: float) -> None:
        super().__init__(max_batch_size=64, batch_timeout=timeout_s)
        self.folder, self.runtime = folder, runtime

    def setup(self, device: str) -> None:
        self.columns, self.score = names(self.folder), load(self.folder, self.runtime)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # its type would be read as a form
        return [request[name] for name in self.columns]

    def batch(self, inputs: list[Any]) -> Any:
        return np.array(inputs)

    def predict(self, matrix: Any) -> Any:
        return self.score(matrix)

    def unbatch(self, output: Any) -> Any:
        return output.tolist()

    def encode_response(self, output: float) -> dict[str, Any]:
        return {"prediction": int(output > 0.5), "score": output}


if __name__ == "__main__":
    runtime, _, timeout = sys.argv[3].partition("-")
    server = litserve.LitServer(Model(sys.argv[1], runtime, float(timeout)), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, log_level="warning", generate_client_file=False
    )
