"""ship, models, trust: commands about models and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.types import ModelVersion
    from mlspine.interop.attach import FetchedModel


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name; it becomes part of URLs. Of models:/NAME/VERSION it is known.")
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
@click.option("--registry-uri", metavar="URL", help="The MLflow server that models:/... is taken from; it stays there.")
@click.option("--explain", is_flag=True, help="Say more about what was captured.")
@render.json_option
def ship(
    file: Path,
    name: str | None,
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
    registry_uri: str | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Turn FILE, a fitted model in a joblib or pickle file or an MLflow model directory, into a release.

    FILE may be models:/NAME/VERSION, a version that an MLflow client registered: it is filled in with what it
    lacks, and keeps its number. With --registry-uri it is taken from another MLflow server, which is told as tags
    what becomes of it here: stage, release, verdict.

    \b
    Examples:
      mlspine ship model.joblib --name churn --data train.parquet --target churned --trust
      mlspine ship models:/churn/3 --data train.parquet --target churned --trust
      mlspine ship models:/churn@champion --registry-uri http://127.0.0.1:5000 --data train.parquet --trust
    """
    from mlspine import api
    from mlspine.core.ids import check_name
    from mlspine.registry.account import shipped_text
    from mlspine.registry.files import load_model_file, load_table, split_target

    taken = _take(str(file), registry_uri) if registry_uri else None
    registered = taken is None and str(file).startswith("models:/")
    name = name or (taken.name if taken else None)
    if not registered:
        if name is None:
            raise click.UsageError("a model needs a name: --name churn")
        check_name(name)
    X, y = split_target(load_table(data), target, data)
    held = split_target(load_table(holdout), target, holdout) if holdout else None
    version = api.ship(
        str(file) if registered else load_model_file(taken.folder if taken else file, trust=trust),
        X,
        y,
        name=name or "",
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
        origin=f"{file} at {taken.registry}" if taken else str(file),
        quiet=True,
    )
    if taken is not None:
        _attach(version, taken)
    render.emit(version, as_json=as_json, text=lambda: shipped_text(version, saved_in=_saved_in(), explain=explain))


def _take(uri: str, registry_uri: str) -> FetchedModel:
    """Bring a model's files from another registry, into a folder that goes when the command ends."""
    import tempfile

    from mlspine.interop.attach import fetch_model

    folder = click.get_current_context().with_resource(tempfile.TemporaryDirectory(prefix="mlspine-"))
    click.echo(f"taking {uri} from {registry_uri.rpartition('@')[2]}", err=True)
    return fetch_model(uri, registry_uri, Path(folder) / "model")


def _attach(version: ModelVersion, taken: FetchedModel) -> None:
    from mlspine.control import connect
    from mlspine.folder import this_actor

    attached = connect().attached.attach(
        version.model,
        version.version,
        registry=taken.registry,
        foreign_name=taken.name,
        foreign_version=taken.version,
        actor=this_actor(),
    )
    told = (
        f"could not be told yet: {attached.problem}" if attached.problem else "is told its stage, release and verdict"
    )
    click.echo(f"{taken.registry} {told}", err=True)


class ModelsGroup(click.Group):
    """`mlspine models [NAME]` lists: a first word that is no subcommand is a name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_for_help and (not args or args[0] not in self.commands):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ModelsGroup)
def models() -> None:
    """Models of this workspace, or every version of model NAME. REF is NAME, NAME:VERSION or NAME@ALIAS.

    \b
    Examples:
      mlspine models
      mlspine models churn
      mlspine models show churn@champion
      mlspine models diff churn:1 churn:2
    """


@models.command("ls")
@click.argument("name", required=False)
@click.option("--filter", "condition", default="", metavar="TEXT", help="As in MLflow: \"name LIKE 'churn%'\".")
@click.option("--order", multiple=True, metavar="TEXT", help='As in MLflow: "last_updated_timestamp DESC"; repeatable.')
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="Models found by --filter.")
@render.json_option
def list_(name: str | None, condition: str, order: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List models, or every version of model NAME.

    \b
    Examples:
      mlspine models ls churn
      mlspine models ls --filter "tags.team = 'risk'"
    """
    from mlspine.cli.model_tables import found_text, models_text, versions_text
    from mlspine.control import connect

    workspace = connect()
    if condition or order:
        if name is not None:
            raise click.UsageError(f"--filter and --order are for the list of models; leave out {name}")
        page = workspace.catalogue.search(filter=condition, order_by=order, max_results=limit)
        render.emit(page.models, as_json=as_json, text=lambda: found_text(page))
    elif name is None:
        rows = workspace.registry.models()
        render.emit(rows, as_json=as_json, text=lambda: models_text(rows))
    else:
        versions = workspace.registry.versions(name)
        render.emit(versions, as_json=as_json, text=lambda: versions_text(versions))


@models.command()
@click.argument("ref", metavar="REF")
@render.json_option
def show(ref: str, as_json: bool) -> None:
    """What a version is and where it comes from: quality, stage, run, data, code, and who moved it when.

    Of NAME alone: the version in Production, else the newest.

    \b
    Examples:
      mlspine models show churn
      mlspine models show churn:3 --json
    """
    from mlspine.cli.model_tables import account_text
    from mlspine.control import connect

    account = connect().lineage.of(ref)
    render.emit(account, as_json=as_json, text=lambda: account_text(account))


@models.command()
@click.argument("first", metavar="REF")
@click.argument("second", metavar="REF")
@render.json_option
def diff(first: str, second: str, as_json: bool) -> None:
    """In what two versions differ: parameters, metrics, environment, data, signature, thresholds, code.

    \b
    Example:
      mlspine models diff churn:1 churn:2
    """
    from mlspine.cli.model_tables import difference_text
    from mlspine.control import connect
    from mlspine.registry.difference import differ

    lineage = connect().lineage
    found = differ(lineage.of(first), lineage.of(second))
    render.emit(found, as_json=as_json, text=lambda: difference_text(found))


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
    from mlspine.folder import this_actor

    version = connect().registry.trust(ref, actor=this_actor(), reason=reason)
    render.emit(
        version,
        as_json=as_json,
        text=lambda: (
            f"{version.model}:{version.version} is trusted, release {version.release_hash[:SHORT_HASH]}\n"
            f"Next: {_after_trust(version)}"
        ),
    )


def _after_trust(version: ModelVersion) -> str:
    from mlspine.registry.bare import fill_command

    if version.bare:
        return fill_command(version.model, version.version)
    return f"mlspine serve {version.model}:{version.version}"


def _saved_in() -> str:
    from mlspine import login
    from mlspine.folder import locate

    server = login.server()
    return server.url if server else str(locate())
