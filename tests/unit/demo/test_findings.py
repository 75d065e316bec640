import numpy as np
import pytest

from mlspine.core.types import (
    Alert,
    DriftReport,
    Effect,
    FeatureVerdict,
    Interval,
    Metric,
    ModelVersion,
    PerformanceReport,
    Severity,
)
from mlspine.demo import findings
from mlspine.demo.flights import ARRIVED, TARGET, TIME
from mlspine.governance.promotion import Comparison, judge
from mlspine.retraining.service import Attempt, Concluded
from mlspine.stats.paired import Gain

DAY_MS = 86_400_000
APRIL_MS = 1_364_774_400_000


def verdict(name: str, severity: Severity, *, value: float = 0.2, role: str = "input") -> FeatureVerdict:
    return FeatureVerdict(
        name=name,
        role=role,  # type: ignore[arg-type]
        type="numeric",
        p=0.001,
        significant=severity != "OK",
        named=True,
        effects=(Effect(name="js", value=value, noise=0.02, floor=0.1, limit=0.1),),
        importance=0.3,
        impact=value,
        severity=severity,
        direction="up",
        why=f"{name} moved by {value}",
        reference_shares=(0.5, 0.5),
        window_shares=(0.1, 0.9),
        bin_labels=("low", "high"),
    )


def report(day: int, *verdicts: FeatureVerdict, status: str = "JUDGED") -> DriftReport:
    order = {"OK": 0, "INFO": 1, "WARNING": 2, "CRITICAL": 3}
    return DriftReport(
        endpoint="flights",
        release_hash="ab",
        version=1,
        reference_id="r",
        from_at_ms=APRIL_MS + day * DAY_MS,
        to_at_ms=APRIL_MS + (day + 1) * DAY_MS,
        rows=500,
        status=status,  # type: ignore[arg-type]
        severity=max((each.severity for each in verdicts), key=order.__getitem__, default="OK"),
        alpha=0.01,
        false_alarm_nominal=0.01,
        false_alarm_measured=None,
        seasonality="",
        features=verdicts,
    )


def alert(title: str, *, windows: int, cleared: bool = True, severity: Severity = "WARNING") -> Alert:
    return Alert(
        id=f"{title}{windows}",
        endpoint="flights",
        cause=title,
        severity=severity,
        title=f"flights: {title}",
        why=f"{windows} windows",
        action="mlspine status flights",
        opened_at_ms=1,
        updated_at_ms=2,
        windows=windows,
        cleared_at_ms=3 if cleared else 0,
    )


def test_windows_told_are_counted_per_feature_and_month() -> None:
    reports = [
        report(0, verdict("temp", "WARNING"), verdict("dest", "OK")),
        report(1, verdict("temp", "INFO"), verdict("dest", "OK")),
        report(40, verdict("temp", "CRITICAL"), verdict("dest", "OK")),
        report(41, status="INSUFFICIENT"),
    ]
    temp, dest = findings.drift_by_feature(reports)
    assert [(cell.month, cell.windows, cell.warned, cell.severity) for cell in temp.cells] == [
        ("2013-04", 2, 1, "WARNING"),
        ("2013-05", 1, 1, "CRITICAL"),
    ]
    assert [(cell.windows, cell.warned) for cell in dest.cells] == [(2, 0), (1, 0)]
    assert len(findings.warned(reports)) == 2


def test_the_feature_told_of_most_is_drawn_in_its_widest_window() -> None:
    reports = [
        report(0, verdict("temp", "WARNING", value=0.2)),
        report(1, verdict("temp", "WARNING", value=0.4)),
        report(2, verdict("odd", "WARNING", value=0.9)),
        report(3, verdict("score", "CRITICAL", value=0.9, role="score")),
    ]
    top = findings.most_moved(reports)
    assert top is not None
    assert (top.name, top.value, top.from_at_ms) == ("temp", 0.4, APRIL_MS + DAY_MS)


def test_a_feature_told_of_for_another_reason_is_not_drawn() -> None:
    unseen = verdict("dest", "WARNING", value=0.05)  # within its limit: the alert was about unseen values
    assert findings.most_moved([report(0, unseen)]) is None


def test_nothing_is_drawn_when_nothing_was_told() -> None:
    assert findings.most_moved([report(0, verdict("temp", "INFO"))]) is None
    assert findings.first_alert([report(0, verdict("temp", "INFO"))]) is None


def test_the_first_alert_is_the_first_window_told_and_its_strongest_column() -> None:
    reports = [
        report(9, verdict("late", "CRITICAL")),
        report(
            3, verdict("dewp", "WARNING", value=0.2), verdict("temp", "WARNING", value=0.3), verdict("dest", "INFO")
        ),
        report(0, verdict("temp", "INFO")),
    ]
    first = findings.first_alert(reports)
    assert first is not None
    assert first.title == "temp has drifted"
    assert first.detail == "temp moved by 0.3; with it dewp"
    assert first.at_ms == APRIL_MS + 4 * DAY_MS


