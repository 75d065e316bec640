"""Where an `mlspine:` URI leads: a workspace's store in this process, or whoever is its only writer just now."""

from __future__ import annotations

import atexit
import os
import threading
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from mlspine import login
from mlspine.core.errors import Invalid
from mlspine.folder import locate
from mlspine.running import running_control
from mlspine.web.mlflow.direct import DirectWire

SCHEME = "mlspine"
_opened: dict[tuple[int, Path], DirectWire] = {}
_opening = threading.Lock()


class Address(NamedTuple):
    """A server that speaks MLflow for a workspace, and the token to speak to it with."""

    url: str
    token: str


def folder_of(uri: str) -> Path | None:
    """The folder an `mlspine:` URI names, None for the workspace found from here.

    >>> folder_of("mlspine:///srv/churn/.mlspine")
    PosixPath('/srv/churn/.mlspine')
    """
    parts = urllib.parse.urlsplit(uri)
    path = urllib.parse.unquote(parts.path)
    if parts.scheme != SCHEME or parts.netloc or parts.query or parts.fragment or (path and not path.startswith("/")):
        raise Invalid(f"{uri!r} names no workspace", hint="mlspine: for the one found from here, or mlspine:///FOLDER")
    return Path(path) if path else None


class Place:
    """The workspace of an `mlspine:` URI. Who answers is asked anew at every call: control may start and stop."""

    def __init__(self, uri: str) -> None:
        folder = folder_of(uri)
        self._server = login.server() if folder is None else None
        self._directory = Path() if self._server is not None else (folder or locate()).resolve()

    def address(self) -> Address | None:
        """The server to speak to; None where the store is opened in this process."""
        if self._server is not None:
            return Address(self._server.url, self._server.token)
        control = running_control(self._directory)
        return None if control is None else Address(control.url, control.token)

    def store(self) -> DirectWire:
        """The store in this process, opened once for all who ask; a forked process opens its own."""
        with _opening:
            key = (os.getpid(), self._directory)
            if key not in _opened:
                _opened[key] = DirectWire(self._directory)
            return _opened[key]


@atexit.register
def _close() -> None:
    for (pid, _), wire in _opened.items():
        if pid == os.getpid():
            wire.close()
