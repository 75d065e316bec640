"""The project card: why the model exists, for whom, and when it counts as a success. Pure.

What only people know is asked by name, each gap with the reason models fail from it; the rest is filled from what
was measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Metric, Struct

EVIDENCE = "card"
Verdict = Literal["go", "no go", "not measured", "no criterion"]


class Wanted(NamedTuple):
    """A field only a person can fill: what to write, and why models fail without it."""

    asks: str
    fails: str
    example: str


FIELDS: dict[str, Wanted] = {
    "purpose": Wanted(
        "which decision the predictions change",
        "a model without a decision behind it is finished and never used",
        "call customers likely to leave before they do",
    ),
    "value": Wanted(
        "worth per prediction or per month",
        "without a value nobody can say whether it is worth what it costs",
        "4 EUR per prediction",
    ),
    "owner": Wanted(
        "who answers for it",
        "nobody is called when it goes wrong, and nobody may switch it off",
        "maria@example.org",
    ),
    "integration": Wanted(
        "what calls it, and what happens with the answer",
        "an endpoint that no application calls changes nothing",
        "the call-centre queue asks once a night",
    ),
    "target": Wanted(
        "how fast and how often it must answer",
        "without a target too slow is found out by its users",
        "P99 below 50 ms at 20 requests/s",
    ),
    "risk": Wanted(
        "what a wrong answer does to people, who reviewed it and when",
        "an open risk review stops the launch on its last day",
        "low: an unneeded call; reviewed by J. Roth 2026-03-01",
    ),
    "monitoring": Wanted(
        "who looks at alerts, and within which time",
        "an alert that nobody reads is no monitoring",
        "team churn, within a working day",
    ),
    "success": Wanted(
        "when it counts as a success, best as a metric and a limit",
        "without a criterion every result is good enough, and none is",
        "auc >= 0.7",
    ),
}
# METRIC >= NUMBER, anywhere in the sentence: then go or no-go is computed.
_CRITERION = re.compile(r"([A-Za-z][\w-]*)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


class Gap(Struct, frozen=True, kw_only=True):
    """A field nobody filled: why models fail from it, and the words that close it."""

    field: str
    asks: str
    fails: str
    opens_with: str


class Judged(Struct, frozen=True, kw_only=True):
    """The success criterion against what was measured, newest truth first: labels, else the rows of ship."""

    verdict: Verdict
    why: str


class Card(Struct, frozen=True, kw_only=True):
    """The card of one model. said: what people filled; facts: what mlspine knows; edition: 0 before the first."""

    model: str
    edition: int
    said: dict[str, str]
    facts: dict[str, str]
    gaps: tuple[Gap, ...]
    success: Judged
    changed_at_ms: int = 0
    changed_by: str = ""


def parse_settings(pairs: Mapping[str, str]) -> dict[str, str]:
    """Fields as given, stripped; Invalid names every unknown one with the nearest there is."""
    unknown = [
        f"{name}{f'; did you mean {near}?' if (near := closest(name, FIELDS)) else ''}"
        for name in pairs
        if name not in FIELDS
    ]
    if unknown:
        raise Invalid(
            f"the card has no field {unknown[0]}", hint=f"fields: {', '.join(FIELDS)}", details=tuple(unknown[1:])
        )
    return {name: text.strip() for name, text in pairs.items()}


def gaps_of(model: str, said: Mapping[str, str]) -> tuple[Gap, ...]:
    """The fields nobody filled, in the card's order."""
    return tuple(
        Gap(
            field=name,
            asks=wanted.asks,
            fails=wanted.fails,
            opens_with=f'mlspine card {model} --set {name}="{wanted.example}"',
        )
        for name, wanted in FIELDS.items()
        if not said.get(name)
    )


def judge(criterion: str, metrics: Mapping[str, Metric]) -> Judged:
    """Go, when even the unfavourable end of the interval fulfils the criterion.

    metrics: by name, the truest of each: measured on labels before estimated at ship.

    >>> judge("auc >= 0.7", {}).why
    'no auc was measured yet'
    """
    found = _CRITERION.search(criterion)
    if not criterion:
        return Judged(verdict="no criterion", why="nobody said when it counts as a success")
    if found is None:
        return Judged(verdict="no criterion", why=f"{criterion!r} names no metric and limit, such as auc >= 0.7")
    name, sign, limit = found[1], found[2], float(found[3])
    metric = next((each for key, each in metrics.items() if key.lower() == name.lower()), None)
    if metric is None or metric.interval is None:
        known = f"; there is {', '.join(metrics)}" if metrics else ""
        return Judged(verdict="not measured", why=f"no {name} was measured yet{known}")
    interval = metric.interval
    high = sign in (">", ">=")
    unfavourable = interval.lo if high else interval.hi
    fulfilled = {
        ">=": unfavourable >= limit,
        ">": unfavourable > limit,
        "<=": unfavourable <= limit,
        "<": unfavourable < limit,
    }[sign]
    figure = f"{metric.name} {interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"
    rows = f"{metric.rows:,} rows ({metric.rows_from})"
    end = "lower" if high else "upper"
    says = "is" if fulfilled else "is not"
    return Judged(
        verdict="go" if fulfilled else "no go",
        why=f"{figure} on {rows}: the {end} end {unfavourable:.3f} {says} {sign} {limit:g}",
    )


def markdown(card: Card, *, changed: str) -> str:
    """The card as a page. changed: when, in words."""
    lines = [f"# {card.model}", ""]
    if card.edition:
        lines += [f"Edition {card.edition} of this card, {changed} UTC by {card.changed_by}.", ""]
    lines += [f"**{card.success.verdict.capitalize()}**: {card.success.why}.", "", "## Said by people", ""]
    for name, wanted in FIELDS.items():
        lines.append(f"- **{name}**: {card.said.get(name) or f'not given ({wanted.asks})'}")
    lines += ["", "## Known from the workspace", "", *(f"- **{name}**: {text}" for name, text in card.facts.items())]
    if card.gaps:
        lines += ["", "## Gaps", ""]
        lines += [f"- **{gap.field}**: {gap.fails}. `{gap.opens_with}`" for gap in card.gaps]
    return "\n".join([*lines, ""])
