"""review: a person looks at a fair sample of answers, and what that says of all of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.core.types import Scalar
    from mlspine.reviewing.service import ReviewEstimate
    from mlspine.reviewing.store import Item, Sample
    from mlspine.workspace import Workspace


class ReviewGroup(click.Group):
    """`mlspine review NAME` goes through the queue: a first word that is no subcommand is a name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = not args or args[0] in ctx.help_option_names
        if not asks_for_help and args[0] not in self.commands:
            args = ["go", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ReviewGroup)
def review() -> None:
    """Look at a sample of what was answered; mlspine says what your verdicts mean for all answers.

    Half of a sample is drawn evenly, the other half among answers the model was unsure of and rows unlike those it
    was fitted on. Each row's probability of being drawn is known, so the figure holds for all rows.

    \b
    Examples:
      mlspine review draw churn --size 50
      mlspine review churn
      mlspine review answer churn 0190c2a4-7e6b-7c3f-9c1a-2f3b4c5d6e7f:0 wrong
      mlspine review estimate churn
    """


@review.command("draw")
@click.argument("name")
@click.option("--size", default=50, show_default=True, type=click.IntRange(1), help="Answers to look at.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1), help="Of the newest days.")
@render.json_option
def draw_(name: str, size: int, days: int, as_json: bool) -> None:
    """Draw a sample of what NAME answered lately.

    \b
    Example:
      mlspine review draw churn --size 50 --days 7
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    sample = connect().reviewing.draw(name, size=size, days=days, actor=this_actor())
    render.emit(sample, as_json=as_json, text=lambda: _drawn_text(sample))


@review.command()
@click.argument("name")
@render.json_option
def go(name: str, as_json: bool) -> None:
    """Go through what is drawn of NAME and waits, one answer after the other; without a terminal, list it.

    \b
    Example:
      mlspine review go churn
    """
    from mlspine.control import connect

    workspace = connect()
    waiting = workspace.reviewing.queue(name, limit=1000)
    if as_json or not waiting or not sys.stdin.isatty():
        render.emit(waiting, as_json=as_json, text=lambda: _queue_text(name, waiting))
        return
    _ask_all(workspace, name, waiting)


@review.command()
@click.argument("name")
@click.argument("prediction", metavar="ID")
@click.argument("verdict")
@render.json_option
def answer(name: str, prediction: str, verdict: str, as_json: bool) -> None:
    """Say of answer ID whether it is "right" or "wrong", or what the truth is; "skip" leaves it out.

    \b
    Examples:
      mlspine review answer churn 0190c2a4-7e6b-7c3f-9c1a-2f3b4c5d6e7f:0 right
      mlspine review answer price 0190c2a4-7e6b-7c3f-9c1a-2f3b4c5d6e7f:0 12.5
    """
    from mlspine.control import connect

    item = _keep(connect(), name, prediction, verdict)
    said = "left out" if item.skipped else "right" if item.right else "wrong"
    render.emit(item, as_json=as_json, text=lambda: f"{prediction}: {said}")


@review.command()
@click.argument("name")
@render.json_option
def estimate(name: str, as_json: bool) -> None:
    """What the verdicts say of all answers of NAME, by sample.

    \b
    Example:
      mlspine review estimate churn
    """
    from mlspine.control import connect

    found = connect().reviewing.estimates(name)
    render.emit(found, as_json=as_json, text=lambda: _estimates_text(name, found))


def _ask_all(workspace: Workspace | RemoteWorkspace, name: str, waiting: list[Item]) -> None:
    click.echo(f"{len(waiting)} answers to look at. y right, n wrong, s skip, q stop, or type the truth.")
    for at, item in enumerate(waiting, start=1):
        click.echo(f"\n{at} of {len(waiting)}  {item.prediction_id}  ({item.why})")
        for key, value in item.inputs.items():
            click.echo(f"  {key:<24} {value}")
        said = click.prompt(f"  answered {item.prediction!r}; right?", prompt_suffix=" ").strip()
        if said == "q":
            break
        _keep(workspace, name, item.prediction_id, {"y": "right", "n": "wrong", "s": "skip"}.get(said, said))
    click.echo(_estimates_text(name, workspace.reviewing.estimates(name)))


def _keep(workspace: Workspace | RemoteWorkspace, name: str, prediction: str, verdict: str) -> Item:
    from mlspine.folder import this_actor

    actor = this_actor()
    if verdict == "skip":
        return workspace.reviewing.skip(name, prediction, actor=actor)
    if verdict in ("right", "wrong"):
        return workspace.reviewing.answer(name, prediction, right=verdict == "right", actor=actor)
    return workspace.reviewing.answer(name, prediction, label=_value(verdict), actor=actor)


def _value(text: str) -> Scalar:
    try:
        return float(text)
    except ValueError:
        return text


def _drawn_text(sample: Sample) -> str:
    why = f", more often where {' or '.join(sample.reasons)}" if sample.reasons else ""
    return (
        f"{sample.size} of {sample.rows:,} answers of {sample.endpoint}:{sample.version} drawn"
        f" ({render.when(sample.from_at_ms)} to {render.when(sample.to_at_ms)}{why})\n"
        f"look at them: mlspine review {sample.endpoint}"
    )


def _queue_text(name: str, waiting: list[Item]) -> str:
    if not waiting:
        return f"nothing waits to be looked at; draw a sample: mlspine review draw {name}"
    rows = [
        (
            item.prediction_id,
            item.prediction,
            item.why,
            f"{item.inclusion:.2%}",
            ", ".join(f"{key}={value}" for key, value in item.inputs.items())[:60],
        )
        for item in waiting
    ]
    table = render.table(rows, head=("id", "answered", "drawn as", "probability", "inputs"), indent="")
    return f"{table}\nsay of each: mlspine review answer {name} ID right|wrong|skip|TRUTH"


def _estimates_text(name: str, found: list[ReviewEstimate]) -> str:
    if not found:
        return f"no sample was drawn yet: mlspine review draw {name}"
    return "\n".join(
        f"{render.when(each.sample.from_at_ms)} to {render.when(each.sample.to_at_ms)}  {each.says}" for each in found
    )
