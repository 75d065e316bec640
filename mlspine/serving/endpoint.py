"""An endpoint as requests meet it: one that answers, or one that says why it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mlspine.core.columns import to_jsonable_rows
from mlspine.core.errors import MlspineError, Unavailable
from mlspine.core.plan import PlannedEndpoint, PlannedRelease
from mlspine.core.types import Signature
from mlspine.serving.batcher import Answer, Batcher, Request
from mlspine.serving.meter import Meter
from mlspine.serving.rows import RowCodec
from mlspine.serving.runner import Runner

CANNOT_ANSWER = "cannot-answer"


class ServedEndpoint:
    """One endpoint as requests meet it; replaced as a whole when its plan changes.

    log_is_full: asked before each request where an answer without a record is worse than none.
    """

    path = "live"

    def __init__(
        self,
        planned: PlannedEndpoint,
        live: PlannedRelease,
        runner: Runner,
        meter: Meter,
        batcher: Batcher,
        log_is_full: Callable[[], bool] | None = None,
    ) -> None:
        self.planned = planned
        self.live = live
        self.name = planned.name
        self.version = live.version
        self.release_hash = live.release_hash
        self.runner = runner
        self.meter = meter
        self.codec: RowCodec = runner.loaded.codec
        self.signature: Signature = runner.loaded.release.signature
        self.last_begun_at_ms = 0
        self._batcher = batcher
        self._log_is_full = log_is_full

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Hand over a request; its future resolves to the answer or an error of the family."""
        if self._log_is_full is not None and self._log_is_full():
            raise Unavailable(
                f"endpoint {self.name} answers only what it can record, and its log cannot be written",
                hint="free disk space where the workspace lies; requests are answered again at once",
            )
        self.last_begun_at_ms = request.received_at_ms
        return self._batcher.submit(request)

    def example_rows(self) -> list[dict[str, Any]]:
        """A recorded row as JSON values, so that an example works as it stands; empty without one."""
        return to_jsonable_rows(self.runner.loaded.canned[0], self.signature.inputs)


class SilentEndpoint:
    """An endpoint that is declared and has nothing to answer with, and why."""

    path = CANNOT_ANSWER

    def __init__(self, planned: PlannedEndpoint, meter: Meter, failure: MlspineError | None) -> None:
        self.planned = planned
        self.name = planned.name
        self.meter = meter
        self.failure = failure

    def refusal(self) -> MlspineError:
        """What to tell whoever asks."""
        if self.failure is not None:
            return Unavailable(
                f"endpoint {self.name} cannot answer: {self.failure.message}",
                hint=self.failure.hint,
                details=self.failure.details,
            )
        return Unavailable(
            f"endpoint {self.name} cannot answer: it was rolled back and no earlier release exists",
            hint=f"bring a version forward: mlspine promote {self.name} VERSION",
        )
