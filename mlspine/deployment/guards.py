"""What guards an endpoint's answers may be: read from what a person said, checked against a release, told. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from mlspine.core.errors import closest
from mlspine.core.plan import Guards, OutputRule
from mlspine.core.types import Scalar, Signature

LONGEST_DEADLINE_S = 3600.0
_ORDERED = ("int", "float", "bool", "datetime")
# What each kind of rule is made of, and what may happen to a row it catches.
_PARTS = {
    "range": {"lo", "hi"},
    "deny": {"values"},
    "abstain": {"lo", "hi"},
    "monotonic": {"field", "direction"},
}
_ACTIONS = {
    "range": ("clip", "abstain", "fallback", "count"),
    "deny": ("abstain", "fallback", "count"),
    "abstain": ("abstain", "fallback", "count"),
    "monotonic": ("clip", "abstain", "fallback", "count"),
}


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a release answers, as far as guards look at it. scored: it gives probabilities, or numbers."""

    ref: str
    signature: Signature
    scored: bool


def typed(guards: Guards, signature: Signature) -> Guards:
    """The guards with answers that were given as text in the type of the release's own.

    >>> from mlspine.core.types import Schema
    >>> digits = Signature(inputs=Schema(fields=()), task="binary", classes=(0, 1))
    >>> typed(Guards(answer="0"), digits).answer
    0
    """
    answer = None if guards.answer is None else _typed(guards.answer, signature)
    rules = tuple(
        msgspec.structs.replace(rule, values=tuple(_typed(value, signature) for value in rule.values))
        for rule in guards.rules
    )
    return msgspec.structs.replace(guards, answer=answer, rules=rules)


def misfits(guards: Guards, answers: Answers) -> tuple[str, ...]:
    """Everything about these guards that cannot be applied to that release; empty when all can."""
    return (
        *_deadline(guards.deadline_s),
        *_answer(guards, answers),
        *(f"{told_rule(rule)}: {why}" for rule in guards.rules for why in _rule(rule, answers)),
        *(f"{told_rule(rule)}: given twice" for at, rule in enumerate(guards.rules) if rule in guards.rules[:at]),
    )


def planned(guards: Guards, *, way_back: bool) -> Guards:
    """The guards as the serving processes follow them.

    way_back: a rollback would bring a release back. Without one the release that is kept warm is one that was left
    on purpose, and nothing falls back to that.
    """
    return guards if way_back else msgspec.structs.replace(guards, fallback="none")


def facts(now: Guards, before: Guards) -> dict[str, Any]:
    """What a ledger line says of guards: those that hold from now on, where it changes them."""
    return {} if now == before else {"guards": told(now)}


# ---------------------------------------------------------------- words


def told(guards: Guards) -> list[str]:
    """The guards, a line each.

    >>> told(Guards(answer=0, score=0.1, rules=(OutputRule(kind="range", action="clip", lo=0.0, hi=1.0),)))
    ['no answer: the release before, then the rule: 0 with score 0.1', 'range 0..1: clip']
    """
    steps = ["the release before"] if guards.fallback == "previous" else []
    if guards.answer is not None:
        score = "" if guards.score is None else f" with score {guards.score:g}"
        steps.append(f"the rule: {guards.answer}{score}")
    lines = [f"no answer: {', then '.join(steps or ['cannot answer'])}"]
    if guards.deadline_s is not None:
        lines.append(f"deadline {guards.deadline_s:g} s")
    return [*lines, *(f"{told_rule(rule)}: {rule.action}" for rule in guards.rules)]


def told_rule(rule: OutputRule) -> str:
    """A rule as it is given on the command line.

    >>> told_rule(OutputRule(kind="monotonic", action="count", field="income", direction="down"))
    'monotonic income:down'
    """
    if rule.kind == "deny":
        return f"deny {','.join(map(str, rule.values))}"
    if rule.kind == "monotonic":
        return f"monotonic {rule.field}:{rule.direction}"
    low = "" if rule.lo is None else f"{rule.lo:g}"
    high = "" if rule.hi is None else f"{rule.hi:g}"
    return f"{rule.kind} {low}..{high}"


# ---------------------------------------------------------------- what does not fit


