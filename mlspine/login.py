"""Which workspace commands act on: a server somebody logged in to, or a folder on this machine.

    MLSPINE_WORKSPACE (a folder or a URL)  over  `mlspine login`  over  the folder found from here

The login is one file that only its owner can read. With a URL in MLSPINE_WORKSPACE the token is MLSPINE_TOKEN, else
that of the login to the same URL.
"""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from pathlib import Path

import msgspec

from mlspine.core.errors import Invalid, Unidentified
from mlspine.core.types import Struct


class Login(Struct, frozen=True, kw_only=True):
    """A server and the token to speak to it with; `name` is who the token stands for there."""

    url: str
    token: str
    name: str = ""


def server(workspace: Path | str | None = None) -> Login | None:
    """The server that a workspace is on, None for a folder on this machine; by default the one commands act on now."""
    if workspace is not None:
        return at(workspace) if isinstance(workspace, str) and is_url(workspace) else None
    named = os.environ.get("MLSPINE_WORKSPACE", "")
    if is_url(named):
        return at(named)
    return None if named else kept()


def at(url: str) -> Login:
    """The login to a URL: by MLSPINE_TOKEN, else as kept for that URL."""
    url, login, token = clean_url(url), kept(), os.environ.get("MLSPINE_TOKEN", "").strip()
    if token:
        return Login(url=url, token=token)
    if login is not None and login.url == url:
        return login
    raise Unidentified(f"there is no token for {url}", hint=f"mlspine login {url}; or set MLSPINE_TOKEN")


def kept() -> Login | None:
    """What `mlspine login` keeps."""
    try:
        return msgspec.json.decode(login_file().read_bytes(), type=Login)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise Invalid(f"{login_file()} cannot be read: {exc}", hint="log in again: mlspine login URL") from exc


def keep(login: Login) -> Path:
    """Write the login where only this user can read it."""
    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(msgspec.json.encode(login))
    draft.replace(file)
    return file


def forget() -> Login | None:
    """Remove the login; returns what it was. A file that cannot be read goes as well."""
    with contextlib.suppress(Invalid):
        login = kept()
        login_file().unlink(missing_ok=True)
        return login
    login_file().unlink(missing_ok=True)
    return None


def login_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "mlspine" / "login.json"


def is_url(text: str) -> bool:
    """Whether a workspace is named by URL.

    >>> is_url("https://ml.example"), is_url("/srv/churn/.mlspine")
    (True, False)
    """
    return text.startswith(("http://", "https://"))


def clean_url(url: str) -> str:
    """The URL as it is kept and compared; Invalid for one that names no server.

    >>> clean_url("HTTPS://ML.example:8081/")
    'https://ml.example:8081'
    """
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username:
        raise Invalid(f"{url!r} is no server's URL", hint="e.g. mlspine login https://ml.example:8081")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def refuse_server(what: str) -> None:
    """Raise Invalid for what only this machine can do while a server is what commands act on."""
    acting_on = server()
    if acting_on is None:
        return
    named = is_url(os.environ.get("MLSPINE_WORKSPACE", ""))
    here = "unset MLSPINE_WORKSPACE" if named else "mlspine logout; or for once: MLSPINE_WORKSPACE=FOLDER"
    raise Invalid(
        f"{what} needs the machine itself, and commands act on {acting_on.url}",
        hint=f"run it there; or to act on this machine: {here}",
    )
