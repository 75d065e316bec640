"""A copy of the workspace beside it, on ports of its own, where a drill disturbs nobody."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import random
import secrets
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from mlspine.core.errors import Denied, Unavailable
from mlspine.handover.drill import Ran, Traffic
from mlspine.handover.guard import DONE, copy_prefix, sweep

LINE_TIMEOUT_S = 600.0
CLEAR_TIMEOUT_S = 120.0
REQUEST_EVERY_S = 0.01
PORTS = range(15_000, 30_000)  # below those the system hands out by itself


class Rehearsal:
    """The copy, while the block lasts. Whatever happens, its processes are stopped and it is removed.

    fill: makes the folder a workspace that listens on these two ports and reaches nobody outside.
    """

    def __init__(self, workspace: Path, fill: Callable[[Path, int, int], None]) -> None:
        self._workspace = workspace
        self._fill = fill
        self.folder = workspace.with_name(f"{copy_prefix(workspace)}{secrets.token_hex(4)}")
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Rehearsal:
        sweep(self._workspace)
        try:
            self.folder.mkdir(mode=0o700)
        except OSError as exc:
            raise Denied(
                f"no copy can be made beside the workspace: {self.folder}: {exc.strerror}",
                hint=f"make its folder writable: chmod u+w {self._workspace.parent}",
            ) from exc
        self._guard = self._guarded()
        try:
            self._fill(self.folder, *free_ports())
        except BaseException:
            self._end(orderly=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(orderly=kind is None)

    def type_line(self, command: str) -> Ran:
        """Type one line as a person would, in a terminal that acts on the copy."""
        assert self._guard is not None
        words = shlex.split(command)
        argv = [sys.executable, "-m", *words] if words[0] == "mlspine" else words
        begun = time.monotonic()
        try:
            done = subprocess.run(
                argv,
                env=self._environment(),
                cwd=self._workspace.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=self._guard.pid,
                timeout=LINE_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            return Ran(127, f"{words[0]} is not installed", time.monotonic() - begun)
        except subprocess.TimeoutExpired:
            return Ran(124, f"no end after {LINE_TIMEOUT_S:.0f} s", LINE_TIMEOUT_S)
        return Ran(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - begun)

    def _guarded(self) -> subprocess.Popen[bytes]:
        """Start the guard. It inherits the lock on the folder, which is free again only when it is gone."""
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.Popen(
                [sys.executable, "-m", "mlspine.handover.guard", str(self.folder)],
                env=self._environment(),
                stdin=subprocess.PIPE,
                pass_fds=(lock,),
                process_group=0,
            )
        finally:
            os.close(lock)

    def _end(self, *, orderly: bool) -> None:
        """Let the guard clear up. Not orderly: a line may have been broken off, so it looks on for a while."""
        assert self._guard is not None
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._guard.communicate(DONE if orderly else b"", timeout=CLEAR_TIMEOUT_S)
        if orderly and self.folder.exists():
            raise Unavailable(f"the drill's copy is still there: {self.folder}", hint="the next drill removes it")

    def _environment(self) -> dict[str, str]:
        outer = {name: value for name, value in os.environ.items() if name != "MLSPINE_TOKEN"}
        own = {
            "MLSPINE_WORKSPACE": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "run"),  # it is not one of this person's workspaces
            "COLUMNS": "200",
        }
        return outer | own


class Callers:
    """Somebody who asks all the time while the block lasts. example: one row; None asks nothing."""

    def __init__(self, url: str, example: dict[str, Any] | None) -> None:
        self._url = url
        self._body = json.dumps({"rows": [example]}).encode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._asks = example is not None
        self._requests = self._failed = 0
        self._releases: list[str] = []

    def __enter__(self) -> Callers:
        if self._asks:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._asks:
            self._thread.join()

    @property
    def traffic(self) -> Traffic:
        """What came of it; complete once the block has ended."""
        return Traffic(
            requests=self._requests,
            failed=self._failed,
            releases=tuple(release for release, _ in itertools.groupby(self._releases)),
        )

    def _ask(self) -> None:
        answered_once = False
        while not self._ended.wait(REQUEST_EVERY_S):
            request = urllib.request.Request(self._url, self._body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    self._releases.append(response.headers.get("mlspine-release", ""))
                    response.read()
                answered_once = True
            except OSError as exc:
                if isinstance(exc, urllib.error.HTTPError):
                    exc.close()
                if not answered_once:
                    continue  # nothing is up yet: the runbook's first lines start it
                self._failed += 1
            self._requests += 1


def free_ports() -> tuple[int, int]:
    """Two ports on which nobody listens."""
    found: set[int] = set()
    draw = random.SystemRandom()
    while len(found) < 2:
        port = draw.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    one, other = found
    return one, other
