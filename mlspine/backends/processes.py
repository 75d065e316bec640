"""Deployer that serves from child processes on this machine.

The inference process outlives the control process, so it is found again by its pid file and its command socket
rather than by being a child. Everything it needs is on disk: the plan under `run/plan.json`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Unavailable
from mlspine.core.messages import call, socket_path
from mlspine.core.plan import Acknowledgement, Plan, PlannedEndpoint, ProcessState, Proof

log = logging.getLogger(__name__)

NATIVE_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS, signal.SIGFPE})
START_TIMEOUT_S = 60.0
PREPARE_TIMEOUT_S = 300.0
COMMAND_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 5.0
PROBE_EVERY_S = 2.0
PROBES_BEFORE_RESTART = 3


class Death(msgspec.Struct, frozen=True):
    """An inference process that ended unasked: how, and inside which release's model call if in one."""

    process: str
    exit_code: int | None  # None when it was not our child, so nobody was told
    native: bool
    in_call_of: str


class LocalProcesses:
    """One inference process on this machine (index 0), started when a plan has endpoints."""

    def __init__(self, workspace: Path, base_plan: Plan) -> None:
        self._workspace = workspace
        self._base_plan = base_plan
        self._run = workspace / "run"
        self._run.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()  # the scheduler and the control API both come here
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths: list[Death] = []
        self._silent = 0
        self._started_at = 0.0
        self._next_probe_at = 0.0
        self._answered = True
        self._expected = False

    # ------------------------------------------------------------ the port

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        if not self._same_address(self._base_plan):
            self._store_plan(self._base_plan)
        self._ensure_running()
        return msgspec.convert(
            self._call("prepare", PREPARE_TIMEOUT_S, endpoint=msgspec.to_builtins(endpoint)), type=Proof
        )

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        self._store_plan(plan)
        self._ensure_running()
        reply = self._call("apply", PREPARE_TIMEOUT_S, plan=msgspec.to_builtins(plan))
        return (msgspec.convert(reply, type=Acknowledgement),)

    def applied(self) -> Plan | None:
        try:
            return msgspec.json.decode((self._run / "plan.json").read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError):
            return None

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = self._call("ask", COMMAND_TIMEOUT_S, release=release_hash, rows=rows)
        return answers

    def observe(self) -> tuple[ProcessState, ...]:
        try:
            state = msgspec.convert(self._call("observe", PROBE_TIMEOUT_S), type=ProcessState)
        except Unavailable:
            return ()
        self._answered = True
        return (state,)

    def flush(self) -> None:
        with contextlib.suppress(Unavailable):
            self._call("flush", COMMAND_TIMEOUT_S)

    def remove(self) -> None:
        with self._lock:
            self._expected = False
            pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(Unavailable):
            self._call("stop", COMMAND_TIMEOUT_S)
        if not self._gone_within(pid, 15.0):
            os.kill(pid, signal.SIGKILL)
            self._gone_within(pid, 5.0)
        (self._run / "inference-0.json").unlink(missing_ok=True)

    # ------------------------------------------------------------ supervision

    def expect(self) -> None:
        """From now on a missing inference process is a death to be mended."""
        self._expected = True

    def supervise(self) -> list[Death]:
        """Look once; restart the inference process when it died or stopped answering, and say how it died."""
        with self._lock:
            if self._expected and (self._run / "plan.json").exists():
                self._kill_when_silent()
                self._start_when_gone()
            deaths, self._deaths = self._deaths, []
            return deaths

    def _kill_when_silent(self) -> None:
        pid = self._pid()
        if pid is None or self._starting() or time.monotonic() < self._next_probe_at:
            return
        self._next_probe_at = time.monotonic() + PROBE_EVERY_S
        self._silent = 0 if self.observe() else self._silent + 1
        if self._silent >= PROBES_BEFORE_RESTART:
            log.error("inference process does not answer, killing it", extra={"pid": pid})
            os.kill(pid, signal.SIGKILL)
            self._gone_within(pid, 5.0)

    def _start_when_gone(self) -> None:
        if self._pid() is not None:
            return
        if self._child is not None or (self._run / "inference-0.json").exists():
            exit_code = self._child.poll() if self._child else None
            native = exit_code is not None and -exit_code in NATIVE_SIGNALS
            self._deaths.append(Death("inference-0", exit_code, native, in_loop_at_death(self._workspace, 0) or ""))
        self._start()

    def _starting(self) -> bool:
        return time.monotonic() - self._started_at < START_TIMEOUT_S and not self._answered

    # ------------------------------------------------------------ inside

    def _same_address(self, plan: Plan) -> bool:
        """Whether the plan on disk listens where `plan` wants to."""
        stored = self.applied()
        return stored is not None and (stored.host, stored.port) == (plan.host, plan.port)

    def _store_plan(self, plan: Plan) -> None:
        if not self._same_address(plan):
            self.remove()  # a listening socket cannot move: the next process binds the new address
        target = self._run / "plan.json"
        draft = target.with_suffix(".tmp")
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(plan)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)

    def _ensure_running(self) -> None:
        with self._lock:
            self._expected = True
            self._start_when_gone()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.observe():
            if self._child is not None and self._child.poll() is not None:
                raise Unavailable(
                    f"the inference process ended with exit code {self._child.returncode} while starting",
                    hint=f"its last words: {self._last_words()}",
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the inference process did not answer within {START_TIMEOUT_S:.0f} s",
                    hint=f"its log: {self._log_path()}",
                )
            time.sleep(0.02)

    def _start(self) -> None:
        if not (self._run / "plan.json").exists():
            raise Unavailable("there is no plan to serve yet", hint="start with: mlspine serve NAME")
        with self._log_path().open("ab") as output:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "mlspine.web.inference",
                    "--workspace",
                    str(self._workspace),
                    "--index",
                    "0",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._workspace,
            )
        self._started_at, self._answered, self._silent = time.monotonic(), False, 0
        log.info("inference process started", extra={"pid": self._child.pid})

    def _pid(self) -> int | None:
        """The pid of a living inference process, ours or one that outlived an earlier control process."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        try:
            said: dict[str, Any] = msgspec.json.decode((self._run / "inference-0.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return int(said["pid"]) if is_process(int(said["pid"]), b"mlspine.web.inference") else None

    def _call(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        return call(socket_path(self._run, "inference-0"), op, timeout_s=timeout_s, **arguments)

    def _gone_within(self, pid: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._child is not None and self._child.pid == pid:
                if self._child.poll() is not None:
                    return True
            elif not is_process(pid, b"mlspine.web.inference"):
                return True
            time.sleep(0.02)
        return False

    def _log_path(self) -> Path:
        return self._run / "inference-0.log"

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log_path().read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "nothing"
        return "nothing"


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


def in_loop_at_death(workspace: Path, index: int) -> str | None:
    """The release whose model call the inference process died in, None when it died elsewhere."""
    try:
        mark = (workspace / "run" / f"inference-{index}.inloop").read_bytes()
    except OSError:
        return None
    return mark.rstrip(b"\0").decode("ascii", errors="replace") or None
