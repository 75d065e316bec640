"""The page of a window: every figure of its document, whatever names come from outside, and of one size."""

from __future__ import annotations

import html as escaping
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.core.types import (
    Alert,
    DriftReport,
    Effect,
    Estimate,
    FeatureVerdict,
    Interval,
    Metric,
    PerformanceReport,
)
from mlspine.monitoring.document import document
from mlspine.monitoring.drift import judge
from mlspine.reporting.page import html, page, style_digest
from mlspine.stats.baseline import take_baseline
from mlspine.stats.profile import merge, profile

DAY_MS = 86_400_000
COLUMNS = 100
LEVELS = np.array([f"level {k}" for k in range(12)], dtype=object)
NAMES = [f"feature_{i:03d}" for i in range(COLUMNS)]
KINDS = {name: "categorical" if i % 4 == 3 else "numeric" for i, name in enumerate(NAMES)}


def rows(count: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def column(kind: str) -> Any:
        if kind == "numeric":
            return rng.standard_normal(count) + shift
        return LEVELS[np.minimum(11, (rng.random(count) ** (1 + shift) * 12).astype(int))]

    return {name: column(kind) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def reports() -> dict[int, DriftReport]:
    """A hundred columns that all moved, in windows of a thousand and of a million rows."""
    baseline = take_baseline(rows(2_000, 0), KINDS)
    small = profile(baseline.inputs, rows(1_000, 1, 0.5))
    large = hundred_thousand = profile(baseline.inputs, rows(100_000, 2, 0.5))
    for _ in range(9):
        large = merge(large, hundred_thousand)
    return {window.rows: judged(baseline, window) for window in (small, large)}


def judged(baseline: Any, window: Any) -> DriftReport:
    return judge(
        baseline, window, None, learned_outputs=None, alpha=0.01, history=(), endpoint="wide", release_hash="r",
        version=1, from_at_ms=DAY_MS, to_at_ms=2 * DAY_MS,
    )  # fmt: skip


def test_its_size_does_not_follow_the_rows_and_a_hundred_columns_stay_below_a_megabyte(
    reports: dict[int, DriftReport],
) -> None:
    assert list(reports) == [1_000, 1_000_000]
    assert [sum(each.severity == "WARNING" for each in report.features) for report in reports.values()] == [100, 100]
    sizes = [len(html(report).encode()) for report in reports.values()]
    assert max(sizes) < 1_000_000
    assert max(sizes) / min(sizes) < 1.02


# ---------------------------------------------------------------- what it says


def verdict(name: str = "temp", **given: Any) -> FeatureVerdict:
    usual: dict[str, Any] = {
        "role": "input",
        "type": "numeric",
        "p": 1e-9,
        "significant": True,
        "named": True,
        "effects": (
            Effect(name="mean_sd", value=0.42, noise=0.02, floor=0.1, limit=0.1),
            Effect(name="psi", value=0.15, noise=0.005),
        ),
        "importance": 0.4,
        "impact": 1.7,
        "severity": "WARNING",
        "direction": "up",
        "why": "mean 55 -> 62.6, +0.42 sd (limit 0.10 sd), 40% of model importance",
        "reference_shares": (0.5, 0.5),
        "window_shares": (0.2, 0.8),
        "bin_labels": ("<= 55", "> 55"),
    }
    return FeatureVerdict(name=name, **(usual | given))


def report(*features: FeatureVerdict, **given: Any) -> DriftReport:
    usual: dict[str, Any] = {
        "endpoint": "flights",
        "release_hash": "a1b2c3d4e5f6a7",
        "version": 3,
        "reference_id": "ref",
        "from_at_ms": DAY_MS,
        "to_at_ms": 2 * DAY_MS,
        "rows": 2000,
        "status": "JUDGED",
        "severity": "WARNING",
        "alpha": 0.01,
        "false_alarm_nominal": 0.0014,
        "false_alarm_measured": Interval(value=0.0094, lo=0.0076, hi=0.0115),
        "seasonality": "",
        "features": features,
    }
    return DriftReport(**(usual | given))


def fine(name: str, **given: Any) -> FeatureVerdict:
    return verdict(
        name,
        **{
            "named": False,
            "severity": "OK",
            "p": 0.4,
            "why": f"no change beyond chance in {name}",
            "direction": "shape",
        }
        | given,
    )


class Seen(HTMLParser):
    """Elements, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def alert(why: str) -> Alert:
    return Alert(
        id="1", endpoint="flights", cause="drift:temp:up", severity="WARNING", title="flights: temp went up", why=why,
        action="mlspine causes flights", opened_at_ms=DAY_MS, updated_at_ms=DAY_MS,
    )  # fmt: skip


def test_the_sentence_of_the_alert_stands_in_it_word_for_word() -> None:
    moved = verdict(why="missing rate 0.3% -> 5.4% (limit 2.3%), 12% of model importance & more, \"so\" 'it' is <b>")
    text = html(report(moved), alerts=[alert(moved.why)])
    assert escaping.unescape(text).count(moved.why) >= 2
    seen = Seen(text).text
    assert f"{moved.why}" in seen
    assert "mlspine causes flights" in seen


def test_one_verdict_the_promise_and_the_ranking() -> None:
    made = report(verdict("temp"), verdict("wind", severity="INFO", impact=0.1), fine("humid"))
    seen = Seen(html(made))
    assert seen.tags.count("h1") == 1
    assert "temp changed beyond chance and beyond limits: mean 55 -> 62.6" in seen.text
    for said in (
        "2,000",
        "of windows without change 0.14% may be called significant; measured 0.94% [0.76%, 1.1%] where 1% was promised",
        "1970-01-02 00:00 to 1970-01-03 00:00 UTC",
        "mean shift 0.42 sd is 4.2 times what it takes",
        "1 column without change beyond chance",
        "(0.1; 0.2)",
    ):
        assert said in seen.text
    assert seen.text.index("temp") < seen.text.index("wind") < seen.text.index("humid")
    assert html(made).count('class="limit usual"') == 2 * 2  # PSI's usual marks, in two tables


def measured(day: int, value: float, status: Any = "FINAL") -> PerformanceReport:
    metric = Metric(
        name="auc", status="ESTIMATED", rows=700, rows_from="labels",
        interval=Interval(value=value, lo=value - 0.02, hi=value + 0.02),
    )  # fmt: skip
    return PerformanceReport(
        endpoint="flights", release_hash="a1b2c3d4e5f6a7", from_at_ms=day * DAY_MS, to_at_ms=(day + 1) * DAY_MS,
        as_of_ms=9 * DAY_MS, predicted_rows=1000, labelled_rows=700, coverage=0.7, status=status, metrics=(metric,),
        baseline=msgspec.structs.replace(metric, rows_from="holdout", interval=Interval(value=0.9, lo=0.88, hi=0.92)),
    )  # fmt: skip


def estimate(day: int, status: Any) -> Estimate:
    return Estimate(
        endpoint="flights", release_hash="a1b2c3d4e5f6a7", from_at_ms=day * DAY_MS, to_at_ms=(day + 1) * DAY_MS,
        as_of_ms=9 * DAY_MS, metric="auc", status=status, rows=1000, method="CBPE", backtest_rmse=0.0123,
        interval=None if status == "NOT_ESTIMABLE" else Interval(value=0.85, lo=0.8, hi=0.9),
        why="no overlap of the score ranges" if status == "NOT_ESTIMABLE" else "",
    )  # fmt: skip


def test_quality_over_time_shows_what_was_measured_what_was_estimated_and_what_is_provisional() -> None:
    text = html(
        report(verdict()),
        realised=[measured(1, 0.9), measured(2, 0.88), measured(3, 0.87, "PROVISIONAL")],
        estimated=[
            *(estimate(day, state) for day, state in enumerate(("ESTIMATED", "UNVERIFIED", "BROKEN"), start=2)),
            estimate(5, "NOT_ESTIMABLE"),
        ],
    )
    drawing = text[text.index('<svg class="quality"') :].split("</svg><p")[0]
    assert (drawing.count("<circle"), drawing.count('circle class="live provisional"')) == (3, 1)
    for kind in ("estimated", "unverified", "broken"):
        assert drawing.count(f'path class="live {kind}"') == 1
    assert 'class="ship"' in drawing
    assert 'class="now-on"' in drawing
    seen = Seen(text).text
    assert "at ship, holdout: 0.900 [0.880, 0.920]" in seen
    assert "NOT_ESTIMABLE: no overlap of the score ranges" in seen
    assert "0.012" in seen
    assert "from 1970-01-04 00:00 provisional auc 0.870" in drawing


def test_nothing_near_its_limit_is_said_and_too_few_rows_are_no_all_clear() -> None:
    calm = fine("x", effects=(Effect(name="mean_sd", value=0.01, noise=0.02, floor=0.1, limit=0.1),))
    assert "No column is near its limit" in Seen(html(report(calm, severity="OK"))).text
    few = Seen(html(report(rows=120, status="INSUFFICIENT", severity="INFO"))).text
    assert "120 rows are too few to say anything, at least 500 are needed" in few
    assert "OK" not in few.split()


# ---------------------------------------------------------------- names from outside


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></svg></details><h1>owned</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066\u200b",
    "\x00\x1b[31m\ud800",
    "x" * 10_000,
]
PLAIN = Seen(html(report(verdict("a"), fine("b"), endpoint="e"), alerts=[alert("w")]))


@settings(max_examples=60, deadline=None)
@given(name=st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=60)))
def test_whatever_a_column_is_called_it_stays_words(name: str) -> None:
    made = report(
        verdict(name, why=f"{name} moved", bin_labels=(name, name)),
        fine(name, why=name, bin_labels=(name, "b")),
        endpoint="e",
    )
    text = html(made, alerts=[alert(name)])
    seen = Seen(text)
    assert seen.tags == PLAIN.tags
    assert {key for key, _ in seen.attributes} == {key for key, _ in PLAIN.attributes}
    assert not set(text) & set("\u202e\u2066\u200b\x00\x1b\ud800")
    assert len(text) < 60_000
    text.encode()


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    text = html(report(verdict(), fine("b")), realised=[measured(1, 0.9)], estimated=[estimate(2, "ESTIMATED")])
    seen = Seen(text)
    assert {"script", "link", "img", "iframe", "object", "form", "a"} & set(seen.tags) == set()
    assert {key for key, _ in seen.attributes if key.startswith("on") or key in ("style", "src", "href")} == set()
    assert re.findall(r"url\(|@import|https?://", text) == []
    assert f"default-src 'none'; style-src '{style_digest()}'" in escaping.unescape(text)
    assert '<a href="../flights">flights</a>' in page(document(report(verdict())), back="../flights")
