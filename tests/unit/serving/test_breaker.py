from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlspine.serving.breaker import LOST_WEIGHT, NOT_ADMITTED, Breaker, BreakerRule

RULE = BreakerRule(in_a_row=5, window=20, least_calls=10, share=0.5, first_pause_s=1.0, longest_pause_s=8.0, trials=2)


def breaker() -> Breaker:
    return Breaker(RULE, draw=lambda: 0.0)


def opened(at_s: float = 0.0) -> Breaker:
    made = breaker()
    for _ in range(5):
        made.failed(made.ticket, at_s)
    return made


def tried(made: Breaker, now_s: float) -> int:
    ticket = made.admit(now_s)
    assert ticket
    return ticket


def test_it_opens_at_failures_in_a_row_and_not_one_before() -> None:
    made = breaker()
    for _ in range(4):
        made.failed(made.ticket, 0.0)
    assert made.closed
    made.failed(made.ticket, 0.0)
    assert made.state == "open"
    assert made.admit(0.5) == NOT_ADMITTED


def test_a_success_between_failures_begins_the_row_anew() -> None:
    made = breaker()
    for _ in range(3):
        made.failed(made.ticket, 0.0)
        made.failed(made.ticket, 0.0)
        for _ in range(5):
            made.succeeded(made.ticket)
    assert made.closed


def test_every_second_call_failing_opens_it_once_there_were_enough() -> None:
    made = breaker()
    for call in range(9):
        (made.failed(made.ticket, 0.0) if call % 2 else made.succeeded(made.ticket))
    assert made.closed
    made.failed(made.ticket, 0.0)
    assert made.state == "open"


def test_failures_that_left_the_window_count_no_more() -> None:
    made = breaker()
    for _ in range(2):
        for _ in range(4):
            made.failed(made.ticket, 0.0)
            made.succeeded(made.ticket)
        for _ in range(20):
            made.succeeded(made.ticket)
    assert made.closed


def test_two_calls_that_ran_out_of_time_are_enough() -> None:
    made = breaker()
    made.failed(made.ticket, 0.0, weight=LOST_WEIGHT)
    assert made.closed
    made.failed(made.ticket, 10.0, weight=LOST_WEIGHT)
    assert made.state == "open"


def test_after_its_pause_one_call_at_a_time_tries_and_two_successes_close_it() -> None:
    made = opened()
    ticket = tried(made, 1.0)
    assert made.state == "half-open"
    assert made.admit(1.1) == NOT_ADMITTED
    made.succeeded(ticket)
    assert made.state == "half-open"
    made.succeeded(tried(made, 1.2))
    assert made.closed


def test_each_failed_trial_doubles_the_pause_up_to_the_longest() -> None:
    made, now_s = opened(), 0.0
    pauses = []
    for _ in range(5):
        pauses.append(made.retry_in_s(now_s))
        now_s += pauses[-1]
        made.failed(tried(made, now_s), now_s)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_once_closed_the_next_pause_is_the_first_one_again() -> None:
    made = opened()
    made.failed(tried(made, 1.0), 1.0)
    made.succeeded(tried(made, 3.0))
    made.succeeded(tried(made, 3.0))
    for _ in range(5):
        made.failed(made.ticket, 4.0)
    assert made.retry_in_s(4.0) == 1.0


def test_outcomes_of_calls_from_before_it_opened_neither_close_nor_reopen_it() -> None:
    made = breaker()
    before = made.ticket
    for _ in range(5):
        made.failed(before, 0.0)
    made.succeeded(before)
    made.succeeded(before)
    assert made.state == "open"
    tried(made, 1.0)
    made.failed(before, 1.1)
    assert made.state == "half-open"


def test_a_trial_that_never_ends_does_not_lock_it_for_good() -> None:
    made = opened()
    tried(made, 1.0)
    assert made.admit(1.0 + RULE.trial_timeout_s) == NOT_ADMITTED
    assert made.state == "open"
    assert tried(made, 1.0 + RULE.trial_timeout_s + 2.0)


def test_a_trial_given_up_makes_room_for_the_next() -> None:
    made = opened()
    made.given_up(tried(made, 1.0))
    assert tried(made, 1.0)


@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_pauses_are_spread_so_that_processes_do_not_try_in_step(draw: float) -> None:
    made = Breaker(RULE, draw=lambda: draw)
    for _ in range(5):
        made.failed(made.ticket, 0.0)
    assert made.retry_in_s(0.0) == 1.0 + 0.25 * draw


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, outcomes late or never, and time passing."""

    @initialize()
    def begin(self) -> None:
        self.breaker = Breaker(RULE, draw=lambda: 0.0)
        self.now_s = 0.0
        self.under_way: list[int] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 8.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def call(self) -> None:
        state, trial_waits = self.breaker.state, self.breaker.retry_in_s(self.now_s)
        ticket = self.breaker.admit(self.now_s)
        if ticket:
            assert ticket == self.breaker.ticket
            self.under_way.append(ticket)
        if state == "closed":
            assert ticket
        if state == "open":
            assert bool(ticket) == (trial_waits == 0.0)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1000), good=st.booleans(), weight=st.sampled_from([1, LOST_WEIGHT]))
    def end(self, which: int, good: bool, weight: int) -> None:
        ticket = self.under_way.pop(which % len(self.under_way))
        before = (self.breaker.state, self.breaker.ticket)
        if good:
            self.breaker.succeeded(ticket)
        else:
            self.breaker.failed(ticket, self.now_s, weight=weight)
        after = self.breaker.state
        if ticket != before[1]:
            assert after == before[0], "an outcome from before moved it"
        elif good:
            assert (before[0], after) != ("closed", "open")
        else:
            assert after != "closed" or before[0] == "closed"
            assert before[0] != "half-open" or after == "open"

    @invariant()
    def consistent(self) -> None:
        assert self.breaker.closed == (self.breaker.state == "closed")
        assert self.breaker.retry_in_s(self.now_s) <= RULE.longest_pause_s
        assert (self.breaker.retry_in_s(self.now_s) == 0.0) or self.breaker.state == "open"

    @invariant()
    def never_stuck(self) -> None:
        """However it stands, a release that answers from now on is back within a bounded time."""
        later_s, copy = self.now_s, _copied(self.breaker)
        for _ in range(8):
            if copy.closed:
                return
            later_s += RULE.trial_timeout_s + RULE.longest_pause_s
            if ticket := copy.admit(later_s):
                copy.succeeded(ticket)
        assert copy.closed


def _copied(made: Breaker) -> Breaker:
    from copy import deepcopy

    copy = Breaker(RULE, draw=lambda: 0.0)
    for name in Breaker.__slots__:
        if name not in ("_draw", "_rule"):
            setattr(copy, name, deepcopy(getattr(made, name)))
    return copy


TestBreakerMachine = BreakerMachine.TestCase
