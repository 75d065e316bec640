"""rollout: bring a version forward step by step, on evidence, and see how that and a fresh switch are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.rollouts.service import RolloutState
    from mlspine.rollouts.store import Rollout

_MARGIN, _HOURS, _MINUTES, _REQUESTS = 0.01, 24.0, 10.0, 400


class Steps(click.ParamType[tuple[int, ...]]):
    """5,25,50,100"""

    name = "PER CENT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if not isinstance(value, str):
            return tuple(value)
        try:
            return tuple(int(each.strip().removesuffix("%")) for each in value.split(","))
        except ValueError:
            return self.fail(f"{value!r}: per cents with commas between, e.g. 5,25,50,100", param, ctx)


@click.group()
def rollout() -> None:
    """Bring a version forward by a canary: a growing share of the requests, as long as it does no worse.

    It comes back by itself when failures, slow answers, broken output rules, disagreement or labels speak against it
    beyond chance. Every switch is watched in the same way for half an hour.

    \b
    Examples:
      mlspine rollout start churn@candidate --canary 5,25,50,100
      mlspine rollout status churn
      mlspine rollout abort churn
    """


@rollout.command()
@click.argument("ref", metavar="NAME:VERSION|NAME@alias")
@click.option("--canary", type=Steps(), default="5,25,50,100", show_default=True, help="Per cent of the requests.")
@click.option("--by", "unit", default="", metavar="COLUMN", help="Whose value stays with its version.")
@click.option("--min-hours", type=click.FloatRange(0), default=_HOURS, show_default=True, help="Before it takes over.")
@click.option("--step-minutes", type=click.FloatRange(0), default=_MINUTES, show_default=True, help="Of each step.")
@click.option(
    "--step-requests", type=click.IntRange(1), default=_REQUESTS, show_default=True, help="Of it, in each step."
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=_MARGIN,
    show_default=True,
    help="Failures beyond those of the live version that are taken, as a share.",
)
@click.option(
    "--promote/--ask", "promotes", default=None, help="Whether it may take over by itself; at tier low it may."
)
@render.json_option
def start(
    ref: str,
    canary: tuple[int, ...],
    unit: str,
    min_hours: float,
    step_minutes: float,
    step_requests: int,
    margin: float,
    promotes: bool | None,
    as_json: bool,
) -> None:
    """Let a version answer a growing share of its endpoint's requests.

    \b
    Examples:
      mlspine rollout start churn@candidate --canary 5,25,50,100
      mlspine rollout start churn:2 --canary 10,100 --by customer --min-hours 2
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    begun = connect().rollouts.start(
        ref,
        canary=canary,
        unit=unit,
        hours=min_hours,
        step_minutes=step_minutes,
        step_requests=step_requests,
        margin=margin,
        promotes=promotes,
        actor=this_actor(),
    )
    render.emit(begun, as_json=as_json, text=lambda: _begun_text(begun))


@rollout.command()
@click.argument("name", required=False, default="")
@render.json_option
def status(name: str, as_json: bool) -> None:
    """How canaries and watched switches are doing; of NAME, also how the last one ended.

    \b
    Examples:
      mlspine rollout status
      mlspine rollout status churn --json
    """
    from mlspine.control import connect

    found = connect().rollouts.status(name)
    render.emit(found, as_json=as_json, text=lambda: "\n\n".join(map(_state_text, found)) or _nothing(name))


@rollout.command()
@click.argument("name")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def abort(name: str, reason: str, as_json: bool) -> None:
    """End the canary of NAME: the live version answers everything.

    \b
    Example:
      mlspine rollout abort churn --reason "wrong week"
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    ended = connect().rollouts.abort(name, actor=this_actor(), reason=reason)
    text = f"ended: version {ended.against} answers all requests of {name}"
    render.emit(ended, as_json=as_json, text=lambda: text)


@rollout.command()
@click.argument("name", required=False, default="")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Of the newest.")
@render.json_option
def history(name: str, limit: int, as_json: bool) -> None:
    """Canaries and watched switches so far, the newest first.

    \b
    Example:
      mlspine rollout history churn
    """
    from mlspine.control import connect

    found = connect().rollouts.history(name, limit=limit)
    render.emit(found, as_json=as_json, text=lambda: _history_text(found) or _nothing(name))


def lines(found: list[RolloutState]) -> list[str]:
    """What `mlspine status` says of what is under way, one line each."""
    return [
        f"{_head(each.rollout)}: {each.says}; mlspine rollout status {each.rollout.endpoint}"
        for each in found
        if each.rollout.state == "open"
    ]


# ---------------------------------------------------------------- text


def _begun_text(rollout: Rollout) -> str:
    steps = ", ".join(f"{each}%" for each in (*rollout.plan.steps, 100))
    end = "takes over by itself" if rollout.plan.promotes else "waits for: mlspine promote"
    return (
        f"version {rollout.version} answers {rollout.plan.steps[0]}% of the requests of {rollout.endpoint}"
        f" beside version {rollout.against}\n"
        f"steps: {steps}; after {rollout.plan.hours:g} hours in all it {end}\n"
        f"see: mlspine rollout status {rollout.endpoint}; stop it: mlspine rollout abort {rollout.endpoint}"
    )


def _state_text(state: RolloutState) -> str:
    arms = [
        (arm.version, role, arm.requests, arm.failures, arm.slow, arm.broken)
        for arm, role in ((state.older, _older(state.rollout)), (state.newer, _newer(state.rollout)))
    ]
    parts = [
        f"{_head(state.rollout)}: {state.rollout.state}",
        f"  {state.says}",
        render.table(arms, head=("version", "", "requests", "failed", "slow", "broken rules")),
    ]
    if state.evidence:
        parts.append(render.table(list(map(_evidence, state.evidence)), head=("by", "older", "newer", "against it")))
    parts += [f"  next: {each}" for each in state.missing]
    return "\n".join(parts)


def _evidence(each: Any) -> tuple[str, str, str, str]:
    from mlspine.rollouts.deciding import so_many

    if each.metric == "order":
        return "order of recorded rows", "", f"{each.newer:.2f}", "yes" if each.against else "no"
    if each.metric == "disagreement":
        return each.metric, f"{each.older:.2f} taken", f"{each.newer:.2f}", "yes" if each.against else "no"
    weight = f"{so_many(each.odds)} to 1, limit {each.limit:g}" if each.limit else "yes" if each.against else "no"
    return each.metric, f"{each.older:.2%}", f"{each.newer:.2%}", weight


def _history_text(found: list[Rollout]) -> str:
    rows = [
        (render.when(each.started_at_ms), each.endpoint, each.kind, each.version, each.against, each.state, each.why)
        for each in found
    ]
    return render.table(rows, head=("began", "endpoint", "", "version", "against", "state", "why"), indent="")


def _head(rollout: Rollout) -> str:
    if rollout.kind == "watch":
        return (
            f"{rollout.endpoint}: version {rollout.version}, put live {render.when(rollout.started_at_ms)}, is watched"
        )
    plan = rollout.plan
    return (
        f"{rollout.endpoint}: canary of version {rollout.version}, step {rollout.step + 1} of {len(plan.steps)}"
        f" ({plan.steps[rollout.step]}%)"
    )


def _older(rollout: Rollout) -> str:
    return "live" if rollout.kind == "canary" else "the hour before"


def _newer(rollout: Rollout) -> str:
    return "candidate" if rollout.kind == "canary" else "since"


def _nothing(name: str) -> str:
    return f"no roll-out is under way; begin one: mlspine rollout start {name or 'NAME'}:VERSION"
