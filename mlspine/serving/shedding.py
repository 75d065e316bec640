"""Admission: whether a request that arrives now will be answered in time, decided before anything is done for it.

What waits is known in rows, what a call takes is measured; the two say how long a new arrival would wait. Refused is

- what would not be answered within the deadline (with some margin), and
- what would only lengthen a queue that has not been short for PATIENCE_S: such a queue is no burst that will
  drain by itself, every answer behind it is late, and it would outlast the overload that made it.

The second rule is CoDel's (Nichols & Jacobson, "Controlling Queue Delay", ACM Queue 2012), at the door instead of at
the head, since a caller who is refused at once can go elsewhere. Requests that the kernel holds and the process has
not read are not seen here: in an event loop they wait for one turn, and turns are as long as what was admitted to them.

    >>> door = Admission(deadline_s=0.2, call_s=0.001, rows_per_s=1000.0)
    >>> [door.admit(1, 0.0) is None for _ in range(200)].count(True)
    160
    >>> door.admit(1, 0.0).why
    '160 rows wait, 0.16 s of work: an answer would come after the deadline of 0.2 s'
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

MARGIN = 0.8  # of the deadline: the rest is for what is not measured here (reading, writing, the network)
STANDING_S = 0.25  # a queue that stays longer than this is a standing one
STANDING_CALLS = 30.0  # or than so many times what a call takes however few its rows are: less would waste most of it
PATIENCE_S = 0.5
CALM_S = 2.0  # a queue that was short for so long may be long again for PATIENCE_S; before, it is the same overload
FEW_REQUESTS = 16  # so few that wait are a handful of callers with large requests, who each wait for their answer
MAX_CALL_ROWS = 1024  # what is told else in `Admission`

STEP = 0.2  # how far one call moves the estimate of what a call takes
BAD_SPELL = 1.5  # an estimate per row so many times above what a call allows is left behind fast
MANY_ROWS, LOOK_EVERY = 32, 8  # of small calls with nobody waiting behind, only so many are learnt from
ROWS_SCALE = 64.0  # a call of so many rows tells as much of the time per row as of the time per call
SURPRISE = 4.0  # no call counts for more than so many times what was expected of it, so that one hiccup is forgotten


class Refusal(NamedTuple):
    """Why a request is not taken, and when it is worth sending again. stuck: the model does not come back from a call,
    so that it is not the many requests that are the trouble."""

    retry_after_s: float
    why: str
    stuck: bool = False

    @property
    def header(self) -> str:
        """The value of Retry-After: whole seconds, at least 1.

        >>> Refusal(1.2, "").header
        '2'
        """
        return str(max(1, math.ceil(self.retry_after_s)))


class Admission:
    """The door of one queue before one model. Times in seconds by one monotonic clock.

    call_s, rows_per_s: what a call of one row took and how many rows a second fit, as measured when the release was
    loaded; from then on every call corrects them. max_call_rows: most rows of one call.
    """

    __slots__ = (
        "_calls",
        "_deadline_s",
        "_draw",
        "_fixed_s",
        "_free_rows",
        "_last_s",
        "_long_since_s",
        "_max_call_rows",
        "_row_s",
        "_short_since_s",
        "requests",
        "rows",
        "shed",
    )

    def __init__(
        self,
        *,
        deadline_s: float,
        call_s: float,
        rows_per_s: float,
        max_call_rows: int = MAX_CALL_ROWS,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._deadline_s = deadline_s
        self._max_call_rows = max_call_rows
        self._draw = draw
        self._row_s = 1.0 / rows_per_s if rows_per_s > 0.0 else max(call_s, 0.0)
        self._fixed_s = max(0.0, call_s - self._row_s)
        self.rows = 0  # admitted and not answered
        self.requests = 0
        self.shed = 0  # requests refused
        self._calls = 0
        self._last_s = 0.0  # when work last began or went on
        self._long_since_s = 0.0  # since when the queue is too long, moments in between left aside
        self._short_since_s: float | None = -math.inf
        self._free_rows = self._rows_within(min(self._standing_s(), MARGIN * deadline_s))

    def admit(self, rows: int, now_s: float) -> Refusal | None:
        """Take a request of so many rows in, or say why not. Each one taken ends in `answered`."""
        # Somebody who finds nobody waiting is always taken.
        if self.rows and (self.rows + rows > self._free_rows or now_s > self._last_s + MARGIN * self._deadline_s):
            refusal = self._consider(rows, now_s)
            if refusal is not None:
                self.shed += 1
                return refusal
        if not self.rows:
            self._last_s = now_s
        self.rows += rows
        self.requests += 1
        return None

    def answered(self, rows: int, requests: int, seconds: float, now_s: float) -> None:
        """One call is over, rightly or not: `seconds` is what it kept the model busy for."""
        left = self.rows - rows
        self.rows = left if left > 0 else 0
        self.requests = self.requests - requests if self.requests > requests else 0
        self._last_s = now_s
        self._calls += 1
        if left <= 0 and rows < MANY_ROWS and self._calls % LOOK_EVERY:
            if self._short_since_s is None:
                self._short_since_s = now_s
            return
        self._learn(rows, seconds)
        self._free_rows = self._rows_within(min(self._standing_s(), MARGIN * self._deadline_s))
        if self._short_since_s is None and self.rows <= self._free_rows:
            self._short_since_s = now_s

    def left(self, rows: int, requests: int, call_rows: int = 0, seconds: float = 0.0) -> None:
        """So many were taken in and will not be answered here: their callers are gone, or were given to others.

        call_rows, seconds: of a call that is not over after so long. That much at least it takes, and the door must
        know at once: it would let as many in again.
        """
        self.rows = max(0, self.rows - rows)
        self.requests = max(0, self.requests - requests)
        expected_s = self._fixed_s + call_rows * self._row_s
        if call_rows and seconds > expected_s > 0.0:
            self._fixed_s *= seconds / expected_s
            self._row_s *= seconds / expected_s
            self._free_rows = self._rows_within(min(self._standing_s(), MARGIN * self._deadline_s))

    def work_s(self, rows: int) -> float:
        """What so many rows keep the model busy for. Of several calls the last counts as full: by its turn it is."""
        most = self._max_call_rows
        if rows > most:
            return math.ceil(rows / most) * (self._fixed_s + most * self._row_s)
        return self._fixed_s + rows * self._row_s

    # ------------------------------------------------------------ inside

    def _consider(self, rows: int, now_s: float) -> Refusal | None:
        """The same question for a queue that is no longer short.

        The call under way counts in full until it is over: whoever arrives while it begins waits for it and for a
        call with all who arrive until it ends, so that the two together are what must fit.
        """
        # A model that does not come back makes the wait longer, the longer it stays away.
        away_s = now_s - self._last_s - self.work_s(min(self.rows, self._max_call_rows))
        wait_s = self.work_s(self.rows) + max(0.0, away_s)
        limit_s = MARGIN * self._deadline_s
        if wait_s + self.work_s(rows) > limit_s:
            return self._refusal(
                wait_s - limit_s / 2.0,
                f"{self.rows} rows wait, {wait_s:.2g} s of work: an answer would come after the deadline of"
                f" {self._deadline_s:g} s",
                stuck=away_s > wait_s / 2.0,
            )
        if wait_s <= self._standing_s() or self.requests < FEW_REQUESTS:
            return None
        if self._short_since_s is not None:
            if now_s - self._short_since_s >= CALM_S:
                self._long_since_s = now_s
            self._short_since_s = None
        if now_s - self._long_since_s < PATIENCE_S:
            return None
        return self._refusal(
            wait_s - self._standing_s() / 2.0,
            f"{self.requests} requests wait, {wait_s:.2g} s of work, for longer than {PATIENCE_S:g} s:"
            " more arrive than can be answered",
            stuck=away_s > wait_s / 2.0,
        )

    def _standing_s(self) -> float:
        return max(STANDING_S, STANDING_CALLS * self._fixed_s)

    def _refusal(self, drained_in_s: float, why: str, *, stuck: bool = False) -> Refusal:
        # Spread out, or all who were refused would be back in the same moment.
        return Refusal(max(0.1, drained_in_s) * (1.0 + self._draw()) + self._draw(), why, stuck)

    def _learn(self, rows: int, seconds: float) -> None:
        """Normalised least mean squares (Widrow & Hoff 1960) on seconds = fixed + rows * per row.

        Small calls tell of the fixed part and leave the time per row alone, large ones the other way round; what
        neither tells stays as it was, so a quiet night does not unlearn what a full call takes.
        """
        if rows <= 0:
            return
        expected_s = self._fixed_s + rows * self._row_s
        error_s = min(seconds - expected_s, SURPRISE * expected_s) if expected_s > 0.0 else seconds
        x = rows / ROWS_SCALE
        gain = STEP * error_s / (1.0 + x * x)
        self._fixed_s = max(0.0, self._fixed_s + gain)
        row_s = self._row_s + gain * x / ROWS_SCALE
        share_s = BAD_SPELL * seconds / rows  # no row takes longer than its share of a call
        self._row_s = max(1e-9, row_s if row_s <= share_s else row_s + STEP * (share_s - row_s))

    def _rows_within(self, seconds: float) -> int:
        """At most so many rows are answered within this time; 0 when one call alone takes longer."""
        most = self._max_call_rows
        full_s = self._fixed_s + most * self._row_s
        if seconds >= full_s:
            return int(seconds / full_s) * most
        return max(0, int((seconds - self._fixed_s) / self._row_s))
