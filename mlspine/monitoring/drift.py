"""Judge one window of served rows against the baseline of the release that answered them. Pure.

A feature is worth a WARNING only when all of these hold:
  the window is significant    the smallest p over all columns is at most alpha / columns, so windows in
                               which nothing changed pass in all but alpha of cases
  the feature is named         by Benjamini-Hochberg at 5%
  an effect is over its limit  the larger of its floor (practical relevance) and its natural variation over
                               blocks of the reference
  it is certain enough to tell a person: the column's p, and that of this very effect, are at most
                               WARNING_ALPHA / columns. In a window of 500 rows whatever is significant is also
                               large, so the floors alone would let every hundredth unchanged window warn; and
                               a certain but tiny change elsewhere in the column does not lend significance to
                               a noisy effect
What is significant without such an effect, or moves a feature the model ignores, is INFO: kept, never sent.
PSI, KS and W1 are reported beside their noise and never decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.types import DriftReport, Effect, FeatureVerdict, Severity
from mlspine.stats.baseline import MIN_ROWS, Baseline, output_key
from mlspine.stats.calibrate import Limits, floors_of
from mlspine.stats.compare import Comparison, Drawn, Sized, Verdict, compare, decide, draw
from mlspine.stats.natural import DAY_MS
from mlspine.stats.profile import Floats, NumericPart, Part, Profile, Reference, Tally

Role = Literal["input", "score", "prediction"]

RANK: dict[Severity, int] = {"OK": 0, "INFO": 1, "WARNING": 2, "CRITICAL": 3}
JUMP_PP = 10.0
HEAVY_IMPORTANCE = 0.2
IGNORED_IMPORTANCE = 0.01
# Share of unchanged windows that may be a WARNING, where alpha is the share that may be significant.
WARNING_ALPHA = 0.0005
# What an effect cannot exceed: a limit there means that it does not decide.
MOST = {"js": 1.0, "tv": 1.0, "missing_pp": 100.0, "unseen_pp": 100.0}
_ROLES: dict[str, Role] = {"score": "score", "prediction": "prediction"}


class _Column(NamedTuple):
    """One judged column with everything its verdict is read off."""

    role: Role
    comparison: Comparison
    reference: Reference
    window: Profile
    floors: Mapping[str, float]
    limits: Mapping[str, float]
    importance: float | None  # None: unknown


def judge(
    baseline: Baseline,
    inputs: Profile,
    outputs: Profile | None,
    *,
    learned_outputs: Reference | None,
    alpha: float,
    history: Sequence[DriftReport],
    endpoint: str,
    release_hash: str,
    version: int,
    from_at_ms: int,
    to_at_ms: int,
    judged_at_ms: int = 0,
    min_rows: int = MIN_ROWS,
    compared: Sequence[Comparison] | None = None,
) -> DriftReport:
    """The verdict on one window, columns sorted by severity and impact.

    inputs, outputs: the window counted on `baseline.inputs` and on `baseline.outputs`, or on
    `learned_outputs` while the release carries none. alpha: share of unchanged windows that may be called
    significant. history: earlier reports of the endpoint; persistence is read off the last two of this
    release. Windows shorter than a day are held against limits of their own where there are any.
    compared: what `compare` says of the inputs, where many windows were compared in one pass.

    Below min_rows the status is INSUFFICIENT and nothing is said of any column; severity is then INFO, so
    that too little evidence never looks like none of drift.
    Raises Conflict when a profile counts on another reference.
    """
    report = DriftReport(
        endpoint=endpoint,
        release_hash=release_hash,
        version=version,
        reference_id=baseline.inputs.id,
        from_at_ms=from_at_ms,
        to_at_ms=to_at_ms,
        rows=inputs.rows,
        status="INSUFFICIENT",
        severity="INFO",
        alpha=alpha,
        false_alarm_nominal=alpha,
        false_alarm_measured=baseline.false_alarm,
        seasonality=baseline.seasonality,
        features=(),
        judged_at_ms=judged_at_ms,
    )
    if inputs.rows < min_rows:
        return report
    if not baseline.inputs.rows:
        return msgspec.structs.replace(report, status="LEARNING")
    short = to_at_ms - from_at_ms < DAY_MS
    limits = {**baseline.limits, **baseline.limits_short} if short else baseline.limits
    if compared is None:
        compared = compare(baseline.inputs, inputs)
    columns, unjudged = _columns(baseline, inputs, compared, outputs, learned_outputs, limits, min_rows)
    decision = decide([c.comparison.p for c in columns], alpha=alpha, critical_p=_critical_p(baseline, len(columns)))
    warning_p = decision.threshold * min(1.0, WARNING_ALPHA / max(alpha, WARNING_ALPHA))
    verdicts = [
        _verdict(column, named, decision, warning_p, ignored=_ignored(column, baseline.importance))
        for column, named in zip(columns, decision.named, strict=True)
    ]
    verdicts = _lasting(verdicts, _recent(history, release_hash, from_at_ms)) + unjudged
    verdicts.sort(key=lambda v: (-RANK[v.severity], -v.impact, v.p, v.role, v.name))
    return msgspec.structs.replace(
        report,
        status="JUDGED",
        severity=max((v.severity for v in verdicts), key=RANK.__getitem__, default="OK"),
        features=tuple(verdicts),
        alerting_importance=sum(v.importance for v in verdicts if v.role == "input" and _alerts(v)),
        threshold_p=decision.threshold,
        warning_p=warning_p,
        reference_rows=baseline.inputs.rows,
    )


def _critical_p(baseline: Baseline, columns: int) -> float | None:
    """The measured level per column, shared out anew where more columns are judged than it was measured over."""
    if baseline.critical_p is None:
        return None
    measured = len(baseline.inputs.names) + (len(baseline.outputs.names) if baseline.outputs else 0)
    return baseline.critical_p * min(1.0, measured / max(1, columns))


# ---------------------------------------------------------------- which columns, against which limits


def _columns(
    baseline: Baseline,
    inputs: Profile,
    compared: Sequence[Comparison],
    outputs: Profile | None,
    learned_outputs: Reference | None,
    limits: Limits,
    min_rows: int,
) -> tuple[list[_Column], list[FeatureVerdict]]:
    judged: list[_Column] = []
    unjudged: list[FeatureVerdict] = []
    for comparison in compared:
        name = comparison.name
        importance = baseline.importance.get(name) if baseline.importance else None
        if comparison.rows:
            floors = baseline.floors[name]
            judged.append(_Column("input", comparison, baseline.inputs, inputs, floors, limits[name], importance))
        else:
            why = "not recorded in this window, so not judged"
            unjudged.append(_unjudged("input", name, comparison.kind, why, importance or 0.0))
    reference = baseline.outputs or learned_outputs
    if reference is None:
        why = "no unseen rows at ship time: being learned from the first live rows, not judged yet"
        unjudged.append(_unjudged("score", "score", "numeric", why, 1.0))
    elif outputs is None or outputs.rows < min_rows:
        rows = outputs.rows if outputs else 0
        why = f"{rows} of {min_rows} rows counted so far, not judged yet"
        unjudged += [_unjudged(_ROLES[name], name, reference.kinds[name], why, 1.0) for name in reference.names]
    else:
        plain = floors_of(reference, {})
        for comparison in compare(reference, outputs):
            name = comparison.name
            own = limits.get(output_key(name), plain[name]) if baseline.outputs else plain[name]
            judged.append(_Column(_ROLES[name], comparison, reference, outputs, plain[name], own, 1.0))
    return judged, unjudged


def _unjudged(role: Role, name: str, kind: str, why: str, importance: float) -> FeatureVerdict:
    return FeatureVerdict(
        name=name,
        role=role,
        type=kind,
        p=1.0,
        significant=False,
        named=False,
        effects=(),
        importance=importance,
        impact=0.0,
        severity="INFO",
        direction="shape",
        why=why,
    )


def _ignored(column: _Column, importance: Mapping[str, float]) -> bool:
    """Whether the model makes next to nothing of this column while it does of others."""
    if column.role != "input" or column.importance is None:
        return False
    # In a wide table an even share is itself small.
    least = min(IGNORED_IMPORTANCE, 0.2 / len(importance))
    return column.importance < least <= max(importance.values())


# ---------------------------------------------------------------- one verdict


def _verdict(column: _Column, named: bool, decision: Verdict, warning_p: float, *, ignored: bool) -> FeatureVerdict:
    comparison = column.comparison
    certain = comparison.p <= warning_p
    over = [name for name in column.limits if certain and _over(name, column, warning_p)]
    drawn = _drawn(column)
    severity: Severity = "OK"
    if named:
        severity = "WARNING" if over and not ignored else "INFO"
    if severity == "WARNING" and (_jumped(column, over) or _stuck(column) is not None):
        severity = "CRITICAL"
    leading = _leading(column, over, decision.threshold)
    return FeatureVerdict(
        name=comparison.name,
        role=column.role,
        type=comparison.kind,
        p=comparison.p,
        significant=decision.significant and comparison.p <= decision.threshold,
        named=named,
        effects=tuple(_effect(name, sized, column) for name, sized in comparison.effects.items()),
        importance=column.importance or 0.0,
        impact=_impact(column, decision.threshold),
        severity=severity,
        direction=_direction(leading, column, decision.threshold),
        why=_why(column, named, over, leading, drawn, decision.threshold, ignored=ignored),
        reference_shares=drawn.before,
        window_shares=drawn.after,
        bin_labels=drawn.labels,
    )


def _over(name: str, column: _Column, threshold: float) -> bool:
    effect = column.comparison.effects.get(name)
    if effect is None or effect.p > threshold or effect.value < column.floors[name] or not _decides(name, column):
        return False
    limit = column.limits[name]
    # What the reference's own blocks reach is natural, so a limit above the floor has to be passed.
    return effect.value > limit if limit > column.floors[name] else True


def _decides(name: str, column: _Column) -> bool:
    """Whether the effect can be over its limit at all."""
    return column.limits[name] < MOST.get(name, np.inf)


def _effect(name: str, sized: Sized, column: _Column) -> Effect:
    return Effect(
        name=name,
        value=sized.value,
        noise=sized.noise,
        floor=column.floors.get(name, 0.0),
        limit=column.limits.get(name, 0.0),
    )


def _impact(column: _Column, threshold: float) -> float:
    """Importance times the largest effect in units of its limit; 0 while every effect may be chance."""
    effects = column.comparison.effects
    ratios = [
        effects[name].value / limit
        for name, limit in column.limits.items()
        if name in effects and effects[name].p <= threshold
    ]
    importance = 1 / len(column.reference.names) if column.importance is None else column.importance
    return importance * max(ratios, default=0.0)


def _leading(column: _Column, over: Sequence[str], threshold: float) -> str:
    """The effect that speaks for the column: farthest along to its limit, chance aside where possible."""
    effects = column.comparison.effects
    measured = [name for name in column.limits if name in effects]
    candidates = over or [name for name in measured if effects[name].p <= threshold] or measured
    return max(candidates, key=lambda name: effects[name].value / column.limits[name])


def _jumped(column: _Column, over: Sequence[str]) -> bool:
    before, after = _outside_rates(column)
    rise = 100 * float((after - before).max())
    unseen = column.comparison.effects.get("unseen_pp")
    return ("missing_pp" in over and rise >= JUMP_PP) or (
        unseen is not None and "unseen_pp" in over and unseen.value >= JUMP_PP
    )


def _stuck(column: _Column) -> str | None:
    """The one value all rows have where the reference had several, or None."""
    positions = column.reference.parts_of(column.comparison.name)
    if len(positions) > 1:
        return None
    part, before, after = _tallies(column, positions[0])
    if isinstance(part, NumericPart):
        return f"{after.low:.6g}" if after.low == after.high and before.low < before.high else None
    held = np.flatnonzero(after.counts[: part.bins])
    if held.size != 1 or np.count_nonzero(before.counts[: part.bins]) < 2:
        return None
    return str(part.levels[held[0]]) if held[0] < len(part.levels) else next(iter(after.names), "other")


def _direction(leading: str, column: _Column, threshold: float) -> str:
    if leading in ("missing_pp", "unseen_pp"):
        return leading.removesuffix("_pp")
    if leading == "mean_sd":
        return "up" if _mean_change(column)[1] > 0 else "down"
    comparison = column.comparison
    if comparison.components.get("location", 1.0) > threshold:
        return "shape"
    return "up" if comparison.location_z > 0 else "down"


# ---------------------------------------------------------------- over several windows


def _recent(history: Sequence[DriftReport], release_hash: str, from_at_ms: int) -> list[DriftReport]:
    """The two judged windows of this release before this one."""
    earlier = [
        report
        for report in history
        if report.release_hash == release_hash and report.status == "JUDGED" and report.from_at_ms < from_at_ms
    ]
    return sorted(earlier, key=lambda report: report.from_at_ms)[-2:]


def _lasting(verdicts: list[FeatureVerdict], recent: Sequence[DriftReport]) -> list[FeatureVerdict]:
    """CRITICAL for what also warned in one of the two windows before: an output, or inputs that together
    carry a fifth of the model's importance."""
    warned = {(v.role, v.name) for report in recent for v in report.features if _alerts(v)}
    again = [v for v in verdicts if _alerts(v) and (v.role, v.name) in warned]
    heavy = sum(v.importance for v in again if v.role == "input") >= HEAVY_IMPORTANCE
    raised = {(v.role, v.name) for v in again if v.role != "input" or (heavy and v.importance > 0)}
    return [msgspec.structs.replace(v, severity="CRITICAL") if (v.role, v.name) in raised else v for v in verdicts]


