"""The life of an alert, and how several are told as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.types import (
    Alert,
    DriftReport,
    FeatureVerdict,
    Interval,
    Metric,
    PerformanceReport,
    Severity,
)
from mlspine.monitoring.alert import (
    RANK,
    after_drift,
    after_quality,
    after_report,
    cleared,
    messages,
    undelivered,
    with_outcome,
    worst,
)


def verdict(name: str, severity: Severity = "WARNING", *, impact: float = 0.1, **more: Any) -> FeatureVerdict:
    known: dict[str, Any] = {
        "name": name,
        "role": "input",
        "type": "numeric",
        "p": 1e-9,
        "significant": True,
        "named": True,
        "effects": (),
        "importance": 0.2,
        "impact": impact,
        "severity": severity,
        "direction": "up",
        "why": f"{name}: mean 1.0 -> 2.0",
    }
    return FeatureVerdict(**{**known, **more})


def report(*features: FeatureVerdict, status: Any = "JUDGED") -> DriftReport:
    return DriftReport(
        endpoint="churn",
        release_hash="r",
        version=1,
        reference_id="ref",
        from_at_ms=0,
        to_at_ms=1,
        rows=500,
        status=status,
        severity=worst([feature.severity for feature in features]),
        alpha=0.01,
        false_alarm_nominal=0.01,
        false_alarm_measured=None,
        seasonality="",
        features=features,
    )


def ids() -> Callable[[], str]:
    counter = itertools.count()
    return lambda: f"id-{next(counter)}"


class Timeline:
    """Alerts as a store would hold them, window after window."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.now_ms = 0
        self.new_id = ids()

    def see(self, *features: FeatureVerdict, **more: Any) -> list[Alert]:
        self.now_ms += 1000
        changed = after_drift(report(*features, **more), self.open, now_ms=self.now_ms, new_id=self.new_id)
        self.alerts.update({alert.id: alert for alert in changed})
        return changed

    def deliver(self) -> None:
        for alert in self.open:
            self.alerts[alert.id] = with_outcome(alert, "log", "ok")

    @property
    def open(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if not alert.cleared_at_ms]

    @property
    def untold(self) -> list[str]:
        return [alert.cause for alert in undelivered(self.open, "log")]


# ---------------------------------------------------------------- drift


def test_a_drifted_feature_opens_an_alert_with_cause_reason_and_next_command() -> None:
    (alert,) = Timeline().see(verdict("temp", "CRITICAL", impact=0.7))
    assert alert == Alert(
        id="id-0",
        endpoint="churn",
        cause="drift:temp:up",
        severity="CRITICAL",
        title="churn: temp went up",
        why="temp: mean 1.0 -> 2.0",
        action="mlspine report churn --window 1970-01-01T00:00",
        opened_at_ms=1000,
        updated_at_ms=1000,
        impact=0.7,
        to_at_ms=1,
    )


def test_info_opens_nothing() -> None:
    assert Timeline().see(verdict("temp", "INFO"), verdict("wind", "OK")) == []


def test_an_input_and_an_output_of_one_name_are_two_causes() -> None:
    changed = Timeline().see(verdict("score"), verdict("score", role="score"))
    assert {alert.cause for alert in changed} == {"drift:score:up", "drift:output:score:up"}
    assert "the model's score" in next(alert.title for alert in changed if "output" in alert.cause)


def test_a_cause_that_lasts_is_one_alert_told_once() -> None:
    timeline = Timeline()
    timeline.see(verdict("temp"))
    timeline.deliver()
    for _ in range(3):
        timeline.see(verdict("temp", why="newer figures"))
    (alert,) = timeline.open
    assert (alert.windows, alert.why, alert.opened_at_ms, alert.updated_at_ms) == (
        4,
        "newer figures",
        1000,
        4000,
    )
    assert timeline.untold == []


def test_it_clears_after_two_clean_windows_in_a_row_and_not_before() -> None:
    timeline = Timeline()
    timeline.see(verdict("temp"))
    timeline.see()
    assert [alert.clear_windows for alert in timeline.open] == [1]
    timeline.see(verdict("temp"))  # back within the limit once is not over
    timeline.see(verdict("temp", "INFO"))
    assert len(timeline.open) == 1
    timeline.see()
    assert timeline.open == []
    assert timeline.alerts["id-0"].cleared_at_ms == 5000


