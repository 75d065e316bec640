"""One machine holds the workspace, people on others work with it by token: ship, serve, promote, roll back, label."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Answer, Desk, ship_churn
from tests.journeys.cut import StallingLine

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
# A model of 12 MB, the same in every process: several pieces on their way to a server.
SHIP_BIG = """
import numpy as np, mlspine
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 2)); y = (X[:, 0] > 0).astype(int)
model = LogisticRegression(random_state=0).fit(X, y)
model.ballast_ = rng.bytes(12_000_000)
mlspine.ship(model, X, y, name="big")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Desk]:
    """A machine with a running workspace."""
    (tmp_path / "server").mkdir()
    desk = Desk(tmp_path / "server")
    desk.mlspine("up")
    yield desk
    desk.mlspine("down", check=False)


@pytest.fixture
def laptop(tmp_path: Path) -> Desk:
    """Another person's machine: another home, another folder, nothing running."""
    (tmp_path / "laptop").mkdir()
    return Desk(tmp_path / "laptop")


def url(server: Desk) -> str:
    return f"http://127.0.0.1:{server.control_port}"


def token(server: Desk, name: str, role: str, *words: str) -> str:
    made = server.mlspine("tokens", "create", name, "--role", role, *words, "--json").json
    return str(made["secret"])


def by(server: Desk, secret: str) -> dict[str, str]:
    """The environment of a command that acts on the server by this token."""
    return {"MLSPINE_WORKSPACE": url(server), "MLSPINE_TOKEN": secret}


def log_in(laptop: Desk, server: Desk, secret: str) -> Answer:
    (laptop.folder / "token").write_text(secret + "\n")
    return laptop.mlspine("login", url(server), "--token-file", "token")


@pytest.mark.long
def test_a_model_goes_from_a_laptop_to_a_servers_traffic_and_back(server: Desk, laptop: Desk) -> None:
    dev = token(server, "dev", "developer", "--scope", "churn")
    ops, boss = token(server, "ops", "operator"), token(server, "boss", "admin")
    assert "knows you as dev, developer, limited to churn" in log_in(laptop, server, dev).out
    for strength in (1.0, 0.0001):
        shipped = ship_churn(laptop, C=strength)
        assert "mlspine trust churn:" in shipped.out
        assert f"to {url(server)}" in shipped.err
    versions = laptop.mlspine("models", "churn", "--json").json
    assert [(each["version"], each["trusted"]) for each in versions] == [(1, False), (2, False)]
    assert not (laptop.folder / ".mlspine").exists()
    assert versions[0]["release_hash"] == _hash_when_shipped_here(laptop)

    refused = laptop.mlspine("serve", "churn:1", check=False, **by(server, ops))
    assert (refused.code, "mlspine trust churn:1" in refused.err) == (6, True)
    for ref in ("churn:1", "churn:2"):
        laptop.mlspine("trust", ref, "--reason", "our own pipeline", **by(server, boss))
    served = laptop.mlspine("serve", "churn:1", **by(server, ops))
    assert f"on {url(server)}" in served.err
    assert f"http://127.0.0.1:{server.port}/endpoints/churn/predict" in served.out
    first = server.post("/endpoints/churn/predict", ROW)[2]
    laptop.mlspine("promote", "churn", "2", **by(server, ops))
    second = server.post("/endpoints/churn/predict", ROW)[2]
    laptop.mlspine("rollback", "churn", "--reason", "drill", **by(server, ops))
    third = server.post("/endpoints/churn/predict", ROW)[2]
    assert first["predictions"] == third["predictions"] != second["predictions"]

    (laptop.folder / "outcomes.csv").write_text(f"id,label\n{first['id']},1\n{second['id']},0\nnobody,1\n")
    receipt = laptop.mlspine("labels", "add", "churn", "outcomes.csv", "--json").json
    assert (receipt["read"], receipt["matched"], receipt["parked"]) == (3, 2, 1)
    assert laptop.mlspine("labels", "add", "churn", "outcomes.csv", "--json").json["duplicates"] == 3
    for command in ("status churn", "alerts churn", "quality churn", "check churn", "log churn"):
        assert laptop.mlspine(*command.split()).err == f"on {url(server)} as dev\n", command
    asked = laptop.mlspine("log", "churn", "select count(*) as n from log", "--json").json
    assert asked["rows"] == [[3]]

    lines = [(line["actor"], line["action"]) for line in laptop.mlspine("ledger", "endpoint:churn", "--json").json]
    assert lines == [("client:ops", "serve"), ("client:ops", "promote"), ("client:ops", "rollback")]
    about_model = laptop.mlspine("ledger", "model:churn", "--json").json
    assert [(line["actor"], line["action"]) for line in about_model] == [
        ("client:dev", "ship"),
        ("client:dev", "ship"),
        ("client:boss", "trust"),
        ("client:boss", "trust"),
    ]
    assert "whole workspace" in laptop.mlspine("ledger", "--verify", check=False).err
    assert "intact" in laptop.mlspine("ledger", "--verify", **by(server, boss)).out
    assert "by client:ops" in server.mlspine("status", "churn").out


