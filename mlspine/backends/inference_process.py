"""One inference process of this machine from outside: started, asked, watched, sent away.

It outlives the control process, so it is found again by its pid file and its command socket rather than by being
a child.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Unavailable
from mlspine.core.messages import NoAnswer, call, socket_path
from mlspine.core.plan import ProcessState

log = logging.getLogger(__name__)

NATIVE_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS, signal.SIGFPE})
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 5.0
PROBE_EVERY_S = 2.0
PROBES_BEFORE_RESTART = 3
STOP_TIMEOUT_S = 15.0
RETIRE_TIMEOUT_S = 30.0
STEADY_S = 3.0  # dead before it has answered for so long: the next such death waits longer for its restart
FREE_RESTARTS, LONGEST_PAUSE_S = 2, 30.0
MODULE = b"mlspine.web.inference"
PREFIX = "inference-"


class Death(msgspec.Struct, frozen=True):
    """An inference process that ended unasked: how, and inside which release's model call if in one."""

    process: str
    exit_code: int | None  # None when it was not our child, so nobody was told
    native: bool
    in_call_of: str


class InferenceProcess:
    """The inference process of one index, whether it lives or not."""

    def __init__(self, workspace: Path, index: int, timer: Callable[[], float] = time.monotonic) -> None:
        self.index = index
        self.name = f"{PREFIX}{index}"
        self._workspace = workspace
        self._run = workspace / "run"
        self._timer = timer
        self._child: subprocess.Popen[bytes] | None = None
        self._silent = 0
        self._started_at = 0.0
        self._next_probe_at = 0.0
        self._answered_at: float | None = 0.0  # since its start; None: not yet
        self._short_lives = 0
        self._not_before = 0.0
        self._leaving_until: float | None = None

    # ------------------------------------------------------------ speaking with it

    def pid(self) -> int | None:
        """The pid of the living process, ours or one that outlived an earlier control process."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        pid = told_pid(self._run, self.name)
        return pid if pid is not None and is_process(pid, MODULE) else None

    def call(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        """One command; raises what the process answers with, NoAnswer when it does not."""
        return call(socket_path(self._run, self.name), op, timeout_s=timeout_s, **arguments)

    def observe(self) -> ProcessState | None:
        """What it says of itself, None when it does not answer."""
        try:
            state = msgspec.convert(self.call("observe", PROBE_TIMEOUT_S), type=ProcessState)
        except NoAnswer:
            return None
        if self._answered_at is None:
            self._answered_at = self._timer()
        memory = {release: rss_bytes(pid) for release, pid in state.workers.items()}
        return msgspec.structs.replace(state, worker_rss_bytes=memory)

    def await_answer(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it answers commands; raises Unavailable when it ends or stays silent instead."""
        deadline = time.monotonic() + timeout_s
        while self.observe() is None:
            if self.pid() is None:
                raise Unavailable(f"{self.name} ended while starting", hint=f"its last words: {self._last_words()}")
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.name} did not answer within {timeout_s:.0f} s", hint=f"its log: {self.log_path}"
                )
            time.sleep(0.02)

    # ------------------------------------------------------------ starting and watching

    def start_when_gone(self, *, at_once: bool = False) -> Death | None:
        """Start it if it does not live and its pause is over, or `at_once`; says how it died when it had lived."""
        if self.pid() is not None:
            return None
        death = self._bury()
        if at_once or self._timer() >= self._not_before:
            self._start()
        return death

    def kill_when_silent(self) -> None:
        """Probe it now and then, and kill it when it has not answered several times."""
        pid = self.pid()
        if pid is None or self._is_starting() or self._timer() < self._next_probe_at:
            return
        self._next_probe_at = self._timer() + PROBE_EVERY_S
        self._silent = 0 if self.observe() is not None else self._silent + 1
        if self._silent >= PROBES_BEFORE_RESTART:
            log.error("inference process does not answer, killing it", extra={"who": self.name, "pid": pid})
            self._kill(pid)

    def _bury(self) -> Death | None:
        """Take note of a death, once. One that was sent away, or ended in order, is no death."""
        lived = self._child is not None or (self._run / f"{self.name}.json").exists()
        if not lived or self._leaving_until is not None:
            self._child, self._leaving_until = None, None
            return None
        exit_code = self._child.poll() if self._child else None
        self._child = None
        (self._run / f"{self.name}.json").unlink(missing_ok=True)
        now = self._timer()
        short = self._answered_at is None or now - self._answered_at < STEADY_S
        self._short_lives = self._short_lives + 1 if short else 0
        beyond = self._short_lives - FREE_RESTARTS
        self._not_before = now + (min(2.0 ** (beyond - 1), LONGEST_PAUSE_S) if beyond > 0 else 0.0)
        native = exit_code is not None and -exit_code in NATIVE_SIGNALS
        return Death(self.name, exit_code, native, in_loop_at_death(self._workspace, self.index) or "")

    def _start(self) -> None:
        if not (self._run / "plan.json").exists():
            raise Unavailable("there is no plan to serve yet", hint="start with: mlspine serve NAME")
        with self.log_path.open("ab") as output:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    MODULE.decode(),
                    "--workspace",
                    str(self._workspace),
                    "--index",
                    str(self.index),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._workspace,
            )
        self._started_at, self._answered_at, self._silent = self._timer(), None, 0
        log.info("inference process started", extra={"who": self.name, "pid": self._child.pid})

    def _is_starting(self) -> bool:
        return self._answered_at is None and self._timer() - self._started_at < START_TIMEOUT_S

    # ------------------------------------------------------------ ending

    def stop(self) -> None:
        """End it: requests in flight are answered, the log is written."""
        pid = self.pid()
        if pid is None:
            return
        try:
            self.call("stop", COMMAND_TIMEOUT_S)
        except NoAnswer:  # it is starting, or hangs
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if not self._gone_within(pid, STOP_TIMEOUT_S):
            self._kill(pid)
        self._child = None
        (self._run / f"{self.name}.json").unlink(missing_ok=True)

    def retire(self) -> None:
        """Send it away while others stay: its port goes to one of them, and it leaves when its callers have. Call it
        again until it is gone: one that stays too long is killed."""
        pid = self.pid()
        if pid is None:
            self._bury()
        elif self._leaving_until is None:
            self._leaving_until = self._timer() + RETIRE_TIMEOUT_S
            log.info("inference process is sent away", extra={"who": self.name, "pid": pid})
            with contextlib.suppress(NoAnswer):
                self.call("retire", COMMAND_TIMEOUT_S)
        elif self._timer() > self._leaving_until:
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._gone_within(pid, 5.0)

    def _gone_within(self, pid: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._child is not None and self._child.pid == pid:
                if self._child.poll() is not None:
                    return True
            elif not is_process(pid, MODULE):
                return True
            time.sleep(0.02)
        return False

    # ------------------------------------------------------------ its files

    @property
    def log_path(self) -> Path:
        return self._run / f"{self.name}.log"

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "nothing"
        return "nothing"


def told_pid(run: Path, process: str) -> int | None:
    """The pid in a process's file, None without one; whether it lives is another question."""
    try:
        said: dict[str, Any] = msgspec.json.decode((run / f"{process}.json").read_bytes())
        return int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError):
        return None


def known_indices(run: Path) -> list[int]:
    """The indices of the inference processes that left a pid file, living or not."""
    words = (path.stem.removeprefix(PREFIX) for path in run.glob(f"{PREFIX}*.json"))
    return sorted(int(word) for word in words if word.isdecimal())


def living(run: Path) -> list[str]:
    """The names of the inference processes of a workspace that live now."""
    names = (f"{PREFIX}{index}" for index in known_indices(run))
    return [name for name in names if (pid := told_pid(run, name)) is not None and is_process(pid, MODULE)]


def is_process(pid: int, word: bytes) -> bool:
    """Whether a living process has this pid and `word` in its command line, so a reused pid is not mistaken."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    proc = Path(f"/proc/{pid}")
    if not proc.exists():
        return True  # no /proc on this system: the signal is all there is
    try:
        if (proc / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        return word in (proc / "cmdline").read_bytes()
    except OSError:
        return False


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def in_loop_at_death(workspace: Path, index: int) -> str | None:
    """The release whose model call the inference process died in, None when it died elsewhere."""
    try:
        mark = (workspace / "run" / f"{PREFIX}{index}.inloop").read_bytes()
    except OSError:
        return None
    return mark.rstrip(b"\0").decode("ascii", errors="replace") or None
