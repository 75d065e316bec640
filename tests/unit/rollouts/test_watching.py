from __future__ import annotations

import pytest

from mlspine.rollouts.counts import MINUTE_MS, Compared, Counts, Minute
from mlspine.rollouts.watching import Watched, look

RECORD = Counts(5_000, failures=25, slow=50)


def since(n: int, counts: Counts) -> list[Minute]:
    return [Minute(0, at * MINUTE_MS, 1.0, Counts(), counts) for at in range(n)]


def seen(minutes: list[Minute], record: Counts = RECORD, **more: object) -> Watched:
    return look(minutes, record, **more)  # type: ignore[arg-type]


def test_as_good_as_the_record_is_well() -> None:
    found = seen(since(30, Counts(60, slow=1)))
    assert not found.breach
    assert found.why == "0 of 1,800 answers failed and 30 were slow"


@pytest.mark.parametrize(
    ("counts", "metric"),
    [(Counts(60, failures=4), "failures"), (Counts(60, slow=60), "slow"), (Counts(60, broken=5), "rules")],
)
def test_a_planted_fault_is_found_within_the_window_at_a_request_a_second(counts: Counts, metric: str) -> None:
    found = seen(since(10, counts))
    assert (found.breach, found.metric) == (True, metric)


def test_the_hour_may_move_figures_by_less_than_half_a_margin() -> None:
    assert not seen(since(30, Counts(1_000, failures=8)), Counts(50_000, failures=200)).breach
    assert seen(since(30, Counts(1_000, failures=20)), Counts(50_000, failures=200)).breach


def test_one_slow_moment_is_no_breach() -> None:
    assert not seen(since(1, Counts(60, slow=60))).breach
    assert seen(since(2, Counts(60, slow=60))).breach
    assert not seen([*since(5, Counts(60)), Minute(0, 5 * MINUTE_MS, 1.0, Counts(), Counts(60, slow=60))]).breach


def test_a_busy_machine_is_not_held_against_the_newer_release() -> None:
    slow = Counts(60, slow=20)
    both = [Minute(0, at * MINUTE_MS, 1.0, Counts(12, slow=4), slow) for at in range(10)]
    alone = [Minute(0, at * MINUTE_MS, 1.0, Counts(12), slow) for at in range(10)]
    assert not seen(both).breach
    assert (seen(alone).breach, seen(alone).metric) == (True, "slow")


def test_without_a_record_failures_are_held_against_what_is_taken() -> None:
    none = Counts(20)
    assert not seen(since(5, Counts(100, failures=1)), none, allowed=0.01).breach
    found = seen(since(5, Counts(100, failures=10)), none, allowed=0.01)
    assert found.breach
    assert found.why.endswith("1% is taken")


def test_inverted_scores_are_found_by_a_hundred_compared_rows() -> None:
    inverted = Compared(requests=150, rows=150, difference=90.0, difference_squared=63.0)
    found = seen(since(1, Counts(60)), compared=inverted, bound=0.2)
    assert (found.breach, found.metric) == (True, "disagreement")
    alike = Compared(requests=10_000, rows=10_000, difference=500.0, difference_squared=50.0)
    assert not seen(since(1, Counts(60)), compared=alike, bound=0.15).breach


def test_crashes_need_no_record() -> None:
    assert seen(since(1, Counts(60)), crashes=2).breach
    assert not seen(since(1, Counts(60)), crashes=1).breach


def test_an_outage_that_meets_the_release_before_as_well_is_no_breach() -> None:
    outage = Minute(0, 0, 1.0, Counts(12, 5), Counts(60, 30))
    own = outage._replace(live=Counts(12))
    assert not seen([outage]).breach
    assert seen([own]).breach
    assert seen([outage, own]).breach
