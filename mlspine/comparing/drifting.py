"""`drift`: has this table changed against that one, by the rule that judges what endpoints answer."""

from __future__ import annotations

import time as clocks
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from mlspine.comparing.profiles import Profile, is_saved
from mlspine.comparing.profiling import Seen, profile
from mlspine.core.errors import Conflict, Invalid
from mlspine.core.types import DriftReport, FeatureVerdict, Severity, Struct
from mlspine.monitoring import document
from mlspine.monitoring.drift import judge
from mlspine.reporting.page import page
from mlspine.stats import profile as counting
from mlspine.stats.baseline import MIN_ROWS, Baseline, at_hours, output_key
from mlspine.stats.bins import Ints, Reference
from mlspine.stats.calibrate import ALPHA, Limits, floors_of
from mlspine.stats.natural import NOT_CALIBRATED
from mlspine.stats.seasons import SLOTS, Seasons, slots_of

Role = Literal["score", "prediction"]


class Drift(Struct, frozen=True, kw_only=True, eq=False):
    """The verdict on one table. `report` holds every number; `reference` can be used again, or saved.

    In a notebook it shows itself; `str()` is the table that `mlspine drift` prints.
    """

    report: DriftReport
    reference: Profile
    current: Profile

    @property
    def severity(self) -> Severity:
        """OK, INFO (changed, not worth a word), WARNING or CRITICAL."""
        return self.report.severity

    @property
    def features(self) -> tuple[FeatureVerdict, ...]:
        """Every compared column, the ones that matter first."""
        return self.report.features

    def to_dict(self) -> dict[str, Any]:
        """The document of a judged window, as `mlspine drift --json` prints it and `html` shows it."""
        return document.document(self.report, model=f"{self.current.source} against {self.reference.source}")

    def html(self) -> str:
        """One HTML page that needs no network and no other file."""
        return page(self.to_dict())

    def save(self, path: str | Path) -> Path:
        """Write the page to a .html file, the document to a .json file. Raises Invalid for another ending."""
        path = Path(path).expanduser()
        if path.suffix not in (".html", ".json"):
            raise Invalid(f"{path} ends neither in .html nor in .json", hint="the ending says what is written")
        text = self.html().encode() if path.suffix == ".html" else msgspec.json.encode(self.to_dict())
        path.write_bytes(text)
        return path

    def __str__(self) -> str:
        from mlspine.comparing.words import drift_text

        return drift_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from mlspine.comparing.words import in_a_frame

        return in_a_frame(self.html())


def drift(
    reference: Any,
    current: Any,
    *,
    time: str | None = None,
    columns: Collection[str] | None = None,
    score: str | None = None,
    prediction: str | None = None,
    importance: Mapping[str, float] | None = None,
    floors: Mapping[str, Mapping[str, float]] | None = None,
    alpha: float = ALPHA,
    min_rows: int = MIN_ROWS,
    check: bool = True,
    seen: Seen = lambda rows, of: None,
) -> Drift:
    """Compare a table with a reference, and say which columns changed by more than chance and by enough to matter.

    reference, current: a table in memory, a path, SQL, or a `Profile` (or the path of a saved one).
    time: the column that dates the rows. With it, limits follow from how much the reference's own weeks differ.
    columns: only these; by default all of the reference. score, prediction: columns that hold what a model answered.
    importance: column -> weight for a model; what it ignores never warns.
    floors: column -> effect -> smallest change worth a word ("js", "tv", "mean_sd", "missing_pp", "unseen_pp").
    alpha: share of unchanged tables that may be called significant. min_rows: fewer are not judged.
    check: measure the share of false alarms on the reference's own rows, a second or two.
    seen: told after each batch how many rows were read, and of how many.
    Raises what `profile` raises; Conflict for two profiles on different bins.

    >>> before = {"x": [float(i % 100) for i in range(2000)]}
    >>> drift(before, {"x": [float(i % 100) + 40 for i in range(1000)]}).severity
    'WARNING'
    """
    _check(alpha, min_rows)
    before = _reference(reference, time=time, columns=columns, floors=floors, check=check, seen=seen)
    after = _current(before, current, time=time, seen=seen)
    outputs = _outputs(before, score, prediction)
    baseline, dated = _baseline(before, outputs, importance or {}, min_rows), bool(after.to_at_ms)
    if dated:
        baseline = at_hours(baseline, _rows_by_slot(after))
    elif baseline.limits_short:  # nobody knows whether these rows are of an hour or of a month
        baseline = msgspec.structs.replace(baseline, limits_short={})
    report = judge(
        baseline,
        _part_of(after.reference, _inputs(before, outputs)).profile,
        _part_of(after.reference, outputs, roles=True).profile if outputs else None,
        learned_outputs=None,
        alpha=alpha,
        history=(),
        endpoint="",
        release_hash="",
        version=0,
        from_at_ms=after.from_at_ms,
        to_at_ms=after.to_at_ms,
        judged_at_ms=clocks.time_ns() // 1_000_000,
        min_rows=min_rows,
    )
    return Drift(report=_without_outputs(report) if not outputs else report, reference=before, current=after)


