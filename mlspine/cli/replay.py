"""replay: logged requests answered again by two releases, the differences ranked and sliced."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.replaying import Replay

EXCEEDED = 3


@click.command()
@click.argument("name")
@click.option("--release", "a", default="live", show_default=True, metavar="A", help="A version, @alias or live.")
@click.option("--against", "b", required=True, metavar="B", help="The release it is compared with: the same forms.")
@click.option(
    "--from", "from_", default="", metavar="TIME", help="Rows from this event time on, e.g. 2013-04-01 (UTC)."
)
@click.option("--to", default="", metavar="TIME", help="Rows before this event time.")
@click.option("--rows", type=click.IntRange(1), help="The newest so many; with --sample, so many of the whole span.")
@click.option("--sample", is_flag=True, help="Spread evenly over the span, by a hash of the ids [100,000 rows].")
@click.option("--threshold", type=float, help="Count scores that cross this one [binary: 0.5].")
@click.option(
    "--tolerance", type=click.FloatRange(0), help="Numbers that differ by less agree [0.1 sd of A's answers]."
)
@click.option("--max-disagreement", type=click.FloatRange(0, 1), metavar="SHARE",
              help="Exit with 3 when the share of rows on which they disagree is above this.")  # fmt: skip
@click.option("--html", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this file.")
@render.json_option
def replay(
    name: str,
    a: str,
    b: str,
    from_: str,
    to: str,
    rows: int | None,
    sample: bool,
    threshold: float | None,
    tolerance: float | None,
    max_disagreement: float | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Answer the logged requests of endpoint NAME again, by two of its releases, and show where they differ.

    Nothing is sent anywhere and nothing changes: the models run here, and what was found is kept as evidence. Of more
    than 100,000 rows an even sample is taken unless --rows says otherwise. Exits with 0 once both were compared; see
    --max-disagreement.

    \b
    Examples:
      mlspine replay churn --against 3
      mlspine replay churn --release 2 --against live --from 2026-05-01 --sample --rows 20000
      mlspine replay churn --against @candidate --max-disagreement 0.02 --json
    """
    from mlspine.cli.replay_text import text
    from mlspine.control import connect
    from mlspine.folder import locate, this_actor
    from mlspine.replaying.service import MOST_ROWS, Asked
    from mlspine.workspace import Workspace

    asked = Asked(
        endpoint=name,
        a=a,
        b=b,
        from_at_ms=_moment(from_, "--from"),
        to_at_ms=_moment(to, "--to"),
        rows=rows or MOST_ROWS,
        newest=rows is not None and not sample,
        threshold=threshold,
        tolerance=tolerance,
    )
    connect().status.refresh()  # what was answered a moment ago is in the log
    with _Bar() as bar:
        found = Workspace.open(locate()).replaying.replay(asked, actor=this_actor(), progress=bar)
    if file is not None:
        written = _write(found, file)
        click.echo(f"{written} ({written.stat().st_size / 1000:,.0f} kB, needs no network)", err=as_json)
    render.emit(found, as_json=as_json, text=lambda: text(found))
    if max_disagreement is not None and found.disagreement.value > max_disagreement:
        raise click.exceptions.Exit(EXCEEDED)


class _Bar:
    """How far the rows have come, on a terminal's last line."""

    def __init__(self) -> None:
        self._shown = False

    def __call__(self, done: int, of: int) -> None:
        if of and sys.stderr.isatty():
            self._shown = True
            click.echo(f"\r{done:,} of {of:,} rows answered again ({done / of:.0%})\x1b[K", nl=False, err=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _write(found: Replay, file: Path) -> Path:
    from mlspine.core.errors import Invalid
    from mlspine.replaying.page import page

    file = file.expanduser().absolute()
    try:
        file.write_text(page(found), "utf-8", errors="replace")
    except OSError as exc:
        raise Invalid(f"cannot write {file}: {exc.strerror}", hint="give another path to --html") from exc
    return file


def _moment(text: str, option: str) -> int:
    """
    >>> _moment("", "--from"), _moment("2013-04-01", "--from"), _moment("2013-04-01T06:00:00Z", "--to")
    (0, 1364774400000, 1364796000000)
    """
    if not text:
        return 0
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} is not a time; write it like 2013-04-01T06:00 (UTC)", param_hint=option
        ) from exc
    return int((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp() * 1000)
