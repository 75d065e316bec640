"""SQL of review samples and their items."""

from __future__ import annotations

import msgspec

from mlspine.core.types import Scalar, Struct
from mlspine.ports import Database, Transaction


class Sample(Struct, frozen=True, kw_only=True):
    """Predictions drawn to be looked at, from all `rows` of a release within a stretch of event time."""

    id: str
    endpoint: str
    release_hash: str
    version: int
    from_at_ms: int
    to_at_ms: int
    rows: int
    size: int
    reasons: tuple[str, ...]  # what was drawn more often: "uncertain", "drifted: age, city"
    drawn_by: str
    drawn_at_ms: int


class Item(Struct, frozen=True, kw_only=True):
    """One drawn prediction. inclusion: its probability of being drawn. inputs: as logged; {} once expired.

    right: what the reviewer said of it; None until then. label: the truth, where it was given.
    """

    sample: str
    place: int
    prediction_id: str
    inclusion: float
    why: str
    prediction: Scalar | None
    right: bool | None = None
    label: Scalar | None = None
    reviewer: str = ""
    reviewed_at_ms: int = 0
    skipped: bool = False
    inputs: dict[str, Scalar | None] = {}


class Verdict(Struct, frozen=True, kw_only=True):
    """What a reviewer said of one prediction."""

    right: bool
    label: Scalar | None = None


def add_sample(tx: Transaction, sample: Sample, items: list[Item]) -> None:
    tx.execute(
        "insert into review_sample (id, endpoint, drawn_at_ms, document)"
        " values (:id, :endpoint, :drawn_at_ms, :document)",
        id=sample.id,
        endpoint=sample.endpoint,
        drawn_at_ms=sample.drawn_at_ms,
        document=msgspec.json.encode(sample).decode(),
    )
    for item in items:
        tx.execute(
            "insert into review_item (sample_id, place, prediction_id, inclusion, why, prediction)"
            " values (:sample_id, :place, :prediction_id, :inclusion, :why, :prediction)",
            sample_id=sample.id,
            place=item.place,
            prediction_id=item.prediction_id,
            inclusion=item.inclusion,
            why=item.why,
            prediction=msgspec.json.encode(item.prediction).decode(),
        )


def samples(db: Database | Transaction, endpoint: str) -> list[Sample]:
    """Those of an endpoint, oldest first."""
    rows = db.read(
        "select document from review_sample where endpoint = :endpoint order by drawn_at_ms, id", endpoint=endpoint
    )
    return [msgspec.json.decode(row["document"], type=Sample) for row in rows]


def items(db: Database | Transaction, sample: str) -> list[Item]:
    """Those of a sample, in the order in which they are to be looked at."""
    rows = db.read(
        "select sample_id, place, prediction_id, inclusion, why, prediction, verdict, reviewer, reviewed_at_ms, skipped"
        " from review_item where sample_id = :sample order by place",
        sample=sample,
    )
    return [_item(row) for row in rows]


def keep_verdict(tx: Transaction, item: Item, verdict: Verdict, *, reviewer: str, now_ms: int) -> None:
    tx.execute(
        "update review_item set verdict = :verdict, reviewer = :reviewer, reviewed_at_ms = :now_ms, skipped = 0"
        " where sample_id = :sample and place = :place",
        verdict=msgspec.json.encode(verdict).decode(),
        reviewer=reviewer,
        now_ms=now_ms,
        sample=item.sample,
        place=item.place,
    )


def keep_skipped(tx: Transaction, item: Item, *, reviewer: str, now_ms: int) -> None:
    tx.execute(
        "update review_item set skipped = 1, reviewer = :reviewer, reviewed_at_ms = :now_ms"
        " where sample_id = :sample and place = :place and verdict is null",
        reviewer=reviewer,
        now_ms=now_ms,
        sample=item.sample,
        place=item.place,
    )


def _item(row: dict[str, object]) -> Item:
    verdict = msgspec.json.decode(str(row["verdict"]), type=Verdict) if row["verdict"] is not None else None
    return msgspec.convert(
        {
            "sample": row["sample_id"],
            "place": row["place"],
            "prediction_id": row["prediction_id"],
            "inclusion": row["inclusion"],
            "why": row["why"],
            "prediction": msgspec.json.decode(str(row["prediction"])),
            "right": verdict.right if verdict else None,
            "label": verdict.label if verdict else None,
            "reviewer": row["reviewer"],
            "reviewed_at_ms": row["reviewed_at_ms"],
            "skipped": bool(row["skipped"]),
        },
        type=Item,
    )
