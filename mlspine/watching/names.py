"""Which column of somebody else's log means what: said by a person, else guessed where only one can be meant. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Struct

NONE = "-"  # what a person writes where there is no such column, whatever it looks like


class Names(Struct, frozen=True, kw_only=True):
    """Names of columns by their meaning; "" where there is none."""

    prediction: str = ""
    score: str = ""
    time: str = ""
    id: str = ""
    key: str = ""
    label: str = ""

    @property
    def given(self) -> dict[str, str]:
        return {role: name for role, name in msgspec.structs.asdict(self).items() if name}


# As logs of serving systems spell them. Never "y" or "value" for an output: features are called so too.
SPELLINGS: dict[str, frozenset[str]] = {
    "prediction": frozenset(
        ["prediction", "predicted", "pred", "y_pred", "yhat", "y_hat", "predicted_label", "predicted_value"]
    ),
    "score": frozenset(
        ["score", "probability", "proba", "prob", "y_score", "y_proba", "prediction_score", "predicted_probability"]
    ),
    "time": frozenset(
        [
            *("event_time", "eventtime", "timestamp", "ts", "time", "datetime", "date_time", "inference_time"),
            *("inferencetime", "prediction_time", "request_time", "logged_at", "created_at", "event_timestamp"),
        ]
    ),
    "id": frozenset(
        ["id", "prediction_id", "request_id", "inference_id", "inferenceid", "event_id", "eventid", "row_id", "uuid"]
    ),
    "key": frozenset(["key", "entity_id", "entity_key"]),
    "label": frozenset(["label", "target", "y_true", "actual", "ground_truth", "outcome"]),
}


def settle(columns: Sequence[str], said: Names, *, features: Collection[str] = (), what: str) -> Names:
    """Names for `columns`: as said, else the one column whose spelling says it; "-" is none.

    features: columns that are the model's inputs, never guessed to be something else. Raises Invalid for a name that
    is no column, one column for two meanings, and where two columns could be meant.

    >>> settle(["age", "score", "ts"], Names(), what="log.parquet").given
    {'score': 'score', 'time': 'ts'}
    """
    problems: list[str] = []
    found: dict[str, str] = {}
    for role, name in msgspec.structs.asdict(said).items():
        if name and name != NONE and name not in columns:
            near = closest(name, columns)
            problems.append(f"--{role} {name}: no such column" + (f"; did you mean {near}?" if near else ""))
        elif name:
            found[role] = "" if name == NONE else name
    taken = {*found.values()} - {""}
    for role, spellings in SPELLINGS.items():
        if role in found or problems:
            continue
        meant = [each for each in columns if each.lower() in spellings and each not in features and each not in taken]
        if len(meant) > 1:
            problems.append(f"{' and '.join(meant)} could both be the {role}: say --{role} {meant[0]}, or --{role} -")
        elif meant:
            found[role] = meant[0]
    problems += _twice(found)
    if problems:
        raise Invalid(
            f"{what}: what its columns mean is not clear",
            details=problems,
            hint=f"its columns: {', '.join(columns[:20])}" + ("..." if len(columns) > 20 else ""),
        )
    return Names(**found)


def told(names: Names) -> str:
    """Which column is taken for what, in words.

    >>> told(Names(score="p", time="at"))
    'score from p, time from at'
    """
    return ", ".join(f"{role} from {name}" for role, name in names.given.items()) or "nothing but features"


def _twice(found: dict[str, str]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for role, name in found.items():
        if name:
            by_name.setdefault(name, []).append(role)
    return [f"{name} cannot be {' and '.join(roles)}" for name, roles in by_name.items() if len(roles) > 1]
