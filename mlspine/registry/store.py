"""SQL of models, their versions and aliases.

`bulk` holds the two long texts of what was captured (uncommitted difference, full freeze), which only the
reading of one version brings along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.types import Metric, ModelVersion, Stage
from mlspine.ports import Database, Row, Transaction

PROMPT_TAG = "mlflow.prompt.is_prompt"
BULK = ("diff", "freeze")
LISTED = (
    "model, version, release_hash, stage, created_at_ms, updated_at_ms, owner, owner_assumed, tier, message,"
    " description, origin, source, location, run_id, run_link, model_id, trusted, bare, flavor, metric, missing,"
    " captured"
)


def model_names(db: Database) -> list[str]:
    return [row["name"] for row in db.read("select name from model order by name")]


def models_with_versions(db: Database) -> list[str]:
    """Without prompts, which MLflow keeps as models too."""
    rows = db.read(
        "select distinct v.model from model_version v where not exists (select 1 from model_tag t"
        " where t.model = v.model and t.key = :prompt and t.value = 'true') order by v.model",
        prompt=PROMPT_TAG,
    )
    return [row["model"] for row in rows]


def has_model(db: Database, name: str) -> bool:
    return bool(db.read("select name from model where name = :name", name=name))


def add_model(tx: Transaction, name: str, at_ms: int) -> None:
    tx.execute(
        "insert into model (name, created_at_ms, updated_at_ms, description, newest)"
        " values (:name, :at_ms, :at_ms, '', 0) on conflict (name) do nothing",
        name=name,
        at_ms=at_ms,
    )


def add_version(tx: Transaction, version: ModelVersion) -> None:
    values = msgspec.structs.asdict(version)
    del values["path"]
    bulk = {name: version.captured[name] for name in BULK if name in version.captured}
    rest = {name: value for name, value in version.captured.items() if name not in BULK}
    values |= {
        "owner_assumed": int(version.owner_assumed),
        "trusted": int(version.trusted),
        "bare": int(version.bare),
        "metric": _text(version.metric),
        "missing": _text(version.missing),
        "captured": _text(rest),
        "bulk": _text(bulk),
    }
    tx.execute(
        f"insert into model_version ({LISTED}, bulk) values (:model, :version, :release_hash, :stage,"
        " :created_at_ms, :updated_at_ms, :owner, :owner_assumed, :tier, :message, :description, :origin, :source,"
        " :location, :run_id, :run_link, :model_id, :trusted, :bare, :flavor, :metric, :missing, :captured, :bulk)",
        **values,
    )


def replace_version(tx: Transaction, version: ModelVersion) -> None:
    """Write a version anew; its tags and aliases stay."""
    tx.execute(
        "delete from model_version where model = :model and version = :version",
        model=version.model,
        version=version.version,
    )
    add_version(tx, version)


def take_number(tx: Transaction, model: str, at_ms: int) -> int:
    """The next version number of a model, which nobody gets again."""
    tx.execute(
        "update model set newest = newest + 1, updated_at_ms = :at_ms where name = :name", name=model, at_ms=at_ms
    )
    return int(tx.read("select newest from model where name = :name", name=model)[0]["newest"])


def versions(db: Database, model: str, releases_dir: Path) -> list[ModelVersion]:
    """All versions of a model, oldest first, without the bulk."""
    rows = db.read(f"select {LISTED} from model_version where model = :model order by version", model=model)
    return [to_version(row, releases_dir) for row in rows]


def find_version(db: Database, model: str, version: int, releases_dir: Path) -> ModelVersion | None:
    rows = db.read(
        "select * from model_version where model = :model and version = :version",
        model=model,
        version=version,
    )
    return to_version(rows[0], releases_dir) if rows else None


def find_release(db: Database, model: str, release_hash: str, releases_dir: Path) -> ModelVersion | None:
    rows = db.read(
        "select * from model_version where model = :model and release_hash = :hash order by version limit 1",
        model=model,
        hash=release_hash,
    )
    return to_version(rows[0], releases_dir) if rows else None


def find_by_hash(db: Database, release_hash: str, releases_dir: Path) -> ModelVersion | None:
    rows = db.read(
        "select * from model_version where release_hash = :hash order by created_at_ms, model, version limit 1",
        hash=release_hash,
    )
    return to_version(rows[0], releases_dir) if rows else None


def set_stage(tx: Transaction, model: str, version: int, stage: Stage, at_ms: int) -> int:
    return tx.execute(
        "update model_version set stage = :stage, updated_at_ms = :at_ms where model = :model and version = :version",
        at_ms=at_ms,
        model=model,
        version=version,
        stage=stage,
    )


def set_owner(tx: Transaction, model: str, version: int, owner: str, missing: tuple[str, ...]) -> int:
    return tx.execute(
        "update model_version set owner = :owner, owner_assumed = 0, missing = :missing"
        " where model = :model and version = :version",
        model=model,
        version=version,
        owner=owner,
        missing=_text(missing),
    )


def set_missing(tx: Transaction, model: str, version: int, missing: tuple[str, ...]) -> int:
    return tx.execute(
        "update model_version set missing = :missing where model = :model and version = :version",
        model=model,
        version=version,
        missing=_text(missing),
    )


def set_trusted(tx: Transaction, model: str, version: int) -> int:
    return tx.execute(
        "update model_version set trusted = 1 where model = :model and version = :version",
        model=model,
        version=version,
    )


def aliases(db: Database, model: str) -> dict[str, int]:
    rows = db.read("select alias, version from model_alias where model = :model order by alias", model=model)
    return {row["alias"]: row["version"] for row in rows}


def set_alias(tx: Transaction, model: str, alias: str, version: int) -> None:
    tx.execute(
        "insert into model_alias (model, alias, version) values (:model, :alias, :version)"
        " on conflict (model, alias) do update set version = excluded.version",
        model=model,
        alias=alias,
        version=version,
    )


def delete_alias(tx: Transaction, model: str, alias: str) -> int:
    return tx.execute("delete from model_alias where model = :model and alias = :alias", model=model, alias=alias)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def to_version(row: Row, releases_dir: Path) -> ModelVersion:
    bulk = msgspec.json.decode(row.get("bulk") or "{}", type=dict[str, Any])
    captured = msgspec.json.decode(row["captured"], type=dict[str, Any])
    return ModelVersion(
        model=row["model"],
        version=row["version"],
        release_hash=row["release_hash"],
        stage=row["stage"],
        path=str(releases_dir / row["release_hash"]) if row["release_hash"] else "",
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        owner=row["owner"],
        owner_assumed=bool(row["owner_assumed"]),
        tier=row["tier"],
        message=row["message"],
        origin=row["origin"],
        description=row["description"],
        source=row["source"],
        location=row["location"],
        run_id=row["run_id"],
        run_link=row["run_link"],
        model_id=row["model_id"],
        trusted=bool(row["trusted"]),
        bare=bool(row["bare"]),
        flavor=row["flavor"],
        metric=msgspec.json.decode(row["metric"], type=Metric | None),
        captured=captured | bulk,
        missing=msgspec.json.decode(row["missing"], type=tuple[str, ...]),
    )
