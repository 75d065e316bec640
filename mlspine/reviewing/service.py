"""The door of reviewing: draw a sample of what was answered, take a person's verdicts, say what they mean for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from mlspine.core.errors import Conflict, Invalid, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import Actor, Interval, Scalar, Struct, Task
from mlspine.governance.service import Governance, signature
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database
from mlspine.predictions.segment import input_names, literal, quote
from mlspine.predictions.service import Predictions
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.reviewing import store
from mlspine.reviewing.interest import drifted_columns, uncertainty, unusualness
from mlspine.reviewing.store import Item, Sample, Verdict
from mlspine.stats.sampling import draw, inclusion, weighted_mean, weighted_share

DAY_MS = 86_400_000
WEEK_DAYS = 7
SIZE = 50
MOST = 2_000
NOTABLE = 0.25  # from here on a row is said to have been drawn for a reason
LEAST_VERDICTS = 10


class ReviewEstimate(Struct, frozen=True, kw_only=True):
    """What the verdicts on one sample say of all rows it was drawn from.

    metric: "right" (share of answers that are), or "mae" for regression. interval: None below 10 verdicts.
    """

    sample: Sample
    metric: Literal["right", "mae"]
    interval: Interval | None
    reviewed: int
    skipped: int
    waiting: int
    says: str


class Reviewing:
    """Samples, their queue and what comes of them. One sample per release and week is open at a time."""

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        monitoring: Monitoring,
        registry: Registry,
        governance: Governance,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._monitoring = monitoring
        self._registry = registry
        self._governance = governance
        self._clock = clock

    @public("label")
    def draw(self, endpoint: str, *, size: int = SIZE, days: int = WEEK_DAYS, actor: Actor) -> Sample:
        """Draw `size` of the answers of the newest `days` of event time, of the release that gave the newest.

        Uncertain rows, and rows unlike the baseline in columns that drifted, are drawn more often; every row's
        probability is known and above 0. Writes a ledger line. Raises Conflict while the sample before has rows
        that nobody looked at, NotFound without rows.
        """
        if not 1 <= size <= MOST or not 1 <= days <= 366:
            raise Invalid(f"{size} rows of {days} days: 1 to {MOST:,} rows of 1 to 366 days can be drawn")
        waiting = self.queue(endpoint, limit=1)
        if waiting:
            raise Conflict(
                f"the sample before still has answers to look at at {endpoint}", hint=f"mlspine review {endpoint}"
            )
        self._predictions.ingest()
        sample, items = self._drawn(endpoint, size, days, signature(actor))
        with self._db.write() as tx:
            store.add_sample(tx, sample, items)
            facts = {"sample": sample.id, "size": sample.size, "rows": sample.rows}
            self._governance.record("draw review sample", f"endpoint:{endpoint}", actor, facts=facts)
        return sample

    @public("read")
    def queue(self, endpoint: str, *, limit: int = 100) -> list[Item]:
        """What is still to be looked at, in the order drawn, with its logged inputs; [] when there is nothing."""
        newest = self._newest(endpoint)
        if newest is None:
            return []
        waiting = [each for each in store.items(self._db, newest.id) if each.right is None and not each.skipped]
        return self._with_inputs(endpoint, waiting[: max(0, limit)])

    @public("label")
    def answer(
        self,
        endpoint: str,
        prediction: str,
        *,
        right: bool | None = None,
        label: Scalar | None = None,
        actor: Actor,
    ) -> Item:
        """Keep a verdict on a drawn prediction: whether it was right, or what the truth is; the truth becomes a label.

        A second verdict on the same prediction replaces the first. Raises NotFound for one that was not drawn.
        """
        item = self._item(endpoint, prediction)
        sample = next(each for each in store.samples(self._db, endpoint) if each.id == item.sample)
        task, classes = self._task_of(self._registry.by_hash(sample.release_hash).path)
        verdict = _verdict(item, right, label, task, classes)
        now = self._clock()
        if verdict.label is not None:
            row: dict[str, Scalar | None] = {"id": prediction, "label": verdict.label}
            self._predictions.add_labels(endpoint, rows=[row], source="review", actor=actor)
        with self._db.write() as tx:
            store.keep_verdict(tx, item, verdict, reviewer=signature(actor), now_ms=now)
        return msgspec.structs.replace(
            item, right=verdict.right, label=verdict.label, reviewer=signature(actor), reviewed_at_ms=now, skipped=False
        )

    @public("label")
    def skip(self, endpoint: str, prediction: str, *, actor: Actor) -> Item:
        """Leave out a drawn prediction that cannot be judged; how many were left out is said with the estimate."""
        item = self._item(endpoint, prediction)
        with self._db.write() as tx:
            store.keep_skipped(tx, item, reviewer=signature(actor), now_ms=self._clock())
        return msgspec.structs.replace(item, skipped=True)

    @public("read")
    def estimates(self, endpoint: str) -> list[ReviewEstimate]:
        """What each sample's verdicts say of all the rows it was drawn from, oldest sample first."""
        return [self._estimate(sample) for sample in store.samples(self._db, endpoint)]

    # ------------------------------------------------------------ drawing

    def _drawn(self, endpoint: str, size: int, days: int, drawn_by: str) -> tuple[Sample, list[Item]]:
        state = self._monitoring.state(endpoint)
        to_at_ms = self._predictions.latest_event(endpoint) + 1
        from_at_ms = max(0, to_at_ms - days * DAY_MS)
        if not state.release_hash:
            raise NotFound(f"nothing was answered at {endpoint} yet", hint=f"see: mlspine status {endpoint}")
        version = self._registry.by_hash(state.release_hash)
        baseline = self._registry.references_of(state.release_hash)
        drifted = [name for name in drifted_columns(state.last_report) if name in baseline.inputs.names]
        columns = self._rows(endpoint, state.release_hash, from_at_ms, to_at_ms, drifted)
        rows = len(columns["id"])
        task, _ = self._task_of(version.path)
        unsure = uncertainty(np.array([np.nan if s is None else s for s in columns["score"]], dtype=np.float64), task)
        unusual = unusualness(baseline.inputs, {name: columns[f"in:{name}"] for name in drifted}, drifted)
        unusual = unusual if len(unusual) == rows else np.zeros(rows)
        probability = inclusion(size, [unsure, unusual], rows)
        id_ = uuid7(self._clock())
        chosen = draw(probability, seed=int(id_.replace("-", "")[-12:], 16))
        sample = Sample(
            id=id_,
            endpoint=endpoint,
            release_hash=state.release_hash,
            version=version.version,
            from_at_ms=from_at_ms,
            to_at_ms=to_at_ms,
            rows=rows,
            size=len(chosen),
            reasons=(*(("uncertain",) if unsure.any() else ()), *(f"drifted: {name}" for name in drifted)),
            drawn_by=drawn_by,
            drawn_at_ms=self._clock(),
        )
        items = [
            Item(
                sample=id_,
                place=place,
                prediction_id=str(columns["id"][at]),
                inclusion=float(probability[at]),
                why=_why(float(unsure[at]), float(unusual[at])),
                prediction=columns["prediction"][at],
            )
            for place, at in enumerate(chosen.tolist())
        ]
        return sample, items

    def _rows(
        self, endpoint: str, release_hash: str, from_at_ms: int, to_at_ms: int, inputs: list[str]
    ) -> dict[str, Any]:
        stored = input_names(inputs)
        wanted = ", ".join(["_id || ':' || _row", "_prediction", "_score", *(quote(stored[name]) for name in inputs)])
        found = self._predictions.query(
            endpoint,
            f"select {wanted} from log"
            f" where _release = {literal(release_hash)} and epoch_ms(_event_time) >= {from_at_ms}"
            f" and epoch_ms(_event_time) < {to_at_ms} order by _id, _row",
        )
        if not found.rows:
            raise NotFound(f"no answers of the last days are in the log of {endpoint}", hint=f"mlspine log {endpoint}")
        if found.truncated:
            raise Invalid(
                f"more than {len(found.rows):,} answers of those days are in the log of {endpoint}",
                hint="draw from fewer days with --days",
            )
        by_place: list[Any] = [_objects(list(values)) for values in zip(*found.rows, strict=True)]
        return dict(zip(["id", "prediction", "score", *(f"in:{name}" for name in inputs)], by_place, strict=True))

    # ------------------------------------------------------------ the queue

    def _newest(self, endpoint: str) -> Sample | None:
        return next(iter(reversed(store.samples(self._db, endpoint))), None)

    def _item(self, endpoint: str, prediction: str) -> Item:
        for sample in reversed(store.samples(self._db, endpoint)):
            for item in store.items(self._db, sample.id):
                if item.prediction_id == prediction:
                    return item
        raise NotFound(f"{prediction} was not drawn at {endpoint}", hint=f"see: mlspine review {endpoint}")

    def _with_inputs(self, endpoint: str, items: list[Item]) -> list[Item]:
        if not items:
            return []
        names = ", ".join(literal(each.prediction_id) for each in items)
        found = self._predictions.query(endpoint, f"select * from log where _id || ':' || _row in ({names})")
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        by_id = {f"{row['_id']}:{row['_row']}": row for row in rows}
        return [
            msgspec.structs.replace(
                item,
                inputs={k: v for k, v in by_id.get(item.prediction_id, {}).items() if not k.startswith("_")},
            )
            for item in items
        ]

    def _task_of(self, path: str) -> tuple[Task, tuple[Scalar, ...]]:
        signature_ = read_release(Path(path)).signature
        return signature_.task, signature_.classes

    # ------------------------------------------------------------ what it says

    def _estimate(self, sample: Sample) -> ReviewEstimate:
        items = store.items(self._db, sample.id)
        said = [each for each in items if each.right is not None]
        skipped = sum(each.skipped for each in items)
        task, _ = self._task_of(self._registry.by_hash(sample.release_hash).path)
        metric: Literal["right", "mae"] = "mae" if task == "regression" else "right"
        interval = None
        if len(said) >= LEAST_VERDICTS:
            probability = np.array([each.inclusion for each in said])
            if metric == "mae":
                errors = np.array([abs(_number(each.label) - _number(each.prediction)) for each in said])
                interval = weighted_mean(errors, probability)
            else:
                interval = weighted_share(np.array([bool(each.right) for each in said]), probability)
        return ReviewEstimate(
            sample=sample,
            metric=metric,
            interval=interval,
            reviewed=len(said),
            skipped=skipped,
            waiting=len(items) - len(said) - skipped,
            says=_says(sample, metric, interval, len(said), skipped),
        )