def test_after_clearing_the_same_cause_is_a_new_alert() -> None:
    timeline = Timeline()
    for features in ([verdict("temp")], [], [], [verdict("temp")]):
        timeline.see(*features)
    assert [bool(alert.cleared_at_ms) for alert in timeline.alerts.values()] == [True, False]


def test_a_window_that_was_not_judged_changes_nothing() -> None:
    timeline = Timeline()
    timeline.see(verdict("temp"))
    for status in ("LEARNING", "INSUFFICIENT"):
        assert timeline.see(status=status) == []
    assert [alert.clear_windows for alert in timeline.open] == [0]


def test_becoming_worse_is_told_again_and_becoming_better_is_not() -> None:
    timeline = Timeline()
    for severity, told in (("WARNING", 1), ("CRITICAL", 1), ("WARNING", 0), ("CRITICAL", 0)):
        timeline.see(verdict("temp", severity))  # type: ignore[arg-type]
        assert len(timeline.untold) == told
        timeline.deliver()
    assert [alert.severity for alert in timeline.open] == ["CRITICAL"]


def test_alerts_of_other_kinds_are_left_alone() -> None:
    errors = Alert(
        id="e",
        endpoint="churn",
        cause="errors",
        severity="WARNING",
        title="",
        why="",
        action="",
        opened_at_ms=1,
        updated_at_ms=1,
    )
    assert after_drift(report(), [errors], now_ms=5, new_id=ids()) == []


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=12))
def test_at_most_one_alert_per_cause_is_open_whatever_comes(windows: list[set[str]]) -> None:
    timeline = Timeline()
    for names in windows:
        timeline.see(*(verdict(name) for name in sorted(names)))
        causes = [alert.cause for alert in timeline.open]
        assert len(causes) == len(set(causes))
        assert {f"drift:{name}:up" for name in names} <= set(causes)
    for name in "abc":
        seen = [name in names for names in windows]
        is_open = f"drift:{name}:up" in [alert.cause for alert in timeline.open]
        assert is_open == (any(seen) and (any(seen[-2:]) or (len(seen) < 3 and any(seen))))


# ---------------------------------------------------------------- telling


def test_features_of_one_window_are_told_together_the_heaviest_first() -> None:
    timeline = Timeline()
    timeline.see(verdict("a", impact=0.1), verdict("b", impact=0.9), verdict("c", "CRITICAL", impact=0.2))
    ((message, members),) = messages(undelivered(timeline.open, "log"))
    assert (message.severity, message.title) == ("CRITICAL", "churn: c went up, and 2 more")
    assert message.why == "; ".join(f"{name} went up ({name}: mean 1.0 -> 2.0)" for name in "cba")
    assert len(members) == 3


def test_a_long_list_is_cut_and_says_so() -> None:
    timeline = Timeline()
    timeline.see(*(verdict(f"f{number:02}") for number in range(20)))
    ((message, _),) = messages(timeline.open)
    assert message.title == "churn: f00 went up, and 19 more"
    assert message.why.endswith("f04 went up (f04: mean 1.0 -> 2.0); and 15 more")


def test_other_causes_and_other_endpoints_are_told_alone() -> None:
    timeline = Timeline()
    timeline.see(verdict("a"), verdict("b"))
    errors = msgspec.structs.replace(timeline.open[0], id="x", cause="errors")
    elsewhere = msgspec.structs.replace(timeline.open[0], id="y", endpoint="other")
    assert [len(members) for _, members in messages([*timeline.open, errors, elsewhere])] == [2, 1, 1]


def test_a_failed_sink_is_tried_again_and_a_good_one_is_not() -> None:
    alert = Timeline().see(verdict("a"))[0]
    alert = with_outcome(with_outcome(alert, "log", "ok"), "webhook:x", "answered 500")
    assert undelivered([alert], "log") == []
    assert undelivered([alert], "webhook:x") == [alert]
    assert undelivered([cleared(alert, now_ms=9)], "webhook:x") == []


# ---------------------------------------------------------------- repeated reports


def errors_alert(severity: Severity = "WARNING", why: str = "2% failed") -> Alert:
    return Alert(
        id="n",
        endpoint="churn",
        cause="errors",
        severity=severity,
        title="answers fail",
        why=why,
        action="mlspine rollback churn",
        opened_at_ms=5,
        updated_at_ms=5,
    )


