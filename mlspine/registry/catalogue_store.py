"""SQL of what MLflow's registry adds to models and versions: descriptions, tags, names, searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mlspine.ports import Database, Param, Row, Transaction
from mlspine.registry.store import LISTED

AT_ONCE = 500  # names in one statement
_NAMED_BY_MODEL = ("model_version", "model_alias", "model_tag", "model_version_tag")


def find_model(db: Database, name: str) -> Row | None:
    rows = db.read("select * from model where name = :name", name=name)
    return rows[0] if rows else None


def add_model(tx: Transaction, name: str, description: str, at_ms: int) -> None:
    tx.execute(
        "insert into model (name, created_at_ms, updated_at_ms, description, newest)"
        " values (:name, :at_ms, :at_ms, :description, 0)",
        name=name,
        at_ms=at_ms,
        description=description,
    )


def describe_model(tx: Transaction, name: str, description: str, at_ms: int) -> int:
    return tx.execute(
        "update model set description = :description, updated_at_ms = :at_ms where name = :name",
        name=name,
        description=description,
        at_ms=at_ms,
    )


def touch_model(tx: Transaction, name: str, at_ms: int) -> int:
    return tx.execute("update model set updated_at_ms = :at_ms where name = :name", name=name, at_ms=at_ms)


def rename_model(tx: Transaction, name: str, to: str, at_ms: int) -> None:
    tx.execute(
        "insert into model (name, created_at_ms, updated_at_ms, description, newest)"
        " select :to, created_at_ms, cast(:at_ms as bigint), description, newest from model where name = :name",
        name=name,
        to=to,
        at_ms=at_ms,
    )
    for table in _NAMED_BY_MODEL:
        tx.execute(f"update {table} set model = :to where model = :name", name=name, to=to)
    tx.execute("delete from model where name = :name", name=name)


def delete_model(tx: Transaction, name: str) -> None:
    for table in _NAMED_BY_MODEL:
        tx.execute(f"delete from {table} where model = :name", name=name)
    tx.execute("delete from model where name = :name", name=name)


def set_model_tag(tx: Transaction, name: str, key: str, value: str) -> None:
    tx.execute(
        "insert into model_tag (model, key, value) values (:name, :key, :value)"
        " on conflict (model, key) do update set value = excluded.value",
        name=name,
        key=key,
        value=value,
    )


def delete_model_tag(tx: Transaction, name: str, key: str) -> int:
    return tx.execute("delete from model_tag where model = :name and key = :key", name=name, key=key)


def model_tags(db: Database, names: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in _of_models(db, "model, key, value from model_tag", names, "model, key"):
        found[row["model"]][row["key"]] = row["value"]
    return found


def aliases(db: Database, names: Sequence[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in _of_models(db, "model, alias, version from model_alias", names, "model, alias"):
        found[row["model"]][row["alias"]] = row["version"]
    return found


def latest(db: Database, names: Sequence[str]) -> list[Row]:
    """The greatest version of each stage of some models, the stages in the order of their first versions."""
    alike = "model_version n where n.model = v.model and n.stage = v.stage"
    newest = f" and v.version = (select max(n.version) from {alike})"
    order = f"v.model, (select min(n.version) from {alike})"
    return _of_models(db, f"{LISTED} from model_version v", names, order, column="v.model", more=newest)


# ---------------------------------------------------------------- versions


def describe_version(tx: Transaction, model: str, version: int, description: str, at_ms: int) -> int:
    return tx.execute(
        "update model_version set description = :description, updated_at_ms = :at_ms"
        " where model = :model and version = :version",
        model=model,
        version=version,
        description=description,
        at_ms=at_ms,
    )


def delete_version(tx: Transaction, model: str, version: int) -> int:
    for table in ("model_alias", "model_version_tag"):
        tx.execute(f"delete from {table} where model = :model and version = :version", model=model, version=version)
    return tx.execute(
        "delete from model_version where model = :model and version = :version", model=model, version=version
    )


def set_version_tag(tx: Transaction, model: str, version: int, key: str, value: str) -> None:
    tx.execute(
        "insert into model_version_tag (model, version, key, value) values (:model, :version, :key, :value)"
        " on conflict (model, version, key) do update set value = excluded.value",
        model=model,
        version=version,
        key=key,
        value=value,
    )


def delete_version_tag(tx: Transaction, model: str, version: int, key: str) -> int:
    return tx.execute(
        "delete from model_version_tag where model = :model and version = :version and key = :key",
        model=model,
        version=version,
        key=key,
    )


def version_tags(db: Database, names: Sequence[str]) -> dict[tuple[str, int], dict[str, str]]:
    found: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for row in _of_models(db, "model, version, key, value from model_version_tag", names, "model, version, key"):
        found[row["model"], row["version"]][row["key"]] = row["value"]
    return found


def _of_models(
    db: Database, what: str, names: Sequence[str], order: str, *, column: str = "model", more: str = ""
) -> list[Row]:
    found: list[Row] = []
    for at in range(0, len(names), AT_ONCE):
        params: dict[str, Param] = {f"n{no}": name for no, name in enumerate(names[at : at + AT_ONCE])}
        listed = ", ".join(f":{each}" for each in params)
        found += db.read(f"select {what} where {column} in ({listed}){more} order by {order}", **params)
    return found
