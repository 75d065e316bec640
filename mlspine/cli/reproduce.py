"""reproduce: run a recorded run again, and say whether it came out the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.reproducing import Account
    from mlspine.tracking.reproduction import Band, Difference

_SHOWN_BANDS = 8
_COLOURS = {"IDENTICAL": "green", "WITHIN_BAND": "green", "DIFFERENT": "red"}


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--repetitions",
    type=click.IntRange(2, 100),
    default=3,
    show_default=True,
    help="How often at most; more make the band narrower.",
)
@click.option(
    "--repository", metavar="FOLDER_OR_URL", default="", help="Where the commit is, if neither here nor recorded."
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), metavar="SECONDS", help="Of one repetition (default: 5 times the run)."
)
@click.option("--trust", is_flag=True, help="Somebody else logged it, and you vouch for its code.")
@render.json_option
@click.pass_context
def reproduce(
    ctx: click.Context,
    run: str,
    repetitions: int,
    repository: str,
    timeout: float | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Run RUN, an id or a name, again, and compare every metric.

    It is run from its commit with the uncommitted difference, by its command, with its random states put back.
    The verdict is identical, within the run-to-run band measured on the repetitions, or different, with the first
    differing metric and step and what has changed. Exit code 1 when it is different.

    \b
    Example:
      mlspine reproduce calm-otter-412
    """
    from mlspine.reproducing import reproduce as run_again
    from mlspine.web.mlflow.line import open_line

    line = open_line()
    try:
        account = run_again(
            line, run, repetitions=repetitions, repository=repository, timeout_s=timeout, trust=trust, say=_say
        )
    finally:
        line.close()
    render.emit(account, as_json=as_json, text=lambda: account_text(account))
    ctx.exit(1 if account.reproduction.verdict == "DIFFERENT" else 0)


def account_text(account: Account) -> str:
    """The verdict, what it rests on, and what has changed."""
    judged = account.reproduction
    times = f"{judged.repetitions} repetition{'s' if judged.repetitions > 1 else ''}"
    lines = [
        f"{render.mark(_COLOURS[judged.verdict])} {render.bold(account.run_name)} is"
        f" {judged.verdict.replace('_', ' ').lower()} after {times}:"
        f" {judged.metrics} metrics, {judged.points:,} points",
    ]
    if judged.difference is not None:
        lines.append(f"  first differs  {difference_text(judged.difference)}")
    outside = sorted(judged.bands, key=lambda band: band.holds)
    lines += [f"  {'within' if band.holds else 'outside':<14} {_band_text(band)}" for band in outside[:_SHOWN_BANDS]]
    if len(outside) > _SHOWN_BANDS:
        lines.append(f"  and {len(outside) - _SHOWN_BANDS} more figures: --json")
    lines += [f"  {'changed':<14} {change}" for change in account.changed]
    if judged.verdict == "DIFFERENT" and not account.data_recorded:
        lines.append(f"  {'not recorded':<14} which data it used: run.data(frame, name=...) or mlflow.log_input")
    lines += [f"  {'linked':<14} {name}, too large to copy" for name in account.linked]
    lines.append(f"  {'repetitions':<14} {', '.join(account.repetitions)}")
    return "\n".join(lines)


def difference_text(difference: Difference) -> str:
    """
    >>> from mlspine.tracking.reproduction import Difference
    >>> difference_text(Difference(metric="loss", step=3, was=0.5, is_now=None))
    'loss at step 3: 0.5, now absent'
    """
    was, now = (
        "absent" if value is None else f"{value:.6g}" if value != value or abs(value) > 1e5 else repr(value)
        for value in (difference.was, difference.is_now)
    )
    return f"{difference.metric} at step {difference.step}: {was}, now {now}"


def _band_text(band: Band) -> str:
    figure = "last value" if band.figure == "last" else "mean"
    return f"{band.metric}, {figure}: {band.value:.6g} against [{band.low:.6g}, {band.high:.6g}]"


def _say(text: str) -> None:
    click.echo(click.style(f"… {text}", dim=True), err=True)
