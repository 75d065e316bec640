"""What the counts of a canary lead to: the next step, the way back, or waiting. Pure.

A return needs evidence that holds however often one looks (`stats.dealt`) and a difference that matters (half of the
margin); a promotion needs that more than the margin is ruled out. The 5% of wrong returns are divided among METRICS;
those of wrong promotions are 5% of their own, divided among what a promotion is bounded by. What is plain at once
(`guards.py`) needs no statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from mlspine.core.types import Struct
from mlspine.rollouts.counts import HOUR_MS, MINUTE_MS, UNCOMPARED, Compared, Minute, Strata, strata, summed
from mlspine.rollouts.guards import crashing, failing, slow_for_long
from mlspine.stats import bounded, dealt

Action = Literal["advance", "hold", "return", "inconclusive", "invalid"]
Counted = Literal["failures", "slow", "rules"]

METRICS = ("failures", "slow", "rules", "disagreement", "quality")
ALPHA_RETURN = ALPHA_PROMOTE = 0.05
ODDS = len(METRICS) / ALPHA_RETURN  # evidence for a return within one step, as "so many to one"
LEVEL = 1 - ALPHA_RETURN / len(METRICS)
PROMOTE_LEVEL = 1 - ALPHA_PROMOTE / 2  # failures and slow answers are bounded
SLOW_MARGIN = 0.02
MISDEALT = 2.0  # the odds of the arms may miss what was dealt by this: customers bring many requests or few
_WHOLE = {"failures": "failures", "slow": "slow", "rules": "broken"}
_FIRST = {"failures": "failed_first", "slow": "slow_first", "rules": "broken"}
_SAYS = {"failures": "failed", "slow": "were slow", "rules": "broke an output rule"}


class CanaryPlan(Struct, frozen=True, kw_only=True):
    """What a candidate has to go through.

    steps: per cent of the requests, before all of them. A step lasts `step_s` and `step_requests` of the candidate at
    least; before the candidate gets everything `hours` have to have passed since the start, by default a whole day with
    its cycle. margin: failures beyond those of the live release that would still be taken, as a share of requests.
    promotes: whether it may take over by itself then. horizon_hours: without a decision by then the live release stays.
    """

    steps: tuple[int, ...] = (5, 25, 50)
    unit: str = ""
    step_s: float = 600.0
    step_requests: int = 400
    hours: float = 24.0
    margin: float = 0.01
    promotes: bool = True
    horizon_hours: float = 168.0


class Evidence(Struct, frozen=True, kw_only=True):
    """What speaks against the newer release by one metric.

    odds: evidence, so many to one, against the limit; 0 where it is not put so. most: the upper limit of the
    difference, for a promotion.
    """

    metric: str
    older: float
    newer: float
    odds: float = 0.0
    limit: float = 0.0
    most: float = 1.0
    against: bool = False
    says: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """What is to be done and why, in one sentence with numbers. missing: what the next step waits for."""

    action: Action
    why: str
    metric: str = ""  # of a return: what it was for
    missing: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


def decide(
    plan: CanaryPlan,
    minutes: Sequence[Minute],
    *,
    step: int,
    now_ms: int,
    started_at_ms: int,
    step_at_ms: int,
    compared: Compared = UNCOMPARED,
    bound: float = 1.0,
    others: Sequence[Evidence] = (),
    crashes: int = 0,
) -> Decision:
    """The decision on what was counted so far.

    minutes: of all steps, in order of time. step: the current one, from 0. bound: the mean disagreement that is taken.
    others: what labels and recorded rows say.

    >>> from mlspine.rollouts.counts import Counts
    >>> bad = [Minute(0, 0, 0.05, Counts(3800, 20), Counts(200, 12))]
    >>> found = decide(CanaryPlan(), bad, step=0, now_ms=60_000, started_at_ms=0, step_at_ms=0)
    >>> found.action, found.why.partition(" (")[2]
    ('return', '970000 to 1, limit 300)')
    """
    steps = len(plan.steps)
    counted = (
        counts_say("failures", minutes, margin=plan.margin, steps=steps),
        slow_says(minutes, steps=steps),
        counts_say("rules", minutes, margin=plan.margin, steps=steps),
    )
    # For a minute both may have met the same few rows.
    found = (*counted, disagreement(compared, bound if now_ms - started_at_ms >= MINUTE_MS else 1.0), *others)
    for why, metric in (
        (crashing(crashes), "failures"),
        (failing(minutes), "failures"),
        (slow_for_long(minutes), "slow"),
        *((each.says, each.metric) for each in found if each.against),
    ):
        if why:
            return Decision(action="return", why=why, metric=metric, evidence=found)
    wrongly = _misdealt(minutes, step)
    if wrongly:
        return Decision(action="invalid", why=wrongly, evidence=found)
    missing = _missing(plan, counted, step=step, now_ms=now_ms, started_at_ms=started_at_ms, step_at_ms=step_at_ms)
    missing = (*_too_few(plan, minutes, step), *missing)
    if not missing:
        return Decision(action="advance", why=_passed(plan, minutes, step), evidence=found)
    if now_ms - started_at_ms >= plan.horizon_hours * HOUR_MS:
        why = f"no decision after {plan.horizon_hours:g} hours: {missing[0]}"
        return Decision(action="inconclusive", why=why, missing=missing, evidence=found)
    return Decision(action="hold", why=missing[0], missing=missing, evidence=found)


# ---------------------------------------------------------------- evidence


def counts_say(metric: Counted, minutes: Sequence[Minute], *, margin: float, steps: int) -> Evidence:
    """What failures, slow answers or broken output rules say against the candidate.

    The hours of a step multiply. Its steps do not: a customer stays at its release from step to step, so they may
    depend on each other in any way. The strongest counts, against a limit that is as many times higher.
    """
    cut = strata(minutes)
    older, newer = summed(cut.live), summed(cut.candidate)
    odds, limit = _odds(cut, _FIRST[metric]), steps * ODDS
    requests, whole, first = cut.of("requests"), cut.of(_WHOLE[metric]), cut.of(_FIRST[metric])
    again = max(1.0, sum(each.sum() for each in whole) / max(1.0, sum(each.sum() for each in first)))
    excess = dealt.excess(
        requests[0], whole[0], requests[1], whole[1], scale=margin, level=PROMOTE_LEVEL, again=float(again)
    )
    here, there = (getattr(each, _WHOLE[metric]) / max(1, each.requests) for each in (older, newer))
    return Evidence(
        metric=metric,
        older=here,
        newer=there,
        odds=odds,
        limit=limit,
        most=excess.hi,
        against=odds >= limit and excess.value >= margin / 2,
        says=f"{there:.1%} of {newer.requests:,} answers of the candidate {_SAYS[metric]}, {here:.1%} of"
        f" {older.requests:,} of the live release ({so_many(odds)} to 1, limit {limit:g})",
    )


def slow_says(minutes: Sequence[Minute], *, steps: int) -> Evidence:
    """What slow answers say: one stall of one release makes many, so its worst minute alone is no evidence."""
    found = counts_say("slow", minutes, margin=SLOW_MARGIN, steps=steps)
    if not found.against:
        return found
    worst = max(range(len(minutes)), key=lambda at: minutes[at].candidate.slow)
    without = counts_say("slow", [*minutes[:worst], *minutes[worst + 1 :]], margin=SLOW_MARGIN, steps=steps)
    return found if without.against else msgspec.structs.replace(found, against=False, odds=without.odds)


def disagreement(compared: Compared, bound: float) -> Evidence:
    """Whether two releases differ more on the same rows than is taken. Rows of one request count as one."""
    least = lowest_mean(compared, about=min(bound, 0.5))
    return Evidence(
        metric="disagreement",
        older=bound,
        newer=compared.mean,
        against=least > bound,
        says=f"both releases' answers to the same {compared.rows:,} rows differ by {compared.mean:.2f} on average, by"
        f" at least {least:.2f}; {bound:.2f} is taken",
    )


def lowest_mean(compared: Compared, *, about: float) -> float:
    """The lower limit of the mean disagreement, valid at every look."""
    if not compared.rows:
        return 0.0
    whole = min(1.0, compared.requests / compared.rows)
    return bounded.lower(
        compared.rows * whole,
        compared.difference * whole,
        compared.difference_squared * whole,
        about=about,
        level=LEVEL,
    )


def so_many(odds: float) -> str:
    """Odds as people read them.

    >>> so_many(0.4), so_many(537.2), so_many(2e6)
    ('0.4', '540', 'over a million')
    """
    return "over a million" if odds > 1e6 else f"{float(f'{odds:.2g}'):g}"


def _odds(cut: Strata, name: str) -> float:
    live, candidate = cut.of("requests")
    factors = dealt.log_factors(*cut.of(name), dealt.exposure(live, candidate, cut.share))
    steps = [factors[cut.step == step].sum(axis=0) for step in np.unique(cut.step)]
    return max((float(np.exp(min(float(dealt.log_evidence(each)), 700.0))) for each in steps), default=1.0)


# ---------------------------------------------------------------- going on


def _misdealt(minutes: Sequence[Minute], step: int) -> str:
    here = [each for each in minutes if each.step == step]
    if not here:
        return ""
    newer = sum(each.candidate.requests for each in here)
    total = newer + sum(each.live.requests for each in here)
    if not dealt.misdealt(newer, total, here[0].share, within=MISDEALT):
        return ""
    return (
        f"the candidate was dealt {here[0].share:.0%} of the requests and had {newer / total:.1%} of {total:,}: the two"
        " releases cannot be compared"
    )


def _too_few(plan: CanaryPlan, minutes: Sequence[Minute], step: int) -> tuple[str, ...]:
    had = sum(each.candidate.requests for each in minutes if each.step == step)
    lacking = plan.step_requests - had
    return (f"{lacking:,} more requests of the candidate",) if lacking > 0 else ()


def _missing(
    plan: CanaryPlan,
    counted: Sequence[Evidence],
    *,
    step: int,
    now_ms: int,
    started_at_ms: int,
    step_at_ms: int,
) -> tuple[str, ...]:
    found = []
    wait_s = plan.step_s - (now_ms - step_at_ms) / 1000
    if wait_s > 0:
        found.append(f"{_lasting(wait_s)} more of this step")
    if step < len(plan.steps) - 1:
        return tuple(found)
    wait_s = plan.hours * 3600 - (now_ms - started_at_ms) / 1000
    if wait_s > 0:
        found.append(f"{_lasting(wait_s)} more, so that it is {plan.hours:g} hours in all")
    for each, margin in zip(counted, (plan.margin, SLOW_MARGIN), strict=False):
        if each.most >= margin:
            found.append(
                f"requests: up to {each.most:.1%} more answers that {_SAYS[each.metric]} cannot be ruled out yet"
                f" (margin {margin:.1%})"
            )
    return tuple(found)


def _passed(plan: CanaryPlan, minutes: Sequence[Minute], step: int) -> str:
    newer = summed([each.candidate for each in minutes if each.step == step])
    older = summed([each.live for each in minutes if each.step == step])
    return (
        f"at {plan.steps[step]}% {newer.failures:,} of {newer.requests:,} answers of the candidate failed and"
        f" {newer.slow:,} were slow, {older.failures:,} and {older.slow:,} of {older.requests:,} of the live release"
    )


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
