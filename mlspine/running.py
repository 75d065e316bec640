"""The processes of a workspace from outside: which of them live, how to start them and how to stop them."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import msgspec

from mlspine.backends.inference_process import is_process, living
from mlspine.backends.processes import LocalProcesses
from mlspine.core.config import Config, load_config
from mlspine.core.errors import FAMILY, Conflict, Invalid, MlspineError, Unavailable
from mlspine.core.machine import shares_ports
from mlspine.folder import base_plan, control_argv, running_options

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 40.0


class ControlFile(msgspec.Struct, frozen=True, kw_only=True):
    """`run/control.json`: how to reach the running control process. Mode 0600, since it holds the token."""

    pid: int
    started_at_ms: int
    url: str
    token: str
    predictions_url: str


def running_control(directory: Path) -> ControlFile | None:
    """What a living control process of this workspace says of itself, None when there is none."""
    try:
        control = msgspec.json.decode((directory / "run" / "control.json").read_bytes(), type=ControlFile)
    except (OSError, msgspec.DecodeError):
        return None
    if not is_process(control.pid, b"mlspine") or not lock_is_held(directory):
        return None
    return control


def lock_is_held(directory: Path) -> bool:
    """Whether some process holds the control lock of this workspace."""
    try:
        with (directory / "run" / "control.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def start_control(directory: Path, config: Config) -> ControlFile:
    """Start the control process in the background and wait until it answers; the running one if there is one.

    Raises Conflict when a port is taken, naming its owner, and whatever the process itself failed with.
    """
    running = running_control(directory)
    if running is not None:
        return running
    run = directory / "run"
    (run / "stopping").unlink(missing_ok=True)
    (run / "control.failed").unlink(missing_ok=True)
    check_processes(config)
    check_port_free(config.control.host, config.control.port, "--control-port", directory)
    if not _inference_runs(directory):
        check_port_free(config.serving.host, config.serving.port, "--port", directory)
        if config.serving.grpc_port is not None:
            check_port_free(config.serving.host, config.serving.grpc_port, "--grpc-port", directory)
    with (run / "control.log").open("ab") as output:
        child = subprocess.Popen(
            control_argv(directory, config.serving.port, config.control.port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=directory,
        )
    return _wait_until_ready(directory, child)


def stop_everything(directory: Path) -> list[str]:
    """End control and inference of a workspace; what was answered is in the log. Returns what was stopped."""
    run = directory / "run"
    run.mkdir(parents=True, exist_ok=True)
    control = running_control(directory)
    stopped = []
    (run / "stopping").touch()
    if control is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(control.pid, signal.SIGTERM)
        _wait_until_gone(control.pid)
        stopped.append("control")
    if _inference_runs(directory):
        # Control was dead already, or was killed before it could take inference along.
        LocalProcesses(
            directory, base_plan(directory, load_config(directory, overrides=running_options(directory)))
        ).remove()
        stopped.append("inference")
    elif stopped:
        stopped.append("inference")
    return stopped


def anything_runs(directory: Path) -> bool:
    """Whether control or inference of this workspace lives: either starts the other again."""
    return running_control(directory) is not None or _inference_runs(directory)


def check_processes(config: Config) -> None:
    """Raises Invalid where more than one process is asked for and one port cannot be shared."""
    if config.serving.processes not in ("auto", 1) and not shares_ports():
        raise Invalid(
            f"serving.processes is {config.serving.processes}, and this system gives all connections of a port to one"
            " process",
            hint='leave serving.processes at "auto" here; on Linux several processes share the port',
        )


def check_port_free(host: str, port: int, flag: str, directory: Path) -> None:
    """Raises Conflict naming the owner when somebody already listens there.

    Tried without SO_REUSEPORT: with it, two workspaces of one user would silently share a port.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            owner = port_owner(port)
            raise Conflict(
                f"port {port} on {host} is taken{f' by {owner}' if owner else ''} ({exc.strerror})",
                hint=f"choose another with {flag} {port + 10}, or stop its owner",
            ) from exc


def port_owner(port: int) -> str:
    """ "name (pid N)" of the process listening on a local TCP port, "" when the system does not tell."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                name = " ".join(word.decode(errors="replace") for word in words[:3] if word)
                return f"{name} (pid {process.name})"
    return ""


def _wait_until_ready(directory: Path, child: subprocess.Popen[bytes]) -> ControlFile:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        control = running_control(directory)
        if control is not None and _answers(control):
            return control
        if child.poll() is not None and running_control(directory) is None:
            raise _start_failure(directory, child.returncode)
        time.sleep(0.02)
    raise Unavailable(
        f"the control process did not answer within {START_TIMEOUT_S:.0f} s",
        hint=f"its log: {directory / 'run' / 'control.log'}",
    )


def _start_failure(directory: Path, exit_code: int) -> MlspineError:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        told = msgspec.json.decode((directory / "run" / "control.failed").read_bytes())
        kind = FAMILY.get(told["code"], Unavailable)
        return kind(told["message"], hint=told["hint"], details=told["details"])
    return Unavailable(
        f"the control process ended with exit code {exit_code} while starting",
        hint=f"its log: {directory / 'run' / 'control.log'}",
    )


def _answers(control: ControlFile) -> bool:
    parts = urllib.parse.urlsplit(control.url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=5.0)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_process(pid, b"mlspine"):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _inference_runs(directory: Path) -> bool:
    return bool(living(directory / "run"))
