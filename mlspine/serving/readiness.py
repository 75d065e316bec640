"""Whether a release would answer rightly now: a canned prediction, and files nobody touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mlspine.core.errors import MlspineError
from mlspine.serving import runtime
from mlspine.serving.runner import Runner

READY_FOR_S = 1.0  # how long a canned prediction counts
LOOK_TIMEOUT_S = 2.0


class Readiness:
    """Canned predictions and untouched files, looked at at most once a second per release.

    Never keeps its caller for longer than LOOK_TIMEOUT_S: a slow model does not make the process look dead.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._kept: dict[int, tuple[float, str]] = {}
        self._looks: dict[int, asyncio.Task[str]] = {}
        self._files: dict[int, tuple[tuple[tuple[str, int, int], ...], str]] = {}

    async def why_not(self, runner: Runner) -> str:
        """Why the release is not ready, "" when it is."""
        key = id(runner)
        known = self._kept.get(key)
        if known is not None and self._timer() - known[0] < READY_FOR_S:
            return known[1]
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = asyncio.get_running_loop().create_task(self._look(runner))
        await asyncio.wait([look], timeout=LOOK_TIMEOUT_S)
        if look.done():
            return look.result()
        return known[1] if known is not None else "its first recorded prediction is slow to come"

    def forget(self, runner: Runner) -> None:
        """Nothing more will be asked of this runner."""
        self._kept.pop(id(runner), None)
        self._files.pop(id(runner), None)

    async def _look(self, runner: Runner) -> str:
        try:
            why = await asyncio.to_thread(self._damage, runner)
            if not why and not await runner.healthy():
                why = "its first recorded prediction is not reproduced"
            self._kept[id(runner)] = (self._timer(), why)
            return why
        finally:
            self._looks.pop(id(runner), None)

    def _damage(self, runner: Runner) -> str:
        """What is wrong with the release on disk, "" when nothing; files are read only when they changed."""
        planned = runner.loaded.planned
        stamp, why = self._files.get(id(runner), ((), ""))
        try:
            found = runtime.fingerprint(Path(planned.path))
            if found == stamp:
                return why
            try:
                runtime.read(planned)
                why = ""
            except MlspineError as exc:
                why = exc.message
            self._files[id(runner)] = (found, why)
        except OSError as exc:
            why = f"its files cannot be read: {exc}"
        return why
