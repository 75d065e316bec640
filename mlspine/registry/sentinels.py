"""Sentinels: cases of a model whose answer is known, asked of every release before it answers and of what is live.

A sentinel is a row of inputs and what has to come out: a class, a number within a tolerance, or a score within one.
It belongs to the model's name, not to a version, so a new version has to get it right as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Invalid, NotFound, closest
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import Actor, Scalar, Struct
from mlspine.governance.service import Governance, signature
from mlspine.ports import Database, Transaction
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry

MOST = 1_000  # per model: they are asked of every release while somebody waits
TOLERANCE = 1e-6
EVIDENCE = "sentinels"


class Sentinel(Struct, frozen=True, kw_only=True):
    """One case. expected: the prediction; score: P(second class) or the value itself; at least one is there.

    tolerance: how far a number may lie off, in its own units.
    """

    id: str
    model: str
    inputs: dict[str, Any]
    expected: Scalar | None = None
    score: float | None = None
    tolerance: float = TOLERANCE
    why: str = ""
    added_by: str = ""
    added_at_ms: int = 0


class Missed(Struct, frozen=True, kw_only=True):
    """A sentinel that was answered otherwise than it has to be."""

    id: str
    says: str


class Sentinels:
    """The sentinels of every model."""

    def __init__(
        self, *, db: Database, registry: Registry, governance: Governance, clock: Callable[[], int] = now_ms
    ) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._clock = clock

    @public("read")
    def cases(self, model: str) -> list[Sentinel]:
        """The sentinels of a model, oldest first; [] without any."""
        rows = self._db.read(
            "select document from sentinel where model = :model and removed_at_ms = 0 order by id", model=model
        )
        return [msgspec.json.decode(row["document"], type=Sentinel) for row in rows]

    @public("ship")
    def add(self, name: str, rows: list[dict[str, Any]], *, actor: Actor) -> list[Sentinel]:
        """Add cases of the model `name`: each row has its inputs, `expected` or `expected_score` or both, and
        optionally `tolerance` and `why`.

        Raises Invalid listing every row that cannot be one; then none is added. Writes a ledger line.
        """
        fields = self._inputs(name)
        problems: list[str] = []
        now = self._clock()
        made = [_sentinel(row, at, name, fields, problems) for at, row in enumerate(rows, start=1)]
        standing = len(self.cases(name))
        if not rows:
            problems.append("no row was given")
        if standing + len(rows) > MOST:
            problems.append(f"{standing} are there and {len(rows)} come: a model has at most {MOST:,}")
        if problems:
            raise Invalid(
                f"{len(problems)} problem{'s' if len(problems) > 1 else ''}; no sentinel was added",
                details=problems,
                hint='a row is e.g. {"age": 44, "income": 31.0, "expected": 1}',
            )
        by = signature(actor)
        ids = sorted(uuid7(now) for _ in made)  # within a millisecond they would come in any order
        added = [
            msgspec.structs.replace(each, id=id_, added_by=by, added_at_ms=now)
            for id_, each in zip(ids, made, strict=True)
            if each is not None
        ]
        with self._db.write() as tx:
            for each in added:
                _insert(tx, each)
            self._governance.record("add sentinels", f"model:{name}", actor, facts={"sentinels": len(added)})
        return added

    @public("ship")
    def remove(self, name: str, sentinel: str, *, actor: Actor, reason: str = "") -> Sentinel:
        """Take a case away, by its id or the end of it; writes a ledger line. Raises NotFound, Invalid if unclear."""
        found = [each for each in self.cases(name) if each.id.endswith(sentinel)]
        if len(found) != 1:
            what = f"{len(found)} sentinels of {name} end in" if found else f"no sentinel of {name} is called"
            raise (Invalid if found else NotFound)(f"{what} {sentinel!r}", hint=f"see: mlspine sentinels {name}")
        with self._db.write() as tx:
            tx.execute("update sentinel set removed_at_ms = :at_ms where id = :id", at_ms=self._clock(), id=found[0].id)
            facts = {"sentinel": found[0].id}
            self._governance.record("remove sentinel", f"model:{name}", actor, reason, facts)
        return found[0]

    def keep_result(self, model: str, release_hash: str, *, asked: int, missed: Sequence[Missed], actor: Actor) -> None:
        """Deposit how a release did as evidence."""
        document = {"release": release_hash, "asked": asked, "missed": [msgspec.to_builtins(each) for each in missed]}
        self._governance.record_evidence(EVIDENCE, f"model:{model}", actor, passed=not missed, document=document)

    def _inputs(self, model: str) -> tuple[str, ...]:
        """What the newest release of a model takes."""
        versions = [each for each in self._registry.versions(model) if each.path and not each.bare]
        if not versions:
            raise Invalid(f"no version of {model} is a release yet", hint=f"mlspine ship models:/{model}/1 --data ROWS")
        return read_release(Path(versions[-1].path)).signature.inputs.names


def compare(cases: Sequence[Sentinel], answers: Sequence[Mapping[str, Any]]) -> list[Missed]:
    """Those of the cases that were answered otherwise. answers: `prediction` and `score` of each, in order.

    >>> case = Sentinel(id="1", model="m", inputs={"x": 1}, expected="yes", score=0.9, tolerance=0.05)
    >>> [each.says for each in compare([case], [{"prediction": "no", "score": 0.2}])]
    ["expected 'yes', got 'no'; expected a score of 0.9 (within 0.05), got 0.2"]
    """
    found = [(case, _difference(case, answer)) for case, answer in zip(cases, answers, strict=True)]
    return [Missed(id=case.id, says=says) for case, says in found if says]


def _difference(case: Sentinel, answer: Mapping[str, Any]) -> str:
    said = []
    if case.expected is not None and not _agrees(case.expected, answer.get("prediction"), case.tolerance):
        said.append(f"expected {case.expected!r}, got {answer.get('prediction')!r}")
    if case.score is not None and not _near(case.score, answer.get("score"), case.tolerance):
        said.append(f"expected a score of {case.score:g} (within {case.tolerance:g}), got {answer.get('score')!r}")
    return "; ".join(said)


def _agrees(expected: Scalar, got: Any, tolerance: float) -> bool:
    if isinstance(expected, float) and not isinstance(got, bool) and isinstance(got, int | float):
        return _near(expected, got, tolerance)
    # 1 and 1.0 are one class, 1 and "1" too: files know no types.
    return expected == got or str(expected) == str(got)


def _near(expected: float, got: Any, tolerance: float) -> bool:
    return isinstance(got, int | float) and abs(got - expected) <= tolerance


def _sentinel(
    row: Mapping[str, Any], at: int, model: str, fields: Sequence[str], problems: list[str]
) -> Sentinel | None:
    given = dict(row)
    expected, score = given.pop("expected", None), given.pop("expected_score", None)
    tolerance, why = given.pop("tolerance", None), given.pop("why", None)
    before = len(problems)
    if expected is None and score is None:
        problems.append(f"row {at}: neither expected nor expected_score")
    if not isinstance(expected, str | int | float | bool | None):
        problems.append(f"row {at}: expected is {expected!r}, not a class or a number")
    for name, value in (("expected_score", score), ("tolerance", tolerance)):
        if value is not None and not _is_number(value):
            problems.append(f"row {at}: {name} is {value!r}, not a number")
    if _is_number(tolerance) and tolerance < 0:
        problems.append(f"row {at}: tolerance is {tolerance}, below 0")
    problems.extend(_unknown(at, name, fields) for name in given if name not in fields)
    problems.extend(f"row {at}: {name} is missing" for name in fields if name not in given)
    if len(problems) > before:
        return None
    return Sentinel(
        id="",
        model=model,
        inputs=given,
        expected=expected,
        score=None if score is None else float(score),
        tolerance=TOLERANCE if tolerance is None else float(tolerance),
        why=str(why or ""),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _unknown(at: int, name: str, fields: Sequence[str]) -> str:
    near = closest(name, fields)
    return f"row {at}: the model takes no {name!r}" + (f", did you mean {near!r}?" if near else "")


def _insert(tx: Transaction, sentinel: Sentinel) -> None:
    tx.execute(
        "insert into sentinel (id, model, document) values (:id, :model, :document)",
        id=sentinel.id,
        model=sentinel.model,
        document=msgspec.json.encode(sentinel).decode(),
    )
