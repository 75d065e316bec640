"""mlspine under test: an inference process with everything on, each time in a workspace of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.serving.contenders import Missing, Server
from benchmarks.serving.host import MARK, end, marked, tell
from mlspine.core.config import ServingConfig
from mlspine.core.plan import LogSettings, PlannedEndpoint, Proof
from mlspine.predictions.spool import read_frames, spool_files
from tests.serving_harness import Inference, endpoint, free_port, make_plan, make_release, write_plan

NAME = "bench"
PATH = f"/endpoints/{NAME}/predict"
BINARY_PATH = f"/v2/models/{NAME}/infer"
FACES = ("own", "asgi")
OURS, OURS_ASGI = "mlspine", "mlspine, ASGI face"
NAMES = {"own": OURS, "asgi": OURS_ASGI}


class Ours(NamedTuple):
    """A running inference process: the server as others see it, and what it says of itself."""

    server: Server
    inference: Inference
    proof: Proof
    start_s: float  # from the start of the process to the first answer, loading the model included


def faces() -> tuple[str, ...]:
    """The HTTP faces this version can be told to use; one of them, "asgi", where there is no choice."""
    return FACES if "http" in ServingConfig.__struct_fields__ else ("asgi",)


class Place(NamedTuple):
    """A workspace with one release, and what is planned for it."""

    folder: Path
    planned: PlannedEndpoint


def place(folder: Path, model: Any, rows: Any, *, logged: bool = True) -> Place:
    """A workspace for one model. logged: whether requests are recorded; profiles are made of records."""
    found = folder / secrets.token_hex(4)
    found.mkdir()
    release = make_release(found, model, rows, placement="auto", runtime="auto")
    return Place(found, endpoint(NAME, release, log=LogSettings(enabled=logged)))


@contextlib.contextmanager
def ours(where: Place, first: bytes, *, face: str, batched: bool = True) -> Iterator[Ours]:
    """mlspine serving the model of a workspace; `first` is the body of the request that ends the start.

    face: "own" is our HTTP, "asgi" uvicorn's. batched: else one request per model call, by a limit of one row a call.
    """
    if face not in faces():
        raise Missing(f"this version has no HTTP face {face!r}")
    port, mark = free_port(), secrets.token_hex(8)
    write_plan(where.folder, make_plan(where.folder, where.planned, port=port))
    entry = "mlspine.web.inference" if batched else "benchmarks.serving.unbatched"
    environment = os.environ | {MARK: mark, "PYTHONPATH": os.pathsep.join(sys.path)}
    if "http" in ServingConfig.__struct_fields__:
        environment["MLSPINE_SERVING__HTTP"] = face
    began_s = time.perf_counter()
    with (where.folder / "run" / "inference-0.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", entry, "--workspace", str(where.folder), "--index", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=where.folder,
            env=environment,
        )
    running = Inference(where.folder, port, process)
    try:
        _first_answer(running, first)
        start_s = time.perf_counter() - began_s
        proof = msgspec.convert(running.prepare(where.planned), Proof)
        yield Ours(Server(NAMES[face], port, PATH, mark), running, proof, start_s)
    finally:
        tell(marked(mark), signal.SIGCONT)
        running.stop()
        end(mark)


def _first_answer(running: Inference, body: bytes) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise RuntimeError(f"mlspine ended with {running.process.returncode}:\n{running.log_text()}")
        with contextlib.suppress(OSError):
            answer = running.post(PATH, body, Content_Type="application/json")
            if answer.status == 200:
                return
        time.sleep(0.005)
    raise RuntimeError(f"mlspine does not answer:\n{running.log_text()}")


class Counted(NamedTuple):
    """What must be equal after a run, and how the requests were gathered."""

    answered: int
    logged: int
    rows_per_call: float


def counted(one: Ours, *, patience_s: float = 10.0) -> Counted:
    """Answers by the process's own count, and rows in its spool, once it has answered and written all."""
    deadline = time.monotonic() + patience_s
    while True:
        one.inference.command("flush")
        state = one.inference.command("observe")["endpoints"][NAME]
        frames = [each for file in spool_files(one.inference.folder / "run" / "spool") for each in read_frames(file)]
        logged = sum(batch.rows for frame in frames for batch in frame.batches)
        if logged == state["rows"] or time.monotonic() > deadline:
            return Counted(state["rows"], logged, state["rows"] / max(1, state["model_calls"]))
