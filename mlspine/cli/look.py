"""look: the page, signed in."""

from __future__ import annotations

import os
import sys
import urllib.parse
import webbrowser

import click

from mlspine.cli import render


@click.command()
@click.argument("name", required=False, default="")
@click.option("--browser/--no-browser", default=True, help="Open the browser (default), or only print the link.")
@render.json_option
def look(name: str, browser: bool, as_json: bool) -> None:
    """Open the live page of all endpoints, or of endpoint NAME.

    The link works once, within two minutes, and signs this browser in for twelve hours; the page only reads.

    \b
    Examples:
      mlspine look
      mlspine look churn --no-browser
    """
    from mlspine.control import RemoteWorkspace, connect
    from mlspine.core.errors import Unavailable

    workspace = connect()
    if not isinstance(workspace, RemoteWorkspace):
        raise Unavailable("the page needs the control process, which is not running", hint="mlspine up")
    if name:
        workspace.deployment.get(name)
    code = workspace.client.post("/look", {}).decode()
    query = f"?next={urllib.parse.quote(f'/endpoints/{name}')}" if name else ""
    url = f"{workspace.control_url.rstrip('/')}/look/{code}{query}"
    render.emit({"url": url}, as_json=as_json, text=lambda: url)
    if browser and not as_json and _has_screen():
        webbrowser.open(url)


def _has_screen() -> bool:
    """Whether a browser opened here is seen by anybody: not over SSH, in a container or under a scheduler."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
