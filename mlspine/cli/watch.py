"""watch: models that answer on somebody else's server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.watching.names import Names
    from mlspine.watching.reading import Reading
    from mlspine.watching.service import Watched
    from mlspine.workspace import Services

TASKS = ("binary", "multiclass", "regression", "other")


@click.command()
@click.argument("name", required=False, default="")
@click.option("--reference", metavar="TEXT", help="Rows as the model should see them: a file, glob or SQL.")
@click.option("--predictions", metavar="TEXT", help="The server's log: files, s3://BUCKET/*.parquet, SQL, Postgres.")
@click.option("--every", metavar="SPAN", default="", help="Read what is new again and again: 15m, 1h, 1d.")
@click.option("--once", is_flag=True, help="Read what is new in the log named before, now.")
@click.option("--prediction", metavar="COL", default="", help="The column with the answer. COL may be - for none.")
@click.option("--score", metavar="COL", default="", help="The column with the score.")
@click.option("--time", metavar="COL", default="", help="The column with the time of the event.")
@click.option("--id", "id_", metavar="COL", default="", help="The column with an id of each row.")
@click.option("--key", metavar="COL", default="", help="The column that says whom or what a row is about.")
@click.option("--label", metavar="COL", default="", help="The column with the true outcome.")
@click.option("--ignore", metavar="COL", multiple=True, help="A column of the reference that is none; repeatable.")
@click.option("--task", type=click.Choice(TASKS), help="What kind of answer it is, where the rows do not show it.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="The score that means yes, for logs of scores alone (0.5)."
)
@click.option("--holdout", metavar="TEXT", help="Rows with predictions and labels that the model had not seen.")
@click.option("--importance", metavar="FILE", help='How much each feature counts: JSON, {"age": 0.4, ...}.')
@click.option("--labels", metavar="TEXT", help="Where late labels are put: a file, glob or SQL.")
@click.option("--redact", metavar="COL", multiple=True, help="Never store this column; repeatable.")
@click.option("--owner", metavar="WHO", help="Who answers for it.")
@click.option("--tier", type=click.Choice(["low", "medium", "high"]), help="How much it matters (low).")
@click.option("-m", "--message", metavar="TEXT", help="Why this reference.")
@render.json_option
def watch(name: str, id_: str, as_json: bool, **said: Any) -> None:
    """Monitor a model that somebody else's server answers with: drift, quality, alerts and reports from its log.

    No model file is needed. The reference says what is usual; columns that are neither answers, times, ids nor labels
    are the features. Rows come from the log with --predictions, from requests, or from the middleware.

    \b
    Examples:
      mlspine watch fraud --reference train.parquet
      mlspine watch fraud --predictions 's3://logs/fraud/*.parquet' --every 1h --labels 'outcomes/*.csv'
      mlspine watch fraud --once
      mlspine watch
    """
    from mlspine.control import connect

    if not name:
        _refuse_without_name(said)
        found = connect().watching.all()
        render.emit(found, as_json=as_json, text=lambda: "\n".join(map(_line, found)) or _NOTHING)
        return
    names = _names(said, id_)
    _refuse_contradictions(said, names)
    workspace = connect()
    try:
        _watch(workspace, name, said, names, as_json)
    finally:
        workspace.close()


def _watch(workspace: Services, name: str, said: dict[str, Any], names: Names, as_json: bool) -> None:
    from mlspine.feeds.schedule import parse_every
    from mlspine.folder import this_actor
    from mlspine.watching.places import parse_place

    if said["predictions"]:  # what is wrong with it is told before anything changes
        parse_place(said["predictions"])
    if said["every"]:
        parse_every(said["every"])
    if said["reference"]:
        _take_reference(workspace, name, said, names)
    if said["labels"] is not None:
        workspace.feeds.declare(name, labels=_seen_from_root(said["labels"], workspace), actor=this_actor())
    if said["predictions"]:
        source = _seen_from_root(said["predictions"], workspace)
        workspace.watching.read_from(name, source=source, names=names, every=said["every"], actor=this_actor())
    reading = workspace.watching.read(name) if said["predictions"] or said["once"] else None
    watched = workspace.watching.of(name)
    told = {"watched": watched, "reading": reading}
    render.emit(told, as_json=as_json, text=lambda: _text(watched, reading, workspace))


def _take_reference(workspace: Services, name: str, said: dict[str, Any], names: Names) -> None:
    from mlspine.core.plan import LogSettings
    from mlspine.folder import RELEASES, create, this_actor
    from mlspine.watching.reference import Told, prepare_watched, read_importance
    from mlspine.watching.spec import THRESHOLD

    create(workspace.path)
    root = workspace.path.parent
    told = Told(
        names=names,
        ignore=said["ignore"],
        task=said["task"] or "",
        threshold=THRESHOLD if said["threshold"] is None else said["threshold"],
        importance=read_importance(Path(said["importance"]).expanduser()) if said["importance"] else {},
        holdout=_seen_from_root(said["holdout"], workspace) if said["holdout"] else "",
        owner=said["owner"] or "",
        tier=said["tier"] or "low",
        message=said["message"] or "",
        elsewhere=bool(said["predictions"]),
    )
    reference = _seen_from_root(said["reference"], workspace)
    prepared = prepare_watched(reference, told, name=name, root=root, releases_dir=workspace.path / RELEASES)
    log = LogSettings(redact=said["redact"]) if said["redact"] else None
    workspace.watching.watch(prepared, log=log, actor=this_actor())


# ---------------------------------------------------------------- what was said

_OF_REFERENCE = ("ignore", "task", "threshold", "holdout", "importance", "redact", "owner", "tier", "message")
_OF_COLUMNS = ("prediction", "score", "time", "key", "label")


def _names(said: dict[str, Any], id_: str) -> Names:
    from mlspine.watching.names import Names

    return Names(id=id_, **{role: said[role] for role in _OF_COLUMNS})


def _refuse_without_name(said: dict[str, Any]) -> None:
    given = [option for option, value in said.items() if value]
    if given:
        raise click.UsageError(f"name what is watched: mlspine watch NAME --{given[0]} ...")


def _refuse_contradictions(said: dict[str, Any], names: Names) -> None:
    """Options that would be ignored are refused."""
    alone = [option for option in _OF_REFERENCE if said[option]]
    if alone and not said["reference"]:
        raise click.UsageError(f"--{alone[0]} is about the reference: add --reference FILE")
    if names.given and not (said["reference"] or said["predictions"]):
        role = next(iter(names.given))
        raise click.UsageError(f"--{role} names a column: add --reference FILE or --predictions TEXT")
    if said["every"] and not said["predictions"]:
        raise click.UsageError("--every is about the log: add --predictions TEXT")
    if said["once"] and said["predictions"]:
        raise click.UsageError("--once reads the log named before: leave out --predictions, which is read at once")


def _seen_from_root(text: str, workspace: Services) -> str:
    """A source as the workspace will read it: relative paths from the folder that holds it."""
    from mlspine.data.source import anchored

    return text if text.startswith("s3://") else anchored(text, cwd=Path.cwd(), root=workspace.path.parent)


# ---------------------------------------------------------------- words

_NOTHING = "nothing is watched; mlspine watch NAME --reference FILE"


def _line(watched: Watched) -> str:
    source = watched.source
    where = f"log {source.text}, {source.rows:,} rows read" if source else "rows are sent"
    every = f", next {render.when(source.next_due_at_ms)}" if source and source.every_s else ""
    mark = render.mark("red" if source and source.problem else "green")
    return f"{mark} {render.bold(watched.endpoint)} version {watched.version.version}: {where}{every}"


def _text(watched: Watched, reading: Reading | None, workspace: Services) -> str:
    from mlspine.registry.account import figure
    from mlspine.watching.names import Names, told

    version, captured = watched.version, watched.version.captured
    features = captured.get("columns", [])
    shown = ", ".join(features[:8]) + (f", and {len(features) - 8} more" if len(features) > 8 else "")
    data = captured.get("data", {})
    sampled = captured.get("baseline", {}).get("sampled")
    rows = [
        ("reference", f"{data.get('rows', 0):,} rows of {data.get('reference', '')}"),
        ("sample", f"{captured.get('baseline', {}).get('rows', 0):,} of them, evenly spread") if sampled else None,
        ("features", f"{len(features)}: {shown}"),
        ("beside them", told(Names(**captured.get("names", {})))),
        ("answers", " ".join([str(captured.get("task")), *_classes(captured)])),
        ("quality", _quality(version.metric, figure)),
    ]
    lines = [
        f"{render.bold(watched.endpoint)} is watched by version {version.version},"
        f" release {version.release_hash[:SHORT_HASH]}; somebody else's server answers",
        "",
        *(f"  {name:<11} {text}" for name, text in filter(None, rows)),
    ]
    if version.missing:
        lines += ["", "Not given (nothing of this is needed to go on)", *(f"  - {gap}" for gap in version.missing)]
    lines += ["", *_log_lines(watched, reading, workspace)]
    return "\n".join([*lines, f"Next: mlspine status {watched.endpoint}"])


def _classes(captured: dict[str, Any]) -> list[str]:
    classes = captured.get("classes", [])
    return [f"({', '.join(map(str, classes[:6]))}{', ...' if len(classes) > 6 else ''})"] if classes else []


def _quality(metric: Any, figure: Any) -> str:
    if metric is None or metric.interval is None:
        return figure(metric) if metric else "NOT ESTIMABLE"
    return f"{figure(metric)} on {metric.rows:,} rows of the {metric.rows_from}"


def _log_lines(watched: Watched, reading: Reading | None, workspace: Services) -> list[str]:
    from mlspine.feeds.schedule import every_text

    name, source = watched.endpoint, watched.source
    lines = []
    if reading is not None:
        lines += [
            f"{reading.rows:,} new rows read from {reading.files:,} new or changed files"
            f" ({reading.duplicates:,} known already, {reading.refused:,} refused, {reading.labels:,} with labels)",
            *([f"  columns: {reading.taken_for}"] if reading.taken_for else []),
            *(f"  {render.mark('red')} {problem}" for problem in reading.problems),
            *(f"  {render.mark('amber')} {example}" for example in reading.examples),
        ]
    if source is None:
        lines += [
            "Rows come in one of three ways:",
            f"  a log       mlspine watch {name} --predictions 'logs/*.parquet' --every 1h",
            f"  requests    POST /endpoints/{name}/predictions",
            f'  middleware  app.add_middleware(mlspine.middleware.Monitor, endpoint="{name}")',
        ]
    elif source.every_s:
        lines.append(f"{source.text} is read every {every_text(source.every_s)}")
    else:
        lines.append(f"{source.text} is read with: mlspine watch {name} --once")
    if not workspace.control_url:
        lines.append("Nothing reads or judges by itself yet; start with: mlspine up")
    return lines
