"""A person's desk: an empty folder, a terminal and HTTP, on free ports. Journeys use nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """A person's terminal in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.control_port = free_port(), free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MLSPINE_")},
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "home" / "state"),
            "MLSPINE_SERVING__PORT": str(self.port),
            "MLSPINE_CONTROL__PORT": str(self.control_port),
            "MLSPINE_SERVING__PROCESSES": "1",  # by itself a larger machine gets more
            "MLSPINE_SERVING__RUNTIME": "native",  # conversion takes seconds per release
            "PYTHONWARNINGS": "default",
        }
        (folder / "home").mkdir()

    def mlspine(self, *words: str, check: bool = True, cwd: Path | None = None, **env: str) -> Answer:
        """Type one command; with `check` it must succeed."""
        return self.run([sys.executable, "-m", "mlspine", *words], check=check, cwd=cwd, **env)

    def python(self, code: str, *, check: bool = True) -> Answer:
        """Run a script, as a notebook cell would."""
        return self.run([sys.executable, "-c", code], check=check)

    def run(self, argv: list[str], *, check: bool, cwd: Path | None = None, **env: str) -> Answer:
        done = subprocess.run(
            argv,
            cwd=cwd or self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        if check:
            assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return answer

    def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, str], Any]:
        """POST JSON to the serving port: status, headers, parsed body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=data,
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, dict(response.headers), json.loads(response.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, dict(exc.headers), json.loads(exc.read() or b"null")

    def get(self, path: str, *, port: int | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()


def free_port() -> int:
    """A port nobody listens on, below those the system hands out by itself.

    Ports of outgoing connections come from the system's own range, so one drawn there may be gone a moment later.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


SHIP_CHURN = """
import numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

rng = np.random.default_rng({seed})
n = 3000
X_train = pd.DataFrame({{
    "monthly charge": rng.normal(60, 20, n),
    "tenure": rng.integers(0, 72, n),
    "contract": rng.choice(["month", "year", "two years"], n),
}})
risk = 0.04 * (X_train["monthly charge"] - 60) - 0.05 * X_train["tenure"] + 1.5 * (X_train["contract"] == "month")
y_train = (rng.random(n) < 1 / (1 + np.exp(-risk))).astype(int)
model = make_pipeline(
    make_column_transformer(
        (StandardScaler(), ["monthly charge", "tenure"]), (OneHotEncoder(handle_unknown="ignore"), ["contract"])
    ),
    LogisticRegression(C={C}),
).fit(X_train, y_train)
import mlspine; mlspine.ship(model, X_train, y_train, name="churn")
"""


def ship_churn(desk: Desk, *, seed: int = 0, C: float = 1.0) -> Answer:
    """Fit a small real model and ship it with the one line of the README."""
    return desk.python(SHIP_CHURN.format(seed=seed, C=C))
