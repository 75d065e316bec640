"""SQL of access tokens."""

from __future__ import annotations

import msgspec

from mlspine.core.types import Role, Struct
from mlspine.ports import Database, Row, Transaction


class StoredToken(Struct, frozen=True, kw_only=True):
    """One row: everything about a token but its secret, of which only the hash is kept."""

    id: str
    name: str
    secret_sha256: str
    role: Role
    scope: tuple[str, ...]
    created_at_ms: int
    created_by: str
    expires_at_ms: int
    last_used_at_ms: int = 0
    revoked_at_ms: int = 0


def add(tx: Transaction, token: StoredToken) -> None:
    values = msgspec.structs.asdict(token)
    tx.execute(
        "insert into access_token (id, name, secret_sha256, role, scope, created_at_ms, created_by, expires_at_ms,"
        " last_used_at_ms, revoked_at_ms) values (:id, :name, :secret_sha256, :role, :scope, :created_at_ms,"
        " :created_by, :expires_at_ms, :last_used_at_ms, :revoked_at_ms)",
        **{**values, "scope": msgspec.json.encode(token.scope).decode()},
    )


def find(db: Database | Transaction, token_id: str) -> StoredToken | None:
    rows = db.read("select * from access_token where id = :id", id=token_id)
    return _token(rows[0]) if rows else None


def find_named(db: Database | Transaction, name: str) -> StoredToken | None:
    """The token that holds this name and is not revoked; it may have expired."""
    rows = db.read("select * from access_token where name = :name and revoked_at_ms = 0", name=name)
    return _token(rows[0]) if rows else None


def newest_first(db: Database) -> list[StoredToken]:
    return [_token(row) for row in db.read("select * from access_token order by created_at_ms desc, id desc")]


def mark_used(tx: Transaction, token_id: str, at_ms: int) -> None:
    tx.execute("update access_token set last_used_at_ms = :at_ms where id = :id", id=token_id, at_ms=at_ms)


def mark_revoked(tx: Transaction, token_id: str, at_ms: int) -> None:
    tx.execute("update access_token set revoked_at_ms = :at_ms where id = :id", id=token_id, at_ms=at_ms)


def _token(row: Row) -> StoredToken:
    return msgspec.convert({**row, "scope": msgspec.json.decode(row["scope"])}, type=StoredToken)
