"""A server under test, its processes marked so that all of them are counted, and stopped while another is measured."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.host import MARK, end, marked, tell
from benchmarks.serving.load import ask
from benchmarks.serving.model import Body
from benchmarks.serving.rivals import HERE, Rival, python_of
from tests.serving_harness import free_port


class Server(NamedTuple):
    """Where a server answers, and the mark of its processes."""

    name: str
    port: int
    path: str
    mark: str
    setting: str = ""

    def pids(self) -> list[int]:
        return marked(self.mark)


class Missing(Exception):
    """A server that cannot be measured here, and why."""


@contextlib.contextmanager
def rival(one: Rival, setting: str, folder: Path, bodies: list[Body]) -> Iterator[Server]:
    """A rival that answers its first request; raises Missing when it is not installed or does not start."""
    python = python_of(one.environment)
    if not python.exists():
        raise Missing(f"not installed: python -m benchmarks.serving.rivals install {one.environment}")
    mark, port = secrets.token_hex(8), free_port()
    output = folder / f"{one.script}-{mark}.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))},
        MARK: mark,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        "DO_NOT_TRACK": "1",
    }
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(python), str(HERE / one.script), str(folder), str(port), setting],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    server = Server(one.name, port, one.path, mark, setting)
    try:
        _until_it_answers(server, process, bodies[0], one.start_s, output)
        yield server
    finally:
        end(mark)
        process.wait()
        shutil.rmtree(f"/tmp/ray-{port}", ignore_errors=True)


def _until_it_answers(
    server: Server, process: subprocess.Popen[bytes], body: Body, patience_s: float, output: Path
) -> None:
    deadline, said = time.monotonic() + patience_s, ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Missing(f"it ended with {process.returncode}: {_last_line(output)}")
        try:
            ask(server.port, server.path, body)
        except (OSError, RuntimeError, ValueError) as exc:
            said = str(exc)
            time.sleep(0.1)
        else:
            return
    raise Missing(f"it does not answer within {patience_s:g} s: {said[:200]}; {_last_line(output)}")


def _last_line(output: Path) -> str:
    lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"


@contextlib.contextmanager
def alone(server: Server, others: list[Server]) -> Iterator[list[int]]:
    """The server's processes, while those of all others stand still."""
    tell([pid for each in others if each.mark != server.mark for pid in each.pids()], signal.SIGSTOP)
    pids = server.pids()
    tell(pids, signal.SIGCONT)
    yield pids
