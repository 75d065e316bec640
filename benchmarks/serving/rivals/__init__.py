"""The servers we are compared with: what each needs, how it is started, and at which settings it is tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".venv-rivals"


class Rival(NamedTuple):
    """script: beside this file, called with the models' folder, a port and a setting.

    environment: the folder under .venv-rivals that runs it. settings: tried in short, the best is kept.
    path, form: where it predicts and how a row is spelled. start_s: how long it may take to its first answer.
    """

    name: str
    script: str
    environment: str
    settings: tuple[str, ...]
    path: str = "/predict"
    form: str = "row"
    start_s: float = 60.0
    ceiling: bool = False  # no server to be compared with, but what the machine allows


ECHO, PROTOCOL, ASGI = "echo: asyncio.Protocol, uvloop, httptools", "bare asyncio.Protocol", "bare ASGI on uvicorn"
DEF, ASYNC = "FastAPI, def", "FastAPI, async def"
BATCHED = ("lightgbm-0.001", "onnx-0.005")
RIVALS = (
    Rival(ECHO, "echo_app.py", "fastapi", ("-",), ceiling=True),
    Rival(PROTOCOL, "bare_protocol_app.py", "fastapi", ("lightgbm", "onnx"), ceiling=True),
    Rival(ASGI, "bare_asgi_app.py", "fastapi", ("lightgbm", "onnx"), ceiling=True),
    Rival(ASYNC, "fastapi_app.py", "fastapi", ("async-lightgbm", "async-onnx")),
    Rival(DEF, "fastapi_app.py", "fastapi", ("def-lightgbm", "def-onnx")),
    Rival("MLServer", "mlserver_app.py", "mlserver", ("batched", "single"), "/v2/models/bench/infer", "v2"),
    Rival("Triton (PyTriton)", "triton_app.py", "triton", ("onnx-100", "onnx-1000"), "/v2/models/bench/infer", "v2"),
    Rival("LitServe", "litserve_app.py", "litserve", BATCHED),
    Rival("BentoML", "bentoml_app.py", "bentoml", ("onnx-100", "onnx-1000"), form="list"),
    Rival("mlflow models serve", "mlflow_app.py", "mlflow", ("-",), "/invocations", "dataframe"),
    Rival("Ray Serve", "ray_app.py", "ray", ("onnx-0.001", "onnx-0.01"), start_s=90.0),
)

PACKAGES = {
    "fastapi": "fastapi uvicorn uvloop httptools pydantic lightgbm scikit-learn onnxruntime onnxmltools skl2onnx numpy"
    " msgspec",
    "litserve": "litserve lightgbm scikit-learn onnxruntime",
    "bentoml": "bentoml lightgbm scikit-learn onnxruntime",
    "mlserver": "mlserver mlserver-lightgbm onnxruntime",
    "mlflow": "mlflow lightgbm pandas",
    "ray": "ray[serve] lightgbm onnxruntime",
    "triton": "nvidia-pytriton lightgbm onnxruntime",
}
# Triton's Python backend carries an early CPython 3.11 that cannot run the standard library of later ones.
INTERPRETERS = {"triton": "/usr/bin/python3"}
TOLD = ("fastapi", "pydantic", "uvicorn", "litserve", "bentoml", "mlserver", "mlflow", "ray", "nvidia-pytriton")
TOLD += ("lightgbm", "onnxruntime", "uvloop", "httptools", "msgspec", "numpy")


def python_of(environment: str) -> Path:
    """The interpreter of a rival's environment, whether it exists or not."""
    return ENVIRONMENTS / environment / "bin" / "python"


def install(environment: str) -> None:
    """Make a rival's environment; raises CalledProcessError with pip's words when it cannot be had."""
    folder = ENVIRONMENTS / environment
    subprocess.run([INTERPRETERS.get(environment, sys.executable), "-m", "venv", str(folder)], check=True)
    pip = [str(python_of(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *PACKAGES[environment].split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{environment} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


TELL = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
"""


def versions(environment: str) -> dict[str, str]:
    """What is installed there, of the packages worth telling."""
    words = [str(python_of(environment)), "-c", TELL, *TOLD]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())
