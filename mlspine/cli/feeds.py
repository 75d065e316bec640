"""feeds, score, schedules: where rows and labels come from, and scoring whole tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.types import FeedState, LabelReceipt
    from mlspine.feeds.schedule import Schedule
    from mlspine.feeds.service import ModelFeeds
    from mlspine.serving.batch import Scored
    from mlspine.workspace import Services


@click.command()
@click.argument("name", required=False, default="")
@click.option("--source", metavar="TEXT", help="Where fresh rows come from: a path or glob, SQL, a Postgres URL.")
@click.option("--labels", metavar="TEXT", help="Where late labels are put: the same forms.")
@click.option("--pull", is_flag=True, help="Read the label feed and check the source now.")
@render.json_option
def feeds(name: str, source: str | None, labels: str | None, pull: bool, as_json: bool) -> None:
    """What feeds a model and how each feed is doing, or where it is from now on.

    Both are read on a cadence while the workspace is up; what was read and has not changed costs nothing.

    \b
    Examples:
      mlspine feeds
      mlspine feeds churn --labels "outcomes/*.csv"
      mlspine feeds churn --source "postgresql://me@db.example/sales?table=public.orders"
      mlspine feeds churn --pull
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    workspace = connect()
    if not name:
        if source is not None or labels is not None or pull:
            raise click.UsageError("name the model: mlspine feeds NAME ...")
        found = workspace.feeds.all()
        render.emit(found, as_json=as_json, text=lambda: "\n".join(map(_feeds_text, found)) or "no model yet")
        return
    if source is not None or labels is not None:
        texts = {"source": _anchored(source, workspace), "labels": _anchored(labels, workspace)}
        workspace.feeds.declare(name, **texts, actor=this_actor())
    receipt = _pull(workspace, name) if pull else None
    shown = workspace.feeds.of(name)
    told = {"feeds": shown, "labels": receipt} if pull else shown
    render.emit(told, as_json=as_json, text=lambda: _feeds_text(shown) + _receipt_text(receipt))


@click.command()
@click.argument("name")
@click.option("-i", "--input", "source", metavar="TEXT", help="The rows: a file, glob, SQL or Postgres URL [declared].")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where answers go: .parquet or .csv.")
@click.option("--every", metavar="SPAN", help="Do it again and again: 30m, 6h, 1d, 1w; see mlspine schedules.")
@render.json_option
def score(name: str, source: str | None, output: str, every: str | None, as_json: bool) -> None:
    """Score every row of a table with NAME (Production) or NAME:VERSION, as its endpoint would.

    The rows enter the same log, so that drift and labels work on them too. Output and log get all rows or
    none; row order is kept. With --every, {date} and {time} in FILE stand for the time a run was due.

    \b
    Examples:
      mlspine score churn -i customers.parquet -o scores.parquet
      mlspine score churn -i "select * from 'in/*.csv'" -o "scores-{date}.csv" --every 1d
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    workspace = connect()
    if every is None:
        _score(workspace, name, source, output, as_json)
        return
    made = workspace.feeds.schedule(
        name,
        source=_anchored(source or _declared(workspace, name), workspace) or "",
        output=_from_root(output, workspace),
        every=every,
        actor=this_actor(),
    )
    render.emit(made, as_json=as_json, text=lambda: _scheduled_text(made, workspace))


@click.command()
@click.argument("name", required=False, default="")
@click.option("--remove", metavar="ID", help="Score this one no more.")
@render.json_option
def schedules(name: str, remove: str | None, as_json: bool) -> None:
    """What is scored at fixed times: when next, and what became of the last run.

    \b
    Examples:
      mlspine schedules
      mlspine schedules churn --remove 3f9a1c
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    workspace = connect()
    if remove:
        gone = workspace.feeds.unschedule(remove, actor=this_actor())
        render.emit(gone, as_json=as_json, text=lambda: f"{gone.ref} from {gone.input} is scored no more")
        return
    found = workspace.feeds.schedules(name)
    render.emit(found, as_json=as_json, text=lambda: _schedules_text(found))


# ---------------------------------------------------------------- doing


def _score(workspace: Services, name: str, source: str | None, output: str, as_json: bool) -> None:
    import contextlib

    from mlspine import login
    from mlspine.core.errors import Invalid, MlspineError, NotFound
    from mlspine.core.plan import LogSettings
    from mlspine.data.source import parse_source
    from mlspine.serving.batch import Batch, score

    login.refuse_server("scoring a table")
    version = workspace.registry.resolve(name)
    if not Path(version.path).is_dir():
        raise Invalid(
            f"the files of {version.model}:{version.version} are not on this machine: {version.path}",
            hint="run mlspine score on the machine that serves it",
        )
    revision, log = 0, LogSettings()
    with contextlib.suppress(NotFound):
        current = workspace.deployment.get(version.model).current
        log = current.log
        revision = current.number if current.release_hash == version.release_hash else 0
    root = Path.cwd() if source else workspace.path.parent
    batch = Batch(
        endpoint=version.model,
        version=version,
        revision=revision,
        log=log,
        source=parse_source(source or _declared(workspace, name)),
        root=str(root),
        output=str(Path(output).expanduser().absolute()),
        workspace=str(workspace.path),
    )
    with _Bar(silent=as_json) as bar:
        scored = score(batch, progress=bar)
    with contextlib.suppress(MlspineError):  # otherwise its rows wait in the spool until the workspace is up
        workspace.status.refresh()
    render.emit(scored, as_json=as_json, text=lambda: _scored_text(scored))