def _alerts(verdict: FeatureVerdict) -> bool:
    return RANK[verdict.severity] >= RANK["WARNING"]


# ---------------------------------------------------------------- the sentence


def _why(
    column: _Column,
    named: bool,
    over: Sequence[str],
    leading: str,
    drawn: Drawn,
    threshold: float,
    *,
    ignored: bool,
) -> str:
    if not named:
        return f"no change beyond chance (p {column.comparison.p:.2g})"
    text = _SENTENCES[leading](column, drawn)
    if not over:
        large = any(_over(name, column, threshold) for name in column.limits)
        text = f"changed beyond chance but {'not certain enough to warn' if large else 'within limits'}: {text}"
    undecided = [_WORDS.get(name, name) for name in column.limits if not _decides(name, column)]
    if undecided and not over:
        text += f"; {' and '.join(undecided)} cannot decide: between parts of the reference they reach their maximum"
    stuck = _stuck(column) if over else None
    if stuck is not None:
        text = f"every value is {stuck}: {text}"
    if column.role == "input" and column.importance is not None:
        text += f", {100 * column.importance:.2g}% of model importance"
    return f"{text}: the model ignores it" if ignored else text


def _missing_sentence(column: _Column, drawn: Drawn) -> str:
    before, after = _outside_rates(column)
    kind = int(np.abs(after - before).argmax())
    was, now = 100 * float(before[kind]), 100 * float(after[kind])
    limit = column.limits["missing_pp"]
    bound = was + limit if now > was else max(0.0, was - limit)
    return f"{('missing', '-inf', '+inf')[kind]} rate {was:.1f}% -> {now:.1f}% (limit {bound:.1f}%)"


