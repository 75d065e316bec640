"""causes: where a change of a window comes from, in the terminal or as JSON."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.core.types import CauseReport, Suspect

SHOWN = 8


@click.command()
@click.argument("name")
@click.option("--window", default="", help="A moment in it, e.g. 2013-04-01T06:00 (UTC); else the newest that alerted.")
@click.option("--release", default="", help="The beginning of a release's hash, where two share a window.")
@render.json_option
def causes(name: str, window: str, release: str, as_json: bool) -> None:
    """Why a window of endpoint NAME changed: columns by their influence on this model's answers, since when,
    whose rows, and which rows to look at.

    \b
    Examples:
      mlspine causes churn
      mlspine causes churn --window 2013-04-01T06:00 --json
    """
    from mlspine.control import connect

    at_ms = _moment(window)
    workspace = connect()
    workspace.deployment.get(name)
    workspace.status.refresh()
    found = workspace.monitoring.causes(name, at_ms=at_ms, release_hash=release)
    render.emit(found, as_json=as_json, text=lambda: _text(found))


def _moment(text: str) -> int:
    if not text:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--window {text!r} is no moment; write it like 2013-04-01T06:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def _text(found: CauseReport) -> str:
    span = f"{render.when(found.from_at_ms)} to {render.when(found.to_at_ms)} UTC"
    lines = [found.says + ".", "", f"{render.bold(found.endpoint)}: {found.rows:,} rows, {span}; asked: {found.method}"]
    if found.suspects:
        rows = [
            (place + 1, each.name, f"{each.influence:.0%}", _since(each))
            for place, each in enumerate(found.suspects[:SHOWN])
        ]
        lines += ["", render.table(rows, head=("", "column", "influence", "since (UTC)"))]
        lines += ["", *(f"  {each.name}: {each.why}" for each in found.suspects[:SHOWN])]
    if found.segments:
        lines += ["", "Whose rows"]
        lines += [
            f"  {each.column} = {each.level} ({each.share_before:.1%} -> {each.share_now:.1%} of rows): {each.why}"
            for each in found.segments
        ]
    lines += ["", "Together", f"  {found.interaction}"] if found.interaction else []
    lines += ["", "Served otherwise than learned", *(f"  {each}" for each in found.skew)] if found.skew else []
    lines += ["", f"Compared with {found.compared_with}"] if found.compared_with else []
    if found.row_ids:
        request, _, row = found.row_ids[0].rpartition(":")
        lines += ["", f"Rows to look at: {', '.join(found.row_ids[:3])}"]
        lines += [f"Next: mlspine log {found.endpoint} \"select * from log where _id = '{request}' and _row = {row}\""]
    else:
        lines += ["", f"Next: mlspine status {found.endpoint} --explain"]
    return "\n".join(lines)


def _since(suspect: Suspect) -> str:
    if not suspect.onset_at_ms:
        return "cannot be told"
    return (
        f"{render.when(suspect.onset_at_ms)}, between {render.when(suspect.onset_lo_ms)}"
        f" and {render.when(suspect.onset_hi_ms)}"
    )
