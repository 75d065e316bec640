"""MLServer with its LightGBM runtime, in one process. `python mlserver_app.py FOLDER PORT batched|single`"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    port = int(sys.argv[2])
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
        "logging_settings": None,
    }
    model = {
        "name": "bench",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": str(Path(sys.argv[1]) / "model.txt")},
    }
    if sys.argv[3] == "batched":
        model |= {"max_batch_size": 64, "max_batch_time": 0.005}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    program = os.path.join(os.path.dirname(sys.executable), "mlserver")
    os.execv(program, [program, "start", str(folder)])
