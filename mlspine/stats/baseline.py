"""The baseline a release carries: what its inputs and outputs looked like, and how far they may stray.

Taken once, at ship time, from rows; afterwards windows are judged from counts alone. The outputs count only
rows the model was not fitted on (a holdout, or out-of-fold); without such rows they are learned from the
first live ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from mlspine.core.errors import Corrupt, Invalid, closest
from mlspine.core.types import Columns, Interval, Metric, Struct
from mlspine.stats import calibrate, natural
from mlspine.stats.calibrate import FLOORS, Limits
from mlspine.stats.natural import NOT_CALIBRATED, Natural
from mlspine.stats.profile import (
    DECODE_HOOK,
    ENCODER,
    MAX_BINS,
    Array,
    Floats,
    Ints,
    Kind,
    Reference,
    build_reference,
    check_reference,
)
from mlspine.stats.seasons import Seasons, matched

OutputsFrom = Literal["holdout", "out-of-fold", "LEARNING"]
MIN_ROWS = 500


class Baseline(Struct, frozen=True, kw_only=True, eq=False):
    """Reference counts with the limits windows are judged by.

    limits: feature -> effect -> limit, for windows of a day or longer. limits_short: the same for shorter
    windows, which see only part of the daily cycle; empty where windows that short were not calibrated.
    Outputs stand in both under `output_key`. importance: share per feature, summing to 1; empty when unknown.
    critical_p: level per column that replaces alpha/d at alpha = 0.01, found by the self-check.
    seasons, output_seasons: reference rows by hour of the day and part of the week, of the columns that move
    with the clock; `at_hours` takes them for a window.
    tally: labelled rows the model was not fitted on, counted by score and outcome (`stats.tally`); what quality
    without labels is estimated from before the first label comes. b"" where there are none.
    """

    inputs: Reference
    outputs: Reference | None
    outputs_from: OutputsFrom
    importance: dict[str, float]
    limits: Limits
    limits_short: Limits
    floors: Limits
    seasonality: str  # "", or "not calibrated for seasonality": only floors
    false_alarm: Interval | None
    critical_p: float | None
    metric: Metric | None
    min_rows: int = MIN_ROWS
    seasons: Seasons | None = None
    output_seasons: Seasons | None = None
    tally: bytes = b""


def take_baseline(
    inputs: Columns,
    kinds: Mapping[str, Kind],
    *,
    outputs: Columns | None = None,
    outputs_from: OutputsFrom = "LEARNING",
    event_at_ms: Ints | None = None,
    outputs_event_at_ms: Ints | None = None,
    importance: Mapping[str, float] | None = None,
    metric: Metric | None = None,
    min_rows: int = MIN_ROWS,
    floors: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
) -> Baseline:
    """Count the reference rows, calibrate limits on blocks of time, and measure the false-alarm rate.

    inputs, kinds: the rows the model was fitted on and how to count each column.
    outputs: columns "score" and "prediction" of rows it was not fitted on; None while that is LEARNING.
    event_at_ms: event time of the input rows; without it only the floors apply.
    outputs_event_at_ms: the same for the output rows; out-of-fold outputs of all input rows share theirs.
    importance: column -> weight, any scale; negative weights count as none.
    min_rows: rows of the smallest window that will be judged. floors: column -> effect -> floor.
    Raises Invalid naming everything that does not fit.
    """
    importance, floors = importance or {}, floors or {}
    _check(kinds, outputs, outputs_from, importance, floors)
    reference = build_reference(inputs, kinds, event_at_ms=event_at_ms)
    own_floors = calibrate.floors_of(reference, floors)
    own = _calibrated(reference, inputs, event_at_ms, own_floors, min_rows, seed)
    long, short = dict(own.limits), dict(own.limits_short)
    samples = [calibrate.Sample(reference, inputs, event_at_ms)]
    learned = output_seasons = None
    if outputs is not None:
        if outputs_event_at_ms is None and outputs_from == "out-of-fold":
            outputs_event_at_ms = _same_rows(event_at_ms, outputs)
        learned = outputs_reference(outputs)
        samples.append(calibrate.Sample(learned, outputs, None))
        plain = calibrate.floors_of(learned, {})
        more = _calibrated(learned, outputs, outputs_event_at_ms, plain, min_rows, seed)
        long |= {output_key(name): limits for name, limits in more.limits.items()}
        short |= {output_key(name): limits for name, limits in more.limits_short.items()}
        output_seasons = more.seasons
    alarms = calibrate.self_check(samples, rows=min_rows, seed=seed)
    return Baseline(
        inputs=reference,
        outputs=learned,
        outputs_from=outputs_from,
        importance=_normalised(importance),
        limits=long,
        limits_short=short,
        floors=own_floors,
        seasonality=own.seasonality,
        seasons=own.seasons,
        output_seasons=output_seasons,
        false_alarm=alarms.rate,
        critical_p=alarms.critical_p,
        metric=metric,
        min_rows=min_rows,
    )


def at_hours(baseline: Baseline, rows_by_slot: Ints) -> Baseline:
    """The baseline as it looked at the hours a window covers: what to hand to `judge` for that window.

    rows_by_slot: rows of the window per slot of the week, (48,), see `stats/seasons.py`.
    """
    inputs, outputs = baseline.inputs, baseline.outputs
    if baseline.seasons is not None:
        inputs = matched(inputs, baseline.seasons, rows_by_slot)
    if outputs is not None and baseline.output_seasons is not None:
        outputs = matched(outputs, baseline.output_seasons, rows_by_slot)
    return msgspec.structs.replace(baseline, inputs=inputs, outputs=outputs)


def outputs_reference(outputs: Columns) -> Reference:
    """The reference of what a model answers: columns "score" and "prediction" where they exist.

    A prediction that is the score itself (regression) is counted once, as "prediction".
    """
    return build_reference(outputs, output_kinds(outputs))


def output_kinds(outputs: Columns) -> dict[str, Kind]:
    """How the outputs are counted: numbers as numeric, labels as categorical.

    >>> output_kinds({"score": np.array([0.2, 0.9]), "prediction": np.array(["no", "yes"], dtype=object)})
    {'score': 'numeric', 'prediction': 'categorical'}
    """
    kinds: dict[str, Kind] = {}
    score, prediction = outputs.get("score"), outputs.get("prediction")
    if score is not None and not _same_numbers(score, prediction):
        kinds["score"] = "numeric"
    if prediction is not None:
        kinds["prediction"] = _prediction_kind(prediction)
    return kinds


def output_key(name: str) -> str:
    """Under which name an output stands among the limits, apart from an input called the same."""
    return f"output:{name}"


def encode_baseline(baseline: Baseline) -> bytes:
    """The baseline as bytes, the same for the same baseline."""
    return ENCODER.encode(baseline)


def decode_baseline(data: bytes) -> Baseline:
    """Read a baseline back; raises Corrupt when the bytes are damaged."""
    try:
        baseline = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError) as exc:
        raise Corrupt(f"the baseline cannot be read: {exc}") from exc
    for reference in (baseline.inputs, baseline.outputs):
        if reference is not None:
            check_reference(reference)
    return baseline


_DECODER = msgspec.msgpack.Decoder(Baseline, dec_hook=DECODE_HOOK)


def _calibrated(
    reference: Reference,
    columns: Columns,
    event_at_ms: Ints | None,
    floors: Limits,
    min_rows: int,
    seed: int,
) -> Natural:
    """What the event times say about natural variation; the floors alone without them."""
    if event_at_ms is None:
        return Natural(floors.copy(), {}, NOT_CALIBRATED, None)
    times = np.asarray(event_at_ms, dtype=np.int64)
    return natural.calibrate(reference, columns, times, floors, min_rows=min_rows, seed=seed)


def _same_rows(event_at_ms: Ints | None, outputs: Columns) -> Ints | None:
    rows = len(next(iter(outputs.values())))
    return event_at_ms if event_at_ms is not None and len(event_at_ms) == rows else None


def _normalised(importance: Mapping[str, float]) -> dict[str, float]:
    kept = {name: max(0.0, float(weight)) for name, weight in importance.items()}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()} if total > 0 else {}


def _prediction_kind(prediction: Array) -> Kind:
    if prediction.dtype.kind == "f":
        return "numeric"
    many = prediction.dtype.kind in "iu" and np.unique(prediction).size > MAX_BINS
    return "numeric" if many else "categorical"


def _same_numbers(score: Floats, prediction: Array | None) -> bool:
    if prediction is None or prediction.dtype.kind not in "fiu":
        return False
    return bool(np.array_equal(score, prediction.astype(np.float64), equal_nan=True))


def _check(
    kinds: Mapping[str, Kind],
    outputs: Columns | None,
    outputs_from: OutputsFrom,
    importance: Mapping[str, float],
    floors: Mapping[str, Mapping[str, float]],
) -> None:
    problems = [_unknown("importance", name, kinds) for name in importance if name not in kinds]
    problems += [f"importance: {name} is {weight}" for name, weight in importance.items() if not np.isfinite(weight)]
    problems += [_unknown("floors", name, kinds) for name in floors if name not in kinds]
    for name, own in floors.items():
        problems += [_unknown(f"floors of {name}", effect, FLOORS) for effect in own if effect not in FLOORS]
        problems += [f"floors of {name}: {effect} is {floor}" for effect, floor in own.items() if not floor > 0]
    if (outputs is None) != (outputs_from == "LEARNING"):
        given = "no outputs" if outputs is None else "outputs"
        problems.append(f"outputs_from: {outputs_from} with {given} given")
    if outputs is not None and not {"score", "prediction"} & set(outputs):
        problems.append(f'outputs: neither "score" nor "prediction" among {sorted(outputs)}')
    if problems:
        raise Invalid("the baseline cannot be taken", details=problems)


def _unknown(where: str, name: str, known: Mapping[str, object]) -> str:
    guess = closest(name, known)
    return f"{where}: no {name!r}" + (f", did you mean {guess!r}?" if guess else "")
