"""A circuit breaker per release that answers: one that fails is left alone for a while, then tried carefully. Pure.

closed: everything goes through. open: nothing does, until its pause is over. half-open: one call at a time is let
through to try; some that succeed in a row close it, one that fails opens it again for twice as long.

    >>> breaker = Breaker()
    >>> for at_s in range(5):
    ...     breaker.failed(breaker.admit(at_s), at_s)
    >>> breaker.state, breaker.admit(4.1), breaker.admit(6.0) > 0, breaker.state
    ('open', 0, True, 'half-open')

What counts is a call of the model, not a request; rows that a healthy model cannot score are the caller's fault and
count as answered. After Nygard, Release It! (2nd ed., 2018), chapter 5.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

from mlspine.core.types import Struct

State = Literal["closed", "open", "half-open"]

NOT_ADMITTED = 0
LOST_WEIGHT = 3  # what a call that ran out of time, or took its process along, counts among failures in a row


class BreakerRule(Struct, frozen=True, kw_only=True):
    """When a breaker opens, and how it closes.

    It opens at `in_a_row` failures without a success between them, or when among the last `window` calls (once there
    were `least_calls`) a `share` failed. It stays open `first_pause_s`, twice as long each time a trial fails, at most
    `longest_pause_s`; each pause is drawn from 1 to 1.25 times that, so that processes do not try in step. It closes
    after `trials` successes; a trial without an outcome after `trial_timeout_s` counts as failed.
    """

    in_a_row: int = 5
    share: float = 0.5
    window: int = 100
    least_calls: int = 20
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    trials: int = 2
    trial_timeout_s: float = 30.0


DEFAULT_RULE = BreakerRule()


class Breaker:
    """Whether a release is called. `closed` is all that the path of a request reads while things are well:

        ticket = breaker.ticket if breaker.closed else breaker.admit(now_s)

    then, with that ticket, `succeeded` or `failed`. Outcomes of calls from before the last change of state are
    recognised by their ticket and leave it alone. Times are by one monotonic clock, in seconds.
    """

    __slots__ = (
        "_calls",
        "_draw",
        "_failures",
        "_good",
        "_in_a_row",
        "_pause_s",
        "_retry_at_s",
        "_rule",
        "_trial_since_s",
        "closed",
        "opened",
        "state",
        "ticket",
    )

    def __init__(self, rule: BreakerRule = DEFAULT_RULE, *, draw: Callable[[], float] = random.random) -> None:
        self._rule = rule
        self._draw = draw
        self.state: State = "closed"
        self.closed = True
        self.ticket = 1  # of the calls begun now; 0 is never one
        self.opened = 0  # times it opened
        self._calls = 0
        self._in_a_row = 0
        self._failures: deque[int] = deque()  # numbers of the failed calls within the window
        self._pause_s = rule.first_pause_s
        self._retry_at_s = 0.0
        self._trial_since_s: float | None = None
        self._good = 0

    @property
    def failing(self) -> bool:
        """Whether the last call was not answered, or none is to be made now."""
        return not self.closed or self._in_a_row > 0

    def admit(self, now_s: float) -> int:
        """A ticket for one call, or NOT_ADMITTED."""
        if self.closed:
            return self.ticket
        if self.state == "open":
            if now_s < self._retry_at_s:
                return NOT_ADMITTED
            self._enter("half-open")
            self._good = 0
        elif self._trial_since_s is not None:
            if now_s - self._trial_since_s >= self._rule.trial_timeout_s:
                self._open(now_s, longer=True)
            return NOT_ADMITTED
        self._trial_since_s = now_s
        return self.ticket

    def succeeded(self, ticket: int) -> None:
        """A call was answered; rows that a healthy model refuses count as that too."""
        if ticket != self.ticket:
            return
        if self.closed:
            self._calls += 1
            self._in_a_row = 0
        elif self.state == "half-open":
            self._trial_since_s = None
            self._good += 1
            if self._good >= self._rule.trials:
                self._close()

    def failed(self, ticket: int, now_s: float, *, weight: int = 1) -> None:
        """A call was not answered. weight: LOST_WEIGHT for one that ran out of time or took its process along."""
        if ticket != self.ticket:
            return
        if self.state == "half-open":
            self._open(now_s, longer=True)
        elif self.closed:
            rule, failures = self._rule, self._failures
            self._calls += 1
            self._in_a_row += weight
            failures.append(self._calls)
            while failures[0] <= self._calls - rule.window:
                failures.popleft()
            seen = min(self._calls, rule.window)
            often = seen >= rule.least_calls and len(failures) >= rule.share * seen
            if self._in_a_row >= rule.in_a_row or often:
                self._open(now_s, longer=False)

    def given_up(self, ticket: int) -> None:
        """A call with this ticket was not made, or nobody waits for its outcome: the next may be the trial."""
        if ticket == self.ticket and self.state == "half-open":
            self._trial_since_s = None

    def retry_in_s(self, now_s: float) -> float:
        """Seconds until the next trial, 0 unless it is open."""
        return max(0.0, self._retry_at_s - now_s) if self.state == "open" else 0.0

    # ------------------------------------------------------------ inside

    def _open(self, now_s: float, *, longer: bool) -> None:
        rule = self._rule
        self._pause_s = min(2.0 * self._pause_s, rule.longest_pause_s) if longer else rule.first_pause_s
        self._retry_at_s = now_s + self._pause_s * (1.0 + 0.25 * self._draw())
        self.opened += 1
        self._enter("open")

    def _close(self) -> None:
        self._calls = self._in_a_row = 0
        self._failures.clear()
        self._enter("closed")

    def _enter(self, state: State) -> None:
        self.state = state
        self.closed = state == "closed"
        self.ticket += 1
        self._trial_since_s = None
