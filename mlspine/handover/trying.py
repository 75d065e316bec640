"""Who would answer for an endpoint if its release did not: each way asked with recorded rows, nothing else touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from mlspine.core.columns import to_jsonable_rows
from mlspine.core.errors import MlspineError
from mlspine.core.plan import Endpoint, Guards
from mlspine.core.types import ModelVersion, Signature, Struct
from mlspine.registry.release import read_recorded, read_release
from mlspine.serving.fallback import StandIn
from mlspine.serving.rule_answer import RuleAnswer

ROWS = 20

Ask = Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]


class Tried(Struct, frozen=True, kw_only=True):
    """One way to an answer. answered: of `rows` recorded rows, those it gave an answer to. why: what stands in its way.

    says: what the declared rule answers. version: 0 for that, and for "cannot-answer".
    """

    path: Literal["live", "fallback", "rule", "cannot-answer"]
    version: int = 0
    release_hash: str = ""
    says: str = ""
    rows: int = 0
    answered: int = 0
    why: str = ""

    @property
    def answers(self) -> bool:
        """Whether it can be relied on: it answered everything it was asked."""
        return not self.why and self.rows > 0 and self.answered == self.rows


def try_paths(
    endpoint: Endpoint,
    live: ModelVersion | None,
    previous: ModelVersion | None,
    *,
    rows_of: ModelVersion,
    ask: Ask,
) -> tuple[Tried, ...]:
    """Every way there is, in the order in which they are taken; the last is always "cannot-answer".

    live: the version that answers, if any does. rows_of: that with whose recorded rows is asked. ask: a loaded
    release's answers to rows, from the serving process, in no log and no counter.
    """
    guards = endpoint.current.guards
    release = read_release(Path(rows_of.path))
    rows = to_jsonable_rows(read_recorded(Path(rows_of.path), release)[0], release.signature.inputs)[:ROWS]
    found = []
    if live is not None:
        found.append(_asked("live", live, rows, ask))
    if guards.fallback == "previous" and previous is not None:
        found.append(_stood_in(previous, release.signature, rows, ask))
    if guards.answer is not None:
        found.append(_ruled(guards, release.signature, len(rows)))
    return (*found, _nobody(_end(guards, previous)))


def _stood_in(previous: ModelVersion, asked: Signature, rows: list[dict[str, Any]], ask: Ask) -> Tried:
    problems = StandIn(asked.inputs, read_release(Path(previous.path)).signature.inputs).problems
    if problems:
        return Tried(
            path="fallback",
            version=previous.version,
            release_hash=previous.release_hash,
            rows=len(rows),
            why=f"it cannot read these rows: {'; '.join(problems[:3])}",
        )
    return _asked("fallback", previous, rows, ask)


def _asked(path: Literal["live", "fallback"], version: ModelVersion, rows: list[dict[str, Any]], ask: Ask) -> Tried:
    why, answered = "", 0
    try:
        answered = sum(each.get("prediction") is not None for each in ask(version.release_hash, rows))
    except MlspineError as exc:
        why = exc.message
    return Tried(
        path=path,
        version=version.version,
        release_hash=version.release_hash,
        rows=len(rows),
        answered=answered,
        why=why,
    )


def _ruled(guards: Guards, signature: Signature, rows: int) -> Tried:
    answered = len(RuleAnswer(guards, signature).outputs(rows).prediction)
    return Tried(path="rule", says=str(guards.answer), rows=rows, answered=answered)


def _nobody(why: str) -> Tried:
    return Tried(path="cannot-answer", says="503 with the reason", why=why)


def _end(guards: Guards, previous: ModelVersion | None) -> str:
    if guards.answer is not None:
        return "only when the rule is taken away"
    if guards.fallback == "previous" and previous is not None:
        return "when that fails too: no rule is declared"
    return "at once: no release stands behind this one, and no rule is declared"
