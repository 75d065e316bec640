from __future__ import annotations

from mlspine.core.plan import ProcessState
from mlspine.monitoring.guarded import WINDOW_S, Acted, GuardWatch, acted, read, reasons, since

CAUSES = ("guards:fallback", "guards:rules", "guards:shed")


def state(process: str, **counters: object) -> ProcessState:
    return ProcessState(process=process, pid=1, started_at_ms=0, plan=1, ready=True, endpoints={"churn": counters})


def causes(**counts: object) -> list[str]:
    return [told.cause for told in reasons("churn", Acted(**counts))]  # type: ignore[arg-type]


def test_counts_of_several_processes_are_added_up_and_a_path_is_open_where_it_is_in_any() -> None:
    one = state("a", requests=10, rows=20, paths={"live": 9, "fallback": 1}, rules={"range": 2}, shed=1)
    two = state("b", requests=5, rows=5, paths={"live": 5}, breakers={"live": "half-open", "fallback": "closed"})
    counts = acted(
        [one, two, ProcessState(process="c", pid=1, started_at_ms=0, plan=1, ready=True, endpoints={})], "churn"
    )
    assert counts == Acted(
        requests=15, rows=25, paths={"live": 14, "fallback": 1}, rules={"range": 2}, shed=1, open=("live",)
    )
    assert (counts.stood_in, counts.caught) == (1, 2)


def test_a_process_that_says_nothing_of_guards_counts_as_nothing_done() -> None:
    assert read({"requests": 3, "rows": 3}) == Acted(requests=3, rows=3)


def test_a_healthy_endpoint_is_no_news() -> None:
    assert causes(requests=1000, rows=1000, paths={"live": 1000}) == []


def test_answers_by_somebody_else_are_told_with_who_gave_them() -> None:
    assert causes(requests=1000, rows=1000, paths={"live": 998, "fallback": 2}) == []
    told = reasons("churn", Acted(requests=1000, paths={"fallback": 2, "rule": 1}, open=("live",)))
    assert [each.cause for each in told] == ["guards:fallback"]
    assert told[0].why == "2 fallback, 1 rule, of 1000 requests in the last 5 minutes; left alone for now: live"


def test_rules_are_told_above_their_share_of_rows_only() -> None:
    assert causes(requests=100, rows=100, rules={"range": 5}) == []
    assert causes(requests=100, rows=100, rules={"range": 4, "deny": 2}) == ["guards:rules"]
    assert causes(requests=3, rows=3, rules={"range": 3}) == []


def test_refused_requests_are_told_above_one_in_a_hundred() -> None:
    assert causes(requests=1000, shed=10) == []
    assert causes(requests=1000, shed=11) == ["guards:shed"]


def test_what_was_before_the_window_is_forgotten() -> None:
    watch = GuardWatch()
    watch.add("churn", "a", Acted(), 0.0)
    assert watch.add("churn", "a", Acted(requests=50, paths={"fallback": 9}), 10.0).stood_in == 9
    for at_s in (100.0, 200.0, WINDOW_S + 10.0):
        recent = watch.add("churn", "a", Acted(requests=60, paths={"fallback": 9}), at_s)
    assert (recent.stood_in, recent.requests) == (0, 10)


def test_what_a_process_did_before_it_was_watched_is_not_told_as_news() -> None:
    assert GuardWatch().add("churn", "a", Acted(requests=500, paths={"fallback": 9}), 0.0).stood_in == 0


def test_a_new_process_by_the_same_name_began_with_nothing() -> None:
    watch = GuardWatch()
    watch.add("churn", "a", Acted(requests=500, paths={"fallback": 9}), 0.0)
    assert watch.add("churn", "a", Acted(requests=4, paths={"fallback": 4}), 10.0).stood_in == 4


def test_endpoints_and_processes_are_remembered_apart() -> None:
    watch = GuardWatch()
    for endpoint, process in (("churn", "a"), ("churn", "b"), ("price", "a")):
        watch.add(endpoint, process, Acted(), 0.0)
    assert watch.add("churn", "a", Acted(requests=9, shed=5), 1.0).shed == 5
    assert watch.add("churn", "b", Acted(requests=9, shed=1), 1.0).shed == 1


def test_growth_is_counted_by_name() -> None:
    then = Acted(requests=10, rows=10, paths={"live": 10}, rules={"range": 1}, shed=1)
    now = Acted(requests=15, rows=30, paths={"live": 12, "rule": 3}, rules={"range": 1, "deny": 2}, shed=1)
    assert since(now, then) == Acted(
        requests=5, rows=20, paths={"live": 2, "rule": 3}, rules={"range": 0, "deny": 2}, shed=0
    )
