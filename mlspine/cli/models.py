"""ship, models, trust: commands about models and their versions."""

from __future__ import annotations

from pathlib import Path

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The model's name; it becomes part of URLs.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The rows it was fitted on: Parquet, CSV or JSON lines.",
)
@click.option("--target", help="The column of --data that the model predicts.")
@click.option("--holdout", type=click.Path(path_type=Path), help="Rows the model has not seen, with the same columns.")
@click.option("--time", "time_column", metavar="COLUMN", help="The column that dates a row.")
@click.option("--key", "key_column", metavar="COLUMN", help="The column that identifies what a row is about.")
@click.option("--source", metavar="TEXT", help='Where fresh rows come from: a path, glob, SQL, Postgres URL, "caller".')
@click.option("--labels", metavar="TEXT", help="Where late labels come from, said the same way.")
@click.option("--recipe", metavar="SCRIPT", help="The Python script that fits the model again (docs/retrain.md).")
@click.option("--owner", help="Who answers for it; by default git's user.email.")
@click.option("--tier", type=click.Choice(["low", "medium", "high"]), default="low", show_default=True)
@click.option("--message", "-m", help="Kept with the version.")
@click.option("--trust", is_flag=True, help="The file may run code when loaded, and you vouch for it.")
@click.option("--explain", is_flag=True, help="Say more about what was captured.")
@render.json_option
def ship(
    file: Path,
    name: str,
    data: Path,
    target: str | None,
    holdout: Path | None,
    time_column: str | None,
    key_column: str | None,
    source: str | None,
    labels: str | None,
    recipe: str | None,
    owner: str | None,
    tier: str,
    message: str | None,
    trust: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Turn FILE, a fitted model in a joblib or pickle file or an MLflow model directory, into a release.

    \b
    Example:
      mlspine ship model.joblib --name churn --data train.parquet --target churned --trust
    """
    from mlspine import api
    from mlspine.core.ids import check_name
    from mlspine.registry.account import shipped_text
    from mlspine.registry.files import load_model_file, load_table, split_target

    check_name(name)
    X, y = split_target(load_table(data), target, data)
    held = split_target(load_table(holdout), target, holdout) if holdout else None
    version = api.ship(
        load_model_file(file, trust=trust),
        X,
        y,
        name=name,
        holdout=held,
        time=time_column,
        key=key_column,
        source=source,
        labels=labels,
        recipe=recipe,
        owner=owner,
        tier=tier,  # type: ignore[arg-type]  # click's Choice has already limited it to Tier
        message=message,
        trust=trust,
        origin=str(file),
        quiet=True,
    )
    render.emit(version, as_json=as_json, text=lambda: shipped_text(version, saved_in=_saved_in(), explain=explain))


@click.command()
@click.argument("name", required=False)
@render.json_option
def models(name: str | None, as_json: bool) -> None:
    """Models of this workspace, or every version of model NAME.

    \b
    Example:
      mlspine models churn
    """
    from mlspine.control import connect

    workspace = connect()
    if name is None:
        rows = workspace.registry.models()
        shown = [(row.name, row.versions, row.production or "-", row.latest) for row in rows]
        head = ("model", "versions", "in production", "latest")
        render.emit(
            rows,
            as_json=as_json,
            text=lambda: render.table(shown, head=head, indent="") if rows else "no model yet: mlspine.ship(...)",
        )
        return
    versions = workspace.registry.versions(name)
    lines = [
        (
            each.version,
            each.release_hash[:SHORT_HASH],
            each.stage,
            render.when(each.created_at_ms),
            _metric(each.metric),
            each.message,
            each.owner or "-",
        )
        for each in versions
    ]
    columns = ("version", "release", "stage", "shipped (UTC)", "quality at ship", "message", "owner")
    render.emit(versions, as_json=as_json, text=lambda: render.table(lines, head=columns, indent=""))


@click.command()
@click.argument("ref", metavar="NAME:VERSION")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def trust(ref: str, reason: str, as_json: bool) -> None:
    """Vouch for a version whose file came from elsewhere; only then is it ever loaded.

    \b
    Example:
      mlspine trust churn:3 --reason "built by our own pipeline"
    """
    from mlspine.control import connect
    from mlspine.workspace import this_actor

    version = connect().registry.trust(ref, actor=this_actor(), reason=reason)
    render.emit(
        version,
        as_json=as_json,
        text=lambda: (
            f"{version.model}:{version.version} is trusted, release {version.release_hash[:SHORT_HASH]}\n"
            f"Next: mlspine serve {version.model}:{version.version}"
        ),
    )


def _saved_in() -> str:
    from mlspine import login
    from mlspine.workspace import locate

    server = login.server()
    return server.url if server else str(locate())


def _metric(metric: object) -> str:
    from mlspine.core.types import Metric

    if not isinstance(metric, Metric) or metric.interval is None:
        return "not estimable"
    interval = metric.interval
    return f"{metric.name} {interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"
