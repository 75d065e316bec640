"""Tokens: shown once, kept as a hash, refused the moment they expire or are taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Conflict, Invalid, NotFound, Unidentified
from mlspine.core.types import Actor
from mlspine.governance.service import Governance
from mlspine.governance.tokens import DEFAULT_LIFE_S, USED_EVERY_MS, Tokens

ADA = Actor(name="ada")
START_MS = 1_700_000_000_000


class Clock:
    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def governance(tmp_path: Path, clock: Clock) -> Governance:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(migrations.scripts())
    return Governance(db=db, clock=clock)


@pytest.fixture
def tokens(governance: Governance, clock: Clock) -> Tokens:
    return Tokens(db=governance._db, governance=governance, clock=clock)


def test_a_token_stands_for_a_client_with_its_role_and_scope(tokens: Tokens) -> None:
    made = tokens.create("ci", role="developer", scope=("churn", "price", "churn"), actor=ADA)
    assert tokens.verify(made.secret) == Actor(name="ci", kind="client", role="developer", scope=("churn", "price"))
    assert made.token.expires_at_ms == START_MS + DEFAULT_LIFE_S * 1000


def test_the_secret_is_nowhere_in_the_store(tokens: Tokens, tmp_path: Path) -> None:
    made = tokens.create("ci", role="viewer", actor=ADA)
    secret = made.secret.split("_", 2)[2]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert len(secret) == 43
    assert made.token.name.encode() in stored
    assert secret.encode() not in stored


@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        lambda secret: secret.replace("mlspine_", "mlspine_0", 1),
        lambda secret: secret.split("_", 2)[2],
        lambda _: "",
        lambda _: "mlspine_",
        lambda secret: secret + "A" * 10_000,
        lambda _: "mlspine_' or 1=1 --_x",
    ],
)
def test_anything_else_than_the_whole_secret_is_not_known(tokens: Tokens, spoil: object) -> None:
    made = tokens.create("ci", role="viewer", actor=ADA)
    assert callable(spoil)
    with pytest.raises(Unidentified, match="not one of this workspace"):
        tokens.verify(spoil(made.secret))


def test_an_expired_token_is_refused_from_that_millisecond_on_and_its_name_can_be_given_anew(
    tokens: Tokens, clock: Clock
) -> None:
    made = tokens.create("ci", role="operator", scope=("churn",), life_s=60, actor=ADA)
    clock.now_ms += 59_999
    tokens.verify(made.secret)
    clock.now_ms += 1
    with pytest.raises(Unidentified, match='"ci" is expired') as caught:
        tokens.verify(made.secret)
    assert "mlspine tokens create ci --role operator --scope churn" in caught.value.hint
    tokens.create("ci", role="viewer", actor=ADA)
    assert [(each.role, each.state) for each in tokens.known()] == [("viewer", "valid"), ("operator", "revoked")]


def test_a_name_is_held_by_one_token_until_it_is_taken_back(tokens: Tokens, governance: Governance) -> None:
    first = tokens.create("ci", role="viewer", actor=ADA)
    with pytest.raises(Conflict, match='"ci" already'):
        tokens.create("ci", role="admin", actor=ADA)
    assert tokens.revoke("ci", actor=ADA, reason="left the team").state == "revoked"
    with pytest.raises(Unidentified, match="revoked"):
        tokens.verify(first.secret)
    with pytest.raises(NotFound):
        tokens.revoke("ci", actor=ADA)
    lines = [(line.action, line.subject, line.actor, line.reason) for line in governance.entries()]
    assert lines == [
        ("token-create", "token:ci", "ada", ""),
        ("token-revoke", "token:ci", "ada", "left the team"),
    ]
    assert first.secret not in governance.export()


def test_last_used_is_true_to_the_hour_and_written_no_more_often(tokens: Tokens, clock: Clock) -> None:
    made = tokens.create("ci", role="viewer", actor=ADA)
    assert tokens.known()[0].last_used_at_ms == 0
    tokens.verify(made.secret)
    for _ in range(5):
        clock.now_ms += USED_EVERY_MS // 10
        tokens.verify(made.secret)
    assert tokens.known()[0].last_used_at_ms == START_MS
    clock.now_ms = START_MS + USED_EVERY_MS
    tokens.verify(made.secret)
    assert tokens.known()[0].last_used_at_ms == clock.now_ms


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"token": "a b"}, "token name"),
        ({"token": "ci", "scope": ("../x",)}, "model name"),
        ({"token": "ci", "life_s": 59}, "59 s"),
        ({"token": "ci", "life_s": 10**10}, "10000000000 s"),
    ],
)
def test_what_cannot_be_a_token_is_refused(tokens: Tokens, arguments: dict[str, object], wrong: str) -> None:
    with pytest.raises(Invalid, match=wrong):
        tokens.create(role="viewer", actor=ADA, **arguments)  # type: ignore[arg-type]
    assert tokens.known() == []


def test_a_near_name_is_suggested(tokens: Tokens) -> None:
    tokens.create("deploy-bot", role="viewer", actor=ADA)
    with pytest.raises(NotFound) as caught:
        tokens.revoke("deploybot", actor=ADA)
    assert "deploy-bot" in caught.value.hint
