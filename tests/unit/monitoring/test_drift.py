"""One window against a baseline: severity, order, sentences, and how often it cries wolf."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from mlspine.core.errors import Conflict
from mlspine.core.types import DriftReport
from mlspine.monitoring.drift import _SENTENCES, RANK, WARNING_ALPHA, judge
from mlspine.stats.baseline import at_hours, output_kinds, outputs_reference, take_baseline
from mlspine.stats.calibrate import FLOORS
from mlspine.stats.compare import compare_windows
from mlspine.stats.natural import DAY_MS, HOUR_MS
from mlspine.stats.profile import build_reference, profile

KINDS = {"temp": "numeric", "wind": "numeric", "carrier": "categorical", "wet": "boolean"}
WEIGHTS = {"temp": 0.4, "wind": 0.12, "carrier": 0.475, "wet": 0.005}
CARRIERS = np.array(["UA", "AA", "B6", "DL"], dtype=object)


def rows(count=1_000, seed=0):
    rng = np.random.default_rng(seed)
    wind = np.where(rng.random(count) < 0.003, np.nan, rng.gamma(3, 4, count))
    return {
        "temp": rng.normal(55, 18, count),
        "wind": wind,
        "carrier": rng.choice(CARRIERS, count, p=[0.4, 0.3, 0.2, 0.1]),
        "wet": rng.random(count) < 0.1,
    }


def answers(count=1_000, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 5, count)
    return {"score": score, "prediction": np.where(score > 0.4, "late", "fine").astype(object)}


BASELINE = take_baseline(rows(20_000), KINDS, importance=WEIGHTS)
WITH_OUTPUTS = take_baseline(rows(20_000), KINDS, importance=WEIGHTS, outputs=answers(20_000), outputs_from="holdout")


def judged(columns, *, baseline=BASELINE, outputs=None, day=0, span_ms=DAY_MS, **given):
    counted = None
    if outputs is not None:
        reference = baseline.outputs or given["learned_outputs"]
        counted = profile(reference, outputs)
    given = {"learned_outputs": None, "alpha": 0.01, "history": (), "release_hash": "r1", **given}
    return judge(
        baseline,
        profile(baseline.inputs, columns),
        counted,
        endpoint="flights",
        version=1,
        from_at_ms=day * DAY_MS,
        to_at_ms=day * DAY_MS + span_ms,
        **given,
    )


def changed(name, values, seed=1):
    columns = rows(seed=seed)
    return {**columns, name: values(columns[name])}


def feature(report, name, role="input"):
    return next(v for v in report.features if (v.name, v.role) == (name, role))


def with_missing(share):
    def spoil(values):
        return np.where(np.arange(values.size) < share * values.size, np.nan, values)

    return spoil


# ---------------------------------------------------------------- when nothing changed


def test_unchanged_rows_are_ok():
    report = judged(rows(seed=3), baseline=WITH_OUTPUTS, outputs=answers(seed=3))
    assert (report.status, report.severity, report.alerting_importance) == ("JUDGED", "OK", 0)
    assert {v.role for v in report.features} == {"input", "score", "prediction"}
    assert all(v.severity == "OK" and not v.named for v in report.features)
    assert all("no change beyond chance" in v.why for v in report.features)


def test_too_few_rows_are_insufficient_and_never_green():
    report = judged(rows(499))
    assert (report.status, report.severity, report.features) == ("INSUFFICIENT", "INFO", ())
    assert judged(rows(499), min_rows=300).status == "JUDGED"


def test_a_baseline_without_rows_is_learning_and_never_green():
    empty = take_baseline(rows(0), KINDS)
    report = judged(rows(), baseline=empty)
    assert (report.status, report.severity) == ("LEARNING", "INFO")


def test_alarms_over_500_unchanged_windows_stay_below_one_percent():
    alarms = significant = 0
    for seed in range(500):
        report = judged(rows(600, seed=1_000 + seed), baseline=WITH_OUTPUTS, outputs=answers(600, seed=seed))
        alarms += report.severity in ("WARNING", "CRITICAL")
        significant += any(v.significant for v in report.features)
    assert alarms <= 5
    assert significant <= 12  # P(more | 1%) < 0.5%


# ---------------------------------------------------------------- what changed, in words


def test_a_shifted_mean_warns_with_its_size_and_direction():
    report = judged(changed("temp", lambda x: x + 9))
    first = report.features[0]
    assert (first.name, first.severity, first.direction) == ("temp", "WARNING", "up")
    assert first.significant
    assert first.named
    assert report.severity == "WARNING"
    assert report.alerting_importance == pytest.approx(0.4)
    assert first.why.startswith("mean 54.96 -> 63.")
    assert "sd (limit 0.10 sd), 40% of model importance" in first.why
    assert judged(changed("temp", lambda x: x - 9)).features[0].direction == "down"


def test_a_creeping_missing_rate_warns_in_one_sentence_with_numbers():
    first = judged(changed("wind", with_missing(0.05))).features[0]
    assert (first.name, first.severity, first.direction) == ("wind", "WARNING", "missing")
    assert re.fullmatch(r"missing rate 0\.3% -> 5\.\d% \(limit 2\.3%\), 12% of model importance", first.why)


def test_a_missing_rate_that_jumps_ten_points_is_critical_and_one_that_falls_is_not():
    assert judged(changed("wind", with_missing(0.14))).features[0].severity == "CRITICAL"
    sparse = take_baseline({**rows(20_000), "wind": with_missing(0.3)(rows(20_000)["wind"])}, KINDS)
    healed = judged(rows(seed=1), baseline=sparse).features[0]
    assert (healed.name, healed.severity, healed.direction) == ("wind", "WARNING", "missing")
    assert re.match(r"missing rate 30\.\d% -> 0\.\d% \(limit 28\.\d%\)", healed.why)


def test_infinite_values_are_named_as_such():
    infinite = changed("temp", lambda x: np.where(np.arange(x.size) % 20 == 0, np.inf, x))
    assert judged(infinite).features[0].why.startswith("+inf rate 0.0% -> 5.0% (limit 2.0%)")


def test_a_moved_level_share_warns_and_names_the_level():
    def move(values):
        values = values.copy()
        values[np.flatnonzero(values == "UA")[:100]] = "DL"
        return values

    first = judged(changed("carrier", move)).features[0]
    assert (first.name, first.severity, first.direction) == ("carrier", "WARNING", "shape")
    assert "of rows changed level (limit 3.0%)" in first.why or "JS distance" in first.why
    assert "most at DL" in first.why or "most at UA" in first.why
    assert first.bin_labels[:2] == ("UA", "AA")
    assert sum(first.window_shares) == pytest.approx(1.0, abs=1e-4)


def test_unseen_levels_are_named():
    def rename(values):
        values = values.copy()
        values[:40] = "WN"
        return values

    first = judged(changed("carrier", rename)).features[0]
    assert (first.severity, first.direction) == ("WARNING", "unseen")
    assert first.why.startswith("levels never seen before in 4.0% of rows (limit 0.5%): 'WN'")


def test_a_tenth_of_rows_unseen_is_critical():
    def rename(values):
        return np.where(np.arange(values.size) % 8 == 0, "WN", values).astype(object)

    assert judged(changed("carrier", rename)).features[0].severity == "CRITICAL"


@pytest.mark.parametrize(
    ("name", "value", "shown"), [("temp", 41.5, "41.5"), ("carrier", "AA", "AA"), ("wind", np.nan, "100.0%")]
)
def test_a_constant_or_all_missing_column_is_critical(name, value, shown):
    stuck = changed(name, lambda x: np.full(x.size, value, dtype=x.dtype))
    first = judged(stuck).features[0]
    assert (first.name, first.severity) == (name, "CRITICAL")
    assert shown in first.why


def test_a_change_of_shape_alone_is_seen():
    def two_humps(x):
        return np.where(x > 55, x + 12, x - 12)

    first = judged(changed("temp", two_humps)).features[0]
    assert (first.severity, first.direction) == ("WARNING", "shape")
    assert first.why.startswith("distribution moved, JS distance")


# ---------------------------------------------------------------- what is not worth a word


def test_a_certain_but_small_change_is_info_and_stays_kept():
    big = {name: np.tile(values, 1) for name, values in rows(60_000, seed=4).items()}
    big["temp"] = big["temp"] + 18 * 0.06
    found = feature(judged(big), "temp")
    assert (found.severity, found.named) == ("INFO", True)
    assert found.why.startswith("changed beyond chance but within limits: mean")


def test_an_ignored_feature_is_info_at_most():
    found = feature(judged(changed("wet", lambda x: ~x)), "wet")
    assert found.severity == "INFO"
    assert found.why.endswith("0.5% of model importance: the model ignores it")


def test_without_importance_nothing_is_ignored():
    plain = take_baseline(rows(20_000), KINDS)
    report = judged(changed("wet", lambda x: ~x), baseline=plain)
    found = report.features[0]
    assert (found.name, found.severity, found.importance) == ("wet", "WARNING", 0.0)
    assert found.impact > 0
    assert "importance" not in found.why


def test_a_sure_little_change_does_not_lend_weight_to_a_noisy_effect():
    # 40 levels: total variation is 0.07 by chance at 1,000 rows, over its floor of 0.03. A missing rate up
    # from 0 by 1.5 points is certain but under its own floor.
    rng = np.random.default_rng(5)
    codes = np.arange(40).astype(str).astype(object)
    baseline = take_baseline({"code": rng.choice(codes, 20_000)}, {"code": "categorical"})
    warned = 0
    for seed in range(200):
        values = np.random.default_rng(seed).choice(codes, 1_000)
        values[:15] = None
        found = feature(judged({"code": values}, baseline=baseline), "code")
        tv = next(effect for effect in found.effects if effect.name == "tv")
        assert found.named
        assert tv.value > tv.limit
        warned += found.severity != "INFO"
    assert warned <= 8  # 1% of 200 for each of its two shape effects, P(more) < 5%; unguarded it is all 200


def test_what_the_calendar_does_by_itself_is_natural():
    at = np.arange(60_000) * (60 * DAY_MS // 60_000)
    weekly = 6 * np.sin(2 * np.pi * (at // DAY_MS) / 7)
    year = {**rows(60_000), "temp": rows(60_000)["temp"] + weekly}
    calibrated = take_baseline(year, KINDS, event_at_ms=at)
    warm_day = changed("temp", lambda x: x + 5.5)
    assert feature(judged(warm_day, baseline=calibrated), "temp").severity == "INFO"
    assert feature(judged(warm_day), "temp").severity == "WARNING"
    assert judged(warm_day, baseline=calibrated).seasonality == ""


def test_windows_of_a_few_hours_are_held_against_the_same_hours():
    at = np.sort(np.random.default_rng(6).integers(0, 40 * DAY_MS, 80_000))
    warm = 10 * np.sin(2 * np.pi * (at / DAY_MS % 1))
    season = {**rows(80_000), "temp": rows(80_000)["temp"] + warm}
    calibrated = take_baseline(season, KINDS, event_at_ms=at)
    warmed = changed("temp", lambda x: x + 9.5)

    def severity(hours):
        slots = np.bincount(hours, minlength=48)
        return feature(judged(warmed, baseline=at_hours(calibrated, slots), span_ms=3 * HOUR_MS), "temp").severity

    assert severity([5, 6]) in ("OK", "INFO")
    assert severity([17, 18]) == "WARNING"


# ---------------------------------------------------------------- order and importance


def test_the_more_important_of_two_drifting_features_comes_first():
    columns = rows(seed=7)
    columns["temp"] = columns["temp"] + 9
    columns["wind"] = columns["wind"] + 3.5
    names = [v.name for v in judged(columns).features if v.severity == "WARNING"]
    assert names == ["temp", "wind"]
    swapped = take_baseline(rows(20_000), KINDS, importance={**WEIGHTS, "temp": 0.12, "wind": 0.4})
    names = [v.name for v in judged(columns, baseline=swapped).features if v.severity == "WARNING"]
    assert names == ["wind", "temp"]


def test_impact_is_importance_times_effect_over_limit():
    first = judged(changed("temp", lambda x: x + 9)).features[0]
    ratios = [effect.value / effect.limit for effect in first.effects if effect.limit]
    assert first.impact == pytest.approx(0.4 * max(ratios))


def test_an_owners_floor_decides():
    tolerant = take_baseline(rows(20_000), KINDS, floors={"temp": {"mean_sd": 2.0, "js": 0.9}})
    assert feature(judged(changed("temp", lambda x: x + 9), baseline=tolerant), "temp").severity == "INFO"


def test_every_effect_is_reported_beside_its_noise():
    effects = {effect.name: effect for effect in feature(judged(rows(seed=8)), "temp").effects}
    assert set(effects) == {"js", "psi", "ks", "mean_sd", "w1_sd", "missing_pp"}
    assert all(effects[name].noise > 0 for name in ("js", "psi", "ks", "mean_sd", "w1_sd"))
    assert [effects[name].limit for name in ("psi", "ks", "w1_sd")] == [0, 0, 0]
    assert [effects[name].limit for name in ("js", "mean_sd")] == [0.1, 0.1]


def test_every_deciding_effect_has_a_sentence():
    assert _SENTENCES.keys() == FLOORS.keys()


# ---------------------------------------------------------------- persistence


def test_a_heavy_feature_that_warns_in_two_of_three_windows_is_critical():
    drifting, calm = changed("temp", lambda x: x + 9), rows(seed=9)
    first = judged(drifting, day=0)
    between = judged(calm, day=1, history=[first])
    third = judged(drifting, day=2, history=[between, first])
    assert [r.severity for r in (first, between, third)] == ["WARNING", "INFO", "CRITICAL"]
    later = judged(drifting, day=3, history=[first, between, judged(calm, day=2)])
    assert later.severity == "WARNING"


def test_a_light_feature_stays_a_warning_however_long():
    drifting = changed("wind", lambda x: x + 3.5)
    history: list[DriftReport] = []
    for day in range(4):
        history.append(judged(drifting, day=day, history=history))
    assert [report.severity for report in history] == ["WARNING"] * 4


def test_light_features_together_weigh_a_fifth():
    weights = {"temp": 0.12, "wind": 0.12, "carrier": 0.755, "wet": 0.005}
    baseline = take_baseline(rows(20_000), KINDS, importance=weights)
    columns = rows(seed=10)
    columns["temp"], columns["wind"] = columns["temp"] + 9, columns["wind"] + 3.5
    first = judged(columns, baseline=baseline, day=0)
    second = judged(columns, baseline=baseline, day=1, history=[first])
    assert (first.severity, second.severity) == ("WARNING", "CRITICAL")


def test_other_releases_later_windows_and_unjudged_ones_are_no_history():
    drifting = changed("temp", lambda x: x + 9)
    others = [
        judged(drifting, day=0, release_hash="r0"),
        judged(drifting, day=5),
        judged(rows(100), day=1),
        judged(drifting, day=2),  # the very window, judged before
    ]
    assert judged(drifting, day=2, history=others).severity == "WARNING"


# ---------------------------------------------------------------- outputs


def test_the_prediction_itself_is_critical_when_it_lasts():
    moved = answers(seed=11)
    moved["score"] = moved["score"] ** 0.6
    moved["prediction"] = np.where(moved["score"] > 0.4, "late", "fine").astype(object)
    first = judged(rows(seed=11), baseline=WITH_OUTPUTS, outputs=moved, day=0)
    second = judged(rows(seed=12), baseline=WITH_OUTPUTS, outputs=moved, day=1, history=[first])
    assert feature(first, "score", "score").severity == "WARNING"
    assert feature(second, "prediction", "prediction").severity == "CRITICAL"
    assert second.alerting_importance == 0.0


def test_learning_outputs_are_shown_and_not_judged():
    report = judged(rows(seed=13))
    learning = feature(report, "score", "score")
    assert (learning.severity, learning.named, report.status) == ("INFO", False, "JUDGED")
    assert "learned from the first live rows" in learning.why


def test_learned_outputs_are_judged_by_the_floors():
    learned = outputs_reference(answers(1_000, seed=14))
    assert output_kinds(answers(5)) == {"score": "numeric", "prediction": "categorical"}
    calm = judged(rows(seed=15), outputs=answers(seed=15), learned_outputs=learned)
    assert feature(calm, "score", "score").severity == "OK"
    moved = {**answers(seed=16), "score": answers(seed=16)["score"] + 0.2}
    assert feature(judged(rows(seed=16), outputs=moved, learned_outputs=learned), "score", "score").severity == (
        "WARNING"
    )


def test_too_few_outputs_are_said_and_not_judged():
    report = judged(rows(seed=17), baseline=WITH_OUTPUTS, outputs=answers(200))
    assert feature(report, "score", "score").why == "200 of 500 rows counted so far, not judged yet"
    assert report.severity == "INFO"


def test_an_input_called_score_is_judged_apart_from_the_score():
    kinds = {**KINDS, "score": "numeric"}
    before = {**rows(20_000), "score": rows(20_000)["temp"]}
    baseline = take_baseline(before, kinds, outputs=answers(20_000), outputs_from="holdout")
    columns = {**rows(seed=18), "score": rows(seed=18)["temp"] + 9}
    report = judged(columns, baseline=baseline, outputs=answers(seed=18))
    assert feature(report, "score", "input").severity == "WARNING"
    assert feature(report, "score", "score").severity == "OK"


# ---------------------------------------------------------------- the document


def test_a_withheld_column_is_said_to_be_unjudged():
    counted = profile(BASELINE.inputs, rows(seed=19), absent=("temp",))
    report = judge(
        BASELINE,
        counted,
        None,
        learned_outputs=None,
        alpha=0.01,
        history=(),
        endpoint="flights",
        release_hash="r1",
        version=1,
        from_at_ms=0,
        to_at_ms=DAY_MS,
    )
    found = feature(report, "temp")
    assert (found.severity, found.why) == ("INFO", "not recorded in this window, so not judged")


def test_a_profile_of_another_baseline_is_refused():
    other = build_reference(rows(50, seed=20), KINDS)
    with pytest.raises(Conflict):
        judge(
            BASELINE,
            profile(other, rows(seed=20)),
            None,
            learned_outputs=None,
            alpha=0.01,
            history=(),
            endpoint="flights",
            release_hash="r1",
            version=1,
            from_at_ms=0,
            to_at_ms=DAY_MS,
        )


def test_the_report_survives_json_and_holds_only_finite_numbers():
    wild = changed("temp", lambda x: np.where(np.arange(x.size) % 3 == 0, np.nan, 1e300))
    for report in (judged(wild), judged(rows(seed=21)), judged(rows(10))):
        document = msgspec.json.encode(report)
        assert msgspec.json.decode(document, type=DriftReport) == report
        assert b"null" not in document.replace(b'"false_alarm_measured":null', b"")


def test_every_kind_of_column_can_be_judged():
    rng = np.random.default_rng(22)

    def table(count, shift=0.0):
        notes = np.array([f"{i:05}" * int(rng.integers(1, 9)) for i in range(count)], dtype=object)
        at = np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, count) * np.timedelta64(1, "s")
        return {"v": rng.standard_normal((count, 8)) + shift, "at": at, "note": notes}

    kinds = {"v": "vector", "at": "datetime", "note": "text"}
    event_at_ms = np.arange(5_000) + 1_800_000_000_000
    baseline = take_baseline(table(5_000), kinds, event_at_ms=event_at_ms)
    assert judged(table(1_000), baseline=baseline).severity in ("OK", "INFO")
    report = judged(table(1_000, shift=0.8), baseline=baseline)
    assert (report.features[0].name, report.features[0].severity) == ("v", "WARNING")
    assert report.features[0].why.startswith("projection")


# ---------------------------------------------------------------- how certain a WARNING has to be


def test_a_warning_asks_for_more_certainty_than_significance_does():
    # 500 rows: a shift that is significant at 1% is large as well, and still comes by chance in many windows.
    columns = {**rows(600), "temp": np.sort(rows(600)["temp"])}
    grown = [{**columns, "temp": columns["temp"] + shift} for shift in np.arange(0, 6, 0.25)]
    reports = [judged(each) for each in grown]
    found = [feature(report, "temp") for report in reports]
    assert reports[0].warning_p == pytest.approx(reports[0].threshold_p * WARNING_ALPHA / 0.01)
    between = [v for v, r in zip(found, reports, strict=True) if r.warning_p < v.p <= r.threshold_p]
    assert between
    assert {v.severity for v in between} == {"INFO"}
    assert any("not certain enough to warn" in v.why for v in between)
    assert {v.severity for v, r in zip(found, reports, strict=True) if v.p <= r.warning_p} <= {"WARNING", "INFO"}
    assert found[-1].severity == "WARNING"


def test_a_budget_below_the_level_of_warnings_holds_for_both():
    report = judged(rows(), alpha=WARNING_ALPHA / 10)
    assert report.warning_p == report.threshold_p


def test_an_effect_whose_limit_is_its_maximum_cannot_decide_and_says_so():
    noisy = msgspec.structs.replace(
        BASELINE, limits={**BASELINE.limits, "carrier": {**BASELINE.limits["carrier"], "js": 1.0, "tv": 1.0}}
    )
    found = feature(judged(changed("carrier", lambda x: np.where(x == "UA", "DL", x)), baseline=noisy), "carrier")
    assert found.severity == "INFO"
    assert "JS distance and total variation cannot decide" in found.why
    # Another effect still can.
    new = feature(judged(changed("carrier", lambda x: np.where(x == "UA", "ZZ", x)), baseline=noisy), "carrier")
    assert RANK[new.severity] >= RANK["WARNING"]


def test_the_measured_level_is_shared_out_anew_over_more_columns():
    alone = judged(rows())
    learned = outputs_reference(answers(5_000))
    more = judged(rows(), outputs=answers(), learned_outputs=learned)
    assert alone.threshold_p == pytest.approx(BASELINE.critical_p)
    assert more.threshold_p == pytest.approx(BASELINE.critical_p * 4 / 6)
    assert alone.reference_rows == 20_000


def test_a_comparison_made_before_gives_the_same_report():
    window = rows(seed=3)
    counted = profile(BASELINE.inputs, window)
    given = judged(window, compared=compare_windows(BASELINE.inputs, [counted, counted])[1])
    assert [v.severity for v in given.features] == [v.severity for v in judged(window).features]
    assert [v.p for v in given.features] == pytest.approx([v.p for v in judged(window).features], rel=1e-9)


# ---------------------------------------------------------------- real rows


@pytest.mark.slow
def test_unchanged_real_rows_raise_at_most_one_alarm_in_a_hundred_windows():
    from benchmarks.monitoring import quiet
    from benchmarks.monitoring.families import load

    study = quiet.run(load("flights"), splits=4, windows=10, seed=77)
    assert sum(each.significant.sum() for each in study.quiet.values()) <= 5
    assert sum(each.warning.sum() for each in study.quiet.values()) <= 1
    named = [hit[1] for (what, _), hits in study.found.items() if what == "mean +0.1 sd" for hit in hits]
    assert np.mean(named) > 0.8
    assert any("WARNING or worse" in line for line in quiet.quiet_table(study))
    assert any("missing +2 pp" in line for line in quiet.power_table(study))