def test_wrong_expired_and_too_weak_tokens_are_refused_with_what_is_missing(server: Desk, laptop: Desk) -> None:
    viewer, old = token(server, "eve", "viewer"), token(server, "old", "operator", "--expires", "12h")
    narrow = token(server, "ci", "operator", "--scope", "price")
    wrong = laptop.mlspine("login", url(server), check=False, MLSPINE_TOKEN="guess")
    assert (wrong.code, "not one of this workspace" in wrong.err) == (10, True)
    nobody = laptop.mlspine("models", check=False, **by(server, "mlspine_0123456789ab_guess"))
    assert (nobody.code, "not one of this workspace" in nobody.err) == (10, True)
    with sqlite3.connect(server.folder / ".mlspine" / "store.db") as store:
        store.execute("update access_token set expires_at_ms = 1 where name = 'old'")
    store.close()
    expired = laptop.mlspine("models", check=False, **by(server, old))
    assert (expired.code, '"old" is expired' in expired.err) == (10, True)
    assert "mlspine tokens create old --role operator" in expired.err
    for words, role in (
        (("rollback", "churn"), "operator"),
        (("trust", "churn:1"), "admin"),
        (("tokens",), "admin"),
        (("forget", "anna", "--yes"), "admin"),
    ):
        weak = laptop.mlspine(*words, check=False, **by(server, viewer))
        assert weak.code == 6
        assert f"needs the role {role}" in weak.err
        assert f"mlspine tokens create NAME --role {role}" in weak.err
    outside = laptop.mlspine("rollback", "churn", check=False, **by(server, narrow))
    assert (outside.code, "limited to price: churn is outside" in outside.err) == (6, True)
    laptop.env |= by(server, viewer)
    unprepared = laptop.run([sys.executable, "-c", SHIP_BIG], check=False)
    assert "needs the role developer or admin" in unprepared.err
    assert not (laptop.folder / "home" / ".cache").exists()  # refused before anything was prepared
    server.mlspine("tokens", "revoke", "eve")
    assert '"eve" is revoked' in laptop.mlspine("models", check=False).err


@pytest.mark.long
def test_a_client_killed_in_mid_upload_continues_when_it_ships_again(server: Desk, laptop: Desk) -> None:
    dev = token(server, "dev", "developer")
    line = StallingLine(server.control_port, stall_after=10_000_000)
    try:
        _ship_until_stalled(laptop, line, dev)
    finally:
        line.close()
    held = _bytes_held(server)
    assert 4_000_000 < held < 12_000_000
    assert list((server.folder / ".mlspine" / "releases").glob("*")) == []
    laptop.env |= by(server, dev)
    again = laptop.python(SHIP_BIG)
    assert f"{held / 1000:,.0f} of it are there already" in again.err
    assert [each["version"] for each in laptop.mlspine("models", "big", "--json").json] == [1]
    assert _bytes_held(server) == 0
    assert list((laptop.folder / "home" / ".cache" / "mlspine" / "releases").iterdir()) == []


