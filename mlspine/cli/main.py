"""The command table, and how errors are printed. Help comes from the table, so `--help` imports only click."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import click

from mlspine import __version__

# command -> (module:function, one line of help), in the order in which a newcomer meets them.
COMMANDS: dict[str, tuple[str, str]] = {
    "ship": ("mlspine.cli.models:ship", "Turn a fitted model in a file into a release."),
    "serve": ("mlspine.cli.endpoints:serve", "Answer requests with a model; everything starts by itself."),
    "status": ("mlspine.cli.monitor:status", "How an endpoint is doing, with evidence."),
    "watch": ("mlspine.cli.watch:watch", "Monitor a model that somebody else's server answers with."),
    "look": ("mlspine.cli.look:look", "Open the live page of all endpoints, signed in."),
    "rollback": ("mlspine.cli.endpoints:rollback", "Bring back the whole previous release."),
    "promote": ("mlspine.cli.endpoints:promote", "Move an endpoint to another version of its model."),
    "guards": ("mlspine.cli.guards:guards", "Who answers when the release does not; what may never be answered."),
    "split": ("mlspine.cli.traffic:split", "Let another version answer a share of the requests, or take it back."),
    "shadow": ("mlspine.cli.traffic:shadow", "Ask another version along, unseen, and compare its answers."),
    "rollout": ("mlspine.cli.rollout:rollout", "Bring a version forward by a canary that comes back by itself."),
    "retrain": ("mlspine.cli.retrain:retrain", "Fit a model again on fresh rows, and judge it by the gate."),
    "gate": ("mlspine.cli.retrain:gate", "Compare a version with Production on rows neither has seen."),
    "replay": ("mlspine.cli.replay:replay", "Logged requests answered by two releases: where they differ."),
    "labels": ("mlspine.cli.monitor:labels", "Add the true outcomes of predictions, whenever they arrive."),
    "quality": ("mlspine.cli.quality:quality", "Measured quality by month, week or day, with intervals."),
    "drift": ("mlspine.cli.drift:drift", "One table against another, without a server: what changed."),
    "report": ("mlspine.cli.report:report", "One judged window: verdict, columns by impact, quality; a page."),
    "causes": ("mlspine.cli.causes:causes", "Why a window changed: column, since when, whose rows."),
    "alerts": ("mlspine.cli.alerts:alerts", "What a person should know; acknowledge, silence, test."),
    "monitoring": ("mlspine.cli.monitoring:monitoring", "Rules for Prometheus, a dashboard for Grafana."),
    "check": ("mlspine.cli.monitor:check", "Judge the newest rows now instead of at the full hour."),
    "log": ("mlspine.cli.endpoints:log", "SQL over every answered request."),
    "score": ("mlspine.cli.feeds:score", "Score a whole table as the endpoint would, once or at fixed times."),
    "schedules": ("mlspine.cli.feeds:schedules", "What is scored at fixed times, and how the last run went."),
    "feeds": ("mlspine.cli.feeds:feeds", "Where rows and labels come from, and how each feed is doing."),
    "forget": ("mlspine.cli.endpoints:forget", "Remove every logged row of one subject."),
    "models": ("mlspine.cli.models:models", "Models and their versions."),
    "runs": ("mlspine.cli.runs:runs", "What was tried and what came of it: list, show, compare, best."),
    "reproduce": ("mlspine.cli.reproduce:reproduce", "Run a run again: identical, within chance, or different."),
    "review": ("mlspine.cli.review:review", "Look at a fair sample of answers; what that says of all of them."),
    "sentinels": ("mlspine.cli.sentinels:sentinels", "Cases whose answer is known, asked of every release."),
    "trust": ("mlspine.cli.models:trust", "Vouch for a model that came from elsewhere."),
    "approve": ("mlspine.cli.govern:approve", "Give your word for a version that somebody else brings forward."),
    "ledger": (
        "mlspine.cli.govern:ledger",
        "What was live when, by whom and why; --verify checks the chain.",
    ),
    "login": ("mlspine.cli.access:login", "Act on a workspace on another machine from now on."),
    "logout": ("mlspine.cli.access:logout", "Act on this machine again."),
    "tokens": ("mlspine.cli.access:tokens", "Who may do what from other machines; until when."),
    "advise": ("mlspine.cli.advise:advise", "What to add next, what not yet, what to remove; with evidence."),
    "cost": ("mlspine.cli.advise:cost", "CPU time and money per release, and per million predictions."),
    "effort": ("mlspine.cli.advise:effort", "What each deployment took of people, as measured."),
    "runbook": ("mlspine.cli.handover:runbook", "The page a second person follows to deploy, roll back or retrain."),
    "drill": ("mlspine.cli.handover:drill", "Type every line of the runbooks on a copy, and keep how it ended."),
    "card": ("mlspine.cli.handover:card", "Why the model exists, for whom, and when it is a success."),
    "up": ("mlspine.cli.project:up", "Start everything this workspace serves."),
    "down": ("mlspine.cli.project:down", "Stop everything this workspace serves."),
    "service": ("mlspine.cli.service:service", "Start with the machine: a systemd unit, launchd on macOS."),
    "import": ("mlspine.cli.interop:import_", "Bring what an MLflow server or its SQLite file holds."),
    "gc": ("mlspine.cli.upkeep:gc", "Remove deleted runs and their files for good; lists them first."),
    "backup": ("mlspine.cli.upkeep:backup", "Copy the whole workspace while it serves, verified."),
    "restore": ("mlspine.cli.upkeep:restore", "Bring a backup back, here or elsewhere."),
    "export": ("mlspine.cli.export:export", "Take it elsewhere: a container image, open formats."),
    "config": ("mlspine.cli.project:config", "Effective settings, and where each comes from."),
    "demo": ("mlspine.cli.demo:demo", "Watch a real model live a whole year."),
    "completion": ("mlspine.cli.project:completion", "Print the shell completion script."),
}


# After `mlspine login` these act on the server, ANYWHERE do the same everywhere, and all others need the machine
# itself: they say so instead of quietly acting on another workspace than the one before.
ON_SERVER = {
    *("ship", "models", "runs", "trust", "approve", "serve", "promote", "rollback", "status", "check", "alerts"),
    *("split", "shadow", "rollout"),
    *("review", "sentinels", "causes", "guards"),
    *("look", "labels", "quality", "log", "forget", "ledger", "tokens", "advise", "cost", "effort", "reproduce", "gc"),
    "report",
}
ANYWHERE = {"login", "logout", "demo", "completion", "drift"}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as exc:
            from mlspine.core.errors import closest

            near = closest(args[0], COMMANDS)
            hint = f"; did you mean: mlspine {near}" if near else ""
            raise click.UsageError(f"no command {args[0]!r}{hint}", ctx) from exc
        if name is not None and not {"-h", "--help"} & set(rest):
            _say_where(name)
        return name, command, rest


def _say_where(command: str) -> None:
    """Name the server a command is about to act on; refuse one that only the machine itself can do."""
    from mlspine import login

    if command in ANYWHERE:
        return
    if command not in ON_SERVER:
        login.refuse_server(f"mlspine {command}")
        return
    server = login.server()
    if server is not None:
        click.echo(f"on {server.url}" + (f" as {server.name}" if server.name else ""), err=True)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="From a notebook: mlspine.ship(model, X, y, name='churn'); then: mlspine serve churn",
)
@click.version_option(__version__, prog_name="mlspine")
def cli() -> None:
    """From a fitted model to a monitored, reversible endpoint."""


def main() -> None:
    """Entry point: runs a command, and keeps what was typed in the effort ledger."""
    from mlspine.cli import typed

    began_s = time.monotonic()
    try:
        run()
    except SystemExit as exc:
        typed.note(cli, sys.argv[1:], began_s=began_s, ok=exc.code == 0)
        raise


def run() -> None:
    """Run a command, print errors as cause and fix, and map them to exit codes."""
    try:
        # Without standalone mode click returns the code of ctx.exit() instead of raising it.
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as exc:  # noqa: BLE001 - the last line of defence: nobody is shown a traceback
        sys.exit(_print_failure(exc))


def _print_failure(exc: Exception) -> int:
    from mlspine.cli.failure import describe

    text, exit_code = describe(exc)
    click.echo(text, err=True)
    return exit_code