def _unseen_sentence(column: _Column, drawn: Drawn) -> str:
    share = column.comparison.effects["unseen_pp"].value
    lead = column.reference.parts_of(column.comparison.name)[0]
    _, _, after = _tallies(column, lead)
    names = sorted(after.names, key=lambda name: (-after.names[name], name))[:3]
    listed = f": {', '.join(map(repr, names))}" if names else ""
    return f"levels never seen before in {share:.1f}% of rows (limit {column.limits['unseen_pp']:.1f}%){listed}"


def _mean_sentence(column: _Column, drawn: Drawn) -> str:
    position, shift = _mean_change(column)
    part, before, after = _tallies(column, position)
    label = f"{part.name} " if part.name else ""
    limit = column.limits["mean_sd"]
    return f"{label}mean {before.mean:.4g} -> {after.mean:.4g}, {shift:+.2f} sd (limit {limit:.2f} sd)"


def _js_sentence(column: _Column, drawn: Drawn) -> str:
    value, limit = column.comparison.effects["js"].value, column.limits["js"]
    return f"distribution moved, JS distance {value:.2f} (limit {limit:.2f}){_most(drawn)}"


def _tv_sentence(column: _Column, drawn: Drawn) -> str:
    value, limit = 100 * column.comparison.effects["tv"].value, 100 * column.limits["tv"]
    return f"{value:.1f}% of rows changed level (limit {limit:.1f}%){_most(drawn)}"


