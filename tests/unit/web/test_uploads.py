"""Releases on their way in: resumed, checked, whole or absent, and never anything but data."""

from __future__ import annotations

import errno
import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.applications import Starlette

from mlspine.core.ids import digest_bytes
from mlspine.core.types import Actor
from mlspine.registry.parcel import Packed, pack
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.release import release_hash
from mlspine.web.app import make_app
from mlspine.workspace import Workspace
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Path]:
    data = load_breast_cancer(as_frame=True)
    X, y = data.data.iloc[:, :5], data.target
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=0)).fit(X, y)
    folder = tmp_path_factory.mktemp("laptop")
    release = prepare(model, X, y, name="tumour", releases_dir=folder)
    return release, folder / release.release_hash


@pytest.fixture
def packed(prepared: tuple[Prepared, Path]) -> Packed:
    return pack(prepared[1])


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> Starlette:
    return make_app(workspace, token=OWN, owner=ADA)


@pytest.fixture
def secret(workspace: Workspace) -> str:
    return workspace.tokens.create("laptop", role="developer", actor=ADA).secret


def begin(app: Starlette, packed: Packed, secret: str) -> Reply:
    return ask(app, "POST", "/uploads", msgspec.json.encode(packed.manifest), token=secret)


def send(app: Starlette, packed: Packed, secret: str, *, piece: int = 10_000) -> None:
    held = begin(app, packed, secret).json["bytes"]
    for digest, file in packed.files.items():
        data = file.read_bytes()
        for at in range(held[digest], len(data), piece):
            reply = ask(app, "PUT", f"/uploads/{packed.hash}/{digest}?at={at}", data[at : at + piece], token=secret)
            assert reply.status == 200, reply.body


def finish(app: Starlette, packed: Packed, secret: str) -> Reply:
    return ask(app, "POST", f"/uploads/{packed.hash}", token=secret)


def test_the_same_files_arrive_under_the_same_hash(
    app: Starlette, packed: Packed, secret: str, prepared: tuple[Prepared, Path], workspace: Workspace
) -> None:
    send(app, packed, secret)
    assert finish(app, packed, secret).json["complete"] is True
    arrived = workspace.path / "releases" / packed.hash
    assert _contents(arrived) == _contents(prepared[1])
    assert list((workspace.path / "run" / "uploads").iterdir()) == []
    assert begin(app, packed, secret).json["complete"] is True


def test_a_version_from_a_client_is_untrusted_and_refused_by_serve_until_an_admin_trusts_it(
    app: Starlette, packed: Packed, secret: str, prepared: tuple[Prepared, Path], workspace: Workspace
) -> None:
    send(app, packed, secret)
    body = {"prepared": msgspec.to_builtins(prepared[0])}
    assert ask(app, "POST", "/api/registry/register", body, token=secret).status == 404  # not in its place yet
    finish(app, packed, secret)
    version = ask(app, "POST", "/api/registry/register", body, token=secret).json
    assert (version["release_hash"], version["trusted"]) == (packed.hash, False)
    served = ask(app, "POST", "/api/deployment/serve", {"ref": "tumour:1"}, token=OWN)
    assert served.status == 403
    assert "mlspine trust tumour:1" in served.error["details"][0]
    assert ask(app, "POST", "/api/registry/trust", {"ref": "tumour:1"}, token=secret).status == 403
    assert workspace.governance.entries("model:tumour")[-1].actor == "client:laptop"


def test_an_upload_continues_where_it_was_interrupted(app: Starlette, packed: Packed, secret: str) -> None:
    held = begin(app, packed, secret).json["bytes"]
    assert set(held.values()) == {0}
    digest, file = next(iter(packed.files.items()))
    ask(app, "PUT", f"/uploads/{packed.hash}/{digest}?at=0", file.read_bytes()[:100], token=secret)
    assert begin(app, packed, secret).json["bytes"][digest] == 100
    again = ask(app, "PUT", f"/uploads/{packed.hash}/{digest}?at=0", file.read_bytes()[:100], token=secret)
    assert again.status == 409
    assert "continues at byte 100, not 0" in again.error["message"]
    unfinished = finish(app, packed, secret)
    assert unfinished.status == 409
    send(app, packed, secret)
    assert finish(app, packed, secret).status == 200


