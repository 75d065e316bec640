"""Estimates of quality without labels, window by window, and what became of them. Pure.

Each window is estimated from the windows matured before it. Once its own labels are in, the estimate stays as it
was, the realised value is put beside it, and the difference is what later intervals and the word BROKEN come from.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from mlspine.core.types import Estimate, Interval
from mlspine.monitoring.cutting import Cut, matured, middle_of, shipped
from mlspine.monitoring.window import Period
from mlspine.stats import backtest
from mlspine.stats.anchor import Forecast
from mlspine.stats.backtest import LEAST_MATURED, LEVEL, BackTest
from mlspine.stats.blind import METRICS, Blind, estimate
from mlspine.stats.score import LOWER_IS_BETTER
from mlspine.stats.tally import Bins, Tally

Status = Literal["ESTIMATED", "UNVERIFIED", "BROKEN", "NOT_ESTIMABLE"]
Key = tuple[int, str]  # beginning of the window, metric
NOT_CALIBRATED = "not calibrated"
NO_SOURCE = "nothing to calibrate on"
MOVED = 0.1  # of the interval's half width: less is no news


class Source(NamedTuple):
    """What a release brings: where its answers fall, and its labelled rows by day; [] when it has none."""

    bins: Bins
    parts: list[tuple[int, int, Tally]]


def estimate_cuts(
    source: Source,
    cuts: Sequence[Cut],
    realised: Mapping[Key, Interval],
    known: Mapping[Key, Estimate],
    period: Period,
    *,
    endpoint: str,
    release_hash: str,
    as_of_ms: int,
) -> list[Estimate]:
    """What is estimated of every window and metric now, oldest window first.

    realised: of the matured windows. known: what was estimated before; of a matured window it stands.
    """
    tested: dict[str, list[BackTest]] = {metric: [] for metric in METRICS[source.bins.task]}
    said: dict[str, str] = dict.fromkeys(tested, "")  # why a metric's estimates broke
    found = []
    for place, one in enumerate(cuts):
        stand = one.matured and all((one.span.from_at_ms, metric) in known for metric in tested)
        blind = Blind({}, "", 0.0) if stand else _blind(source, cuts[:place], one, period)
        broken_by = ""
        for metric, before in tested.items():
            key = (one.span.from_at_ms, metric)
            made = known[key] if stand else _made(blind, metric, before, one, endpoint, release_hash, as_of_ms)
            settled = _settled(made, realised.get(key), before, said, broken_by)
            if settled.status == "BROKEN" and metric == next(iter(tested)):
                broken_by = settled.why
            found.append(settled if settled == known.get(key) else msgspec.structs.replace(settled, as_of_ms=as_of_ms))
    return found


def is_news(before: Estimate | None, now: Estimate) -> bool:
    """Whether a version is worth keeping beside the one before it."""
    if before is None or (before.status, before.realised) != (now.status, now.realised):
        return True
    if before.interval is None or now.interval is None:
        return before.interval is not now.interval
    half = (before.interval.hi - before.interval.lo) / 2
    ends = zip(
        (before.interval.value, before.interval.lo, before.interval.hi),
        (now.interval.value, now.interval.lo, now.interval.hi),
        strict=True,
    )
    return any(abs(a - b) > MOVED * half for a, b in ends)


def newest(estimates: Sequence[Estimate], release_hash: str) -> dict[str, Estimate]:
    """The newest window of each metric, of one release: what /metrics and alerts speak of."""
    own = [each for each in estimates if each.release_hash == release_hash]
    return {each.metric: each for each in sorted(own, key=lambda each: each.from_at_ms)}


# ---------------------------------------------------------------- one window


def _blind(source: Source, earlier: Sequence[Cut], one: Cut, period: Period) -> Blind:
    first = earlier[0].number if earlier else one.number
    from_ship = [
        each._replace(age=each.age + one.number - first) for each in shipped(source.parts, period, before=first)
    ]
    past = [*(from_ship if source.parts else []), *matured(earlier, period, before=one.number)]
    if not past:
        return Blind({}, "", 0.0, f"{NO_SOURCE}: the release holds no labelled rows, and no window has its labels yet")
    youngest = min(each.age for each in past)  # a release tested on rows of last year starts from those
    past = [each._replace(age=each.age - youngest + 1.0) for each in past]
    return estimate(source.bins, past, [_unlabelled(part) for part in one.parts], at=middle_of(one, period))


def _unlabelled(part: Tally) -> Tally:
    return Tally(part.rows, part.labelled * 0.0, part.outcomes * 0.0)


def _made(
    blind: Blind,
    metric: str,
    tested: Sequence[BackTest],
    one: Cut,
    endpoint: str,
    release_hash: str,
    as_of_ms: int,
) -> Estimate:
    forecast = blind.forecasts.get(metric)
    interval = _interval(metric, forecast, backtest.factor(tested), blind.method) if forecast else None
    return Estimate(
        endpoint=endpoint,
        release_hash=release_hash,
        from_at_ms=one.span.from_at_ms,
        to_at_ms=one.span.to_at_ms,
        as_of_ms=as_of_ms,
        metric=metric,
        status="UNVERIFIED" if interval else "NOT_ESTIMABLE",
        rows=one.rows,
        interval=interval,
        method=blind.method,
        why=blind.note if interval else blind.why or _nothing(metric),
    )


def _interval(metric: str, forecast: Forecast, widen: float, method: str) -> Interval:
    value = forecast.mean
    lo = value - widen * max(0.0, value - forecast.quantile((1 - LEVEL) / 2))
    hi = value + widen * max(0.0, forecast.quantile((1 + LEVEL) / 2) - value)
    least, most = 0.0, float("inf") if metric in LOWER_IS_BETTER and metric != "brier" else 1.0
    value, lo, hi = (min(most, max(least, each)) for each in (value, lo, hi))
    return Interval(value=value, lo=lo, hi=hi, level=LEVEL, method=method)


def _settled(
    made: Estimate, truth: Interval | None, tested: list[BackTest], said: dict[str, str], broken_by: str
) -> Estimate:
    """The estimate with its realised value, its status, and the sentence; adds to `tested`.

    broken_by: why the primary metric's estimates are broken, "" while they hold. All stand on one calibration.
    """
    interval = made.interval
    if interval is not None and truth is not None:
        tested.append(BackTest(interval.value, interval.lo, interval.hi, truth.value))
        if abs(tested[-1].miss) > 1:
            said[made.metric] = _broke(made, interval, truth)
    if interval is None:
        return msgspec.structs.replace(made, realised=truth, matured_windows=len(tested))
    count, off = len(tested), backtest.rmse(tested)
    status: Status = "ESTIMATED" if count >= LEAST_MATURED else "UNVERIFIED"
    windows = "window" if count == 1 else "windows"
    why = f"off by {off:.3g} (root mean square) over {count} matured {windows}" if off is not None else ""
    if status == "UNVERIFIED":
        why = f"{count} of {LEAST_MATURED} matured windows to test estimates on" + (f"; {why}" if why else "")
    doubt = next((part for part in made.why.split("; ") if part.startswith(NOT_CALIBRATED)), "")
    why = "; ".join(filter(None, (why, doubt)))
    if backtest.broken(tested):
        status, why = "BROKEN", said[made.metric]
    elif broken_by:
        status, why = "BROKEN", broken_by
    return msgspec.structs.replace(
        made, status=status, realised=truth, backtest_rmse=off, matured_windows=count, why=why
    )


def _broke(made: Estimate, interval: Interval, truth: Interval) -> str:
    day = dt.datetime.fromtimestamp(made.from_at_ms / 1000, tz=dt.UTC).date()
    return (
        f"{made.metric} of the window from {day} was estimated {interval.value:.3g}"
        f" ({interval.lo:.3g} to {interval.hi:.3g}) and turned out {truth.value:.3g}"
        f" ({truth.lo:.3g} to {truth.hi:.3g}): scores no longer mean what they meant"
    )


def _nothing(metric: str) -> str:
    needs = "both classes and a score" if metric in ("auc", "brier") else "rows of the kind it counts"
    return f"{metric} needs {needs}"
