"""Which runs used which dataset version, by the digest a run's dataset input carries.

MLflow's digests have at most 36 characters: one of ours, of 64, is told by its beginning.
"""

from __future__ import annotations

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.ports import Database

DIGEST_LENGTH = 36


class DatasetUse(Struct, frozen=True, kw_only=True):
    """A dataset version in a run. context: what for, as its client said it, e.g. "training"; "" for nothing said."""

    run_id: str
    run_name: str
    experiment_id: int
    digest: str
    dataset_name: str
    context: str


_USES = (
    "select r.id as run_id, r.name as run_name, r.experiment_id, v.digest, d.name as dataset_name,"
    " coalesce(i.context, '') as context"
    " from run_dataset d join run_input i on i.dataset_no = d.no join run r on r.no = i.run_no"
    # A range, unlike substr(), is read from the index over digests; 'g' comes after the hex digits.
    " join dataset_version v on v.digest >= d.digest and v.digest < d.digest || 'g'"
    f" where length(d.digest) = {DIGEST_LENGTH} and r.lifecycle_stage = 'active'"
)


def shortened(digest: str) -> str:
    """The digest of a dataset version as MLflow's datasets carry it; Invalid for a shorter one.

    >>> shortened("0123456789abcdef" * 4)
    '0123456789abcdef0123456789abcdef0123'
    """
    if len(digest) < DIGEST_LENGTH:
        raise Invalid(
            f"{digest!r} is too short for the digest of a dataset version",
            hint=f"give all of it, or its first {DIGEST_LENGTH} characters: mlspine models show NAME",
        )
    return digest[:DIGEST_LENGTH]


def runs_using(db: Database, digest: str, *, limit: int) -> list[DatasetUse]:
    rows = db.read(
        f"{_USES} and d.digest = :digest order by r.start_time_ms desc nulls last, r.id limit :limit",
        digest=shortened(digest),
        limit=limit,
    )
    return [DatasetUse(**row) for row in rows]


def used_by(db: Database, no: int) -> list[DatasetUse]:
    return [DatasetUse(**row) for row in db.read(f"{_USES} and r.no = :no order by d.name, v.digest", no=no)]