@pytest.mark.long
def test_a_server_killed_in_mid_upload_holds_nothing_half(server: Desk, laptop: Desk) -> None:
    dev = token(server, "dev", "developer")
    line = StallingLine(server.control_port, stall_after=10_000_000)
    try:
        _ship_until_stalled(laptop, line, dev, kill=server)
    finally:
        line.close()
    server.mlspine("up")
    assert server.mlspine("models", "--json").json == []
    assert list((server.folder / ".mlspine" / "releases").glob("*")) == []
    assert _bytes_held(server) > 0
    laptop.env |= by(server, dev)
    assert "are there already" in laptop.python(SHIP_BIG).err
    boss = token(server, "boss", "admin")
    laptop.mlspine("trust", "big:1", **by(server, boss))
    served = laptop.mlspine("serve", "big", "--json", **by(server, boss)).json
    assert served["switched"]["proof"]["reproduced_rows"] == 100


def test_a_login_is_private_named_on_every_command_and_ends_with_logout(server: Desk, laptop: Desk) -> None:
    log_in(laptop, server, token(server, "dev", "developer"))
    file = laptop.folder / "home" / ".config" / "mlspine" / "login.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert laptop.mlspine("models").err == f"on {url(server)} as dev\n"
    for words in (("up",), ("down",), ("config",), ("service", "install")):
        local = laptop.mlspine(*words, check=False)
        assert local.code == 2, local
        assert "needs the machine itself" in local.err
        assert "mlspine logout" in local.err
    here = laptop.mlspine("models", MLSPINE_WORKSPACE=str(laptop.folder / "own"))
    assert (here.err, "no model yet" in here.out) == ("", True)
    assert "--port: about the machine itself" in laptop.mlspine("serve", "a", "--port", "9999", check=False).err
    laptop.mlspine("logout")
    assert not file.exists()
    assert laptop.mlspine("models").err == ""
    assert "nobody was logged in" in laptop.mlspine("logout").out


def test_a_server_that_is_not_there_is_named_with_what_to_look_at(laptop: Desk) -> None:
    nowhere = f"http://127.0.0.1:{laptop.control_port}"
    refused = laptop.mlspine("login", nowhere, check=False, MLSPINE_TOKEN="t")
    assert (refused.code, "did not answer" in refused.err, "Traceback" in refused.err) == (7, True, False)
    assert not (laptop.folder / "home" / ".config").exists()
    assert "no server's URL" in laptop.mlspine("login", "ml.example", check=False, MLSPINE_TOKEN="t").err
    missing = laptop.mlspine("models", check=False, MLSPINE_WORKSPACE=nowhere)
    assert f"mlspine login {nowhere}" in missing.err


# ---------------------------------------------------------------- another network


class Network:
    """Two network namespaces on one cable: what listens on loopback in one cannot be reached from the other."""

    SERVER, LAPTOP = "10.213.77.1", "10.213.77.2"

    def __init__(self) -> None:
        tag = f"ml{os.getpid() % 100_000}"
        self.server, self.laptop = f"{tag}s", f"{tag}l"
        self._ip("netns", "add", self.server)
        self._ip("netns", "add", self.laptop)
        ends = f"{tag}a", f"{tag}b"
        self._ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for space, end, address in (
            (self.server, ends[0], self.SERVER),
            (self.laptop, ends[1], self.LAPTOP),
        ):
            self._ip("link", "set", end, "netns", space)
            for words in (
                ("addr", "add", f"{address}/24", "dev", end),
                ("link", "set", end, "up"),
                ("link", "set", "lo", "up"),
            ):
                self._ip("-n", space, *words)

    def close(self) -> None:
        for space in (self.server, self.laptop):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class DeskIn(Desk):
    """A desk whose commands run in a network namespace."""

    def __init__(self, folder: Path, space: str) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.space = space

    def run(self, argv: list[str], *, check: bool, cwd: Path | None = None, **env: str) -> Answer:
        return super().run(["ip", "netns", "exec", self.space, *argv], check=check, cwd=cwd, **env)


