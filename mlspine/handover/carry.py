"""What an endpoint needs to be served elsewhere, copied from one store into another.

Chosen table by table rather than by leaving things out: the log, labels, profiles and tokens of the workspace hold
people's data and secrets and stay where they are. The ledger goes whole, since a chain cannot be cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlspine.core.plan import Revision, Traffic
from mlspine.ports import Database, Row, Transaction


class Carried(NamedTuple):
    """The rows of one table that go along."""

    table: str
    where: str


OF_ENDPOINT = (
    Carried("ledger", "1 = 1"),
    Carried("ledger_head", "1 = 1"),
    Carried("model", "name = :model"),
    Carried("model_alias", "model = :model"),
    Carried("endpoint", "name = :endpoint"),
    Carried("revision", "endpoint = :endpoint"),
    Carried("switch_time", "endpoint = :endpoint"),
    Carried("evidence", "subject in (:subject_model, :subject_endpoint)"),
)
OF_RELEASE = (
    Carried("model_version", "model = :model and release_hash = :release_hash"),
    Carried("native_crash", "release_hash = :release_hash"),
    Carried("evidence", "subject = :subject_release"),
)


def carry_rows(source: Database, target: Transaction, *, endpoint: str, model: str, releases: Sequence[str]) -> None:
    """Copy an endpoint, its history and its model's releases; the source is read at one moment."""
    general: dict[str, Any] = {
        "endpoint": endpoint,
        "model": model,
        "subject_model": f"model:{model}",
        "subject_endpoint": f"endpoint:{endpoint}",
    }
    with source.write() as tx:
        for each in OF_ENDPOINT:
            _copy(tx, target, each, general)
        for release_hash in releases:
            own = {"model": model, "release_hash": release_hash, "subject_release": f"release:{release_hash}"}
            for each in OF_RELEASE:
                _copy(tx, target, each, own)
    _keep_aliases_of(target, model)


def carry_release(path: Path, releases_dir: Path) -> None:
    """Copy one release's directory; its name is its hash."""
    shutil.copytree(path, releases_dir / path.name)


def releases_of(revisions: Sequence[Revision], hash_of: Callable[[int], str]) -> tuple[str, ...]:
    """Every release an endpoint has answered with, oldest first, which is what rollbacks may go back to; then what
    answers a share of its requests now, or is asked along. hash_of: the release of a version of its model."""
    divided = revisions[-1].traffic if revisions else Traffic()
    beside = [hash_of(version) for version in (divided.candidate, divided.shadow) if version]
    return tuple(dict.fromkeys([*(each.release_hash for each in revisions if each.release_hash), *beside]))


def _copy(source: Transaction, target: Transaction, carried: Carried, values: dict[str, Any]) -> None:
    named = {name: value for name, value in values.items() if f":{name}" in carried.where}
    rows: list[Row] = source.read(f"select * from {carried.table} where {carried.where}", **named)
    for row in rows:
        columns = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(f":{name}" for name in row)
        target.execute(f"insert into {carried.table} ({columns}) values ({places})", **row)


def _keep_aliases_of(target: Transaction, model: str) -> None:
    """Aliases of versions that did not come along would lead nowhere."""
    target.execute(
        "delete from model_alias where model = :model"
        " and version not in (select version from model_version where model = :model)",
        model=model,
    )