_SENTENCES = {
    "missing_pp": _missing_sentence,
    "unseen_pp": _unseen_sentence,
    "mean_sd": _mean_sentence,
    "js": _js_sentence,
    "tv": _tv_sentence,
}


_WORDS = {
    "js": "JS distance",
    "tv": "total variation",
    "missing_pp": "the missing rate",
    "unseen_pp": "the unseen rate",
}


def _most(drawn: Drawn) -> str:
    if not drawn.labels:
        return ""
    change = np.abs(np.subtract(drawn.after, drawn.before))
    i = int(change.argmax())
    return f", most at {drawn.labels[i]}: {100 * drawn.before[i]:.1f}% -> {100 * drawn.after[i]:.1f}%"


# ---------------------------------------------------------------- reading the counts


def _tallies(column: _Column, position: int) -> tuple[Part, Tally, Tally]:
    reference = column.reference
    return reference.parts[position], reference.profile.parts[position], column.window.parts[position]


def _outside_rates(column: _Column) -> tuple[Floats, Floats]:
    """Rates of missing (and of -inf, +inf) in reference and window."""
    part, before, after = _tallies(column, column.reference.parts_of(column.comparison.name)[0])
    was, now = (tally.counts[part.bins :] / max(1, tally.counts.sum()) for tally in (before, after))
    return was, now


def _mean_change(column: _Column) -> tuple[int, float]:
    """Position of the part whose mean moved farthest, and by how many reference sd."""
    found: list[tuple[int, float]] = []
    for position in column.reference.parts_of(column.comparison.name):
        part, before, after = _tallies(column, position)
        if isinstance(part, NumericPart) and before.m2 > 0 and after.low <= after.high:
            rows = before.counts[: part.bins].sum()
            found.append((position, float((after.mean - before.mean) / np.sqrt(before.m2 / rows))))
    return max(found, key=lambda item: abs(item[1]))


def _drawn(column: _Column) -> Drawn:
    """The part that moved most, for the chart and the sentence."""
    charts = []
    for position in column.reference.parts_of(column.comparison.name):
        part, before, after = _tallies(column, position)
        charts.append(draw(part, before.counts, after.counts))
    return max(charts, key=lambda chart: float(np.abs(np.subtract(chart.after, chart.before)).sum()))
