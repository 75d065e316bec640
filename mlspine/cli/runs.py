"""runs: what was tried, what came of it, and what sets runs apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.tracking.experiment import View

COMPLETED = 50  # runs offered by the shell


def _completed(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the newest runs that begin like this; nothing where none can be read."""
    from mlspine import login
    from mlspine.control import connect
    from mlspine.folder import locate

    try:
        if login.server() is None and not (locate() / "store.db").exists():
            return []  # looking must not make a workspace
        found = connect().runs.search(max_results=COMPLETED)
    except Exception:  # noqa: BLE001 - a shell that completes must not be answered by an error
        return []
    return [run.name for run in found.runs if run.name.startswith(incomplete)]


_FILTER: Callable[[Any], Any] = click.option(
    "--filter", "condition", default="", metavar="TEXT", help="As in MLflow: \"metrics.auc > 0.9 and params.C = '1'\"."
)
_EXPERIMENT: Callable[[Any], Any] = click.option(
    "--experiment", default="", metavar="NAME", help="Only of this one, by name or number."
)


@click.group()
def runs() -> None:
    """Runs that were logged, by mlspine.log or an MLflow client. RUN is an id, its beginning, or a name.

    \b
    Examples:
      mlspine runs ls --filter "metrics.auc > 0.9"
      mlspine runs show calm-otter-412
      mlspine runs best --metric auc
    """


@runs.command("ls")
@_FILTER
@click.option("--order", multiple=True, metavar="TEXT", help='As in MLflow: "metrics.auc DESC"; repeatable.')
@_EXPERIMENT
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 50_000), help="Runs printed.")
@click.option("--page", default="", metavar="TOKEN", help="Go on where a list ended.")
@click.option("--all", "everything", is_flag=True, help="Deleted ones too.")
@click.option("--deleted", is_flag=True, help="Only deleted ones.")
@click.option("--experiments", is_flag=True, help="List experiments instead.")
@render.json_option
def ls(
    condition: str,
    order: tuple[str, ...],
    experiment: str,
    limit: int,
    page: str,
    everything: bool,
    deleted: bool,
    experiments: bool,
    as_json: bool,
) -> None:
    """List runs, those begun last first, with the parameters and metrics in which they differ.

    \b
    Examples:
      mlspine runs ls --experiment churn --order "metrics.auc DESC"
      mlspine runs ls --filter "params.C = '0.1'" --json
      mlspine runs ls --experiments
    """
    from mlspine.cli.run_tables import experiments_text, list_text
    from mlspine.control import connect

    view: View = "DELETED_ONLY" if deleted else "ALL" if everything else "ACTIVE_ONLY"
    reader = connect().runs
    if experiments:
        for given, flag in (
            (condition, "--filter"),
            (order, "--order"),
            (experiment, "--experiment"),
            (page, "--page"),
        ):
            if given:
                raise click.UsageError(f"{flag} is for runs; leave out --experiments")
        known = reader.experiments(view=view)
        render.emit(known, as_json=as_json, text=lambda: experiments_text(known))
        return
    found = reader.search(
        experiment=experiment, filter=condition, order_by=order, view=view, max_results=limit, page_token=page
    )
    render.emit(found, as_json=as_json, text=lambda: list_text(found))


@runs.command()
@click.argument("run", shell_complete=_completed)
@render.json_option
def show(run: str, as_json: bool) -> None:
    """Everything of one run: metrics with their course, parameters, data, code, models, files.

    \b
    Example:
      mlspine runs show 3f2a9c1e
    """
    from mlspine.cli.run_tables import sheet_text
    from mlspine.control import connect

    sheet = connect().runs.get(run)
    render.emit(sheet, as_json=as_json, text=lambda: sheet_text(sheet))


@runs.command()
@click.argument("several", metavar="RUN RUN...", nargs=-1, required=True, shell_complete=_completed)
@render.json_option
def compare(several: tuple[str, ...], as_json: bool) -> None:
    """What differs between runs; metrics with the distance to the first one.

    \b
    Example:
      mlspine runs compare calm-otter-412 3f2a9c1e
    """
    from mlspine.cli.run_tables import comparison_text
    from mlspine.control import connect

    found = connect().runs.compare(several)
    render.emit(found, as_json=as_json, text=lambda: comparison_text(found))


@runs.command()
@click.option("--metric", required=True, help="What to judge by: its latest value.")
@click.option("--min", "lowest", is_flag=True, help="The lowest is best.")
@_FILTER
@_EXPERIMENT
@click.option("--limit", default=1, show_default=True, type=click.IntRange(1, 1000), help="So many of the best.")
@render.json_option
def best(metric: str, lowest: bool, condition: str, experiment: str, limit: int, as_json: bool) -> None:
    """The run with the greatest value of a metric, or with --min the lowest.

    \b
    Examples:
      mlspine runs best --metric auc --experiment churn
      mlspine runs best --metric loss --min --limit 5
    """
    from mlspine.cli.run_tables import list_text
    from mlspine.control import connect

    found = connect().runs.best(metric, lowest=lowest, experiment=experiment, filter=condition, max_results=limit)
    render.emit(found, as_json=as_json, text=lambda: list_text(found, first=(metric,)))
