"""SQL of registered models as MLflow sees them: written down as they were elsewhere, and read out whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from mlspine.core.types import ModelVersion, Stage
from mlspine.interop.source import RegisteredModel, RegisteredVersion
from mlspine.ports import Database, Row, Transaction
from mlspine.registry import store as registry


class OurModels:
    """The registered models of our store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def registered_models(self) -> Iterator[RegisteredModel]:
        for row in self._db.read("select * from model order by name"):
            yield self._model(row)

    def find(self, name: str) -> RegisteredModel | None:
        rows = self._db.read("select * from model where name = :name", name=name)
        return self._model(rows[0]) if rows else None

    def is_taken(self, name: str) -> bool:
        return bool(self._db.read("select name from model where name = :name", name=name))

    def _model(self, row: Row) -> RegisteredModel:
        name = row["name"]
        aliases = self._db.read("select alias, version from model_alias where model = :name order by alias", name=name)
        tags = self._db.read("select key, value from model_tag where model = :name order by key", name=name)
        return RegisteredModel(
            name=name,
            created_at_ms=row["created_at_ms"],
            updated_at_ms=row["updated_at_ms"],
            description=row["description"],
            tags={each["key"]: each["value"] for each in tags},
            aliases={each["alias"]: each["version"] for each in aliases},
            versions=tuple(self._versions(name)),
            newest=row["newest"],
        )

    def _versions(self, name: str) -> Iterator[RegisteredVersion]:
        tags: dict[int, dict[str, str]] = defaultdict(dict)
        for row in self._db.read("select version, key, value from model_version_tag where model = :name", name=name):
            tags[row["version"]][row["key"]] = row["value"]
        columns = "version, created_at_ms, updated_at_ms, stage, description, source, run_id, run_link, model_id, owner"
        rows = self._db.read(f"select {columns} from model_version where model = :name order by version", name=name)
        for row in rows:
            yield RegisteredVersion(
                version=row["version"],
                created_at_ms=row["created_at_ms"],
                updated_at_ms=row["updated_at_ms"],
                stage=row["stage"],
                description=row["description"],
                source=row["source"],
                run_id=row["run_id"],
                run_link=row["run_link"],
                model_id=row["model_id"],
                user_id=row["owner"],
                tags=dict(sorted(tags[row["version"]].items())),
            )


def add_model(tx: Transaction, model: RegisteredModel) -> None:
    """Write a model down as it was elsewhere, without its versions and aliases."""
    tx.execute(
        "insert into model (name, created_at_ms, updated_at_ms, description, newest)"
        " values (:name, :created, :updated, :description, :newest)",
        name=model.name,
        created=model.created_at_ms,
        updated=model.updated_at_ms,
        description=model.description,
        newest=model.newest,
    )
    for key, value in model.tags.items():
        sql = "insert into model_tag (model, key, value) values (:name, :key, :value)"
        tx.execute(sql, name=model.name, key=key, value=value)


def add_version(tx: Transaction, version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Write a version down under its number."""
    registry.add_version(tx, version)
    for key, value in tags.items():
        sql = "insert into model_version_tag (model, version, key, value) values (:name, :version, :key, :value)"
        tx.execute(sql, name=version.model, version=version.version, key=key, value=value)
    newest = "update model set newest = :version where name = :name and newest < :version"
    tx.execute(newest, name=version.model, version=version.version)


def stage_of(text: str) -> Stage:
    """The stage of that name, None for another.

    >>> stage_of("Production"), stage_of("production line")
    ('Production', 'None')
    """
    stages: tuple[Stage, ...] = ("None", "Staging", "Production", "Archived")
    return next((stage for stage in stages if stage == text), "None")
