"""What would change the verdict on a column: how much larger its effect, or how many more rows. Pure.

Read off the stored report alone, so it fits the alert that the report raised. A column warns when an effect is
at its limit and beyond chance; both marks are known, and the nearer miss of all its effects is told.
"""

from __future__ import annotations

import math

import numpy as np

from mlspine.core.types import DriftReport, Effect, FeatureVerdict, Severity, Struct
from mlspine.monitoring.drift import HEAVY_IMPORTANCE, MOST, RANK
from mlspine.stats.reach import difference_reach, js_reach, rows_until, tv_reach

IGNORED = "the model ignores it"
NEAR = 2.0  # "at the edge": this many times the effect, or less, would be a WARNING


class Edge(Struct, frozen=True, kw_only=True):
    """How far one column is from another verdict.

    toward: the severity it would have beyond the edge. factor: the effect that is needed in units of the one
    that was found, chance taken off that: above 1 where the column does not warn, below 1 where it does, 0 where
    no effect would, infinite where chance explains all. rows: a window of so many rows would show the effect
    found as beyond chance; 0 where rows alone change nothing.
    """

    effect: str
    toward: Severity
    value: float
    limit: float
    chance: float  # what unchanged data exceed only at the window's level, at its number of rows
    factor: float
    rows: int
    says: str


def edge(verdict: FeatureVerdict, report: DriftReport) -> Edge | None:
    """What would change the verdict on one column of a report; None for a column that was not judged."""
    deciding = [each for each in verdict.effects if decides(each) and math.isfinite(each.value + each.noise)]
    if report.status != "JUDGED" or not deciding:
        return None
    measured = [(effect, _chance(effect, verdict, report)) for effect in deciding]
    effect, chance = min(measured, key=lambda pair: (_factor(*pair), max(pair[0].limit, pair[1]) - pair[0].value))
    return _alerting(verdict, report, effect, chance) if alerts(verdict) else _quiet(verdict, report, effect, chance)


def at_the_edge(verdict: FeatureVerdict, report: DriftReport) -> bool:
    """Whether little is missing for another verdict: worth a line of its own in a report."""
    found = edge(verdict, report)
    if found is None or verdict.why.endswith(IGNORED):
        return False
    return alerts(verdict) or found.factor <= NEAR


def alerts(verdict: FeatureVerdict) -> bool:
    return RANK[verdict.severity] >= RANK["WARNING"]


def words(effect: str, value: float) -> str:
    """An effect in words, with its unit.

    >>> words("tv", 0.0712), words("mean_sd", 0.4167)
    ('7.1% of rows moved', 'mean shift 0.42 sd')
    """
    return _WORDS.get(effect, f"{effect} {{}}").format(figure(effect, value))


def figure(effect: str, value: float) -> str:
    """The size of an effect with its unit alone.

    >>> figure("tv", 0.0712), figure("missing_pp", 2.345)
    ('7.1%', '2.3 points')
    """
    return _FIGURES.get(effect, "{0:.3f}").format(value, 100 * value)


def level(report: DriftReport) -> float:
    """The p-value a change had to reach for a WARNING: as stored, or alpha shared out over the judged columns."""
    judged = sum(bool(verdict.effects) for verdict in report.features)
    return report.warning_p or report.threshold_p or report.alpha / max(1, judged)


def decides(effect: Effect) -> bool:
    """Whether an effect has a limit, and one that can be passed."""
    return 0 < effect.limit < MOST.get(effect.name, math.inf)


# ---------------------------------------------------------------- the two sides of the edge


def _alerting(verdict: FeatureVerdict, report: DriftReport, effect: Effect, chance: float) -> Edge:
    bound = max(effect.limit, chance)
    says = (
        f"{words(effect.name, effect.value)} is {_times(effect.value / bound)} what it takes;"
        f" at {words(effect.name, bound)} or less it would not be a {verdict.severity}"
    )
    if verdict.severity == "WARNING":
        says += f"; {_worse(verdict, report)}"
    return _edge(effect, chance, toward="INFO", rows=0, says=says, factor=bound / (effect.value or math.inf))