def test_a_damaged_part_is_thrown_away_and_sent_anew(app: Starlette, packed: Packed, secret: str) -> None:
    begin(app, packed, secret)
    digest, file = next(iter(packed.files.items()))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = ask(app, "PUT", f"/uploads/{packed.hash}/{digest}?at=0", bytes(data), token=secret)
    assert damaged.status == 422
    assert begin(app, packed, secret).json["bytes"][digest] == 0
    send(app, packed, secret)
    assert finish(app, packed, secret).status == 200


def test_bytes_changed_on_the_servers_disk_are_noticed_before_the_release_stands(
    app: Starlette, packed: Packed, secret: str, workspace: Workspace
) -> None:
    send(app, packed, secret)
    digest = packed.manifest.release.baseline
    part = workspace.path / "run" / "uploads" / packed.hash / digest
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert finish(app, packed, secret).status == 422
    assert list((workspace.path / "releases").iterdir()) == []
    send(app, packed, secret)
    assert finish(app, packed, secret).status == 200


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("raise SystemExit('a model from elsewhere was loaded')",)


def test_a_hostile_pickle_is_stored_listed_and_never_opened(
    app: Starlette, packed: Packed, secret: str, prepared: tuple[Prepared, Path], tmp_path: Path
) -> None:
    bomb = pickle.dumps(_Bomb())
    release = msgspec.structs.replace(packed.manifest.release, model=digest_bytes(bomb))
    file = tmp_path / "bomb"
    file.write_bytes(bomb)
    files = {digest_bytes(bomb): file} | {d: f for d, f in packed.files.items() if f.name != "model.pkl"}
    manifest = msgspec.structs.replace(
        packed.manifest, release=release, sizes={digest: each.stat().st_size for digest, each in files.items()}
    )
    hostile = Packed(release_hash(release), manifest, files)
    send(app, hostile, secret)
    assert finish(app, hostile, secret).status == 200
    told = msgspec.structs.replace(prepared[0], release_hash=hostile.hash, name="bomb")
    registered = ask(app, "POST", "/api/registry/register", {"prepared": msgspec.to_builtins(told)}, token=secret)
    assert registered.json["trusted"] is False
    for path, body in (
        ("registry/versions", {"model": "bomb"}),
        ("registry/get", {"model": "bomb", "version": 1}),
        ("status/read", {}),
        ("deployment/serve", {"ref": "bomb:1"}),
        ("moves/set_alias", {"name": "bomb", "alias": "champion", "version": 1}),
    ):
        assert ask(app, "POST", f"/api/{path}", body, token=OWN).status in (200, 403), path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: {**m, "sizes": {}}, "no size is told"),
        (lambda m: {**m, "sizes": {**m["sizes"], "0" * 64: 5}}, "is no part of this release"),
        (lambda m: {**m, "sizes": dict.fromkeys(m["sizes"], 0)}, "has 0 bytes"),
        (lambda m: {**m, "sizes": dict.fromkeys(m["sizes"], 10**11)}, "max_release_bytes"),
        (lambda m: _with(m, model="../../../etc/passwd"), "no digest"),
        (lambda m: _with(m, transform="a" * 63 + "/"), "no digest"),
        (lambda m: _with(m, environment={"python": "3.11.7", "numpy\n--index-url http://evil": "1"}), "environment"),
        (lambda m: _with(m, environment={"python": "3.11.7", "numpy": "1 ; rm -rf"}), "environment"),
        (lambda m: _with(m, environment={}), "names no python"),
        (lambda m: _with(m, settings={"recipe": "x"}), "settings"),
        (lambda m: _with(m, settings={"recipe": {"kind": "function"}}), "settings"),
        (lambda m: {**m, "model_class": 'x"\ncode: "evil'}, "model_class"),
        (lambda m: {**m, "fitted_rows": "../x"}, "no digest"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    app: Starlette, packed: Packed, secret: str, workspace: Workspace, change: Callable[[dict], dict], why: str
) -> None:
    body = change(msgspec.to_builtins(packed.manifest))
    reply = ask(app, "POST", "/uploads", body, token=secret)
    assert reply.status == 422
    assert why in " ".join(reply.error["details"])
    assert not (workspace.path / "run" / "uploads").exists()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"release": {}}', b"\x80\x04K\x01."])
