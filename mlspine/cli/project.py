"""up, down, config, completion: commands about the workspace as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.core.config import Config
    from mlspine.core.types import Endpoint


def start(
    *,
    port: int | None = None,
    control_port: int | None = None,
    host: str | None = None,
    notify: tuple[str, ...] = (),
) -> RemoteWorkspace:
    """The running control process of this workspace, started when it is not there.

    Addresses and sinks given once are kept in `mlspine.toml`'s place for this workspace, `run/options.json`, so
    that the next command finds the same.
    """
    from mlspine.backends.notify import check_notifier
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
    if host is not None:
        wanted["serving.host"] = wanted["control.host"] = host
    if notify:
        wanted["monitoring.notify"] = msgspec.json.encode(notify).decode()
    config = load_config(directory, overrides=wanted)
    for each in config.monitoring.notify:
        check_notifier(each)
    if wanted != before:
        from mlspine.control import running_control

        if running_control(directory) is not None:
            stop_everything(directory)  # addresses and sinks are read at start
        keep_options(directory, wanted)
    control = start_control(directory, config)
    return RemoteWorkspace(directory, config, control)


def follow(directory: Path) -> None:
    """Stay in the foreground: print what the processes log; Ctrl-C ends everything."""
    from mlspine.cli.foreground import StopSignals, stay

    with StopSignals() as signals:
        click.echo("Following the log; Ctrl-C stops everything.")
        stay(directory, signals)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where predictions are answered (default 8080).")
@click.option("--control-port", type=click.IntRange(1, 65535), help="Where the control API listens (default 8081).")
@click.option("--host", metavar="ADDRESS", help="Where both listen (default 127.0.0.1; 0.0.0.0: for every machine).")
@click.option("--detach/--foreground", default=True, help="Return when ready (default), or stay and follow the log.")
@click.option("--notify", multiple=True, metavar="URL", help="Where alerts go: a URL or command:PROGRAM; repeatable.")
@render.json_option
def up(
    port: int | None,
    control_port: int | None,
    host: str | None,
    detach: bool,
    notify: tuple[str, ...],
    as_json: bool,
) -> None:
    """Start everything this workspace serves, and keep it running after this command returns.

    Addresses and sinks are kept for the next start. With --foreground, SIGTERM and Ctrl-C stop everything.

    \b
    Examples:
      mlspine up
      mlspine up --host 0.0.0.0
      mlspine up --notify https://chat.example/hook --foreground
    """
    from mlspine.cli.foreground import StopSignals, stay

    if detach:
        _start_and_tell(port=port, control_port=control_port, host=host, notify=notify, as_json=as_json)
        return
    with StopSignals() as signals:
        stay(_start_and_tell(port=port, control_port=control_port, host=host, notify=notify, as_json=as_json), signals)


def _start_and_tell(*, as_json: bool, **options: Any) -> Path:
    """Start, print where everything is, and return the workspace's folder."""
    workspace = start(**options)
    endpoints = workspace.deployment.endpoints()
    told = {
        "control_url": workspace.control_url,
        "predictions_url": workspace.predictions_url,
        "endpoints": endpoints,
    }
    render.emit(told, as_json=as_json, text=lambda: _up_text(workspace, endpoints))
    return workspace.path


def _up_text(workspace: RemoteWorkspace, endpoints: list[Endpoint]) -> str:
    rows = [
        (each.name, f"version {each.current.version}", f"{workspace.predictions_url}/endpoints/{each.name}")
        for each in endpoints
    ]
    return "\n".join(
        [
            f"control at {workspace.control_url}, predictions at {workspace.predictions_url}",
            render.table(rows) if rows else "  nothing is served yet: mlspine serve NAME",
            *_open_to_whom(workspace.config),
            "Stop with: mlspine down",
        ]
    )


def _open_to_whom(config: Config) -> list[str]:
    """What other machines can reach, when they can reach anything."""
    from mlspine.core.address import is_loopback

    serving, control = config.serving, config.control
    lines = []
    if not is_loopback(serving.host):
        lines.append(f"  {serving.host}:{serving.port} answers predictions to whoever reaches it")
    if not is_loopback(control.host):
        lines.append(f"  {control.host}:{control.port} asks everybody for a token: mlspine tokens create")
    return lines


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
