"""Entry point of the inference process: `python -m mlspine.web.inference --workspace DIR --index 0`.

It needs nothing but `run/plan.json` and the releases the plan names, and outlives control. SIGTERM, SIGINT
and the command "stop" end it after the requests under way are answered and written to the spool.
"""

from __future__ import annotations

import os

# Models are called for a few rows at a time: starting threads for that costs more than it brings. Read by the
# numerical libraries when they are first imported, hence up here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mlspine.core import messages
from mlspine.core.address import local_url
from mlspine.core.config import ServingConfig, load_config
from mlspine.core.errors import Conflict, MlspineError
from mlspine.core.logs import configure
from mlspine.core.structs import learn_structs
from mlspine.predictions.spool import SpoolWriter
from mlspine.serving.exposition import Exposition
from mlspine.serving.plan import InLoopMark, PlanFile
from mlspine.serving.process import (
    Commands,
    ControlKeeper,
    PlanWatch,
    cancelled,
    in_background,
    is_deputy,
    others,
    take_lock,
    write_pid_file,
)
from mlspine.serving.recorder import Recorder
from mlspine.serving.service import Serving
from mlspine.serving.tidying import Tidying
from mlspine.web.asgi_face import AsgiFace
from mlspine.web.grpc import Stoppable, open_grpc
from mlspine.web.http1.limits import Limits
from mlspine.web.inference_api import InferenceApi
from mlspine.web.listening import Port

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 10
# A thread that encodes or loads must not hold up the loop for the default 5 ms.
SWITCH_INTERVAL_S = 0.0005


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code of the error when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m mlspine.web.inference", description=__doc__)
    parser.add_argument("--workspace", required=True, type=Path)
    parser.add_argument("--index", type=int, default=0)
    options = parser.parse_args(argv)
    process = f"inference-{options.index}"
    configure(process=process)
    learn_structs()
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # callers sending garbage are no news
    # Models fitted on named columns remark on a plain matrix; parity was proved, so it is no news.
    warnings.filterwarnings("ignore", message=".*does not have valid feature names.*")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    workspace = options.workspace.resolve()
    try:
        with take_lock(workspace / "run", process):
            run_loop(lambda: serve(workspace, process))
    except MlspineError as exc:
        log.error("the inference process cannot start", extra={"why": str(exc)})
        return exc.exit_code
    return 0


async def serve(workspace: Path, process: str) -> None:
    """Everything between the first and the last request."""
    run = workspace / "run"
    plan_file = PlanFile(run)
    plan = plan_file.read()
    config = serving_config(workspace)
    port = Port(run, process, listen(plan.host, plan.port), lambda: others(run, process))
    stop, retire = asyncio.Event(), asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    tidying = Tidying()
    recorder = Recorder(SpoolWriter(run / "spool", process), drained=tidying.tidy)
    mark = InLoopMark(run, process)
    serving = Serving(
        process=process,
        recorder=recorder,
        mark=mark,
        deadline_s=config.deadline_s,
        max_queue_rows=config.max_queue_rows,
    )
    api = InferenceApi(
        serving,
        base_url=local_url(plan.host, plan.port),
        max_body_bytes=config.max_body_bytes,
        metrics=Exposition(run, process, serving.metrics, lambda: others(run, process)).read,
    )
    commands = Commands(serving, recorder, stop.set, retire.set, port.opened)
    recorder.start()
    await commands.listen(messages.socket_path(run, process))
    pid_file = write_pid_file(run, process)
    keeper = ControlKeeper(run, lambda: plan.control_argv, deputy=lambda: is_deputy(run, process))
    duties = in_background(PlanWatch(plan_file, serving).follow(), keeper.keep())
    grpc: Stoppable | None = None
    try:
        # A change that was pushed before this process could hear of it is on disk by now.
        with contextlib.suppress(MlspineError):  # told in the log; the other endpoints answer all the same
            await serving.apply(plan_file.changed() or plan)
        tidying.begin()
        grpc = await open_grpc(serving, plan, max_body_bytes=config.max_body_bytes)
        await answer_until(stop, retire, make_face(api, config), port)
    finally:
        if grpc is not None:
            await grpc.stop()
        await cancelled(duties)
        commands.close()
        await recorder.stop()
        await serving.stop()
        mark.close()
        pid_file.unlink(missing_ok=True)
        log.info("stopped", extra={"dropped_rows": recorder.dropped_rows})


class Face(Protocol):
    """What speaks HTTP with connections that are accepted elsewhere."""

    @property
    def factory(self) -> Callable[[], asyncio.Protocol]: ...

    async def start(self) -> None: ...

    async def depart(self) -> None: ...

    async def stop(self) -> None: ...


def make_face(api: InferenceApi, config: ServingConfig) -> Face:
    """The face that the configuration asks for; where our own has no parser (Windows), uvicorn's."""
    if config.http == "asgi":
        return AsgiFace(api, drain_s=DRAIN_TIMEOUT_S)
    try:
        from mlspine.web.http1.server import Http1Server
    except ImportError:
        return AsgiFace(api, drain_s=DRAIN_TIMEOUT_S)
    limits = Limits(max_body_bytes=config.max_body_bytes, max_connections=config.max_connections)
    return Http1Server(api, limits=limits, drain_s=DRAIN_TIMEOUT_S)


async def answer_until(stop: asyncio.Event, retire: asyncio.Event, face: Face, port: Port) -> None:
    """Answer HTTP until `stop`, then finish the requests under way; after `retire` leave without losing a caller."""
    await face.start()
    await port.open(face.factory)
    waiting = [asyncio.create_task(each.wait()) for each in (stop, retire)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if retire.is_set() and await port.hand_over():
        await face.depart()
    await port.close()
    await face.stop()
    await cancelled(waiting)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that further inference processes may share; raises Conflict when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted connections inherit it: an answer must not wait for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise Conflict(
            f"port {port} on {host} is taken ({exc.strerror})",
            hint="choose another with: mlspine serve NAME --port",
        ) from exc
    listener.setblocking(False)
    return listener


def serving_config(workspace: Path) -> ServingConfig:
    """The serving section, or all defaults when the configuration is broken: answering goes first."""
    try:
        return load_config(workspace).serving
    except MlspineError as exc:
        log.error("the configuration cannot be read, defaults are used", extra={"why": str(exc)})
        return ServingConfig()


def run_loop(start: Callable[[], object]) -> None:
    """Run a coroutine function to its end, on uvloop where there is one."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop
    except ImportError:  # not made for Windows
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(start())  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