def test_what_is_no_manifest_is_refused(app: Starlette, secret: str, body: bytes) -> None:
    assert ask(app, "POST", "/uploads", body, token=secret).status == 422


def test_only_parts_of_a_begun_release_are_taken_and_no_path_leads_elsewhere(
    app: Starlette, packed: Packed, secret: str, workspace: Workspace
) -> None:
    digest = packed.manifest.release.model
    url = f"/uploads/{packed.hash}/{digest}?at=0"
    assert ask(app, "PUT", url, b"x", token=secret).status == 404  # nothing has begun
    begin(app, packed, secret)
    before = _contents(workspace.path)
    for path in (
        f"/uploads/{packed.hash}/manifest.json?at=0",
        f"/uploads/{packed.hash}/..%2f..%2fstore.db?at=0",
        f"/uploads/../{digest}?at=0",
        f"/uploads/{packed.hash}/{'0' * 64}?at=0",
        f"/uploads/{packed.hash}/../../store.db?at=0",
    ):
        assert ask(app, "PUT", path, b"x", token=secret).status in (404, 405), path
    for at in ("", "-1", "x", "9" * 20, "1e3"):
        assert ask(app, "PUT", url.replace("at=0", f"at={at}"), b"x", token=secret).status == 422
    size = packed.manifest.sizes[digest]
    assert ask(app, "PUT", url, b"x" * (size + 1), token=secret).status == 422
    assert _contents(workspace.path) == before


def test_viewers_and_strangers_cannot_upload(app: Starlette, packed: Packed, workspace: Workspace) -> None:
    viewer = workspace.tokens.create("eve", role="viewer", actor=ADA).secret
    for reply in (
        begin(app, packed, viewer),
        ask(app, "PUT", f"/uploads/{packed.hash}/{'0' * 64}?at=0", b"x", token=viewer),
        finish(app, packed, viewer),
    ):
        assert reply.status == 403
        assert "developer" in reply.error["hint"]
    assert begin(app, packed, "").status == 401


def test_uploads_nobody_continues_make_way(app: Starlette, packed: Packed, secret: str, workspace: Workspace) -> None:
    for number in range(12):
        release = msgspec.structs.replace(packed.manifest.release, thresholds={"n": number})
        other = Packed(release_hash(release), msgspec.structs.replace(packed.manifest, release=release), packed.files)
        assert begin(app, other, secret).status == 200
    assert len(list((workspace.path / "run" / "uploads").iterdir())) == 8


def test_a_disk_without_room_is_told_before_anything_is_sent(
    app: Starlette, packed: Packed, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    reply = begin(app, packed, secret)
    assert (reply.status, reply.error["code"]) == (503, "unavailable")
    assert "free disk space there" in reply.error["hint"]


def test_a_disk_that_fails_keeps_what_has_arrived(
    app: Starlette, packed: Packed, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(app, packed, secret)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlspine.registry.release._write", full)
        reply = finish(app, packed, secret)
    assert (reply.status, "No space left" in reply.error["message"]) == (503, True)
    assert finish(app, packed, secret).status == 200


def _with(manifest: dict, **fields: object) -> dict:
    release = {**manifest["release"], **fields}
    digests = [value for value in (release["model"], release["transform"]) if value]
    return {**manifest, "release": release, "sizes": {**manifest["sizes"], **dict.fromkeys(digests, 1)}}


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".db" not in file.name
    }