@pytest.fixture
def network() -> Iterator[Network]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("two machines need the program `ip` and root, for network namespaces of their own")
    try:
        network = Network()
    except OSError as exc:
        pytest.skip(f"this machine allows no network namespaces: {exc}")
    yield network
    network.close()


@pytest.mark.long
def test_from_another_network_only_a_token_opens_the_server(network: Network, tmp_path: Path) -> None:
    server = DeskIn(tmp_path / "server", network.server)
    laptop = DeskIn(tmp_path / "laptop", network.laptop)
    address = f"http://{network.SERVER}:{server.control_port}"
    try:
        assert "asks everybody for a token" in server.mlspine("up", "--host", "0.0.0.0").out
        (laptop.folder / "token").write_text(token(server, "boss", "admin"))
        for path, status in (("/", 401), ("/metrics", 401), ("/openapi.json", 401), ("/health/live", 200)):
            assert _status(laptop, f"{address}{path}") == status
        login = laptop.mlspine("login", address, "--token-file", "token")
        assert "without https" in login.out
        ship_churn(laptop)
        laptop.mlspine("trust", "churn:1")
        served = laptop.mlspine("serve", "churn", "--json").json
        assert served["url"] == f"http://{network.SERVER}:{server.port}/endpoints/churn/predict"
        assert _status(laptop, served["url"], body=json.dumps(ROW)) == 200
        rolled_back = laptop.mlspine("rollback", "churn", "--json").json
        assert (rolled_back["revision"]["actor"], rolled_back["changed"]) == ("client:boss", True)
    finally:
        server.mlspine("down", check=False)


# ---------------------------------------------------------------- inside


def _hash_when_shipped_here(laptop: Desk) -> str:
    here = str(laptop.folder / "own")
    laptop.env["MLSPINE_WORKSPACE"] = here
    try:
        ship_churn(laptop, C=1.0)
        return str(laptop.mlspine("models", "churn", "--json").json[0]["release_hash"])
    finally:
        del laptop.env["MLSPINE_WORKSPACE"]


def _ship_until_stalled(laptop: Desk, line: StallingLine, secret: str, *, kill: Desk | None = None) -> None:
    """Ship over a line that stalls, then kill -9 the client, or the server's control process and then the client."""
    environment = {"MLSPINE_WORKSPACE": f"http://127.0.0.1:{line.port}", "MLSPINE_TOKEN": secret}
    client = subprocess.Popen(
        [sys.executable, "-c", SHIP_BIG],
        cwd=laptop.folder,
        env={**laptop.env, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert line.stalled.wait(timeout=90)
        if kill is not None:
            control = json.loads((kill.folder / ".mlspine" / "run" / "control.json").read_text())
            os.kill(control["pid"], signal.SIGKILL)
    finally:
        client.kill()
        client.wait()


def _bytes_held(server: Desk) -> int:
    parts = (server.folder / ".mlspine" / "run" / "uploads").glob("*/*")
    return sum(part.stat().st_size for part in parts if part.suffix == "")


def _status(desk: Desk, address: str, *, body: str = "") -> int:
    code = (
        "import sys, urllib.request, urllib.error\n"
        "data = sys.argv[2].encode() or None\n"
        "request = urllib.request.Request(sys.argv[1], data, {'Content-Type': 'application/json'})\n"
        "try: print(urllib.request.urlopen(request, timeout=20).status)\n"
        "except urllib.error.HTTPError as exc: print(exc.code); exc.close()\n"
    )
    return int(desk.run([sys.executable, "-c", code, address, body], check=True).out)
