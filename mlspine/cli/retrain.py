"""retrain, gate: renew a model by its recipe; judge a version against Production."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.governance.promotion import Verdict
    from mlspine.retraining.service import Concluded

data_option = click.option("--data", metavar="FILE", help="Rows with their labels: a file, a glob, or SQL.")
target_option = click.option("--target", metavar="COLUMN", help="The column of labels; by default as at ship.")


@click.command()
@click.argument("ref", metavar="NAME[:VERSION]")
@data_option
@target_option
@click.option("--seed", default=0, show_default=True, help="Of the recipe and of any drawing; same seed, same release.")
@click.option("--message", "-m", default="", help="Kept with the version.")
@render.json_option
def retrain(ref: str, data: str | None, target: str | None, seed: int, message: str, as_json: bool) -> None:
    """Fit model NAME again on fresh rows by the recipe it was shipped with, and judge it by the gate.

    NAME is the version in Production, else the only one. Rows come from --data, else from the source declared at
    ship, else from the log, as far as it has labels. The newest quarter of them judges. A candidate that passes is
    moved to Staging; traffic does not change.

    \b
    Examples:
      mlspine retrain churn
      mlspine retrain churn --data new.parquet --target churned
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor
    from mlspine.retraining import renewal

    workspace = connect()
    workspace.status.refresh()
    done = renewal.retrain(
        workspace, ref, data=data, target=target, seed=seed, message=message, actor=this_actor(), say=_say
    )
    render.emit(done, as_json=as_json, text=lambda: concluded_text(done))


@click.command()
@click.argument("ref", metavar="NAME:VERSION")
@data_option
@target_option
@render.json_option
def gate(ref: str, data: str | None, target: str | None, as_json: bool) -> None:
    """Compare a version with the one in Production, on rows that neither was fitted on.

    Rows come from --data, else from the source declared at ship, else from the labelled log. A version that
    passes is moved to Staging; `mlspine promote` then brings it to traffic.

    \b
    Example:
      mlspine gate churn:3 --data holdout.parquet --target churned
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor
    from mlspine.retraining import renewal

    workspace = connect()
    workspace.status.refresh()
    done = renewal.gate(workspace, ref, data=data, target=target, actor=this_actor(), say=_say)
    render.emit(done, as_json=as_json, text=lambda: concluded_text(done))


def concluded_text(done: Concluded) -> str:
    """The verdict with its numbers, where the version stands now, and the next command."""
    version, verdict = done.version, done.verdict
    head = f"{render.bold(f'{version.model}:{version.version}')} is release {version.release_hash[:SHORT_HASH]}"
    lines = [head, *_attempt_lines(done), f"  {'verdict':<9} {_state(verdict)}"]
    lines += [f"  {name:<9} {text}" for name, text in _figures(verdict)]
    lines += ["", *_wrapped(verdict.paragraph)]
    if done.staged:
        lines += ["", f"It is in Staging. Next: mlspine promote {version.model} {version.version}"]
    elif verdict.status == "PASSED":
        lines += ["", f"It stays in {version.stage}. Next: mlspine promote {version.model} {version.version}"]
    else:
        lines += ["", f"It was not moved. {_next(done)}"]
    return "\n".join(lines)


def _attempt_lines(done: Concluded) -> list[str]:
    attempt = done.attempt
    if attempt is None:
        return []
    told = f"{attempt.rows:,} rows of {attempt.rows_from}, {attempt.recipe}, {render.seconds(attempt.fitted_s)}"
    return [f"  {'fitted on':<9} {told}", *(f"  {render.mark('amber')} {warning}" for warning in attempt.warnings)]


def _state(verdict: Verdict) -> str:
    colour = {"PASSED": "green", "REFUSED": "red"}.get(verdict.status, "amber")
    return f"{render.mark(colour)} {verdict.status.replace('_', ' ')}, judged as a {verdict.mode}"


def _figures(verdict: Verdict) -> list[tuple[str, str]]:
    gain = verdict.comparison.gain
    if gain.interval is None:
        return []
    unit = "of Production's error" if gain.relative else "absolute"
    interval = gain.interval
    return [
        ("bar", verdict.bar),
        ("gain", f"{interval.value:+.4f} {unit}, 90% interval [{interval.lo:+.4f}, {interval.hi:+.4f}]"),
        (gain.metric, f"{gain.candidate:.4f} against {gain.production:.4f}"),
        ("rows", f"{gain.rows:,}, of which {gain.differing:,} are answered differently"),
        ("slices", f"{verdict.slices_judged} judged, {len(verdict.worse)} clearly worse"),
    ]


def _next(done: Concluded) -> str:
    version, verdict = done.version, done.verdict
    if verdict.status == "PRODUCTION_ITSELF":
        return f"Next: mlspine status {version.model}"
    return f"Next: mlspine gate {version.model}:{version.version} --data MORE_ROWS"


def _wrapped(paragraph: str) -> list[str]:
    return click.wrap_text(paragraph, width=100).splitlines()


def _say(text: str) -> None:
    click.echo(click.style(f"… {text}", dim=True), err=True)
