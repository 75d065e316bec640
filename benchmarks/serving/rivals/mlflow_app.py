"""`mlflow models serve` with the LightGBM flavor, one worker. `python mlflow_app.py FOLDER PORT`"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    import lightgbm
    import mlflow.lightgbm

    target = Path(tempfile.mkdtemp(dir=sys.argv[1])) / "model"
    booster = lightgbm.Booster(model_file=str(Path(sys.argv[1]) / "model.txt"), params={"num_threads": 1})
    mlflow.lightgbm.save_model(booster, str(target), pip_requirements=[])
    program = os.path.join(os.path.dirname(sys.executable), "mlflow")
    words = [program, "models", "serve", "-m", str(target), "--env-manager", "local", "--workers", "1"]
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    os.execve(program, [*words, "--host", "127.0.0.1", "--port", sys.argv[2]], os.environ | {"PATH": path})
