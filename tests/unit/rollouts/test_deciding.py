from __future__ import annotations

import pytest

from mlspine.rollouts.counts import HOUR_MS, MINUTE_MS, Compared, Counts, Minute, strata
from mlspine.rollouts.deciding import CanaryPlan, Decision, Evidence, decide

PLAN = CanaryPlan(steps=(5, 50), step_s=600, step_requests=400, hours=24)
WELL = Counts(100)


def judged(
    minutes: list[Minute], *, step: int = 0, at_ms: int = 0, plan: CanaryPlan = PLAN, **more: object
) -> Decision:
    return decide(plan, minutes, step=step, now_ms=at_ms, started_at_ms=0, step_at_ms=0, **more)  # type: ignore[arg-type]


def minutes(n: int, live: Counts, candidate: Counts, *, step: int = 0, share: float = 0.05) -> list[Minute]:
    return [Minute(step, at * MINUTE_MS, share, live, candidate) for at in range(n)]


def test_a_step_waits_for_requests_and_time_and_then_goes_on() -> None:
    found = judged(minutes(5, Counts(950), Counts(50)), at_ms=5 * MINUTE_MS)
    assert found.action == "hold"
    assert found.missing == ("150 more requests of the candidate", "5 minutes more of this step")
    enough = judged(minutes(10, Counts(950), Counts(50)), at_ms=10 * MINUTE_MS)
    assert (enough.action, enough.missing) == ("advance", ())
    assert enough.why.startswith("at 5% 0 of 500 answers of the candidate failed")


def test_the_last_step_waits_for_a_whole_day_and_for_the_margin() -> None:
    few = minutes(10, Counts(50), Counts(50), step=1, share=0.5)
    found = judged(few, step=1, at_ms=HOUR_MS)
    assert found.missing[0] == "23.0 hours more, so that it is 24 hours in all"
    assert "cannot be ruled out yet (margin 1.0%)" in found.missing[1]
    many = minutes(24, Counts(500), Counts(500), step=1, share=0.5)
    assert judged(many, step=1, at_ms=24 * HOUR_MS).action == "advance"
    assert judged(many, step=1, at_ms=24 * HOUR_MS - 1).action == "hold"
    short = CanaryPlan(steps=(5, 50), step_s=0, hours=0)
    assert judged(many, step=1, at_ms=0, plan=short).action == "advance"


def test_failures_beyond_chance_bring_it_back_with_the_numbers() -> None:
    found = judged(minutes(2, Counts(1900, 19), Counts(100, 7)))
    assert (found.action, found.metric) == ("return", "failures")
    assert found.why.startswith("7.0% of 200 answers of the candidate failed, 1.0% of 3,800 of the live release")
    assert judged(minutes(2, Counts(1900, 19), Counts(100, 1))).action == "hold"


def test_a_difference_that_does_not_matter_brings_nothing_back_however_certain() -> None:
    a, b = Counts(1_000_000, 10_000), Counts(1_000_000, 11_500)  # 0.15 points more: half of the margin is 0.5
    found = judged(minutes(1, a, b, step=1, share=0.5), step=1)
    evidence = found.evidence[0]
    assert evidence.odds > evidence.limit
    assert not evidence.against
    assert found.action == "hold"


def test_a_customer_that_fails_again_and_again_is_one_piece_of_evidence() -> None:
    whole, once = Counts(200, 30), Counts(200, 30, failed_again=29)
    assert judged(minutes(1, Counts(3800, 19), whole)).action == "return"
    assert judged(minutes(1, Counts(3800, 19), once)).action == "hold"


def test_hours_of_one_step_multiply_and_steps_do_not() -> None:
    hour = [Minute(0, at * HOUR_MS, 0.05, Counts(1900, 10), Counts(100, 3)) for at in range(3)]
    one, three = (judged(hour[:n]).evidence[0].odds for n in (1, 3))
    assert three > 5 * one
    spread = [Minute(at, at * HOUR_MS, 0.05, Counts(1900, 10), Counts(100, 3)) for at in range(2)]
    assert judged(spread, step=1).evidence[0].odds == pytest.approx(one)


