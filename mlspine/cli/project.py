"""up, down, config, completion: commands about the workspace as a whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace


def start(*, port: int | None = None, control_port: int | None = None, notify: tuple[str, ...] = ()) -> RemoteWorkspace:
    """The running control process of this workspace, started when it is not there.

    Ports and sinks given once are kept in `mlspine.toml`'s place for this workspace, `run/options.json`, so that the
    next command finds the same addresses.
    """
    from mlspine.control import RemoteWorkspace, start_control, stop_everything
    from mlspine.core.config import load_config
    from mlspine.workspace import create, keep_options, locate, remember, running_options

    directory = locate()
    create(directory)
    remember(directory)
    wanted = running_options(directory)
    before = dict(wanted)
    if port is not None:
        wanted["serving.port"] = str(port)
    if control_port is not None:
        wanted["control.port"] = str(control_port)
    if notify:
        wanted["monitoring.notify"] = msgspec.json.encode(notify).decode()
    config = load_config(directory, overrides=wanted)
    if wanted != before:
        from mlspine.control import running_control

        if running_control(directory) is not None:
            stop_everything(directory)  # addresses and sinks are read at start
        keep_options(directory, wanted)
    control = start_control(directory, config)
    return RemoteWorkspace(directory, config, control)


def follow(directory: Path) -> None:
    """Stay in the foreground: print what the processes log; Ctrl-C ends everything."""
    from mlspine.control import running_control, stop_everything

    click.echo("Following the log; Ctrl-C stops everything.")
    files = [directory / "run" / name for name in ("control.log", "inference-0.log")]
    offsets = {file: file.stat().st_size if file.exists() else 0 for file in files}
    try:
        while running_control(directory) is not None:
            for file in files:
                offsets[file] = _print_new(file, offsets[file])
            time.sleep(0.3)
    except KeyboardInterrupt:
        stop_everything(directory)
        click.echo("stopped")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where predictions are answered (default 8080).")
@click.option("--control-port", type=click.IntRange(1, 65535), help="Where the control API listens (default 8081).")
@click.option("--detach/--foreground", default=True, help="Return when ready (default), or stay and follow the log.")
@click.option("--notify", multiple=True, metavar="URL", help="Where alerts go: a URL or command:PROGRAM; repeatable.")
@render.json_option
def up(port: int | None, control_port: int | None, detach: bool, notify: tuple[str, ...], as_json: bool) -> None:
    """Start everything this workspace serves, and keep it running after this command returns.

    \b
    Examples:
      mlspine up
      mlspine up --notify https://chat.example/hook --foreground
    """
    workspace = start(port=port, control_port=control_port, notify=notify)
    endpoints = workspace.deployment.endpoints()
    rows = [
        (each.name, f"version {each.current.version}", f"{workspace.predictions_url}/endpoints/{each.name}")
        for each in endpoints
    ]
    told = {
        "control_url": workspace.control_url,
        "predictions_url": workspace.predictions_url,
        "endpoints": endpoints,
    }
    listed = render.table(rows) if rows else "  nothing is served yet: mlspine serve NAME"
    where = f"control at {workspace.control_url}, predictions at {workspace.predictions_url}"
    text = f"{where}\n{listed}\nStop with: mlspine down"
    render.emit(told, as_json=as_json, text=lambda: text)
    if not detach:
        follow(workspace.path)


@click.command()
@render.json_option
def down(as_json: bool) -> None:
    """Stop everything this workspace serves. What was answered stays in the log."""
    from mlspine.control import stop_everything
    from mlspine.workspace import locate

    stopped = stop_everything(locate())
    text = f"stopped: {', '.join(stopped)}" if stopped else "nothing was running"
    render.emit({"stopped": stopped}, as_json=as_json, text=lambda: text)


@click.command()
@render.json_option
def config(as_json: bool) -> None:
    """Effective settings and where each comes from: default, mlspine.toml, environment or command line."""
    from mlspine.core.config import explain, load_config
    from mlspine.workspace import locate, running_options

    directory = locate()
    rows = explain(load_config(directory, overrides=running_options(directory)))
    render.emit(
        [{"key": key, "value": value, "from": origin} for key, value, origin in rows],
        as_json=as_json,
        text=lambda: f"workspace {directory}\n" + render.table(rows, head=("setting", "value", "from")),
    )


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      eval "$(mlspine completion bash)"
    """
    from click.shell_completion import get_completion_class

    from mlspine.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "mlspine", "_MLSPINE_COMPLETE").source())


def _print_new(file: Path, offset: int) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as source:
        source.seek(offset)
        data = source.read()
    if data:
        click.echo(data.decode(errors="replace"), nl=False)
    return offset + len(data)
