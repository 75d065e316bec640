from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlspine.serving.shedding import CALM_S, FEW_REQUESTS, MARGIN, STANDING_S, Admission, Refusal


def door(*, deadline_s: float = 0.2, call_s: float = 0.001, rows_per_s: float = 1000.0) -> Admission:
    return Admission(deadline_s=deadline_s, call_s=call_s, rows_per_s=rows_per_s, draw=lambda: 0.0)


def refused(admission: Admission, rows: int, now_s: float = 0.0) -> Refusal:
    refusal = admission.admit(rows, now_s)
    assert refusal is not None
    return refusal


def test_who_finds_nobody_waiting_is_always_taken() -> None:
    assert door().admit(1_000_000, 0.0) is None


def test_what_would_be_answered_too_late_is_refused_with_the_time_after_which_it_is_worth_trying() -> None:
    made = door()
    assert made.admit(150, 0.0) is None
    refusal = refused(made, 20)
    assert "150 rows wait" in refusal.why
    assert refusal.header == "1"
    assert (made.rows, made.requests, made.shed) == (150, 1, 1)


def test_a_call_that_is_over_makes_room() -> None:
    made = door()
    made.admit(100, 0.0)
    made.admit(50, 0.0)
    refused(made, 20, 0.05)
    made.answered(100, 1, 0.1, 0.1)
    assert made.admit(20, 0.1) is None


def test_a_model_that_does_not_come_back_closes_the_door_rather_than_looking_faster() -> None:
    made = door()
    made.admit(100, 0.0)
    assert made.admit(1, 0.05) is None
    assert made.admit(1, 0.15) is None
    refused(made, 1, 0.19)
    refused(made, 1, 100.0)


def test_after_the_answer_it_is_open_again() -> None:
    made = door()
    made.admit(150, 0.0)
    refused(made, 20)
    made.answered(150, 1, 0.15, 0.15)
    assert made.admit(20, 0.15) is None


def test_requests_whose_callers_left_make_room_too() -> None:
    made = door()
    made.admit(150, 0.0)
    made.left(150, 1)
    assert (made.rows, made.requests) == (0, 0)


def test_a_call_that_is_not_over_by_the_deadline_is_learnt_from_at_once() -> None:
    made = door(deadline_s=0.5, rows_per_s=10_000.0)
    made.admit(1000, 0.0)
    made.left(1000, 1, 1000, 0.5)
    assert made.work_s(1000) == pytest.approx(0.5)
    made.admit(400, 1.0)
    assert made.admit(380, 1.0) is None
    refused(made, 50, 1.0)


def test_a_few_callers_with_large_requests_may_keep_a_long_queue() -> None:
    made = door(deadline_s=20.0)
    for at_s in range(FEW_REQUESTS - 1):
        assert made.admit(500, 0.1 * at_s) is None


def test_a_burst_is_taken_and_a_queue_that_stays_is_not() -> None:
    made = door(deadline_s=10.0)
    for _ in range(1000):
        assert made.admit(1, 0.0) is None
    made.answered(64, 64, 0.064, 0.064)
    assert made.admit(1, 0.4) is None
    assert "more arrive than can be answered" in refused(made, 1, 0.6).why


def test_once_the_queue_was_short_for_a_while_the_next_burst_is_taken() -> None:
    made = door(deadline_s=10.0)
    for _ in range(1000):
        made.admit(1, 0.0)
    refused(made, 1, 0.6)
    made.answered(1000, 1000, 1.0, 1.0)
    for at_s in (1.0 + CALM_S, 1.4 + CALM_S):
        for _ in range(400):
            assert made.admit(1, at_s) is None
    refused(made, 1, 1.6 + CALM_S)


def test_a_moment_without_a_queue_does_not_end_an_overload() -> None:
    made = door(deadline_s=10.0)
    for _ in range(1000):
        made.admit(1, 0.0)
    refused(made, 1, 0.6)
    made.answered(1000, 1000, 1.0, 1.0)
    taken = 0
    while made.admit(1, 1.1) is None:
        taken += 1
    assert taken == pytest.approx(1000 * STANDING_S, abs=2)


