"""How the requests of an endpoint are divided: what a change makes of the division, and its words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from mlspine.core.errors import Invalid, closest
from mlspine.core.plan import Cohort, Traffic
from mlspine.core.types import Field, Scalar

EVERYBODY = Cohort(field="", values=())  # said where a cohort ends and its split goes on
_SHOWN = 20
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


# ---------------------------------------------------------------- what comes next


def with_candidate(
    now: Traffic, candidate: int, *, share: float, unit: str, cohort: Cohort | None, salt: str, fresh_salt: str
) -> Traffic:
    """The division in which `candidate` answers `share`.

    While it is the same candidate, what is not said stays: unit, cohort and salt. So a growing share keeps those who
    are in. fresh_salt: deals the units of a new candidate.

    >>> first = with_candidate(Traffic(), 2, share=0.05, unit="id", cohort=None, salt="", fresh_salt="a")
    >>> grown = with_candidate(first, 2, share=0.5, unit="", cohort=None, salt="", fresh_salt="b")
    >>> grown.share, grown.unit, grown.salt
    (0.5, 'id', 'a')
    """
    before = now if now.candidate == candidate else Traffic(salt=fresh_salt)
    asked = before.cohort if cohort is None else cohort
    return msgspec.structs.replace(
        now,
        candidate=candidate,
        share=share,
        unit=unit or before.unit,
        cohort=None if asked == EVERYBODY else asked,
        salt=salt or before.salt,
    )


def without_candidate(now: Traffic) -> Traffic:
    """The division without a candidate; a shadow stays."""
    return Traffic(shadow=now.shadow, shadow_share=now.shadow_share)


def with_shadow(now: Traffic, shadow: int, share: float) -> Traffic:
    """The division in which `shadow` (0: none) is asked a share of the requests, unseen."""
    return msgspec.structs.replace(now, shadow=shadow, shadow_share=share if shadow else 1.0)


def widens(now: Traffic, then: Traffic) -> bool:
    """Whether the change lets a candidate answer somebody whom it did not answer before.

    >>> little, more = Traffic(candidate=2, share=0.05), Traffic(candidate=2, share=0.5)
    >>> widens(Traffic(), little), widens(little, more), widens(more, little)
    (True, True, False)
    """
    if not then.candidate:
        return False
    dealt = (now.candidate, now.unit, now.cohort, now.salt) == (then.candidate, then.unit, then.cohort, then.salt)
    return not dealt or then.share > now.share


# ---------------------------------------------------------------- what may be asked for


def check_share(share: float, *, least: float = 0.0) -> float:
    """The share, a number from `least` to 1; Invalid otherwise."""
    if not (math.isfinite(share) and least <= share <= 1.0):
        raise Invalid(
            f"a share of {share:g} is outside {least:g} to 1", hint="on the command line in per cent: 5%, 50%, 100%"
        )
    return share


def check_column(name: str, columns: Sequence[str], *, of: str) -> str:
    """The column, which requests have to have; Invalid names those there are."""
    if name in columns:
        return name
    near = closest(name, columns)
    listed = ", ".join(columns[:_SHOWN]) + (f", and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else "")
    raise Invalid(
        f"{of} takes no column {name!r}", hint=f"{f'did you mean {near}? ' if near else ''}its columns: {listed}"
    )


def typed(values: Sequence[Scalar], field: Field) -> tuple[Scalar, ...]:
    """The values as rows have them in this column; Invalid lists those that cannot be.

    >>> typed(["18", "21"], Field(name="age", type="int", dtype="int64"))
    (18, 21)
    """
    read = [_value(each, field) for each in values]
    wrong = [str(each) for each, value in zip(values, read, strict=True) if value is None]
    if wrong or not read:
        said = f"levels are {', '.join(map(str, field.levels[:_SHOWN]))}" if field.levels else f"type {field.type}"
        raise Invalid(
            f"column {field.name} never is {', '.join(wrong)}" if wrong else f"no values of column {field.name}",
            hint=f"{field.name}: {said}; e.g. --cohort {field.name}=VALUE,VALUE",
        )
    return tuple(value for value in read if value is not None)


def _value(given: Scalar, field: Field) -> Scalar | None:
    """A value in the type of the column, None when it has none there."""
    text = str(given).strip()
    match field.type:
        case "float" | "int":
            return _number(text, whole=field.type == "int")
        case "bool":
            return True if text.lower() in _TRUE else False if text.lower() in _FALSE else None
        case "category":
            return next((level for level in field.levels if str(level) == text), None)
        case "vector":
            return None
        case _:
            return text


def _number(text: str, *, whole: bool) -> float | int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    if whole:
        return int(number) if number == int(number) else None
    return number


# ---------------------------------------------------------------- words


def per_cent(share: float) -> str:
    """A share as people write it.

    >>> per_cent(0.05), per_cent(1.0), per_cent(0.005)
    ('5%', '100%', '0.5%')
    """
    return f"{round(share * 100, 6):g}%"


def told(traffic: Traffic) -> str:
    """The division as a sentence, "" when the live version answers everything.

    >>> told(Traffic(candidate=2, share=0.05, unit="customer", cohort=Cohort(field="region", values=("EU", "UK"))))
    'version 2 answers 5% of the requests with region EU or UK, dealt by customer'
    >>> told(Traffic(shadow=3))
    'version 3 is asked along unseen'
    """
    parts = [candidate_told(traffic)] if traffic.candidate else []
    if traffic.shadow:
        share = f" for {per_cent(traffic.shadow_share)} of requests" if traffic.shadow_share < 1.0 else ""
        parts.append(f"version {traffic.shadow} is asked along unseen{share}")
    return "; ".join(parts)


def candidate_told(traffic: Traffic) -> str:
    """The candidate's part of the sentence."""
    whose = f" with {cohort_told(traffic.cohort)}" if traffic.cohort else ""
    dealt = f", dealt by {traffic.unit}" if traffic.unit else ""
    return f"version {traffic.candidate} answers {per_cent(traffic.share)} of the requests{whose}{dealt}"


def cohort_told(cohort: Cohort) -> str:
    """Whose requests: "region EU or UK"."""
    return f"{cohort.field} {' or '.join(map(str, cohort.values))}"


def facts(traffic: Traffic) -> dict[str, Any]:
    """The division as the ledger keeps it: what is said, not what is at its default."""
    return {} if traffic == Traffic() else {"traffic": msgspec.to_builtins(traffic), "says": told(traffic)}