def _verdict(item: Item, right: bool | None, label: Scalar | None, task: Task, classes: tuple[Scalar, ...]) -> Verdict:
    if (right is None) == (label is None):
        raise Invalid("a verdict is either whether the answer is right, or what the truth is")
    if task == "regression":
        if label is None or not isinstance(label, int | float):
            raise Invalid("this model answers numbers: give the true one", hint="mlspine review answer NAME ID 12.5")
        return Verdict(right=float(label) == _number(item.prediction), label=float(label))
    if label is None:
        if right:
            return Verdict(right=True, label=item.prediction)
        others = [each for each in classes if str(each) != str(item.prediction)]
        return Verdict(right=False, label=others[0] if len(others) == 1 else None)
    known = next((each for each in classes if str(each) == str(label)), None)
    if classes and known is None:
        raise Invalid(f"{label!r} is no class of this model", hint=f"one of {', '.join(map(str, classes))}")
    truth = label if known is None else known
    return Verdict(right=str(truth) == str(item.prediction), label=truth)


def _why(unsure: float, unusual: float) -> str:
    reasons = [name for name, value in (("uncertain", unsure), ("unusual", unusual)) if value >= NOTABLE]
    return ", ".join(reasons) or "random"


def _says(sample: Sample, metric: str, interval: Interval | None, reviewed: int, skipped: int) -> str:
    drawn = f"{reviewed} of {sample.size} answers drawn from {sample.rows:,} were looked at"
    if skipped:
        drawn += f", {skipped} left out"
    if interval is None:
        return f"{drawn}; {LEAST_VERDICTS} are needed to say anything"
    if metric == "mae":
        return f"{drawn}: the mean error of all is {interval.value:.4g} ({interval.lo:.4g} to {interval.hi:.4g})"
    return f"{drawn}: {interval.value:.1%} of all are right ({interval.lo:.1%} to {interval.hi:.1%})"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _objects(values: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
