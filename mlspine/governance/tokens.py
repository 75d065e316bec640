"""The door of access tokens: made, checked on every request, taken back.

A token is `mlspine_<id>_<secret>`. The secret is 256 random bits and only its SHA-256 is stored: a slow key
derivation protects secrets that people choose, which can be guessed from a dictionary; nothing shortens the search
through 2**256, and every request would pay for it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Literal

from mlspine.core.errors import Conflict, Invalid, NotFound, Unidentified, closest
from mlspine.core.ids import check_name, now_ms
from mlspine.core.public import public
from mlspine.core.types import Actor, Role, Struct
from mlspine.governance import token_store as store
from mlspine.governance.service import Governance, signature
from mlspine.governance.token_store import StoredToken
from mlspine.ports import Database, Transaction

PREFIX = "mlspine_"
DEFAULT_LIFE_S = 90 * 86_400
LONGEST_LIFE_S = 3 * 366 * 86_400
USED_EVERY_MS = 3_600_000  # "last used" is true to the hour, so that requests write nothing

State = Literal["valid", "expired", "revoked"]


class Token(Struct, frozen=True, kw_only=True):
    """What may be known of a token: never its secret. scope: models and endpoints; empty means all."""

    name: str
    role: Role
    scope: tuple[str, ...]
    state: State
    created_at_ms: int
    created_by: str
    expires_at_ms: int
    last_used_at_ms: int  # to the hour; 0 for never
    revoked_at_ms: int


class NewToken(Struct, frozen=True, kw_only=True):
    """A token with its secret, which nobody can read again."""

    token: Token
    secret: str


class Tokens:
    """Tokens of one workspace. The parameter is `token`, not `name`: a token is no model, and in no scope."""

    def __init__(self, *, db: Database, governance: Governance, clock: Callable[[], int] = now_ms) -> None:
        self._db = db
        self._governance = governance
        self._clock = clock

    @public("administer")
    def create(
        self,
        token: str,
        *,
        role: Role,
        scope: tuple[str, ...] = (),
        life_s: int = DEFAULT_LIFE_S,
        actor: Actor,
    ) -> NewToken:
        """A token under a name nobody holds; the secret is in the answer and nowhere else. One ledger line.

        An expired token of that name is revoked with it. Raises Conflict while another one of that name is valid.
        """
        check_name(token, what="token")
        wanted = tuple(dict.fromkeys(check_name(name) for name in scope))
        if not 60 <= life_s <= LONGEST_LIFE_S:
            raise Invalid(
                f"a token cannot live for {life_s} s", hint=f"from one minute to {LONGEST_LIFE_S // 86_400} days"
            )
        secret, now = secrets.token_urlsafe(32), self._clock()
        stored = StoredToken(
            id=secrets.token_hex(6),
            name=token,
            secret_sha256=_hash(secret),
            role=role,
            scope=wanted,
            created_at_ms=now,
            created_by=signature(actor),
            expires_at_ms=now + life_s * 1000,
        )
        with self._db.write() as tx:
            self._make_way(tx, token, now)
            store.add(tx, stored)
            facts = {"id": stored.id, "role": role, "scope": wanted, "expires_at_ms": stored.expires_at_ms}
            self._governance.record("token-create", f"token:{token}", actor, facts=facts)
        return NewToken(token=self._told(stored), secret=f"{PREFIX}{stored.id}_{secret}")

    @public("administer")
    def known(self) -> list[Token]:
        """Every token there is or was, newest first."""
        return [self._told(stored) for stored in store.newest_first(self._db)]

    @public("administer")
    def revoke(self, token: str, *, actor: Actor, reason: str = "") -> Token:
        """Take a token back: the next request with it is refused. One ledger line."""
        with self._db.write() as tx:
            stored = store.find_named(tx, token)
            if stored is None:
                raise self._no_token(token)
            store.mark_revoked(tx, stored.id, self._clock())
            self._governance.record("token-revoke", f"token:{token}", actor, reason, facts={"id": stored.id})
            revoked = store.find(tx, stored.id)
        assert revoked is not None
        return self._told(revoked)

    def verify(self, secret: str) -> Actor:
        """Whom a token stands for; raises Unidentified for one that is wrong, expired or revoked.

        Says why only to whoever holds the whole secret.
        """
        token_id, _, rest = secret.strip().removeprefix(PREFIX).partition("_")
        stored = store.find(self._db, token_id) if rest and len(secret) <= 200 else None
        expected = stored.secret_sha256 if stored else _hash("")
        if not hmac.compare_digest(_hash(rest), expected) or stored is None:
            raise Unidentified(
                "the token is not one of this workspace",
                hint="ask an admin for one: mlspine tokens create NAME --role ROLE; then: mlspine login URL",
            )
        now = self._clock()
        state = _state(stored, now)
        if state != "valid":
            scope = "".join(f" --scope {name}" for name in stored.scope)
            raise Unidentified(
                f'the token "{stored.name}" is {state}',
                hint=f"an admin makes a new one: mlspine tokens create {stored.name} --role {stored.role}{scope}",
            )
        if now - stored.last_used_at_ms >= USED_EVERY_MS:
            with self._db.write() as tx:
                store.mark_used(tx, stored.id, now)
        return Actor(name=stored.name, kind="client", role=stored.role, scope=stored.scope)

    # ------------------------------------------------------------ inside

    def _make_way(self, tx: Transaction, name: str, now: int) -> None:
        held = store.find_named(tx, name)
        if held is None:
            return
        if _state(held, now) == "valid":
            raise Conflict(
                f'there is a token "{name}" already, with the role {held.role}',
                hint=f"choose another name, or take it back first: mlspine tokens revoke {name}",
            )
        store.mark_revoked(tx, held.id, now)

    def _told(self, stored: StoredToken) -> Token:
        return Token(
            name=stored.name,
            role=stored.role,
            scope=stored.scope,
            state=_state(stored, self._clock()),
            created_at_ms=stored.created_at_ms,
            created_by=stored.created_by,
            expires_at_ms=stored.expires_at_ms,
            last_used_at_ms=stored.last_used_at_ms,
            revoked_at_ms=stored.revoked_at_ms,
        )

    def _no_token(self, name: str) -> NotFound:
        names = [each.name for each in store.newest_first(self._db) if not each.revoked_at_ms]
        near = closest(name, names)
        listed = f"tokens: {', '.join(names)}" if names else "no token is valid"
        return NotFound(f"no token {name!r}", hint=f"did you mean {near}?" if near else listed)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _state(stored: StoredToken, now_ms: int) -> State:
    if stored.revoked_at_ms:
        return "revoked"
    return "expired" if now_ms >= stored.expires_at_ms else "valid"
