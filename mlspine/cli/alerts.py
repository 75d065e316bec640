"""alerts: what a person should know, and what they do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.cli.listing import ListingGroup

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.core.types import Alert, Silence
    from mlspine.monitoring.handling import AlertTest
    from mlspine.workspace import Workspace

WORKSPACE = "workspace"  # how the workspace itself is called where an endpoint's name is asked for
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group(cls=ListingGroup)
def alerts() -> None:
    """What a person should know: what changed, by how much, and what to do.

    Without a subcommand the open alerts are listed, of endpoint NAME or of all.

    \b
    Examples:
      mlspine alerts
      mlspine alerts churn --all
      mlspine alerts test
      mlspine alerts ack churn
      mlspine alerts silence churn --cause drift --for 2h
    """


@alerts.command("list")
@click.argument("name", required=False, default="")
@click.option("--all", "everything", is_flag=True, help="Cleared ones too.")
@render.json_option
def list_(name: str, everything: bool, as_json: bool) -> None:
    """List alerts, of endpoint NAME or of all.

    \b
    Example:
      mlspine alerts list churn --all
    """
    from mlspine.control import connect

    workspace = connect()
    found = workspace.monitoring.alerts(name, open_only=not everything)
    quiet = workspace.monitoring.silences() if found and not as_json else []
    render.emit(found, as_json=as_json, text=lambda: _alerts_text(found, everything, quiet))


@alerts.command("test")
@render.json_option
def send_test(as_json: bool) -> None:
    """Send a test alert to every sink now, and say what each answered; exit code 1 when one failed.

    \b
    Example:
      mlspine alerts test
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    result = connect().monitoring.send_test(actor=this_actor())
    render.emit(result, as_json=as_json, text=lambda: _test_text(result))
    if result.failed:
        raise click.exceptions.Exit(1)


@alerts.command()
@click.argument("name")
@click.argument("cause", required=False, default="")
@render.json_option
def ack(name: str, cause: str, as_json: bool) -> None:
    """Take on the open alerts of endpoint NAME, or the one of CAUSE: told again only when it gets worse.

    NAME "workspace" means the workspace itself, such as its processes and its log.

    \b
    Example:
      mlspine alerts ack churn drift:tenure:up
    """
    from mlspine.folder import this_actor

    workspace, endpoint = _subject(name)
    taken = workspace.monitoring.acknowledge(endpoint, cause=cause, actor=this_actor())
    render.emit(taken, as_json=as_json, text=lambda: "\n".join(f"yours now: {each.title}" for each in taken))


@alerts.command()
@click.argument("name")
@click.option("--cause", default="", help="Only this cause; `drift` covers every column.")
@click.option(
    "--for",
    "for_s",
    callback=lambda _c, _p, text: seconds(text),
    required=True,
    metavar="TIME",
    help="How long: 30m, 2h, 1d; at most 30d.",
)
@click.option("--reason", default="", help="Why, for the ledger.")
@render.json_option
def silence(name: str, cause: str, for_s: float, reason: str, as_json: bool) -> None:
    """Record alerts of endpoint NAME without sending them for a while; it ends by itself.

    NAME "workspace" means the workspace itself. What is still open at the end is sent then.

    \b
    Example:
      mlspine alerts silence churn --cause drift --for 2h --reason "price change"
    """
    from mlspine.folder import this_actor

    workspace, endpoint = _subject(name)
    quiet = workspace.monitoring.silence(endpoint, for_s=for_s, cause=cause, reason=reason, actor=this_actor())
    text = f"{_silence_text(quiet)}\nEnd it sooner: mlspine alerts unsilence {name}" + (
        f" --cause {cause}" if cause else ""
    )
    render.emit(quiet, as_json=as_json, text=lambda: text)


@alerts.command()
@render.json_option
def silences(as_json: bool) -> None:
    """What is silenced now, by whom and until when.

    \b
    Example:
      mlspine alerts silences
    """
    from mlspine.control import connect

    found = connect().monitoring.silences()
    render.emit(found, as_json=as_json, text=lambda: "\n".join(map(_silence_text, found)) or "nothing is silenced")


@alerts.command()
@click.argument("name")
@click.option("--cause", default="", help="Only silences of this cause.")
@render.json_option
def unsilence(name: str, cause: str, as_json: bool) -> None:
    """End the silences of endpoint NAME now; what is still open is sent.

    \b
    Example:
      mlspine alerts unsilence churn
    """
    from mlspine.folder import this_actor

    workspace, endpoint = _subject(name)
    ended = workspace.monitoring.unsilence(endpoint, cause=cause, actor=this_actor())
    render.emit(ended, as_json=as_json, text=lambda: f"ended: {len(ended)}")


def seconds(text: str) -> float:
    """ "90s", "30m", "2h" or "1d", as seconds.

    >>> seconds("2h")
    7200.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration; e.g. 30m, 2h or 1d")
    return float(found[1]) * UNITS_S[found[2]]


def _subject(name: str) -> tuple[Workspace | RemoteWorkspace, str]:
    """The workspace and the endpoint of that name, "" for the workspace itself; raises NotFound for a slip."""
    from mlspine.control import connect

    workspace = connect()
    if name == WORKSPACE:
        return workspace, ""
    workspace.deployment.get(name)
    return workspace, name


# ---------------------------------------------------------------- text


def _alerts_text(found: list[Alert], everything: bool, quiet: list[Silence]) -> str:
    if not found:
        return "no alert so far" if everything else "no open alert"
    return "\n".join(line for alert in found for line in _alert_lines(alert, quiet))


def _alert_lines(alert: Alert, quiet: list[Silence]) -> list[str]:
    from mlspine.core.ids import now_ms
    from mlspine.monitoring.alert import silenced

    state = f"cleared {render.when(alert.cleared_at_ms)}" if alert.cleared_at_ms else "open"
    lines = [
        f"{alert.severity:<8} {render.bold(alert.title)}  ({state}, since {render.when(alert.opened_at_ms)} UTC)",
        f"         {alert.why}",
    ]
    if not alert.cleared_at_ms:
        lines.append(f"         do: {alert.action}")
        lines.append(f"         cause: {alert.cause}")
    if alert.acknowledged_at_ms:
        lines.append(f"         taken on by {alert.acknowledged_by}, {render.when(alert.acknowledged_at_ms)} UTC")
    if not alert.cleared_at_ms and silenced(alert, quiet, now_ms=now_ms()):
        lines.append("         silenced: see mlspine alerts silences")
    failed = [f"{sink}: {outcome}" for sink, outcome in alert.delivered.items() if outcome != "ok"]
    return lines + [f"         not delivered to {failure}" for failure in failed]


def _silence_text(quiet: Silence) -> str:
    where = quiet.endpoint or "the workspace itself"
    what = f"{where}, {quiet.cause}" if quiet.cause else where
    return f"silent: {what} until {render.when(quiet.until_at_ms)} UTC, by {quiet.actor}"


def _test_text(result: AlertTest) -> str:
    rows = [
        (render.mark("green" if outcome == "ok" else "red"), sink, "took it" if outcome == "ok" else outcome)
        for sink, outcome in result.outcomes.items()
    ]
    lines = [render.table(rows, indent="")]
    if not result.reaches_somebody and not result.failed:
        lines.append("Only the log: nobody is told. Next: mlspine up --notify URL")
    return "\n".join(lines)