def _reference(data: Any, *, time: str | None, columns: Collection[str] | None, **options: Any) -> Profile:
    found = _profile_of(data)
    if found is None:
        return profile(data, time=time, columns=columns, **options)
    if options["floors"] is not None:
        raise Conflict(
            f"{found.source} is a profile and has its floors already", hint="mlspine.profile(rows, floors=...)"
        )
    if time is not None and time != found.time:
        named = f"the time column {found.time!r}" if found.time else "no time column"
        raise Conflict(f"{found.source} was profiled with {named}", hint=f"mlspine.profile(rows, time={time!r})")
    return found if columns is None else _only(found, columns)


def _current(before: Profile, data: Any, *, time: str | None, seen: Seen) -> Profile:
    found = _profile_of(data)
    if found is None:
        return profile(data, like=before, time=time, seen=seen)
    if found.reference.id != before.reference.id and set(before.columns) < set(found.columns):
        found = _only(found, before.columns)
    if found.reference.id != before.reference.id:
        raise Conflict(
            f"{before.source} and {found.source} are counted on different bins and cannot be compared",
            hint="count the second on the bins of the first: mlspine.profile(rows, like=first)",
        )
    return found


def _profile_of(data: Any) -> Profile | None:
    if isinstance(data, Profile):
        return data
    return Profile.load(data) if is_saved(data) else None


def _check(alpha: float, min_rows: int) -> None:
    if not 0 < alpha < 1:
        raise Invalid(f"alpha is {alpha}, a share between 0 and 1", hint="0.01 calls one unchanged table in a hundred")
    if min_rows < 1:
        raise Invalid(f"min_rows is {min_rows}")


# ---------------------------------------------------------------- from a profile to what a release carries


def _baseline(before: Profile, outputs: Mapping[str, Role], importance: Mapping[str, float], rows: int) -> Baseline:
    inputs = _inputs(before, outputs)
    if unknown := [name for name in importance if name not in inputs]:
        raise Invalid(f"importance names what is no input column: {', '.join(unknown)}", hint=f"{', '.join(inputs)}")
    weights = {name: max(0.0, float(importance.get(name, 0.0))) for name in inputs} if importance else {}
    total = sum(weights.values())
    floors = floors_of(before.reference, before.floors)
    natural = before.natural
    limits = natural.limits if natural else floors
    short = natural.limits_short if natural else {}
    alarms = before.false_alarm
    answers = _part_of(before.reference, outputs, roles=True) if outputs else None
    return Baseline(
        inputs=_part_of(before.reference, inputs),
        outputs=answers,
        outputs_from="holdout" if outputs else "LEARNING",
        importance={name: weight / total for name, weight in weights.items()} if total else {},
        limits=_by_role(limits, outputs),
        limits_short=_by_role(short, outputs),
        floors={name: floors[name] for name in inputs},
        seasonality=natural.seasonality if natural else NOT_CALIBRATED,
        false_alarm=alarms.rate if alarms else None,
        critical_p=alarms.critical_p if alarms else None,
        metric=None,
        min_rows=rows,
        seasons=_seasons(before, inputs),
        output_seasons=_seasons(before, outputs),
    )


