"""What each deployment took of people: commands, lines, files, minutes, new concepts. Pure.

A deployment begins where its model is first named and ends when its endpoint answers. Steps that name no model
belong to the one named last, those before the first model to the first. A pause counts at most five minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from mlspine.core.effort import Step
from mlspine.core.types import Struct

PAUSE_S = 300.0

# The nouns somebody meets with a command. A command that is not here is a noun of its own.
CONCEPTS: dict[str, tuple[str, ...]] = {
    "ship": ("model", "release"),
    "serve": ("endpoint",),
    "watch": ("endpoint", "baseline"),
    "status": ("alert",),
    "rollback": ("release",),
    "promote": ("version",),
    "split": ("candidate",),
    "shadow": ("shadow",),
    "rollout": ("canary",),
    "labels": ("label",),
    "quality": ("label",),
    "alerts": ("alert",),
    "drift": ("profile",),
    "report": ("alert",),
    "causes": ("alert",),
    "check": ("alert",),
    "monitoring": ("alert rule",),
    "log": ("request log",),
    "forget": ("request log",),
    "models": ("model", "version"),
    "runs": ("run",),
    "reproduce": ("run",),
    "review": ("review sample",),
    "sentinels": ("sentinel",),
    "trust": ("trust",),
    "approve": ("approval",),
    "ledger": ("ledger",),
    "feeds": ("feed",),
    "score": ("batch",),
    "schedules": ("schedule",),
    "retrain": ("recipe", "gate"),
    "gate": ("gate",),
    "guards": ("endpoint", "fallback", "output rule"),
    "replay": ("version", "request log"),
    "service": ("service manager",),
    "export": ("container image",),
    "import": (),
    "look": (),
    "tokens": ("token",),
    "login": ("token",),
    "logout": (),
    "runbook": ("runbook",),
    "drill": ("drill",),
    "card": ("project card",),
    "up": (),
    "down": (),
    "gc": ("run",),
    "backup": ("backup",),
    "restore": ("backup",),
    "config": (),
    "demo": (),
    "completion": (),
    "advise": (),
    "effort": (),
    "cost": (),
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "tier": ("tier",),
    "time": ("event time",),
    "key": ("key",),
    "transform": ("transform",),
    "source": ("feed",),
    "labels": ("feed", "label"),
    "recipe": ("recipe",),
    "reproduce": ("run",),
    "trust": ("trust",),
    "notify": ("alert",),
    "redact": ("request log",),
    "no-log": ("request log",),
    "every": ("schedule",),
    "role": ("role",),
    "scope": ("role",),
}


class Effort(Struct, frozen=True, kw_only=True):
    """Some steps together. files: times mlspine.toml was changed, and scripts written."""

    commands: int = 0
    lines: int = 0
    failed: int = 0
    files: int = 0
    minutes: float = 0.0
    new_concepts: tuple[str, ...] = ()


class DeploymentEffort(Struct, frozen=True, kw_only=True):
    """One model on its way: until its endpoint answered, and in all until now. answered_at_ms: 0 for not yet."""

    model: str
    began_at_ms: int
    answered_at_ms: int
    until_answering: Effort
    in_all: Effort


class EffortReport(Struct, frozen=True, kw_only=True):
    """Deployments in the order in which they began, and how the second compares with the first."""

    deployments: tuple[DeploymentEffort, ...]
    second: str = ""


class _Seen(Struct, frozen=True, kw_only=True):
    """A step with what was new in it."""

    step: Step
    pause_s: float
    files: int
    concepts: tuple[str, ...]


def report(steps: Sequence[Step], answering: Mapping[str, int]) -> EffortReport:
    """The deployments these steps tell of. answering: endpoint -> when its first revision was live."""
    models = set(answering).union(*(step.names for step in steps if step.what == "ship" and step.ok))
    by_model = _assigned(_with_news(steps), models)
    found = tuple(_deployment(model, seen, answering.get(model, 0)) for model, seen in by_model.items() if model)
    done = [each for each in found if each.answered_at_ms]
    return EffortReport(deployments=found, second=_compared(done[0], done[1]) if len(done) > 1 else "")


def concepts_of(step: Step) -> list[str]:
    """The nouns a step needs.

    >>> concepts_of(Step(at_ms=0, took_s=0.0, by="line", what="ship", options=("tier",)))
    ['model', 'release', 'tier']
    """
    command = step.what.partition(" ")[0]
    named = CONCEPTS.get(command, (command,) if command else ())
    return list(dict.fromkeys([*named, *(noun for option in step.options for noun in OPTIONS.get(option, ()))]))


def _with_news(steps: Iterable[Step]) -> list[_Seen]:
    known: set[str] = set()
    scripts: set[str] = set()
    config_at_ms, ended_ms = 0, 0
    seen = []
    for step in steps:
        fresh = [noun for noun in concepts_of(step) if noun not in known]
        written = [script for script in step.scripts if script not in scripts]
        edited = step.config_at_ms > config_at_ms
        pause_s = (step.at_ms - step.took_s * 1000 - ended_ms) / 1000 if ended_ms else 0.0
        seen.append(
            _Seen(
                step=step,
                pause_s=min(max(pause_s, 0.0), PAUSE_S),
                files=len(written) + int(edited),
                concepts=tuple(fresh),
            )
        )
        known.update(fresh)
        scripts.update(written)
        config_at_ms, ended_ms = max(config_at_ms, step.config_at_ms), step.at_ms
    return seen


def _assigned(seen: Sequence[_Seen], models: Set[str]) -> dict[str, list[_Seen]]:
    """Each step with the model it names, or the one named last; the first steps with the first model.

    A name that no model has was mistyped: the step belongs to what somebody was about.
    """
    named = [next((name for name in each.step.names if name in models), "") for each in seen]
    current = next(filter(None, named), "")
    found: dict[str, list[_Seen]] = {}
    for each, name in zip(seen, named, strict=True):
        current = name or current
        found.setdefault(current, []).append(each)
    return found


def _deployment(model: str, seen: Sequence[_Seen], answered_at_ms: int) -> DeploymentEffort:
    before = [each for each in seen if each.step.at_ms - each.step.took_s * 1000 <= answered_at_ms]
    return DeploymentEffort(
        model=model,
        began_at_ms=seen[0].step.at_ms - int(seen[0].step.took_s * 1000),
        answered_at_ms=answered_at_ms,
        until_answering=_sum(before if answered_at_ms else seen),
        in_all=_sum(seen),
    )


def _sum(seen: Sequence[_Seen]) -> Effort:
    steps = [each.step for each in seen]
    return Effort(
        commands=sum(step.by == "command" for step in steps),
        lines=sum(step.by == "line" for step in steps),
        failed=sum(not step.ok for step in steps),
        files=sum(each.files for each in seen),
        minutes=round(sum(each.pause_s + each.step.took_s for each in seen) / 60, 2),
        new_concepts=tuple(noun for each in seen for noun in each.concepts),
    )


def _compared(first: DeploymentEffort, second: DeploymentEffort) -> str:
    """The second against the first, in figures: all that was done for each so far, since learning is part of it."""
    a, b = first.in_all, second.in_all
    return (
        f"{second.model} after {first.model}: {_steps(b)} instead of {_steps(a)}, {b.minutes:g} minutes instead of"
        f" {a.minutes:g}, {len(b.new_concepts)} new concepts instead of {len(a.new_concepts)},"
        f" {b.files} files instead of {a.files}"
    )


def _steps(effort: Effort) -> str:
    lines = f"{effort.lines} line{'' if effort.lines == 1 else 's'}"
    return f"{lines} and {effort.commands} command{'' if effort.commands == 1 else 's'}"
