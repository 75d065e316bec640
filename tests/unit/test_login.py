"""Which workspace commands act on, and the file that holds the login."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine import login
from mlspine.core.errors import Invalid, Unidentified
from mlspine.login import Login

URL = "https://ml.example:8081"
ANN = Login(url=URL, token="t", name="ann")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MLSPINE_WORKSPACE", raising=False)
    monkeypatch.delenv("MLSPINE_TOKEN", raising=False)


def test_a_login_is_kept_for_this_user_alone_and_forgotten() -> None:
    assert login.server() is None
    file = login.keep(ANN)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert login.server() == ANN
    assert login.forget() == ANN
    assert login.forget() is None
    assert login.server() is None


def test_the_variable_comes_before_the_login_and_the_login_before_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    login.keep(ANN)
    monkeypatch.setenv("MLSPINE_WORKSPACE", "/srv/churn/.mlspine")
    assert login.server() is None
    monkeypatch.setenv("MLSPINE_WORKSPACE", "https://ML.example:8081/")
    assert login.server() == ANN
    monkeypatch.setenv("MLSPINE_TOKEN", "mine")
    assert login.server() == Login(url=URL, token="mine")
    monkeypatch.setenv("MLSPINE_WORKSPACE", "http://other.example")
    monkeypatch.delenv("MLSPINE_TOKEN")
    with pytest.raises(Unidentified, match=r"no token for http://other\.example"):
        login.server()


def test_a_workspace_given_by_name_is_what_it_is_called() -> None:
    login.keep(ANN)
    assert login.server("/some/folder") is None
    assert login.server(Path("/some/folder")) is None
    assert login.server(URL) == ANN


@pytest.mark.parametrize(
    "url", ["ml.example", "ftp://x", "https://", "http://x?y=1", "http://me:pw@x", "http://x:a", "http://["]
)
def test_what_is_no_servers_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="no server's URL"):
        login.clean_url(url)


def test_a_file_that_cannot_be_read_says_how_to_go_on_and_can_be_removed() -> None:
    login.keep(ANN).write_text("{")
    with pytest.raises(Invalid) as caught:
        login.server()
    assert "mlspine login URL" in caught.value.hint
    login.forget()
    assert login.server() is None


def test_what_needs_the_machine_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    login.refuse_server("mlspine up")
    login.keep(ANN)
    with pytest.raises(Invalid, match="mlspine up needs the machine itself") as caught:
        login.refuse_server("mlspine up")
    assert "mlspine logout" in caught.value.hint
    monkeypatch.setenv("MLSPINE_WORKSPACE", URL)
    with pytest.raises(Invalid) as caught:
        login.refuse_server("mlspine up")
    assert "unset MLSPINE_WORKSPACE" in caught.value.hint