def _outputs(before: Profile, score: str | None, prediction: str | None) -> dict[str, Role]:
    outputs: dict[str, Role] = {}
    if score is not None:
        outputs[score] = "score"
    if prediction is not None:
        outputs[prediction] = "prediction"
    if unknown := [name for name in outputs if name not in before.columns]:
        raise Invalid(f"{before.source} has no column {', '.join(unknown)}", hint=f"it has {', '.join(before.columns)}")
    if not _inputs(before, outputs):
        raise Invalid("every column is an output of the model", hint="leave out score= and prediction=")
    return outputs


def _inputs(before: Profile, outputs: Collection[str]) -> list[str]:
    return [name for name in before.columns if name not in outputs]


def _by_role(limits: Limits, outputs: Mapping[str, Role]) -> Limits:
    return {output_key(outputs[name]) if name in outputs else name: own for name, own in limits.items()}


def _places(reference: Reference, names: Collection[str]) -> list[int]:
    return [place for name in names for place in reference.parts_of(name)]


def _seasons(before: Profile, names: Collection[str]) -> Seasons | None:
    """The slots of some columns, at the places their parts have among those columns alone."""
    if before.natural is None or before.natural.seasons is None:
        return None
    place = {old: new for new, old in enumerate(_places(before.reference, names))}
    kept = [each for each in before.natural.seasons.parts if each.position in place]
    moved = tuple(msgspec.structs.replace(each, position=place[each.position]) for each in kept)
    return Seasons(parts=moved) if moved else None


def _part_of(reference: Reference, names: Collection[str], *, roles: bool = False) -> Reference:
    """Some columns of a reference with their counts; with `roles` under the names outputs have."""
    called = dict(names) if roles and isinstance(names, Mapping) else {name: name for name in names}
    places = _places(reference, names)
    parts = [msgspec.structs.replace(reference.parts[i], column=called[reference.parts[i].column]) for i in places]
    bare = counting.uncounted({called[name]: reference.kinds[name] for name in names}, parts)
    tallies = tuple(reference.profile.parts[i] for i in places)
    counted = counting.Profile(reference_id=bare.id, rows=reference.rows, parts=tallies)
    return msgspec.structs.replace(bare, profile=counted)


def _only(found: Profile, columns: Collection[str]) -> Profile:
    if unknown := [name for name in columns if name not in found.columns]:
        raise Invalid(f"{found.source} has no column {', '.join(unknown)}", hint=f"it has {', '.join(found.columns)}")
    names = [name for name in found.columns if name in set(columns)]
    places = _places(found.reference, names)
    reference = _part_of(found.reference, names)

    def narrowed(each: counting.Profile) -> counting.Profile:
        return counting.Profile(reference_id=reference.id, rows=each.rows, parts=tuple(each.parts[i] for i in places))

    natural = found.natural
    if natural is not None:
        limits, short = (
            {name: own[name] for name in names if name in own} for own in (natural.limits, natural.limits_short)
        )
        natural = msgspec.structs.replace(natural, limits=limits, limits_short=short, seasons=_seasons(found, names))
    return msgspec.structs.replace(
        found,
        reference=reference,
        types={name: found.types[name] for name in names},
        days={day: narrowed(each) for day, each in found.days.items()},
        natural=natural,
        false_alarm=None,  # it was that of all columns together
        floors={name: own for name, own in found.floors.items() if name in names},
    )


def _rows_by_slot(after: Profile) -> Ints:
    rows = np.zeros(SLOTS, dtype=np.int64)
    hours = np.fromiter(after.hours, dtype=np.int64, count=len(after.hours))
    np.add.at(rows, slots_of(hours), list(after.hours.values()))
    return rows


def _without_outputs(report: DriftReport) -> DriftReport:
    """The report of tables in which nothing is a model's answer: there is none to wait for."""
    inputs = tuple(verdict for verdict in report.features if verdict.role == "input")
    ranked: tuple[Severity, ...] = ("OK", "INFO", "WARNING", "CRITICAL")
    severity = max((verdict.severity for verdict in inputs), key=ranked.index, default=report.severity)
    return msgspec.structs.replace(report, features=inputs, severity=severity)