def _deadline(deadline_s: float | None) -> list[str]:
    if deadline_s is None or (math.isfinite(deadline_s) and 0.0 < deadline_s <= LONGEST_DEADLINE_S):
        return []
    return [f"deadline {deadline_s:g} s: from above 0 to {LONGEST_DEADLINE_S:g}"]


def _answer(guards: Guards, answers: Answers) -> list[str]:
    signature, said = answers.signature, []
    if guards.answer is None:
        return ["score: without an answer it is the score of nothing"] if guards.score is not None else []
    said += _value(guards.answer, "answer", answers)
    if guards.score is None:
        return said
    if signature.task not in ("binary", "multiclass"):
        said.append(f"score: {answers.ref} answers {_what(signature)} without one")
    elif not 0.0 <= guards.score <= 1.0:
        said.append(f"score {guards.score:g}: a probability, so from 0 to 1")
    return said


def _rule(rule: OutputRule, answers: Answers) -> list[str]:
    said = [
        f"{part} means nothing here"
        for part in ("lo", "hi", "values", "field", "direction")
        if part not in _PARTS[rule.kind] and getattr(rule, part) not in (None, (), "", "up")
    ]
    if rule.action not in _ACTIONS[rule.kind]:
        said.append(f"it cannot {rule.action}; it can {', '.join(_ACTIONS[rule.kind])}")
    if rule.kind == "deny":
        said += [why for value in rule.values for why in _value(value, "value", answers)]
        return said if rule.values else [*said, "it names no values"]
    return [
        *said,
        *_scored(rule, answers),
        *(_monotonic(rule, answers) if rule.kind == "monotonic" else _span(rule, answers)),
    ]


def _scored(rule: OutputRule, answers: Answers) -> list[str]:
    """Whether there is one number per row that the rule can look at, and move where it clips."""
    task = answers.signature.task
    if not answers.scored:
        return [f"{answers.ref} gives no score, so there is nothing to look at"]
    if task == "multiclass" and rule.kind == "monotonic":
        return ["of several classes there is no one number that rises"]
    if task == "multiclass" and rule.action == "clip":
        return ["of several probabilities there is no one number to clip; it can abstain, fallback, count"]
    return []


def _span(rule: OutputRule, answers: Answers) -> list[str]:
    ends = [end for end in (rule.lo, rule.hi) if end is not None]
    if not ends or (rule.kind == "abstain" and len(ends) < 2):
        return ["it needs both ends" if rule.kind == "abstain" else "it needs an end"]
    if not all(map(math.isfinite, ends)):
        return ["ends are finite; leave one out for none"]
    if len(ends) == 2 and ends[0] > ends[1]:
        return ["it ends before it begins"]
    if answers.signature.task in ("binary", "multiclass") and not all(0.0 <= end <= 1.0 for end in ends):
        return ["a score is a probability, so from 0 to 1"]
    return []


def _monotonic(rule: OutputRule, answers: Answers) -> list[str]:
    fields = {field.name: field for field in answers.signature.inputs.fields}
    if rule.field not in fields:
        near = closest(rule.field, fields)
        return [f"{answers.ref} takes no column {rule.field!r}" + (f"; did you mean {near}?" if near else "")]
    kind = fields[rule.field].type
    return [] if kind in _ORDERED else [f"{rule.field} is {kind}, which has no more and less"]


def _value(value: Scalar, what: str, answers: Answers) -> list[str]:
    """Whether a release could have answered this value."""
    signature = answers.signature
    if signature.task == "regression":
        number = type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
        return [] if number else [f"{what} {value!r}: {answers.ref} answers numbers"]
    if signature.classes and not _is_among(value, signature.classes):
        return [f"{what} {value!r}: {answers.ref} answers {', '.join(map(str, signature.classes[:20]))}"]
    return []


def _typed(value: Scalar, signature: Signature) -> Scalar:
    if not isinstance(value, str) or _is_among(value, signature.classes):
        return value
    if signature.task == "regression":
        try:
            return float(value)
        except ValueError:
            return value
    alike = [each for each in signature.classes if str(each).lower() == value.lower()]
    return alike[0] if len(alike) == 1 else value


def _is_among(value: Scalar, classes: Sequence[Scalar]) -> bool:
    """By value and type: True is not 1."""
    return any(type(value) is type(each) and value == each for each in classes)


def _what(signature: Signature) -> str:
    return "numbers" if signature.task == "regression" else "values"
