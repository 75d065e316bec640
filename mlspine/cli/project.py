"""up, down, config, completion: commands about the workspace as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.core.config import Config
    from mlspine.core.plan import Endpoint
    from mlspine.running import ControlFile


def start(
    *,
    port: int | None = None,
    control_port: int | None = None,
    grpc_port: int | None = None,
    host: str | None = None,
    notify: tuple[str, ...] = (),
) -> RemoteWorkspace:
    """The running control process of this workspace, started when it is not there, and all its rooms."""
    started = _start(port=port, control_port=control_port, grpc_port=grpc_port, host=host, notify=notify)
    from mlspine.control import RemoteWorkspace

    return RemoteWorkspace(started.directory, started.config, started.control)


class Started(NamedTuple):
    directory: Path
    config: Config
    control: ControlFile


def _start(
    *,
    port: int | None,
    control_port: int | None,
    grpc_port: int | None = None,
    host: str | None,
    notify: tuple[str, ...],
) -> Started:
    """Addresses and sinks given once are kept in `mlspine.toml`'s place for this workspace, `run/options.json`, so
    that the next command finds the same. The services themselves are not loaded here: control does that meanwhile.
    """
    from mlspine.core.config import load_config
    from mlspine.folder import create, keep_options, locate, remember, running_options
    from mlspine.running import running_control, start_control, stop_everything

    directory = locate()
    create(directory)
    remember(directory)
    wanted = running_options(directory)
    before = dict(wanted)
    if port is not None:
        wanted["serving.port"] = str(port)
    if control_port is not None:
        wanted["control.port"] = str(control_port)
    if grpc_port is not None:
        _check_grpc()
        wanted["serving.grpc_port"] = str(grpc_port)
    if host is not None:
        wanted["serving.host"] = wanted["control.host"] = host
    if notify:
        wanted["monitoring.notify"] = msgspec.json.encode(notify).decode()
    config = load_config(directory, overrides=wanted)
    _check_sinks(config.monitoring.notify)
    if wanted != before:
        if running_control(directory) is not None:
            stop_everything(directory)  # addresses and sinks are read at start
        keep_options(directory, wanted)
    return Started(directory, config, start_control(directory, config))


def _check_grpc() -> None:
    import importlib.util

    if any(importlib.util.find_spec(each) is None for each in ("grpc", "google")):
        from mlspine.web.grpc import missing

        raise missing()


def _check_sinks(sinks: tuple[str, ...]) -> None:
    if sinks:
        from mlspine.backends.notify import check_notifier

        for each in sinks:
            check_notifier(each)


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


def _start_and_tell(
    *, port: int | None, control_port: int | None, host: str | None, notify: tuple[str, ...], as_json: bool
) -> Path:
    """Start, print where everything is, and return the workspace's folder."""
    started = _start(port=port, control_port=control_port, host=host, notify=notify)
    endpoints = _endpoints(started.control)
    told = {
        "control_url": started.control.url,
        "predictions_url": started.control.predictions_url,
        "mlflow_tracking_uri": started.control.url,
        "endpoints": endpoints,
    }
    render.emit(told, as_json=as_json, text=lambda: _up_text(started, endpoints))
    return started.directory


def _endpoints(control: ControlFile) -> list[Endpoint]:
    from mlspine.core.plan import Endpoint
    from mlspine.remote import ApiClient

    payload = ApiClient(control.url, control.token).post("/api/deployment/endpoints", {})
    return msgspec.json.decode(payload, type=list[Endpoint])


def _up_text(started: Started, endpoints: list[Endpoint]) -> str:
    control = started.control
    rows = [
        (
            each.name,
            f"version {each.current.version}",
            "watched: answered by somebody else's server"
            if each.current.cause == "watch"
            else f"{control.predictions_url}/endpoints/{each.name}",
        )
        for each in endpoints
    ]
    return "\n".join(
        [
            f"control at {control.url}, predictions at {control.predictions_url}",
            render.table(rows) if rows else "  nothing is served yet: mlspine serve NAME",
            *_open_to_whom(started.config),
            f"MLflow clients log here: export MLFLOW_TRACKING_URI={control.url}",
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
    from mlspine.folder import locate
    from mlspine.running import stop_everything

    stopped = stop_everything(locate())
    text = f"stopped: {', '.join(stopped)}" if stopped else "nothing was running"
    render.emit({"stopped": stopped}, as_json=as_json, text=lambda: text)


@click.command()
@render.json_option
def config(as_json: bool) -> None:
    """Effective settings and where each comes from: default, mlspine.toml, environment or command line."""
    from mlspine.core.config import explain, load_config
    from mlspine.folder import locate, running_options

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
