"""The inference process apart from HTTP: commands from control, the plan on disk, keeping control alive."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from mlspine.core import messages
from mlspine.core.errors import Conflict, Invalid, MlspineError
from mlspine.core.ids import now_ms
from mlspine.core.plan import Plan, PlannedEndpoint
from mlspine.serving.plan import PlanFile
from mlspine.serving.recorder import Recorder
from mlspine.serving.service import Serving

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0
LOCK_TIMEOUT_S = 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0  # control alive for this long: the next restart does not wait
_INFERENCE = b"mlspine.web.inference"
DEPUTY_AFTER_S = 10.0  # of several inference processes the first restarts control; the others after so long


class Commands:
    """Answers control over the command socket: prepare, apply, ask, flush, observe, metrics, retire, stop.

    A plan is acknowledged once requests are `opened` to. retire: leave while other processes stay, without losing a
    caller. stop: end at once, with all in flight answered.
    """

    def __init__(
        self,
        serving: Serving,
        recorder: Recorder,
        stop: Callable[[], None],
        retire: Callable[[], None],
        opened: asyncio.Event,
    ) -> None:
        self._opened = opened
        self._serving = serving
        self._recorder = recorder
        self._stop = stop
        self._retire = retire
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def listen(self, path: Path) -> None:
        """Take commands at `path` from now on."""
        self._path = path
        self._server = await asyncio.start_unix_server(self._converse, sock=messages.bind_socket(path))

    def close(self) -> None:
        """Take no more."""
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError, msgspec.DecodeError):
            while True:
                writer.write(messages.encode(await self._answer(await messages.read(reader))))
                await writer.drain()
        writer.close()

    async def _answer(self, command: Any) -> dict[str, Any]:
        try:
            return {"result": msgspec.to_builtins(await self._do(command))}
        except MlspineError as exc:
            return messages.failure(exc)
        except Exception as exc:
            log.exception("a command failed unexpectedly")
            text = f"an unexpected {type(exc).__name__} happened in the serving process: {exc}"
            return messages.failure(MlspineError(text, hint="the full account is in its log"))

    async def _do(self, command: Any) -> object:
        op = command.get("op") if isinstance(command, dict) else None
        match op:
            case "prepare":
                return await self._serving.prepare(_argument(command, "endpoint", PlannedEndpoint))
            case "apply":
                acknowledged = await self._serving.apply(_argument(command, "plan", Plan))
                await self._opened.wait()
                return acknowledged
            case "ask":
                return await self._serving.ask(
                    _argument(command, "release", str), _argument(command, "rows", list[dict[str, Any]])
                )
            case "flush":
                return await self._recorder.flush()
            case "observe":
                return await self._serving.observe()
            case "metrics":
                return self._serving.metrics()
            case "retire":
                asyncio.get_running_loop().call_soon(self._retire)
                return None
            case "stop":
                asyncio.get_running_loop().call_soon(self._stop)
                return None
        raise Invalid(
            f"no command {op!r}", hint="commands are prepare, apply, ask, flush, observe, metrics, retire, stop"
        )


class PlanWatch:
    """Follows `run/plan.json`, so that a change reaches this process even when control's push does not."""

    def __init__(self, file: PlanFile, serving: Serving) -> None:
        self._file = file
        self._serving = serving

    async def follow(self) -> None:
        """Look once a second; a plan that cannot be applied is told and tried again when it changes."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            try:
                plan = self._file.changed()
                if plan is not None:
                    await self._serving.apply(plan)
            except MlspineError as exc:
                log.error("the plan on disk cannot be applied as it is", extra={"why": str(exc)})


class ControlKeeper:
    """Starts the control process again when nobody holds its lock, waiting longer after each failure.

    deputy: whether another inference process does so first; then this one waits DEPUTY_AFTER_S.
    """

    def __init__(
        self,
        run: Path,
        argv: Callable[[], Sequence[str]],
        *,
        start: Callable[[Sequence[str], Path], subprocess.Popen[bytes]] | None = None,
        timer: Callable[[], float] = time.monotonic,
        deputy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._run = run
        self._argv = argv
        self._deputy = deputy
        self._gone_since: float | None = None
        self._start = start or start_detached
        self._timer = timer
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._not_before = 0.0

    async def keep(self) -> None:
        """Look once a second."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            self.look()

    def look(self) -> bool:
        """Start control if it is gone and meant to be there; whether it was started."""
        now = self._timer()
        if self._child is not None:
            self._child.poll()  # so that a dead one does not stay a zombie
        argv = self._argv()
        if not argv or (self._run / "stopping").exists() or self._is_held():
            self._gone_since = None
            if now - self._started_at > STEADY_S:
                self._pause_s = FIRST_PAUSE_S
            return False
        self._gone_since = now if self._gone_since is None else self._gone_since
        if now < self._not_before or (now - self._gone_since < DEPUTY_AFTER_S and self._deputy()):
            return False
        self._not_before = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._started_at = now
        try:
            self._child = self._start(argv, self._run)
        except OSError as exc:
            log.error("control cannot be started", extra={"why": str(exc)})
            return False
        log.warning("control was gone and is started again", extra={"pid": self._child.pid})
        return True

    def _is_held(self) -> bool:
        """Whether some process holds control's lock.

        The lock is tried only when no living process claims to be control: trying it takes it for an instant,
        and a control process just starting would take that for a rival.
        """
        if self._claims_to_live():
            return True
        try:
            with (self._run / "control.lock").open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _claims_to_live(self) -> bool:
        if self._child is not None and self._child.returncode is None:
            return True
        return _lives(self._run / "control.json", b"mlspine.web.control")