class _Bar:
    """How far a batch has come, on a terminal."""

    def __init__(self, *, silent: bool) -> None:
        import sys

        self._silent = silent or not sys.stderr.isatty()

    def __call__(self, done: int, of: int) -> None:
        if not self._silent and of:
            click.echo(f"\r{done:,} of {of:,} rows ({done / of:.0%})", nl=False, err=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._silent:
            click.echo("", err=True)


def _pull(workspace: Services, name: str) -> LabelReceipt | None:
    """Check the source and pull the labels, whichever of them there is to read."""
    found = workspace.feeds.of(name)
    workspace.feeds.check_sources(name)
    if found.labels.text in ("", "caller") and found.source.text not in ("", "caller"):
        return None
    return workspace.feeds.pull_labels(name)[0]


def _declared(workspace: Services, name: str) -> str:
    from mlspine.core.errors import Invalid

    model = workspace.registry.resolve(name).model
    text = workspace.feeds.of(model).source.text
    if text in ("", "caller"):
        raise Invalid(
            f"no rows to score: nobody declared a source of {model}",
            hint=f"give -i FILE, or declare one: mlspine feeds {model} --source FILE",
        )
    return text


def _anchored(text: str | None, workspace: Services) -> str | None:
    """A source as the workspace will read it; paths given to a server are the server's."""
    from mlspine import login
    from mlspine.data.source import anchored

    if text is None or login.server() is not None:
        return text
    return anchored(text, cwd=Path.cwd(), root=workspace.path.parent)


def _from_root(path: str, workspace: Services) -> str:
    from mlspine import login

    if login.server() is not None:
        return path
    place = Path(path).expanduser()
    return str(place) if place.is_absolute() else os.path.relpath(Path.cwd() / place, workspace.path.parent)


# ---------------------------------------------------------------- words


def _feeds_text(found: ModelFeeds) -> str:
    lines = [render.bold(found.model)]
    lines += [_feed_line("fresh rows", found.source), _feed_line("labels", found.labels)]
    flow = "their rhythm is being learned" if found.learning else "as usual"
    state = "red" if found.requests else "waiting" if found.learning else "green"
    lines.append(f"  {render.mark(state)} requests: {'; '.join(found.requests) or flow}")
    return "\n".join(lines)


def _feed_line(what: str, feed: FeedState) -> str:
    if not feed.text:
        role = "source" if feed.role == "source" else "labels"
        return f"  {render.mark('red')} {what}: nobody said where from; mlspine feeds {feed.model} --{role} TEXT"
    if feed.text == "caller":
        return f"  {render.mark('green')} {what}: sent by callers"
    state = "red" if feed.problem else "green" if feed.last_read_at_ms else "waiting"
    facts = [f"{feed.text} ({feed.said})"]
    if feed.last_read_at_ms:
        facts.append(f"read {render.when(feed.last_read_at_ms)}, {feed.rows:,} rows last")
        facts.append(f"new rows {render.when(feed.last_arrival_at_ms)}")
        facts.append(f"next {render.when(feed.next_read_at_ms)}")
    else:
        facts.append("not read yet")
    problem = f"\n      {feed.problem}" if feed.problem else ""
    return f"  {render.mark(state)} {what}: {'; '.join(facts)}{problem}"


def _receipt_text(receipt: LabelReceipt | None) -> str:
    if receipt is None:
        return ""
    return (
        f"\n  labels read {receipt.read:,}: {receipt.matched:,} matched, {receipt.parked:,} wait for their prediction,"
        f" {receipt.duplicates:,} known already"
    )


def _scored_text(scored: Scored) -> str:
    logged = "recorded" if scored.logged else "not recorded (--no-log)"
    pace = f"{scored.rows / scored.seconds:,.0f} rows/s" if scored.seconds else ""
    return (
        f"{scored.rows:,} rows scored with {scored.endpoint}:{scored.version}"
        f" ({scored.release_hash[:SHORT_HASH]}) in {render.seconds(scored.seconds)}, {pace}; {logged}\n{scored.output}"
    )


def _scheduled_text(made: Schedule, workspace: Any) -> str:
    from mlspine.feeds.schedule import every_text

    text = f"{made.ref} from {made.input} to {made.output} every {every_text(made.every_s)}, from now on (id {made.id})"
    return text if workspace.control_url else f"{text}\nNothing runs it yet; start with: mlspine up"


def _schedules_text(found: list[Schedule]) -> str:
    from mlspine.feeds.schedule import every_text

    if not found:
        return "nothing is scored at fixed times; mlspine score NAME -i FILE -o FILE --every 1d"
    rows = [
        (
            each.id,
            each.ref,
            each.input,
            each.output,
            every_text(each.every_s),
            render.when(each.next_due_at_ms),
            "running" if each.running else ("failed: " if each.failed else "") + each.result or "not run yet",
        )
        for each in found
    ]
    return render.table(rows, head=("id", "model", "input", "output", "every", "next", "last"))