def test_a_first_report_opens_and_the_same_again_is_nothing_new() -> None:
    first = errors_alert()
    assert after_report(None, first) == first
    assert after_report(first, msgspec.structs.replace(first, id="m", updated_at_ms=9)) is None


def test_new_figures_update_quietly_and_a_worse_severity_is_told() -> None:
    standing = with_outcome(errors_alert(), "log", "ok")
    updated = after_report(standing, errors_alert(why="3% failed"))
    worse = after_report(standing, errors_alert("CRITICAL"))
    assert updated is not None
    assert worse is not None
    assert (updated.id, updated.why, updated.windows, updated.delivered) == (
        "n",
        "3% failed",
        2,
        {"log": "ok"},
    )
    assert (worse.severity, worse.delivered) == ("CRITICAL", {})


# ---------------------------------------------------------------- quality


def quality(
    severities: Sequence[Severity | None], open_alerts: Sequence[Alert] = (), *, coverage: float = 1.0
) -> list[Alert]:
    """What a row of windows leads to; None stands for a window without labels. coverage: of the last one."""
    last = len(severities) - 1
    metric = Metric(name="auc", status="ESTIMATED", interval=Interval(value=0.7, lo=0.6, hi=0.8), rows=100)
    reports = [
        PerformanceReport(
            endpoint="churn",
            release_hash="r",
            from_at_ms=number,
            to_at_ms=number + 1,
            as_of_ms=100,
            predicted_rows=100,
            labelled_rows=100 if severity else 0,
            coverage=(coverage if number == last else 1.0) if severity else 0.0,
            status=("FINAL" if coverage == 1.0 or number != last else "PROVISIONAL") if severity else "NO_LABELS",
            metrics=(metric,) if severity else (),
            severity=severity or "OK",
            why=f"window {number}",
        )
        for number, severity in enumerate(severities)
    ]
    return after_quality(reports, open_alerts, now_ms=100, new_id=ids())


def test_a_bad_window_opens_a_quality_alert_that_proposes_the_rollback() -> None:
    (alert,) = quality(["OK", "CRITICAL", "WARNING"])
    assert (alert.cause, alert.severity, alert.windows, alert.why) == (
        "quality:auc",
        "WARNING",
        2,
        "window 2",
    )
    assert alert.action == "mlspine rollback churn"


def test_measuring_the_same_windows_again_changes_no_count() -> None:
    (first,) = quality(["OK", "WARNING"])
    assert quality(["OK", "WARNING"], [first]) == []


def test_windows_without_labels_neither_alarm_nor_clear() -> None:
    assert quality([None, None]) == []
    (alert,) = quality(["WARNING", None, None])
    assert alert.clear_windows == 0


def test_quality_clears_after_two_good_windows() -> None:
    (alert,) = quality(["WARNING"])
    (one,) = quality(["WARNING", "OK"], [alert])
    (two,) = quality(["WARNING", "OK", "OK"], [one])
    assert (one.cleared_at_ms, one.clear_windows, two.cleared_at_ms) == (0, 1, 100)
    assert quality(["WARNING", "OK", "OK"]) == []


def test_a_window_with_few_labels_does_not_say_that_all_is_well() -> None:
    (alert,) = quality(["OK", "WARNING"])
    assert quality(["OK", "WARNING", "OK"], [alert], coverage=0.4) == []
    (seen,) = quality(["OK", "WARNING", "OK"], [alert], coverage=0.5)
    assert seen.clear_windows == 1
    (still_bad,) = quality(["OK", "CRITICAL"], coverage=0.4)
    assert still_bad.severity == "CRITICAL"


def test_a_late_label_can_take_the_bad_window_back() -> None:
    (alert,) = quality(["OK", "WARNING"])
    (gone,) = quality(["OK", "OK"], [alert])
    assert gone.cleared_at_ms == 100


def test_worst_is_the_highest_rank() -> None:
    assert worst([]) == "OK"
    assert [worst([a, b]) for a in RANK for b in RANK] == [  # type: ignore[list-item]
        max(a, b, key=RANK.__getitem__) for a in RANK for b in RANK
    ]