def test_retries_are_spread() -> None:
    told = []
    for draw in (0.0, 0.5, 0.999):
        made = Admission(deadline_s=2.0, call_s=0.001, rows_per_s=1000.0, draw=lambda draw=draw: draw)  # type: ignore[misc]
        made.admit(5000, 0.0)
        told.append(refused(made, 1).retry_after_s)
    assert told == sorted(told)
    assert told[0] == pytest.approx(4.32)  # five full calls, without half of the deadline's share
    assert told[2] > 2 * told[0]


# ---------------------------------------------------------------- learning what a call takes


def test_it_learns_a_model_that_became_slow_and_one_that_became_fast_again() -> None:
    made = door(call_s=0.001, rows_per_s=10_000.0)
    for per_row_s in (0.001, 0.0001):
        for _ in range(60):
            made.answered(200, 200, 0.001 + 200 * per_row_s, 0.0)
        assert made.work_s(200) == pytest.approx(0.001 + 200 * per_row_s, rel=0.1)


def test_a_bad_spell_is_forgotten_by_single_rows_too() -> None:
    made = door(call_s=0.001, rows_per_s=20.0)
    for _ in range(400):
        made.answered(1, 1, 0.001, 0.0)
    assert made.work_s(1) < 0.002


def test_single_rows_at_night_do_not_unlearn_what_a_full_call_takes() -> None:
    made = door(call_s=0.002, rows_per_s=100_000.0)
    for _ in range(5000):
        made.answered(1, 1, 0.002, 0.0)
    assert made.work_s(1000) == pytest.approx(0.012, rel=0.5)


def test_one_hiccup_does_not_close_the_door() -> None:
    made = door(call_s=0.001, rows_per_s=10_000.0)
    made.answered(64, 64, 3.0, 0.0)
    assert made.work_s(64) < 2 * (0.0009 + 64 * 0.0001)


# ---------------------------------------------------------------- the whole, simulated


SLOW_S = 0.1


class Outcome(NamedTuple):
    """What became of the requests, sent for `load_s` and then at a third of the capacity."""

    goodput: float  # answers within the deadline, per second of load, as a share of the capacity
    slowest_s: float
    refused: int
    recovered_after_s: float  # after the load: the last refusal or answer slower than SLOW_S
    late: int


def simulate(
    *,
    times: float,
    fixed_s: float,
    row_s: float,
    deadline_s: float,
    load_s: float,
    refusal_s: float,
    admit: bool = True,
) -> Outcome:
    """A model in a process of its own behind a loop that reads, refuses and answers (`refusal_s` each).

    Arrivals are Poisson and know nothing of answers (an open loop); the loop is one server, the model the other.
    """
    draw = random.Random(7)
    most = 1024
    capacity = most / (fixed_s + most * row_s)
    made = Admission(
        deadline_s=deadline_s, call_s=fixed_s + row_s, rows_per_s=capacity, draw=draw.random, max_call_rows=most
    )
    loop_free_s = model_free_s = now_s = 0.0
    queue: deque[float] = deque()
    call: list[float] = []
    began_s = 0.0
    good, slowest_s, refusals, late, trouble_s = 0, 0.0, 0, 0, load_s
    while now_s < load_s + 3.0:
        now_s += draw.expovariate(capacity * (times if now_s < load_s else 1 / 3))
        loop_free_s = read_s = max(now_s, loop_free_s) + refusal_s
        while call and model_free_s <= read_s:
            made.answered(len(call), len(call), model_free_s - began_s, model_free_s)
            for arrived_s in call:
                took_s = model_free_s - arrived_s
                slowest_s = max(slowest_s, took_s)
                late += took_s > deadline_s
                good += took_s <= deadline_s and model_free_s < load_s
                if model_free_s >= load_s and took_s > SLOW_S:
                    trouble_s = model_free_s
            call = [queue.popleft() for _ in range(min(len(queue), most))]
            began_s, model_free_s = model_free_s, model_free_s + (fixed_s + len(call) * row_s) * draw.uniform(0.9, 1.1)
        if admit and made.admit(1, read_s) is not None:
            refusals += 1
            trouble_s = max(trouble_s, now_s)
        elif call:
            queue.append(now_s)
        else:
            call, began_s = [now_s], read_s
            model_free_s = read_s + fixed_s + row_s
    return Outcome(good / load_s / capacity, slowest_s, refusals, trouble_s - load_s, late)


