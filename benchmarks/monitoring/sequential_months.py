"""Months of two real tables whose quality really fell, and those whose quality did not: what raised an alert.

A model is fitted on two months, its figure at ship is that of the month after (temporal holdout), and every later month
is watched: labels come with a delay of a day in the median and up to weeks, and the product's `measure_window` looks
every third day. Truth is an unpaired DeLong test on all labels of the month, written here from the pairs' ranks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from benchmarks.monitoring.families import Family, load
from mlspine.core.types import Columns, Metric
from mlspine.monitoring.performance import measure_window
from mlspine.stats.score import measure

Array = np.ndarray[Any, np.dtype[Any]]

DAY_MS = 86_400_000
LOOK_EVERY_DAYS, WATCHED_DAYS = 3, 62
MIN_ROWS = 1_000  # less is a month's edge: flights of New Year's Eve are of 2014 in UTC
MAX_DELAY_MS = 30 * DAY_MS
FALL, Z = 0.02, 1.96
SEED = 7


class Watched(NamedTuple):
    """One month after a release: the true fall with its z, and the worst the product said, ever and at the end."""

    family: str
    model: str
    month: str
    rows: int
    fall: float
    z: float
    ever: str
    last: str
    first_day: int  # of the month, when an alarm was raised first; 0 for never


def study(report: Callable[[str], None]) -> None:
    """The table of both families, with every month that was missed or called without cause."""
    for name in ("flights", "stops"):
        watched = list(_months(load(name)))
        report("")
        report(f"{name}: {len(watched)} months watched")
        for kind, chosen in _kinds(watched).items():
            ever = sum(each.ever != "OK" for each in chosen)
            last = sum(each.last != "OK" for each in chosen)
            days = [each.first_day for each in chosen if each.first_day]
            when = f", first on day {np.median(days):.0f} in the median" if days else ""
            report(f"  {kind:<64} {len(chosen):4}   alert raised {ever:4}   standing at the end {last:4}{when}")
        for each in watched:
            fell = each.fall >= FALL and each.z >= Z
            if (each.ever != "OK") != fell and (each.fall >= FALL or each.ever != "OK"):
                report(
                    f"    {each.model} {each.month}: fell {each.fall:.4f} (z {each.z:.2f}, {each.rows:,} rows),"
                    f" ever {each.ever}, at the end {each.last}"
                )


def _kinds(watched: list[Watched]) -> dict[str, list[Watched]]:
    return {
        "true fall >= 0.02, DeLong z >= 1.96": [e for e in watched if e.fall >= FALL and e.z >= Z],
        "fall >= 0.02 that may be chance (z < 1.96): not counted": [e for e in watched if e.fall >= FALL and e.z < Z],
        "no fall >= 0.02": [e for e in watched if e.fall < FALL],
    }


def _months(family: Family) -> Iterator[Watched]:
    known = np.flatnonzero(~np.isnan(family.label))
    at_ms = family.event_at_ms[known]
    month = at_ms.astype("datetime64[ms]").astype("datetime64[M]")
    label = family.label[known].astype(np.int64)
    table = np.column_stack([_numbers(family.columns[name][known], family.kinds[name]) for name in family.known])
    numbers = [i for i, name in enumerate(family.known) if family.kinds[name] in ("numeric", "datetime", "boolean")]
    distinct = np.unique(month)
    for first in range(len(distinct) - 3):
        fitted = (month == distinct[first]) | (month == distinct[first + 1])
        at_ship = month == distinct[first + 2]
        for name, model in _models(numbers, table.shape[1]).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                score = model.fit(table[fitted], label[fitted]).predict_proba(table)[:, 1]
            columns = {"prediction": (score > 0.5).astype(np.int64), "score": score, "label": label}
            baseline = _baseline(columns, at_ship)
            for later in distinct[first + 3 :]:
                if (month == later).sum() < MIN_ROWS:
                    continue
                yield _watch(
                    family.name, f"{name} of {distinct[first]}", columns, at_ms, month == later, at_ship, baseline
                )


def _models(numbers: list[int], width: int) -> dict[str, Any]:
    rest = [i for i in range(width) if i not in numbers]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=50)
    linear = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers), (codes, rest), sparse_threshold=0
    )
    return {
        "linear": make_pipeline(linear, LogisticRegression(max_iter=300)),
        "trees": HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=15, random_state=0),
    }


def _numbers(values: Array, kind: str) -> Array:
    if kind == "datetime":
        return values.astype("datetime64[h]").astype(np.int64) % 24 * 1.0
    if kind in ("numeric", "boolean"):
        return values.astype(np.float64)
    texts = np.array([str(value) for value in values])
    levels, codes = np.unique(texts, return_inverse=True)
    # Rare levels share a code, so that a name seen once teaches nothing.
    counts = np.bincount(codes)
    order = np.argsort(-counts)[:50]
    place = np.full(len(levels), 50.0)
    place[order] = np.arange(len(order))
    return place[codes]


def _baseline(columns: Columns, rows: Array) -> Metric:
    return measure(
        "binary",
        columns["label"][rows],
        columns["prediction"][rows],
        columns["score"][rows],
        (0, 1),
        rows_from="holdout",
    )[0]


def _watch(
    family: str, model: str, columns: Columns, at_ms: Array, rows: Array, at_ship: Array, baseline: Metric
) -> Watched:
    window = {name: values[rows] for name, values in columns.items()}
    event = at_ms[rows]
    rng = np.random.default_rng(SEED)
    known_at = event + (rng.lognormal(0.0, 1.0, len(event)) * DAY_MS).astype(np.int64)
    month = event[0].astype("datetime64[ms]").astype("datetime64[M]")
    from_at_ms, to_at_ms = (int(each.astype("datetime64[ms]").astype(np.int64)) for each in (month, month + 1))
    ever, last, first_day = "OK", "OK", 0
    for day in range(LOOK_EVERY_DAYS, WATCHED_DAYS, LOOK_EVERY_DAYS):
        as_of_ms = from_at_ms + day * DAY_MS
        seen, labelled = event < as_of_ms, known_at < as_of_ms
        found = measure_window(
            endpoint=family,
            release_hash=model,
            from_at_ms=from_at_ms,
            to_at_ms=to_at_ms,
            as_of_ms=as_of_ms,
            labelled={name: values[labelled] for name, values in window.items()},
            predicted={name: window[name][seen] for name in ("prediction", "score")},
            baseline=baseline,
            task="binary",
            classes=(0, 1),
            max_delay_ms=MAX_DELAY_MS,
        )
        last = found.severity
        if last != "OK":
            ever, first_day = (last if ever != "CRITICAL" else ever), first_day or day
        if found.status == "FINAL" and labelled.all():
            break
    auc, variance = _delong(window["label"] == 1, window["score"])
    auc_0, variance_0 = _delong(columns["label"][at_ship] == 1, columns["score"][at_ship])
    fall = auc_0 - auc
    return Watched(
        family, model, str(month), len(event), fall, fall / np.sqrt(variance + variance_0), ever, last, first_day
    )


def _delong(positive: Array, score: Array) -> tuple[float, float]:
    """AUC and its variance by the components of DeLong, Wilson's rank statistic counted by binary search."""
    up, down = np.sort(score[positive]), np.sort(score[~positive])
    above = (np.searchsorted(down, up, "left") + np.searchsorted(down, up, "right")) / (2 * len(down))
    below = 1 - (np.searchsorted(up, down, "left") + np.searchsorted(up, down, "right")) / (2 * len(up))
    return float(above.mean()), float(above.var(ddof=1) / len(up) + below.var(ddof=1) / len(down))
