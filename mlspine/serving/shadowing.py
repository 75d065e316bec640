"""The shadow: a release that answers the same requests after the fact, is compared, and is never heard.

Nothing of it reaches a caller: it is handed its rows when the answer is on its way, its queue is bounded and what
does not fit is dropped and counted, and what it raises is counted too.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.errors import MlspineError
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Task
from mlspine.registry.release import read_recorded, read_release
from mlspine.serving.arm import Arm
from mlspine.serving.request import Answer, Answered, Request, Rows

log = logging.getLogger(__name__)

MAX_WAITING_ROWS = 4096


class Shadow:
    """Hands a share of what an arm answered to another one and counts how the two differ.

    spread: the unit in which numbers differ, the standard deviation of the release's recorded predictions. slow_s:
    answers that take longer from here count as slow, so that the two can be compared in the same moment; 0: none do.
    """

    def __init__(
        self,
        arm: Arm,
        *,
        share: float,
        task: Task,
        spread: float,
        slow_s: float = 0.0,
        timer: Callable[[], float] = time.perf_counter,
        max_waiting_rows: int = MAX_WAITING_ROWS,
        dice: random.Random | None = None,
    ) -> None:
        self.arm = arm
        self._share = share
        self._task: Task = task
        self._spread = spread
        self._slow_s = slow_s
        self._timer = timer
        self._max_waiting_rows = max_waiting_rows
        self._roll = (dice or random.Random()).random

    def offer(self, requests: Sequence[Request], answered: Answered) -> None:
        """Take note of what was answered; must be quick and never raise."""
        start = 0
        for request in requests:
            stop = start + request.table.size
            if self._share >= 1.0 or self._roll() < self._share:
                self._hand_over(request, Answer(answered, start, stop))
            start = stop

    def _hand_over(self, request: Request, answer: Answer) -> None:
        arm = self.arm
        arm.tally.requests += 1
        if arm.batcher.queued_rows + request.table.size > self._max_waiting_rows:
            arm.tally.dropped += request.table.size
            return
        twin = Request(
            request.table,
            request.request_id,
            received_at_ms=request.received_at_ms,
            began_s=self._timer(),
            event_at_ms=request.event_at_ms,
            key=request.key,
        )
        twin.context = answer
        twin.deliver = self._compare
        try:
            if request.reread is not None and arm.codec.schema != answer.call.arm.codec.schema:
                twin.table = request.reread(arm)
            arm.batcher.put(twin)
        except MlspineError:
            arm.tally.failures += 1

    def _compare(self, twin: Request, answer: Answer | None, exc: Exception | None) -> None:
        tally = self.arm.tally
        if answer is None:
            tally.failures += 1
            return
        if self._slow_s and twin.latency_s > self._slow_s:
            tally.slow += 1
        try:
            differences, flips = compare(twin.context, answer, self._task, self._spread)
        except (ValueError, TypeError) as odd:  # outputs of another shape or kind
            tally.failures += 1
            log.warning("a shadow's answer cannot be compared", extra={"endpoint": self.arm.name, "why": str(odd)})
            return
        tally.compared += len(differences)
        tally.flips += flips
        tally.difference += float(differences.sum())
        tally.difference_squared += float((differences * differences).sum())


def compare(a: Answer, b: Answer, task: Task, spread: float) -> tuple[np.ndarray[Any, Any], int]:
    """Differences per row in 0..1, and how many rows got another label.

    Classifiers with scores differ by |score - score|, numbers by |difference| / spread up to 1, labels by 0 or 1.
    """
    ours, theirs = (each.call.outputs.prediction[each.start : each.stop] for each in (a, b))
    if task == "regression":
        gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) / (spread or 1.0)
        # A number against none is as different as can be.
        return np.minimum(np.nan_to_num(gap, nan=1.0), 1.0), 0
    other = np.array([one != two for one, two in zip(ours.tolist(), theirs.tolist(), strict=True)], dtype=np.float64)
    flips = int(other.sum())
    if a.call.score is None or b.call.score is None:
        return other, flips
    scores = np.abs(a.call.score[a.start : a.stop] - b.call.score[b.start : b.stop])
    return np.minimum(np.nan_to_num(scores, nan=1.0), 1.0), flips


def spread_of(planned: PlannedRelease) -> float:
    """The standard deviation of a release's recorded predictions; 1 where they are all alike."""
    path = Path(planned.path)
    _, outputs = read_recorded(path, read_release(path))
    spread = float(np.nanstd(outputs.prediction.astype(np.float64))) if len(outputs.prediction) else 0.0
    return spread if spread > 0 else 1.0


def record_nothing(requests: Sequence[Request], rows: Rows, answered: Answered) -> None:
    """For a shadow whose answers are not kept."""
