"""Entry point of the control process: `python -m mlspine.web.control --workspace DIR --port P --control-port C`.

One per workspace, by a file lock. It holds the store, the scheduler and the API, and starts the inference process,
which outlives it. SIGTERM ends only this process unless `run/stopping` exists: then everything ends.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import IO

import msgspec
import uvicorn

from mlspine.core.address import local_url
from mlspine.core.errors import Conflict, MlspineError
from mlspine.core.ids import now_ms
from mlspine.core.logs import configure
from mlspine.core.structs import learn_structs
from mlspine.folder import this_actor
from mlspine.machines.pulse import Pulse
from mlspine.running import ControlFile
from mlspine.scheduler import Scheduler
from mlspine.web.app import make_app
from mlspine.web.protocol import http_protocol
from mlspine.workspace import Workspace

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run until told to stop; 0 when another control process already holds the workspace."""
    options = _options(argv)
    run = Path(options.workspace) / "run"
    run.mkdir(parents=True, exist_ok=True)
    configure(process="control")
    learn_structs()
    lock = _take_lock(run)
    if lock is None:
        log.info("another control process holds this workspace")
        return 0
    try:
        return _serve(options, run)
    except MlspineError as exc:
        log.error("the control process cannot start", extra={"why": str(exc)})
        (run / "control.failed").write_bytes(
            msgspec.json.encode({"code": exc.code, "message": exc.message, "hint": exc.hint, "details": exc.details})
        )
        return exc.exit_code
    finally:
        lock.close()


def _serve(options: argparse.Namespace, run: Path) -> int:
    overrides = {"serving.port": str(options.port), "control.port": str(options.control_port)}
    workspace = Workspace.open(options.workspace, overrides=overrides)
    control = ControlFile(
        pid=os.getpid(),
        started_at_ms=now_ms(),
        url=local_url(workspace.config.control.host, options.control_port),
        token=secrets.token_urlsafe(32),
        predictions_url=local_url(workspace.config.serving.host, options.port),
    )
    app = make_app(workspace, token=control.token, owner=this_actor())
    settings = uvicorn.Config(app, http=http_protocol(), log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(settings)
    listener = _listen(workspace.config.control.host, options.control_port)
    machines = workspace.machines
    scheduler = Scheduler(workspace, leads=machines.leads, machine=machines.name if workspace.shared else "")
    pulse = Pulse(machines)
    machines.arrive(answered=bool(workspace.processes.observe()))
    machines.beat()
    pulse.start()
    _recover(workspace)
    # Whoever reads this file may call at once: the socket listens already, and callers wait in its queue.
    _write_private(run / "control.json", msgspec.json.encode(control))
    (run / "control.failed").unlink(missing_ok=True)
    scheduler.start()
    # uvicorn ends on SIGTERM and then sends it once more to whoever handled it before: that must not end us here.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    finally:
        scheduler.stop()
        pulse.stop()
        if (run / "stopping").exists():
            workspace.advisor.meter()
            workspace.processes.remove()
            workspace.predictions.ingest()
        (run / "control.json").unlink(missing_ok=True)
        workspace.close()
    return 0


def _recover(workspace: Workspace) -> None:
    """Bring the serving side back to what the store says, whatever happened while control was away."""
    if workspace.deployment.answers():
        workspace.processes.expect()
        try:
            workspace.deployment.restore()
        except MlspineError as exc:
            if not workspace.shared:
                raise
            # What another machine put live cannot be answered here; the schedule tries again and alerts.
            log.error("the stored plan cannot be applied", extra={"why": str(exc)})


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise Conflict(
            f"port {port} on {host} cannot be used: {exc.strerror}", hint="choose another with --control-port"
        ) from exc


def _take_lock(run: Path) -> IO[bytes] | None:
    file = (run / "control.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _write_private(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mlspine.web.control", description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
