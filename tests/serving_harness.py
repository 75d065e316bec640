"""A real inference process on a free port, for tests: releases built, a plan written, the process started."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import itertools
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import take, to_columns
from mlspine.core.messages import call, socket_path
from mlspine.core.plan import LogSettings, Placement, Plan, PlannedEndpoint, PlannedRelease, RuntimeChoice
from mlspine.core.types import CodeState, Signature
from mlspine.registry import flavors, pickling
from mlspine.registry.release import Parts, build_release, choose_recorded, encode_recorded, predictor
from mlspine.serving.worker import die_with_parent
from tests.desk import free_port

START_TIMEOUT_S = 60.0
_numbers = itertools.count(1)


def make_release(
    folder: Path,
    model: Any,
    X: Any,
    y: Any = None,
    *,
    version: int = 1,
    settings: dict[str, Any] | None = None,
    placement: Placement = "loop",
    environment: dict[str, str] | None = None,
    runtime: RuntimeChoice = "native",
) -> PlannedRelease:
    """A release of a fitted model in `folder/releases`, as a plan names it. Its baseline is a placeholder.

    placement: in the loop, where `auto` would send models of the tests' own to processes of theirs. runtime: native,
    since conversion to ONNX takes seconds.
    """
    columns, schema = to_columns(X)
    flavor = flavors.identify(model, X, None if y is None else np.asarray(y))
    rows = take(columns, choose_recorded(columns))
    outputs = predictor(model, flavor, schema)(rows)
    built = build_release(
        folder / "releases",
        Parts(pickling.dump(model).data, b"", b"no baseline", encode_recorded(rows, outputs, schema)),
        signature=Signature(inputs=schema, task=flavor.task, classes=flavor.classes, target="y"),
        environment=environment or {"python": platform.python_version()},
        data="",
        code=CodeState(),
        settings={"flavor": flavor.name, "method": flavor.method, **(settings or {})},
        thresholds={},
        model_class=type(model).__name__,
    )
    return PlannedRelease(
        release_hash=built.hash, version=version, path=str(built.path), placement=placement, runtime=runtime
    )


def endpoint(
    name: str,
    live: PlannedRelease | None,
    *,
    warm: PlannedRelease | None = None,
    revision: int = 1,
    log: LogSettings | None = None,
) -> PlannedEndpoint:
    """What a plan says of one endpoint."""
    return PlannedEndpoint(name=name, revision=revision, live=live, warm=warm, log=log or LogSettings())


def make_plan(folder: Path, *endpoints: PlannedEndpoint, port: int, control_argv: Sequence[str] = ()) -> Plan:
    """A plan with a number of its own."""
    return Plan(
        number=next(_numbers),
        workspace=str(folder),
        host="127.0.0.1",
        port=port,
        endpoints=endpoints,
        control_argv=tuple(control_argv),
    )


def write_plan(folder: Path, plan: Plan) -> None:
    """Put the plan where the inference process looks."""
    run = folder / "run"
    (run / "spool").mkdir(parents=True, exist_ok=True)
    draft = run / "plan.tmp"
    draft.write_bytes(msgspec.json.encode(plan))
    draft.replace(run / "plan.json")


class Response(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Inference:
    """A running inference process and how to speak with it."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def command(self, op: str, **arguments: Any) -> Any:
        """A command as control sends it."""
        return call(socket_path(self.folder / "run", "inference-0"), op, timeout_s=60, **arguments)

    def prepare(self, planned: PlannedEndpoint) -> Any:
        return self.command("prepare", endpoint=msgspec.to_builtins(planned))

    def apply(self, *endpoints: PlannedEndpoint, control_argv: Sequence[str] = ()) -> Any:
        """Write a new plan and push it."""
        plan = make_plan(self.folder, *endpoints, port=self.port, control_argv=control_argv)
        write_plan(self.folder, plan)
        return self.command("apply", plan=msgspec.to_builtins(plan))

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Response:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def post_gzip(self, path: str, body: Any) -> Response:
        return self.request("POST", path, gzip.compress(json.dumps(body).encode()), {"Content-Encoding": "gzip"})

    def log_text(self) -> str:
        return (self.folder / "run" / "inference-0.log").read_text(errors="replace")

    def kill(self) -> None:
        """End it the hard way."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it the soft way; returns the exit code."""
        if self.process.poll() is None:
            with contextlib.suppress(Exception):
                self.command("stop")
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def start(
    folder: Path, port: int, *, entry: str = "mlspine.web.inference", settings: Mapping[str, str] | None = None
) -> Inference:
    """Start the inference process on the plan in `folder/run` and wait until it listens.

    entry: the module that is run. settings: environment variables of its own.
    """
    with (folder / "run" / "inference-0.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", entry, "--workspace", str(folder), "--index", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (a killed test run leaves nothing behind)
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(settings or {}),
        )
    running = Inference(folder, port, process)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the inference process ended with {process.returncode}:\n{running.log_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return running
        time.sleep(0.02)
    running.kill()
    raise RuntimeError(f"the inference process does not listen:\n{running.log_text()}")


@contextlib.contextmanager
def inference(
    folder: Path,
    *endpoints: PlannedEndpoint,
    control_argv: Sequence[str] = (),
    entry: str = "mlspine.web.inference",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Inference]:
    """A running inference process that answers by these endpoints; stopped at the end."""
    port = free_port()
    write_plan(folder, make_plan(folder, *endpoints, port=port, control_argv=control_argv))
    running = start(folder, port, entry=entry, settings=settings)
    try:
        yield running
    finally:
        running.stop()
