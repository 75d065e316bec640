"""Runbooks from the real configuration: what to look at first, what to type, what it prints, how to undo. Pure.

Every command is whole: real names, versions, ports. `mlspine drill` types them on a copy of the workspace.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any, Literal, get_args

from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import Endpoint
from mlspine.core.types import FeedState, ModelVersion, Struct

Task = Literal["deploy", "rollback", "retrain", "fallback"]
TASKS: tuple[Task, ...] = get_args(Task)
STAGED = "It is in Staging"  # how `mlspine retrain` says that the candidate passed


class Known(Struct, frozen=True, kw_only=True):
    """What a runbook is made from, gathered so that writing it is pure."""

    endpoint: Endpoint
    versions: tuple[ModelVersion, ...]  # oldest first
    live: ModelVersion | None  # None: the endpoint says "cannot answer"
    steps_back: int  # rollbacks until "cannot answer"
    workspace: str
    predictions_url: str
    control_url: str
    sinks: tuple[str, ...]
    feeds: tuple[FeedState, ...]
    recipe: str  # "refit", "function", "script" or "none"
    labelled_rows: int  # in the log
    owner: str  # "" for nobody
    owner_assumed: bool
    at_ms: int


class Step(Struct, frozen=True, kw_only=True):
    """One line to type. prints: words in its output when it went right, "" when any will do."""

    command: str
    does: str
    prints: str = ""
    otherwise: str = ""
    only_after: str = ""  # typed only if the line before printed this


class Runbook(Struct, frozen=True, kw_only=True):
    """What a person follows who has never seen the project."""

    task: Task
    endpoint: str
    purpose: str
    facts: tuple[tuple[str, str], ...]
    first: tuple[Step, ...]
    steps: tuple[Step, ...]
    undo: tuple[Step, ...]
    call: tuple[str, ...]
    missing: tuple[str, ...] = ()  # what stands in the way of doing it at all
    uninterrupted: bool = False  # no request may fail meanwhile
    url: str = ""
    example: dict[str, Any] = {}  # a recorded row
    written_at_ms: int = 0

    def commands(self) -> tuple[Step, ...]:
        """Every line, in the order in which they are typed."""
        return (*self.first, *self.steps, *self.undo)


def write_runbook(task: Task, known: Known) -> Runbook:
    """The runbook of one task."""
    purpose, steps, undo = {"deploy": _deploy, "rollback": _rollback, "retrain": _retrain, "fallback": _fallback}[task](
        known
    )
    missing = _not_retrainable(known) if task == "retrain" else ()
    return Runbook(
        task=task,
        endpoint=known.endpoint.name,
        purpose=purpose,
        facts=_facts(known),
        first=_first(task, known),
        steps=() if missing else steps,
        undo=() if missing else undo,
        call=_call(known),
        missing=missing,
        uninterrupted=not missing and _uninterrupted(task, known),
        url=_url(known),
        example=_example(known, known.live),
        written_at_ms=known.at_ms,
    )


# ---------------------------------------------------------------- the tasks

Written = tuple[str, tuple[Step, ...], tuple[Step, ...]]


def _deploy(known: Known) -> Written:
    name, newest = known.endpoint.name, known.versions[-1]
    live = known.endpoint.current.version
    if live == newest.version:
        purpose = (
            f"Version {live} is the newest and live. These lines put it live again on a machine that has stopped;"
            " after the next ship, print this page again."
        )
        switch = Step(
            command=f"mlspine serve {name}:{live}",
            does="answers with it, once the recorded predictions are reproduced",
            prints=f"with version {live}, release {_short(newest)}",
            otherwise="the message names the missing library or the port's owner; nothing changed yet",
        )
        undo = Step(
            command="mlspine down",
            does="stops answering; what was answered stays in the log",
            prints="stopped",
            otherwise="nothing was running",
        )
    else:
        purpose = f"Moves {name} from {_version(live)} to version {newest.version}, the newest."
        switch = Step(
            command=f'mlspine promote {name} {newest.version} --reason "runbook: deploy"',
            does="loads it beside the live one, reproduces its recorded predictions, then switches",
            prints=f"moved to version {newest.version}, release {_short(newest)}",
            otherwise="nothing was switched; the message names each thing that stands in the way",
        )
        undo = _back(known, live, "runbook: deploy undone")
    return purpose, (_up(), switch, _ask(known, newest), _look(known, newest)), (undo,)


def _rollback(known: Known) -> Written:
    name, current, target = known.endpoint.name, known.endpoint.current, known.endpoint.previous
    purpose = f"Brings back what answered before {_version(current.version)}: {_target(known)}. No request fails."
    if not current.version:
        return f'{name} says "cannot answer" already; bring a version forward.', (_up(), _forward(known)), ()
    before = _find(known, target.version) if target else None
    step = _back(known, target.version if target else 0, "runbook: rollback")
    undo = (_forward(known), _ask(known, known.live))
    return purpose, (_up(), *_taken_back(known), step, _ask(known, before), _look(known, before)), undo


def _fallback(known: Known) -> Written:
    name, rule = known.endpoint.name, known.endpoint.current.guards.answer
    ruled = rule is not None
    purpose = (
        f"For when no release of {name} can be trusted: callers get"
        + (f" the declared rule, {rule}, instead." if ruled else " 503 with the reason instead of a wrong answer.")
        + ("" if ruled else f" No rule is declared to answer in its place: mlspine guards {name} --answer VALUE")
    )
    steps = [_up(), *_taken_back(known), _try(known)]
    for left in range(known.steps_back - 1, -1, -1):
        steps.append(
            Step(
                command=f'mlspine rollback {name} --reason "runbook: fallback"',
                does="goes one release further back" if left else 'leaves the first release: "cannot answer"',
                prints="is back at version" if left else 'now says "cannot answer"',
                otherwise=f"see where it stands: mlspine status {name}",
            )
        )
    steps.append(_ask_rule(known) if ruled else _ask(known, None))
    undo = (_forward(known), _ask(known, known.live)) if known.live else (_forward(known),)
    return purpose, tuple(steps), undo


def _retrain(known: Known) -> Written:
    name, after = known.endpoint.name, known.versions[-1].version + 1
    rows = _source(known) or f"its own log ({known.labelled_rows:,} labelled rows)"
    purpose = (
        f"Fits {name} again on rows from {rows} by its recorded recipe ({known.recipe}), compares the result with the"
        " live version, and keeps it only if the gate lets it pass."
    )
    refit = Step(
        command=f"mlspine retrain {name}",
        does="fits, checks the rows against what was learned at ship, and decides with figures",
        prints="verdict",
        otherwise="no traffic changed; the message names the column or the feed to mend",
    )
    promote = Step(
        command=f'mlspine promote {name} {after} --reason "runbook: retrain"',
        does="puts the candidate live; leave it out when it was refused, which is an answer too",
        prints=f"moved to version {after}",
        otherwise=f"see the versions there are: mlspine models {name}",
        only_after=STAGED,
    )
    back = _back(known, known.endpoint.current.version, "runbook: retrain undone")
    return purpose, (_up(), refit, promote), (_only_after(back, "moved to version"),)


def _not_retrainable(known: Known) -> tuple[str, ...]:
    """What must be declared before retraining is one command."""
    name = known.endpoint.name
    gaps = []
    if known.recipe == "none":
        gaps.append(f"how {name} is fitted: ship it with recipe=, a function of (X, y) or a script")
    if not _source(known) and not known.labelled_rows:
        gaps.append(
            f"where fresh rows with the outcome lie: mlspine feeds {name} --source PATH-OR-SQL;"
            f" or outcomes of what was answered: mlspine labels add {name} FILE"
        )
    return tuple(gaps)


def _source(known: Known) -> str:
    """Where fresh rows are read from; "" when they come with requests, or nobody said."""
    said = next((feed.text for feed in known.feeds if feed.role == "source"), "")
    return "" if said == "caller" else said


# ---------------------------------------------------------------- the lines


def _first(task: Task, known: Known) -> tuple[Step, ...]:
    name = known.endpoint.name
    chain = Step(
        command="mlspine ledger --verify",
        does="the history of changes is whole",
        prints="intact",
        otherwise="stop, and call whoever answers for it: somebody changed the store by hand",
    )
    if task in ("rollback", "fallback"):
        told = f"what happened last, and why: the newest line is revision {known.endpoint.current.number}"
        return (
            chain,
            Step(command=f"mlspine alerts {name}", does="what is wrong now; a rollback cures causes in the release"),
            Step(command=f"mlspine ledger endpoint:{name}", does=told),
        )
    listed = Step(
        command=f"mlspine models {name}",
        does="the versions there are, with their quality and who shipped them",
        prints=_short(known.versions[-1]),
        otherwise="another version was shipped since this page was printed: print it again",
    )
    return chain, listed


def _up() -> Step:
    return Step(
        command="mlspine up",
        does="starts what is not running; changes nothing when it runs",
        prints="control at",
        otherwise="a port is taken (its owner is named): stop that, or mlspine up --port",
    )


def _taken_back(known: Known) -> tuple[Step, ...]:
    """Where a candidate answers a share of the requests, a rollback would take that back first."""
    name, candidate = known.endpoint.name, known.endpoint.current.traffic.candidate
    if not candidate:
        return ()
    step = Step(
        command=f"mlspine split {name} --off",
        does=f"takes version {candidate} back, which answers a share of the requests",
        prints="answers everything",
        otherwise=f"see who answers: mlspine split {name}",
    )
    return (step,)


def _ask(known: Known, version: ModelVersion | None) -> Step:
    """A request with a recorded row; the answer names the release that gave it."""
    name = known.endpoint.name
    body = shlex.quote(json.dumps({"rows": [_example(known, version)]}))
    command = f"curl -si {_url(known)} -H 'Content-Type: application/json' -d {body}"
    if version is None:
        return Step(command=command, does="callers are told so, with status 503", prints="cannot answer")
    return Step(
        command=command,
        does="answers 200, and the header names the release",
        prints=f"mlspine-release: {version.release_hash}",
        otherwise=f"see what is wrong: mlspine status {name}",
    )


def _ask_rule(known: Known) -> Step:
    return Step(
        command=_ask(known, None).command,
        does="answers by the declared rule, and says so",
        prints="mlspine-path: rule",
        otherwise=f"see who would answer: mlspine guards {known.endpoint.name} --try",
    )


def _try(known: Known) -> Step:
    """Who stands behind the live release, each asked; the last is always that nobody does."""
    name, before = known.endpoint.name, known.endpoint.previous
    stands_in = before is not None and known.endpoint.current.guards.fallback == "previous"
    return Step(
        command=f"mlspine guards {name} --try",
        does="asks each with recorded rows: who answers by itself when the live release fails, before anybody acts",
        prints=f"fallback: version {before.version}: answered" if stands_in and before else "cannot-answer:",
        otherwise="a release that stands in and does not answer is no help: roll back to one that does",
    )


def _look(known: Known, version: ModelVersion | None) -> Step:
    name = known.endpoint.name
    return Step(
        command=f"mlspine status {name}",
        does="the verdict; an alert here is the next thing to do",
        prints=f"version {version.version}, release {_short(version)}" if version else "cannot answer",
        otherwise=f"mlspine alerts {name}",
    )


def _forward(known: Known) -> Step:
    version = known.live or known.versions[-1]
    name = known.endpoint.name
    return Step(
        command=f'mlspine promote {name} {version.version} --reason "runbook: forward again"',
        does=f"puts version {version.version} live again",
        prints=f"moved to version {version.version}, release {_short(version)}",
        otherwise=f"see the versions there are: mlspine models {name}",
    )


def _back(known: Known, version: int, reason: str) -> Step:
    name = known.endpoint.name
    found = _find(known, version)
    prints = f"is back at version {version}, release {_short(found)}" if found else 'now says "cannot answer"'
    return Step(
        command=f'mlspine rollback {name} --reason "{reason}"',
        does=f"goes back to {_version(version)}: model, transform, limits and settings",
        prints=prints,
        otherwise=f"see where it stands: mlspine status {name}",
    )


def _only_after(step: Step, words: str) -> Step:
    return Step(
        command=step.command,
        does=step.does,
        prints=step.prints,
        otherwise=step.otherwise,
        only_after=words,
    )


# ---------------------------------------------------------------- facts


def _facts(known: Known) -> tuple[tuple[str, str], ...]:
    name, current = known.endpoint.name, known.endpoint.current
    feeds = {feed.role: feed.text or "nobody said" for feed in known.feeds}
    return (
        ("endpoint", f"{name}, answering with {_version(current.version)} of model {known.endpoint.model}"),
        ("release", current.release_hash or "-"),
        ("before it", _target(known)),
        ("callers ask", _url(known)),
        ("control", known.control_url),
        ("workspace", known.workspace),
        ("alerts go to", ", ".join(known.sinks) or "the log of the control process only"),
        ("fresh rows", feeds.get("source", "nobody said")),
        ("labels", feeds.get("labels", "nobody said")),
        ("fitted again by", "its author only" if known.recipe == "none" else known.recipe),
    )


def _call(known: Known) -> tuple[str, ...]:
    if not known.owner:
        model = known.endpoint.model
        return (f"nobody is named as owner of {model}: mlspine card {model} --set owner=you@example.org",)
    return (f"{known.owner}{' (assumed from git: ask whether it is still true)' if known.owner_assumed else ''}",)


def _uninterrupted(task: Task, known: Known) -> bool:
    """Whether a release answers before, during and after."""
    if task == "deploy":
        return known.endpoint.current.version not in (0, known.versions[-1].version)
    return known.live is not None and (
        task == "retrain" or (task == "rollback" and known.endpoint.previous is not None)
    )


def _url(known: Known) -> str:
    return f"{known.predictions_url}/endpoints/{known.endpoint.name}/predict"


def _example(known: Known, version: ModelVersion | None) -> dict[str, Any]:
    """A recorded row: of this version, else of the one that answers, else of the newest."""
    told = (each.captured.get("example") for each in (version, known.live, known.versions[-1]) if each)
    return next((example for example in told if example), {})


def _find(known: Known, version: int) -> ModelVersion | None:
    return next((each for each in known.versions if each.version == version), None)


def _target(known: Known) -> str:
    target = known.endpoint.previous
    return _version(target.version if target else 0)


def _version(number: int) -> str:
    return f"version {number}" if number else '"cannot answer" (503)'


def _short(version: ModelVersion) -> str:
    return version.release_hash[:SHORT_HASH]


# ---------------------------------------------------------------- text


def markdown(runbook: Runbook, *, when: str, drilled: str = "") -> str:
    """The page. when: the date it was written; drilled: what `mlspine drill` found last, "" before the first."""
    facts = [f"| {name} | {_cell(value)} |" for name, value in runbook.facts]
    lines = [
        f"# {runbook.task.capitalize()} {runbook.endpoint}",
        "",
        runbook.purpose,
        "",
        f"Written {when} UTC from the running configuration. {drilled or f'Not drilled yet: {_drill(runbook)}.'}",
        "",
        "| what | now |",
        "|---|---|",
        *facts,
        "",
    ]
    workspace = dict(runbook.facts)["workspace"]
    lines += [
        "Type everything on the machine that serves, after:",
        "",
        *_fenced(f"export MLSPINE_WORKSPACE={_q(workspace)}"),
    ]
    if runbook.missing:
        lines += ["## Not possible yet: declare first", "", *(f"- {gap}" for gap in runbook.missing), ""]
    for title, steps in (
        ("Look first", runbook.first),
        ("Do", runbook.steps),
        ("Undo", runbook.undo),
    ):
        if steps:
            lines += [f"## {title}", "", *_numbered(steps)]
    lines += ["## Whom to call", "", *(f"- {line}" for line in runbook.call), ""]
    return "\n".join(lines)


def _numbered(steps: Sequence[Step]) -> list[str]:
    lines = []
    for number, step in enumerate(steps, start=1):
        only = f" Only if the line before printed `{step.only_after}`." if step.only_after else ""
        lines += [f"{number}. {step.does[:1].upper()}{step.does[1:]}.{only}", "", *_fenced(step.command)]
        if step.prints:
            lines.append(f"   Right: it prints `{step.prints}`.")
        if step.otherwise:
            lines.append(f"   Otherwise: {step.otherwise}.")
        lines.append("")
    return lines


def _fenced(command: str) -> list[str]:
    return ["```sh", command, "```", ""]


def _drill(runbook: Runbook) -> str:
    return f"`mlspine drill {runbook.endpoint} {runbook.task}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _q(text: str) -> str:
    return shlex.quote(text)
