from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlspine.core.types import Columns, Interval, Metric, PerformanceReport
from mlspine.monitoring.performance import check_sample, measure_window

DAY_MS = 86_400_000


def rows(n: int, *, skill: float = 2.0, seed: int = 0) -> Columns:
    """Answers of a binary model whose score separates the classes by `skill` standard deviations."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.4).astype(int)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + skill * (label - 0.5))))
    return {"prediction": (score > 0.5).astype(int), "score": score, "label": label}


def some(columns: Columns, chosen: np.ndarray) -> Columns:
    return {name: values[chosen] for name, values in columns.items()}


def figure(name: str, value: float, half: float = 0.01, *, higher: bool = True) -> Metric:
    return Metric(
        name=name,
        status="ESTIMATED",
        interval=Interval(value=value, lo=value - half, hi=value + half),
        rows=10_000,
        rows_from="holdout",
        higher_is_better=higher,
    )


def measured(
    labelled: Columns, predicted: Columns, baseline: Metric | None = None, **changes: Any
) -> PerformanceReport:
    given: dict[str, Any] = {
        "endpoint": "shop",
        "release_hash": "r",
        "from_at_ms": 0,
        "to_at_ms": DAY_MS,
        "as_of_ms": 2 * DAY_MS,
        "task": "binary",
        "classes": (0, 1),
        "max_delay_ms": 30 * DAY_MS,
    }
    return measure_window(labelled=labelled, predicted=predicted, baseline=baseline, **{**given, **changes})


def test_a_window_with_all_its_labels_is_final_and_its_figures_are_those_of_sklearn() -> None:
    window = rows(2_000)
    report = measured(window, window)
    assert (report.status, report.coverage, report.predicted_rows, report.labelled_rows) == (
        "FINAL",
        1.0,
        2_000,
        2_000,
    )
    assert [metric.name for metric in report.metrics] == ["auc", "accuracy", "f1", "brier"]
    auc = report.metrics[0].interval
    assert auc is not None
    assert auc.value == pytest.approx(roc_auc_score(window["label"], window["score"]))
    assert report.metrics[0].rows_from == "labels"
    assert (report.severity, report.why.split(";")[1].strip()) == (
        "OK",
        "nothing to compare with: no such figure at ship",
    )


def test_without_labels_there_is_no_figure_and_no_alarm() -> None:
    window = rows(100)
    for nothing in (some(window, np.zeros(100, bool)), {**window, "label": np.full(100, np.nan)}):
        report = measured(nothing, window, figure("auc", 0.9))
        assert (report.status, report.metrics, report.coverage, report.severity) == (
            "NO_LABELS",
            (),
            0.0,
            "OK",
        )
        assert report.why == "no row of this window has a label yet"


def test_a_window_without_rows_has_no_coverage() -> None:
    report = measured(rows(0), rows(0))
    assert (report.status, report.coverage) == ("NO_LABELS", 0.0)


@pytest.mark.parametrize(
    ("share", "as_of_days", "status"),
    [(0.94, 2, "PROVISIONAL"), (0.95, 2, "FINAL"), (0.1, 30, "PROVISIONAL"), (0.1, 31, "FINAL")],
)
def test_a_window_is_final_at_95_percent_or_when_the_labels_time_is_over(
    share: float, as_of_days: int, status: str
) -> None:
    window = rows(1_000)
    report = measured(some(window, np.arange(1_000) < share * 1_000), window, as_of_ms=as_of_days * DAY_MS)
    assert report.status == status
    assert {metric.status for metric in report.metrics} == {"ESTIMATED" if status == "FINAL" else "PROVISIONAL"}


@pytest.mark.parametrize(("at_ship", "severity"), [(0.80, "OK"), (0.935, "OK"), (0.955, "WARNING"), (0.98, "CRITICAL")])
def test_a_fall_beyond_the_tolerance_warns_and_beyond_twice_of_it_is_critical(at_ship: float, severity: str) -> None:
    window = rows(20_000)  # auc about 0.92
    auc = roc_auc_score(window["label"], window["score"])
    assert auc == pytest.approx(0.922, abs=0.005)
    report = measured(window, window, figure("auc", at_ship, 0.002))
    assert report.severity == severity
    assert f"{auc:.3g}" in report.why
    assert "tolerance 0.02" in report.why


def test_a_fall_that_may_be_chance_is_no_alarm() -> None:
    window = rows(80)
    report = measured(window, window, figure("auc", 0.97))
    assert report.severity == "OK"
    assert "within chance" in report.why or "not worse" in report.why


def test_a_certain_fall_within_the_tolerance_is_no_alarm() -> None:
    window = rows(50_000)
    auc = roc_auc_score(window["label"], window["score"])
    report = measured(window, window, figure("auc", auc + 0.015, 0.001))
    assert report.severity == "OK"
    assert "within tolerance" in report.why
    assert measured(window, window, figure("auc", auc + 0.015, 0.001), tolerance=0.01).severity == "WARNING"


@pytest.mark.parametrize(("at_ship", "severity"), [(1.0, "CRITICAL"), (1.48, "WARNING"), (1.56, "OK"), (2.5, "OK")])
def test_an_error_grows_relative_to_the_baseline(at_ship: float, severity: str) -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=40_000)
    window = {"prediction": truth + 2 * rng.normal(size=40_000), "score": truth, "label": truth}  # mae 1.596
    baseline = figure("mae", at_ship, 0.002, higher=False)
    report = measured(window, window, baseline, task="regression", classes=())
    assert report.metrics[0].name == "mae"
    assert report.severity == severity


def test_the_comparison_is_on_the_metric_measured_at_ship() -> None:
    window = rows(5_000)
    report = measured(window, window, figure("accuracy", 0.99, 0.001))
    assert report.severity == "CRITICAL"
    assert report.why.startswith("accuracy ")


def test_a_figure_that_cannot_be_measured_here_is_said() -> None:
    window = some(rows(500), rows(500)["label"] == 1)
    report = measured(window, window, figure("auc", 0.99))
    assert report.severity == "OK"
    assert report.why.startswith("auc cannot be measured here")


def test_a_baseline_without_a_figure_is_nothing_to_compare_with() -> None:
    window = rows(500)
    baseline = Metric(name="auc", status="NOT_ESTIMABLE", reason="no holdout")
    assert "nothing to compare with" in measured(window, window, baseline).why


def test_a_provisional_window_is_silent_below_half_of_its_labels() -> None:
    window = rows(4_000, skill=0.5)
    third, most = np.arange(4_000) % 3 == 0, np.arange(4_000) % 3 != 0
    quiet = measured(some(window, third), window, figure("auc", 0.95))
    loud = measured(some(window, most), window, figure("auc", 0.95))
    assert (quiet.status, quiet.severity) == ("PROVISIONAL", "OK")
    assert "not raised: only 33% of the rows have a label yet" in quiet.why
    assert (loud.status, loud.severity) == ("PROVISIONAL", "CRITICAL")


def test_a_provisional_window_is_silent_while_its_labels_are_a_biased_part() -> None:
    window = rows(4_000, skill=0.5)
    early = window["score"] > np.quantile(window["score"], 0.4)  # what is due first scores high
    report = measured(some(window, early), window, figure("auc", 0.95))
    assert (report.status, report.severity) == ("PROVISIONAL", "OK")
    assert "no random part" in report.why
    later = measured(some(window, early), window, figure("auc", 0.95), as_of_ms=40 * DAY_MS)
    assert (later.status, later.severity) == ("FINAL", "CRITICAL")


def test_text_classes_and_labels_as_text_are_measured() -> None:
    window = rows(1_000)
    words = np.array(["no", "yes"], dtype=object)
    as_words = {**window, "prediction": words[window["prediction"]], "label": words[window["label"]]}
    as_text = {**window, "label": np.array([str(label) for label in window["label"]], dtype=object)}
    plain = measured(window, window).metrics
    assert measured(as_words, as_words, classes=("no", "yes")).metrics == plain
    assert measured(as_text, window).metrics == plain


def test_a_model_without_scores_is_measured_by_its_answers() -> None:
    window = {**rows(1_000), "score": np.full(1_000, np.nan)}
    assert measured(window, window).metrics[0].name == "accuracy"


def test_random_parts_pass_the_sample_check_nearly_always() -> None:
    rng = np.random.default_rng(3)
    window = rows(3_000)
    parts = [rng.random(3_000) < 0.6 for _ in range(300)]
    p = np.array([check_sample(some(window, part), window).p for part in parts])
    assert (p < 0.05).mean() < 0.1  # uniform under no difference
    assert np.mean([check_sample(some(window, part), window).differs for part in parts]) <= 0.02


def test_biased_parts_are_found_by_answers_where_there_are_no_scores() -> None:
    window = {**rows(1_000), "score": np.full(1_000, np.nan)}
    biased = some(window, window["prediction"] == 1)
    assert check_sample(biased, window).differs
    assert not check_sample(some(window, np.arange(1_000) % 2 == 0), window).differs


def test_a_tiny_bias_in_many_rows_is_let_pass() -> None:
    window = {"score": np.linspace(0, 1, 200_000), "prediction": np.zeros(200_000)}
    rng = np.random.default_rng(4)
    part = some(window, rng.random(200_000) < 0.5 + 0.02 * (window["score"] - 0.5))
    check = check_sample(part, window)
    assert check.p < 0.01
    assert not check.differs


def test_all_or_nothing_labelled_cannot_differ() -> None:
    window = rows(50)
    assert not check_sample(window, window).differs
    assert not check_sample(some(window, np.zeros(50, bool)), window).differs