MODELS: dict[str, dict[str, Any]] = {
    "1 ms per row": {"fixed_s": 0.0002, "row_s": 0.001},
    "20 ms per call, 0.2 ms per row": {"fixed_s": 0.02, "row_s": 0.0002},
    "0.1 ms per row": {"fixed_s": 0.001, "row_s": 0.0001},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("deadline_s", [0.5, 10.0])
def test_at_three_times_the_capacity_nine_tenths_of_it_are_answered_in_time(model: str, deadline_s: float) -> None:
    outcome = simulate(times=3.0, deadline_s=deadline_s, load_s=6.0, refusal_s=0.00001, **MODELS[model])
    assert outcome.goodput >= 0.9
    assert outcome.late == 0
    assert outcome.refused > 0
    assert outcome.recovered_after_s < 1.0


@pytest.mark.parametrize("model", MODELS)
def test_at_nine_tenths_of_the_capacity_nobody_is_refused(model: str) -> None:
    outcome = simulate(times=0.9, deadline_s=2.0, load_s=6.0, refusal_s=0.00001, **MODELS[model])
    assert outcome.refused == 0


def test_without_a_door_everything_is_late_which_is_what_it_is_for() -> None:
    model = MODELS["1 ms per row"]
    outcome = simulate(times=3.0, deadline_s=0.5, load_s=6.0, refusal_s=0.00001, admit=False, **model)
    assert outcome.goodput < 0.2
    assert outcome.recovered_after_s > 1.0


# ---------------------------------------------------------------- any order of events


class DoorMachine(RuleBasedStateMachine):
    @initialize(deadline_s=st.sampled_from([0.05, 0.5, 10.0]), call_s=st.sampled_from([0.0, 0.0001, 0.3]))
    def begin(self, deadline_s: float, call_s: float) -> None:
        self.deadline_s = deadline_s
        self.door = Admission(deadline_s=deadline_s, call_s=call_s, rows_per_s=1000.0)
        self.now_s = 0.0
        self.waiting: deque[int] = deque()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 1.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(rows=st.integers(1, 5000))
    def arrive(self, rows: int) -> None:
        before_s = self.door.work_s(self.door.rows)
        refusal = self.door.admit(rows, self.now_s)
        if refusal is None:
            self.waiting.append(rows)
        else:
            assert self.waiting, "refused though nobody waits"
            assert int(refusal.header) >= 1
        if not self.waiting or (
            refusal is not None and before_s + self.door.work_s(rows) < min(STANDING_S, MARGIN * self.deadline_s) / 2
        ):
            assert refusal is None or self.now_s > 0.0, "refused though little waits and nothing hangs"

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 20), seconds=st.sampled_from([0.0, 0.0005, 0.05, 5.0]))
    def answer(self, count: int, seconds: float) -> None:
        call = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        self.now_s += seconds
        self.door.answered(sum(call), len(call), seconds, self.now_s)

    @precondition(lambda self: self.waiting)
    @rule()
    def leave(self) -> None:
        self.door.left(self.waiting.pop(), 1)

    @invariant()
    def it_counts_what_waits(self) -> None:
        assert self.door.rows == sum(self.waiting)
        assert self.door.requests == len(self.waiting)

    @invariant()
    def estimates_stay_numbers(self) -> None:
        assert 0.0 < self.door.work_s(1) <= self.door.work_s(1000) < 1e6


TestDoorMachine = DoorMachine.TestCase


def test_a_refusal_says_whether_the_model_is_stuck_or_the_requests_are_too_many() -> None:
    many = Admission(deadline_s=10.0, call_s=0.001, rows_per_s=1000.0)
    now_s, refusal = 0.0, None
    while refusal is None and now_s < 30.0:
        refusal = many.admit(1, now_s)
        if now_s and round(now_s * 1000) % 3 == 0:  # calls come back, but only a third of what arrives
            many.answered(1, 1, 0.001, now_s)
        now_s += 0.001
    assert refusal is not None
    assert not refusal.stuck
    away = Admission(deadline_s=1.0, call_s=0.001, rows_per_s=1000.0)
    refusal, now_s = None, 0.0
    while refusal is None and now_s < 5.0:
        refusal = away.admit(1, now_s)
        now_s += 0.05
    assert refusal is not None
    assert refusal.stuck