def start_detached(argv: Sequence[str], run: Path) -> subprocess.Popen[bytes]:
    """Start a process of its own session with its output in `run/control.log`."""
    with (run / "control.log").open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=run.parent,
        )


def take_lock(run: Path, process: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> IO[bytes]:
    """The lock that keeps a second process of this name away; raises Conflict when one holds on to it.

    Waits a while, since the process replaced may still be answering its last requests.
    """
    file = (run / f"{process}.lock").open("ab")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                file.close()
                raise Conflict(
                    f"another {process} of this workspace is running", hint="stop it with: mlspine down"
                ) from exc
        time.sleep(0.05)


def write_pid_file(run: Path, process: str) -> Path:
    """`run/PROCESS.json` with pid and start time, readable by this user alone."""
    path = run / f"{process}.json"
    draft = path.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode({"pid": os.getpid(), "started_at_ms": now_ms()}))
    draft.replace(path)
    return path


def others(run: Path, process: str) -> list[str]:
    """The names of the other inference processes of this workspace that live, in the order of their indices."""
    files = [file for file in run.glob("inference-*.json") if index_of(file.stem) >= 0 and file.stem != process]
    return [file.stem for file in sorted(files, key=lambda file: index_of(file.stem)) if _lives(file, _INFERENCE)]


def is_deputy(run: Path, process: str) -> bool:
    """Whether a process with a lower index lives: what one of them does for all is its task first."""
    return any(index_of(other) < index_of(process) for other in others(run, process))


def index_of(process: str) -> int:
    """The index in a process's name, -1 for what is no such name.

    >>> index_of("inference-3"), index_of("control")
    (3, -1)
    """
    index = process.rpartition("-")[2]
    return int(index) if index.isdecimal() else -1


def _lives(file: Path, word: bytes) -> bool:
    """Whether the process that wrote this pid file lives, told by a word of its command line."""
    try:
        pid = int(msgspec.json.decode(file.read_bytes(), type=dict[str, Any])["pid"])
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        return not command.parent.exists() or word in command.read_bytes()
    except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError):
        return False


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """End background tasks and wait for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def in_background(*duties: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    """Start endless duties; one that ends by an error is logged, for nobody waits for it."""
    return [asyncio.get_running_loop().create_task(_logged(duty)) for duty in duties]


async def _logged(duty: Coroutine[Any, Any, None]) -> None:
    try:
        await duty
    except Exception:
        log.exception("a background duty ended")
        raise


def _argument(command: dict[str, Any], name: str, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(command.get(name), type=kind)
    except msgspec.ValidationError as exc:
        raise Invalid(f"{command['op']}: {name} cannot be read: {exc}") from exc
