"""What a release carries to be judged by."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.core.errors import Corrupt, Invalid
from mlspine.core.types import Interval, Metric
from mlspine.stats.baseline import (
    at_hours,
    decode_baseline,
    encode_baseline,
    output_key,
    output_kinds,
    outputs_reference,
    take_baseline,
)
from mlspine.stats.natural import DAY_MS, NOT_CALIBRATED

KINDS = {"temp": "numeric", "carrier": "categorical"}


def rows(count=3_000, seed=0, days=30):
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, days * DAY_MS, count))
    warm = 5 * np.sin(2 * np.pi * (at / DAY_MS % 1))
    columns = {
        "temp": 10 + warm + rng.standard_normal(count),
        "carrier": rng.choice(np.array(["UA", "AA"], dtype=object), count),
    }
    weekly = 0.2 * np.sin(2 * np.pi * (at // DAY_MS) / 7)
    answer = rng.choice(np.array(["no", "yes"], dtype=object), count)
    outputs = {"score": 0.5 + weekly + 0.1 * rng.standard_normal(count), "prediction": answer}
    return columns, outputs, at


def test_a_baseline_without_event_times_has_floors_and_says_so():
    columns, _, _ = rows()
    baseline = take_baseline(columns, KINDS)
    assert baseline.seasonality == NOT_CALIBRATED
    assert baseline.limits == baseline.floors
    assert baseline.limits_short == {}
    assert baseline.outputs is None
    assert baseline.outputs_from == "LEARNING"


def test_event_times_calibrate_windows_against_their_own_hours():
    columns, _, at = rows(60_000)
    baseline = take_baseline(columns, KINDS, event_at_ms=at)
    assert baseline.seasonality == ""
    # Half an sd warmer at noon is no part of the daily cycle, however wide that is.
    assert max(baseline.limits["temp"]["mean_sd"], baseline.limits_short["temp"]["mean_sd"]) < 0.3
    noon, night = (at_hours(baseline, np.eye(48, dtype=np.int64)[hour] * 500) for hour in (6, 18))
    assert noon.inputs.id == baseline.inputs.id
    assert abs(noon.inputs.profile.parts[0].mean - night.inputs.profile.parts[0].mean) > 1.0
    assert at_hours(decode_baseline(encode_baseline(baseline)), np.eye(48, dtype=np.int64)[6]).inputs.profile.parts[
        0
    ].mean == pytest.approx(noon.inputs.profile.parts[0].mean)


def test_few_days_are_not_called_calibrated():
    columns, _, at = rows(days=5)
    assert take_baseline(columns, KINDS, event_at_ms=at).seasonality == NOT_CALIBRATED


def test_outputs_are_calibrated_under_a_name_of_their_own():
    columns, outputs, at = rows(15_000)
    columns["score"] = columns["temp"]
    baseline = take_baseline(
        columns,
        {**KINDS, "score": "numeric"},
        outputs=outputs,
        outputs_from="out-of-fold",
        event_at_ms=at,
    )
    assert baseline.outputs is not None
    assert baseline.outputs.names == ("score", "prediction")
    assert baseline.limits[output_key("score")] != baseline.limits["score"]


def test_holdout_outputs_are_calibrated_on_their_own_times():
    columns, _, at = rows()
    _, outputs, later = rows(15_000, seed=1)
    timed = take_baseline(
        columns, KINDS, outputs=outputs, outputs_from="holdout", event_at_ms=at, outputs_event_at_ms=later
    )
    untimed = take_baseline(columns, KINDS, outputs=outputs, outputs_from="holdout", event_at_ms=at)
    assert timed.limits[output_key("score")]["js"] > untimed.limits[output_key("score")]["js"] == 0.1


def test_importance_is_normalised_and_negative_weights_count_as_none():
    columns, _, _ = rows()
    baseline = take_baseline(columns, KINDS, importance={"temp": 3.0, "carrier": -1.0})
    assert baseline.importance == {"temp": 1.0, "carrier": 0.0}
    assert take_baseline(columns, KINDS, importance={"temp": 0.0}).importance == {}


def test_the_false_alarm_rate_travels_with_the_baseline():
    columns, _, _ = rows()
    baseline = take_baseline(columns, KINDS)
    assert baseline.false_alarm is not None
    assert 0 < baseline.false_alarm.value < 0.02
    assert baseline.false_alarm.method == "Clopper-Pearson"


def test_a_baseline_comes_back_as_it_was_and_the_same_bytes():
    columns, outputs, at = rows()
    metric = Metric(name="auc", status="ESTIMATED", interval=Interval(value=0.8, lo=0.7, hi=0.9), rows=100)
    given = {"outputs": outputs, "outputs_from": "out-of-fold", "event_at_ms": at, "metric": metric}
    baseline = take_baseline(columns, KINDS, **given, floors={"temp": {"js": 0.2}})
    data = encode_baseline(baseline)
    assert encode_baseline(take_baseline(columns, KINDS, **given, floors={"temp": {"js": 0.2}})) == data
    back = decode_baseline(data)
    assert encode_baseline(back) == data
    assert back.inputs.names == ("temp", "carrier")
    assert back.metric == metric
    assert back.floors["temp"]["js"] == 0.2


def test_damaged_bytes_are_corrupt():
    data = encode_baseline(take_baseline(rows()[0], KINDS))
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_baseline(data[:-5])
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_baseline(b"nothing of the kind")


def test_a_regression_prediction_is_counted_once():
    value = np.linspace(0, 1, 200)
    assert output_kinds({"score": value, "prediction": value}) == {"prediction": "numeric"}


@pytest.mark.parametrize(
    ("prediction", "kind"),
    [
        (np.array([0, 1, 1]), "categorical"),
        (np.array(["a", "b"], dtype=object), "categorical"),
        (np.array([True, False]), "categorical"),
        (np.array([0.5, 1.5]), "numeric"),
        (np.arange(200), "numeric"),
    ],
)
def test_labels_are_levels_and_amounts_are_numbers(prediction, kind):
    assert output_kinds({"prediction": prediction}) == {"prediction": kind}


def test_learned_outputs_have_the_same_bins_as_shipped_ones():
    _, outputs, _ = rows()
    baseline = take_baseline(rows()[0], KINDS, outputs=outputs, outputs_from="holdout")
    assert baseline.outputs is not None
    assert outputs_reference(outputs).id == baseline.outputs.id


def test_everything_that_does_not_fit_is_named_at_once():
    columns, outputs, _ = rows()
    with pytest.raises(Invalid) as refused:
        take_baseline(
            columns,
            KINDS,
            outputs={"scores": outputs["score"]},
            outputs_from="LEARNING",
            importance={"tmep": 1.0, "carrier": float("nan")},
            floors={"carier": {"tv": 0.1}, "temp": {"jss": 0.1, "js": 0.0}},
        )
    assert refused.value.details == (
        "importance: no 'tmep', did you mean 'temp'?",
        "importance: carrier is nan",
        "floors: no 'carier', did you mean 'carrier'?",
        "floors of temp: no 'jss', did you mean 'js'?",
        "floors of temp: js is 0.0",
        "outputs_from: LEARNING with outputs given",
        'outputs: neither "score" nor "prediction" among [\'scores\']',
    )
