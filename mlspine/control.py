"""Speaking to a workspace: through its control process, to a server, or straight to its store."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import msgspec

from mlspine import login
from mlspine.core.address import is_loopback, local_url
from mlspine.core.config import Config, load_config
from mlspine.core.errors import MlspineError
from mlspine.folder import locate, running_options
from mlspine.login import Login
from mlspine.remote import ApiClient, Proxy, Whoami
from mlspine.running import ControlFile, running_control
from mlspine.workspace import ROOMS, Services, Workspace


class RemoteWorkspace(Services):
    """A workspace whose control process is running: every call goes through its API."""

    server = ""  # the URL, when the workspace is on another machine

    def __init__(self, path: Path, config: Config, control: ControlFile) -> None:
        self.path = path
        self.config = config
        self.predictions_url = control.predictions_url
        self._speak_with(ApiClient(control.url, control.token))

    def _speak_with(self, client: ApiClient) -> None:
        self.control_url = client.url
        self.client = client
        for room, service in ROOMS.items():
            setattr(self, room, Proxy(room, service, client))

    def example(self, endpoint: str) -> str:
        """A curl command with a recorded row that works as it stands, "" when the endpoint does not answer."""
        if not self.predictions_url:
            return ""
        try:
            told = msgspec.json.decode(ApiClient(self.predictions_url, "").get(f"/endpoints/{endpoint}", timeout_s=5.0))
        except MlspineError:
            return ""
        return str(told.get("curl", ""))

    def close(self) -> None:
        """Nothing is held open between calls."""


class ServerWorkspace(RemoteWorkspace):
    """A workspace on another machine, by a token. `path` says where it is there; nothing of it is read here."""

    def __init__(self, by: Login) -> None:
        self._speak_with(ApiClient(by.url, by.token))
        self.server = by.url
        self.me = self.client.whoami()
        self.path = Path(self.me.workspace)
        self.config = Config(log=self.me.log)
        self.predictions_url = _seen_from_here(self.me, by.url)


def _seen_from_here(me: Whoami, url: str) -> str:
    """Where the server answers predictions, "" when it does so only to itself."""
    if not me.predictions_everywhere and not is_loopback(urllib.parse.urlsplit(url).hostname or ""):
        return ""
    host, port = urllib.parse.urlsplit(url).hostname or "", urllib.parse.urlsplit(me.predictions_url).port
    return local_url(host, port or 80) if me.predictions_everywhere else me.predictions_url


def connect(path: Path | str | None = None) -> Workspace | RemoteWorkspace:
    """The services of a workspace: the server's that was logged in to, else through the control process of the folder
    when one runs, else straight from its store.

    path: a folder or a URL; by default what `mlspine.login` says commands act on.
    """
    server = login.server(path)
    if server is not None:
        return ServerWorkspace(server)
    directory = Path(path).resolve() if path is not None else locate()
    control = running_control(directory)
    if control is None:
        return Workspace.open(directory)
    return RemoteWorkspace(directory, load_config(directory, overrides=running_options(directory)), control)