def _worse(verdict: FeatureVerdict, report: DriftReport) -> str:
    if verdict.role != "input" or verdict.importance >= HEAVY_IMPORTANCE:
        return "a second WARNING within the next two windows makes it CRITICAL"
    if verdict.importance and report.alerting_importance >= HEAVY_IMPORTANCE:
        return "a second WARNING within the next two windows makes it CRITICAL if the others that warn last too"
    if not any(each.importance for each in report.features if each.role == "input"):
        return "lasting does not make it CRITICAL, because no importance of columns is known"
    return (
        f"to become CRITICAL by lasting, the inputs that warn must carry {HEAVY_IMPORTANCE:.0%} of model importance,"
        f" they carry {report.alerting_importance:.0%}"
    )


def _quiet(verdict: FeatureVerdict, report: DriftReport, effect: Effect, chance: float) -> Edge:
    if verdict.why.endswith(IGNORED):
        says = "whatever its size it is INFO at most, because the model ignores this column"
        return _edge(effect, chance, toward="INFO", rows=0, says=says, factor=0.0)
    value, limit, bound = effect.value, effect.limit, max(effect.limit, chance)
    found = words(effect.name, value)
    rows = 0
    if bound <= value:
        says = f"{found} is at its limit of {words(effect.name, limit)}: a little more evidence makes it a WARNING"
    elif value >= limit and _real(effect) > 0:
        rows = rows_until(_real(effect), chance, rows=report.rows, reference_rows=report.reference_rows)
        says = f"{found} is over its limit but within the reach of chance with {report.rows:,} rows; {_lasting(rows)}"
    else:
        says = f"{words(effect.name, bound)} would be a WARNING, {figure(effect.name, value)} was found"
        if effect.noise:
            says += f" where chance alone gives {figure(effect.name, effect.noise)}"
        if chance > limit:
            says += f"; with more rows its limit of {figure(effect.name, limit)} is enough"
    return _edge(effect, chance, toward="WARNING", rows=rows, says=says)


def _lasting(rows: int) -> str:
    if not rows:
        return "the reference has too few rows to tell, however large the window"
    return f"the same in about {_round(rows):,} rows would be a WARNING"


def _edge(
    effect: Effect, chance: float, *, toward: Severity, rows: int, says: str, factor: float | None = None
) -> Edge:
    return Edge(
        effect=effect.name,
        toward=toward,
        value=effect.value,
        limit=effect.limit,
        chance=chance,
        factor=_factor(effect, chance) if factor is None else factor,
        rows=rows,
        says=says,
    )


# ---------------------------------------------------------------- figures


def _chance(effect: Effect, verdict: FeatureVerdict, report: DriftReport) -> float:
    at = level(report)
    if effect.name in ("mean_sd", "missing_pp"):
        return difference_reach(effect.noise, at)
    if effect.name == "js":
        return js_reach(effect.noise, max(2, sum(share > 0 for share in verdict.reference_shares)), at)
    if effect.name == "tv":
        v = 1 / report.rows + (1 / report.reference_rows if report.reference_rows else 0.0)
        return tv_reach(effect.noise, np.asarray(verdict.reference_shares), at, v=v)
    return effect.noise  # unseen levels: where none are expected, the limit alone decides


def _factor(effect: Effect, chance: float) -> float:
    real = _real(effect)
    return max(effect.limit, chance) / real if real > 0 else math.inf


def _real(effect: Effect) -> float:
    """The effect with its noise taken off: both are sizes, so their squares subtract."""
    return math.sqrt(max(0.0, effect.value - effect.noise)) * math.sqrt(effect.value + effect.noise)


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 100 else f"{ratio:,.0f} times"


def _round(rows: int) -> int:
    """To two figures: the rest would promise more than the data hold."""
    unit: int = 10 ** max(0, len(str(rows)) - 2)
    return -(-rows // unit) * unit


_WORDS = {
    "js": "JS distance {}",
    "tv": "{} of rows moved",
    "mean_sd": "mean shift {}",
    "missing_pp": "missing rate by {}",
    "unseen_pp": "{} of rows with unseen levels",
    "psi": "PSI {}",
    "ks": "KS distance {}",
    "w1_sd": "W1 {}",
}
_FIGURES = {
    "tv": "{1:.1f}%",
    "mean_sd": "{0:.2f} sd",
    "missing_pp": "{0:.1f} points",
    "unseen_pp": "{0:.1f}%",
    "w1_sd": "{0:.3f} sd",
}