def test_a_daily_cycle_over_steps_of_different_shares_is_no_evidence() -> None:
    night = [Minute(0, at * MINUTE_MS, 0.05, Counts(950, 9), Counts(50, 1)) for at in range(60)]
    day = [Minute(1, HOUR_MS + at * MINUTE_MS, 0.5, Counts(500, 15), Counts(500, 15)) for at in range(60)]
    found = judged([*night, *day], step=1, at_ms=24 * HOUR_MS)
    live, candidate = strata([*night, *day]).of("failures")
    assert candidate.sum() / (60 * 550) > 1.5 * live.sum() / (60 * 1450)  # pooled it looks half as bad again
    assert found.action != "return"


def test_slow_answers_bring_it_back_but_not_those_of_one_moment() -> None:
    slow = minutes(3, Counts(950, slow=5), Counts(50, slow=20))
    assert (judged(slow).action, judged(slow).metric) == ("return", "slow")
    stall = [
        *minutes(9, Counts(950, slow=5), Counts(50)),
        Minute(0, 9 * MINUTE_MS, 0.05, Counts(950), Counts(50, slow=50)),
    ]
    assert judged(stall).action == "hold"


def test_three_slow_minutes_in_a_row_need_no_evidence() -> None:
    found = judged(
        [*minutes(3, Counts(10), Counts(6, slow=6), share=0.5), Minute(0, 3 * MINUTE_MS, 0.5, Counts(), Counts())]
    )
    assert found.action == "return"
    assert "in each of 3 minutes" in found.why


def test_five_failures_at_once_and_crashes_need_no_evidence() -> None:
    assert judged(minutes(1, Counts(95), Counts(5, 5))).why.startswith("5 of 5 answers of the newer release failed")
    both = judged(minutes(1, Counts(95, 40), Counts(5, 5)))
    assert both.action == "hold"  # the others fail too: an outage
    assert judged(minutes(1, WELL, WELL), crashes=2).why == "its process died 2 times"
    assert judged(minutes(1, Counts(95), Counts(5)), crashes=1).action == "hold"


def test_broken_output_rules_count() -> None:
    assert judged(minutes(1, Counts(3800), Counts(200, broken=10))).metric == "rules"


def test_disagreement_counts_against_its_bound_and_requests_of_many_rows_count_once() -> None:
    apart = Compared(requests=300, rows=300, difference=180.0, difference_squared=120.0)
    assert judged(minutes(1, WELL, Counts(5)), at_ms=MINUTE_MS, compared=apart, bound=0.15).metric == "disagreement"
    assert judged(minutes(1, WELL, Counts(5)), at_ms=MINUTE_MS, compared=apart, bound=0.7).action == "hold"
    assert judged(minutes(1, WELL, Counts(5)), at_ms=MINUTE_MS, compared=apart).action == "hold"  # not measured yet
    assert judged(minutes(1, WELL, Counts(5)), compared=apart, bound=0.15).action == "hold"  # the first minute
    many_rows = apart._replace(requests=3)
    assert judged(minutes(1, WELL, Counts(5)), at_ms=MINUTE_MS, compared=many_rows, bound=0.15).action == "hold"


def test_what_labels_say_counts() -> None:
    says = Evidence(metric="quality", older=0.8, newer=0.7, against=True, says="auc fell")
    assert judged(minutes(1, WELL, Counts(5)), others=(says,)).why == "auc fell"


def test_another_share_than_was_dealt_makes_it_invalid() -> None:
    found = judged(minutes(5, Counts(500), Counts(500)))
    assert found.action == "invalid"
    assert found.why.startswith("the candidate was dealt 5% of the requests and had 50.0% of 5,000")


def test_at_the_horizon_without_a_decision_the_live_release_stays() -> None:
    found = judged(minutes(1, Counts(95), Counts(5)), at_ms=168 * HOUR_MS)
    assert (found.action, found.why) == (
        "inconclusive",
        "no decision after 168 hours: 395 more requests of the candidate",
    )


def test_nothing_counted_yet_is_a_hold() -> None:
    assert judged([]).action == "hold"