def test_alerts_of_one_title_are_one_line() -> None:
    lines = findings.alert_lines(
        [
            alert("temp went up", windows=3),
            alert("temp went up", windows=9, cleared=False),
            alert("auc fell", windows=1, severity="CRITICAL"),
        ]
    )
    assert [(line.title, line.times, line.windows, line.open, line.why) for line in lines] == [
        ("auc fell", 1, 1, False, "1 windows"),
        ("temp went up", 2, 12, True, "9 windows"),
    ]


def test_quality_is_told_once_at_the_first_month_worth_telling() -> None:
    def month(day: int, severity: Severity) -> PerformanceReport:
        return PerformanceReport(
            endpoint="flights",
            release_hash="ab",
            from_at_ms=APRIL_MS + day * DAY_MS,
            to_at_ms=APRIL_MS + (day + 30) * DAY_MS,
            as_of_ms=0,
            predicted_rows=100,
            labelled_rows=90,
            coverage=0.9,
            status="FINAL",
            metrics=(Metric(name="auc", status="ESTIMATED", interval=Interval(value=0.6, lo=0.5, hi=0.7), rows=90),),
            severity=severity,
            why=f"day {day}",
        )

    reports = [month(60, "CRITICAL"), month(0, "OK"), month(30, "WARNING")]
    assert [moment.detail for moment in findings.quality_told(reports)] == ["day 30"]
    rows = findings.quality_rows(reports, {"ab": 4})
    assert [(row.month, row.version, row.metric) for row in rows] == [
        ("2013-04", 4, "auc"),
        ("2013-05", 4, "auc"),
        ("2013-05", 4, "auc"),
    ]


# ---------------------------------------------------------------- both releases on the same flights


def test_the_area_under_the_curve_agrees_with_scikit_learn_on_resamples_with_ties() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    scores = np.round(rng.random(400) + 0.3 * labels, 1)
    area = findings._Auc(labels, scores)
    for seed in range(5):
        index = np.random.default_rng(seed).integers(0, 400, 300)
        assert area(index) == pytest.approx(metrics.roc_auc_score(labels[index], scores[index]))


def test_a_better_model_gains_and_the_same_one_does_not() -> None:
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    at = pd.Timestamp("2013-08-01", tz="UTC") + pd.to_timedelta(np.sort(rng.integers(0, 61 * 1440, 6_000)), unit="min")
    late = rng.random(6_000) < 0.25
    flights = pd.DataFrame({TIME: at, ARRIVED: at, TARGET: late.astype(float)})
    flights.loc[::50, [ARRIVED, TARGET]] = [pd.NaT, np.nan]
    weak, strong = rng.random(6_000) + 0.2 * late, rng.random(6_000) + 0.8 * late
    rows = findings.compare(flights, first=weak, second=strong)
    assert [row.month for row in rows] == ["2013-08", "2013-09"]
    assert sum(row.rows for row in rows) == 5_880
    for row in rows:
        assert row.gain.lo > 0
        assert row.gain.value == pytest.approx(row.second.value - row.first.value)
    same = findings.compare(flights, first=weak, second=weak)
    assert all(row.gain.lo == row.gain.hi == 0 for row in same)


def test_the_f1_agrees_with_scikit_learn_on_resamples() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels = rng.random(400) < 0.3
    scores = rng.random(400) * 0.7 + 0.3 * labels
    f1 = findings._F1(labels, scores)
    for seed in range(5):
        index = np.random.default_rng(seed).integers(0, 400, 300)
        assert f1(index) == pytest.approx(metrics.f1_score(labels[index], scores[index] > 0.5))
    assert findings._F1(np.zeros(3, dtype=bool), np.zeros(3))(np.arange(3)) == 0.0


def test_a_renewal_is_told_with_the_figures_of_the_gate() -> None:
    gain = Gain(
        metric="f1",
        relative=False,
        rows=26_301,
        production=0.124,
        candidate=0.121,
        differing=900,
        interval=Interval(value=-0.003, lo=-0.008, hi=0.002),
    )
    verdict = judge(Comparison(model="flights", candidate=2, production=1, gain=gain), "new recipe")
    version = ModelVersion(
        model="flights", version=2, release_hash="cd", stage="None", path="/nowhere", created_at_ms=0
    )
    attempt = Attempt(parent=1, rows=78_901, rows_from="a source", recipe="clone", seed=0, fitted_s=2.0)
    done = Concluded(version=version, verdict=verdict, staged=False, attempt=attempt)
    told = findings.renewal(done, at_ms=APRIL_MS, seconds=6.0)
    assert (told.version, told.verdict, told.passed, told.fitted_rows) == (2, "REFUSED", False, 78_901)
    assert (told.metric, told.candidate, told.production, told.judged_rows) == ("F1", 0.121, 0.124, 26_301)
    assert told.paragraph == verdict.paragraph
    assert told.quality is None
