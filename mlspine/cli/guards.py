"""guards: what an endpoint does when its release does not answer, or answers what it may not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import click

from mlspine.cli import render
from mlspine.core.plan import Guards, OutputRule

if TYPE_CHECKING:
    from mlspine.deployment.service import Switched
    from mlspine.handover.trying import Tried
    from mlspine.monitoring.guarded import Acted

Action = Literal["clip", "abstain", "fallback", "count"]
USUAL: dict[str, Action] = {"range": "clip", "deny": "abstain", "abstain": "abstain", "monotonic": "count"}
DROPPABLE = ("answer", "deadline", "range", "deny", "abstain", "monotonic")


@click.command()
@click.argument("name")
@click.option("--fallback", type=click.Choice(["previous", "none"]), help="Whether the release before stands in.")
@click.option("--answer", metavar="VALUE", help="The rule: answered when no release does.")
@click.option("--score", type=float, help="The score that goes with --answer, 0 to 1.")
@click.option("--deadline", type=float, metavar="SECONDS", help="Requests not answered by then go to the fallback.")
@click.option("--range", "span", metavar="LO..HI", help="What a score, or a number, lies within.")
@click.option("--deny", metavar="A,B", help="What is never answered.")
@click.option("--abstain", metavar="LO..HI", help="Scores that are too close to call.")
@click.option(
    "--monotonic", metavar="FIELD:up|down", multiple=True, help="More of FIELD never scores less; repeatable."
)
@click.option("--then", type=click.Choice(["clip", "abstain", "fallback", "count"]), help="What becomes of such a row.")
@click.option("--drop", multiple=True, type=click.Choice(DROPPABLE), help="Take a guard away; repeatable.")
@click.option("--off", is_flag=True, help="Take all guards away.")
@click.option("--try", "tried", is_flag=True, help="Ask with recorded rows who would answer, and change nothing.")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def guards(
    name: str,
    fallback: Literal["previous", "none"] | None,
    answer: str | None,
    score: float | None,
    deadline: float | None,
    span: str | None,
    deny: str | None,
    abstain: str | None,
    monotonic: tuple[str, ...],
    then: Action | None,
    drop: tuple[str, ...],
    off: bool,
    tried: bool,
    reason: str,
    as_json: bool,
) -> None:
    """What endpoint NAME does when its release does not answer, or answers what it may not.

    Without options: the guards there are, and how often each acted since the serving processes began. What is given
    replaces that guard and leaves the others; guards stay when another version goes live. Of one row that a rule
    catches: clip moves the score into the range, abstain gives no prediction and says so, fallback has the whole
    request answered by the release before (then the rule), count only counts.

    \b
    Examples:
      mlspine guards churn
      mlspine guards churn --answer no --score 0.1 --deadline 0.2
      mlspine guards churn --range 0.02..0.98 --abstain 0.45..0.55 --monotonic income:up
      mlspine guards churn --try
    """
    rules = [
        *([_span("range", span, then)] if span is not None else ()),
        *([_deny(deny, then)] if deny is not None else ()),
        *([_span("abstain", abstain, then)] if abstain is not None else ()),
        *(_monotonic(text, then) for text in monotonic),
    ]
    asked = {"fallback": fallback, "answer": answer, "score": score, "deadline_s": deadline}
    changes = bool(rules or drop or any(value is not None for value in asked.values()))
    if then is not None and not rules:
        raise click.UsageError("--then says what a rule does: give --range, --deny, --abstain or --monotonic with it")
    if off and changes:
        raise click.UsageError("--off takes all guards away; leave out the others")
    if tried and (off or changes):
        raise click.UsageError("--try changes nothing; leave out the others")
    if tried:
        _try(name, as_json=as_json)
    elif off or changes:
        _change(name, asked, rules, drop, off=off, reason=reason, as_json=as_json)
    else:
        _show(name, as_json=as_json)


# ---------------------------------------------------------------- showing, trying, changing


def _show(name: str, *, as_json: bool) -> None:
    from mlspine.control import connect
    from mlspine.monitoring.guarded import acted

    workspace = connect()
    endpoint = workspace.deployment.get(name)
    counts = acted(workspace.status.read(name).processes, name)
    shown = {"guards": endpoint.current.guards, "acted": counts}
    render.emit(shown, as_json=as_json, text=lambda: _shown_text(name, endpoint.current.guards, counts))


def _try(name: str, *, as_json: bool) -> None:
    from mlspine.control import connect

    found = connect().handover.try_paths(name)
    render.emit(found, as_json=as_json, text=lambda: tried_text(name, found))


def _change(
    name: str,
    asked: dict[str, Any],
    rules: list[OutputRule],
    drop: tuple[str, ...],
    *,
    off: bool,
    reason: str,
    as_json: bool,
) -> None:
    from mlspine.cli.endpoints import _running
    from mlspine.folder import this_actor

    workspace = _running()
    now = workspace.deployment.get(name).current.guards
    then = Guards() if off else merged(now, asked, rules, drop)
    switched = workspace.deployment.guard(name, guards=then, actor=this_actor(), reason=reason)
    render.emit(switched, as_json=as_json, text=lambda: _changed_text(switched))


def merged(now: Guards, asked: dict[str, Any], rules: list[OutputRule], drop: tuple[str, ...]) -> Guards:
    """The guards with what was asked in place of what was there. Another answer leaves the score of the old one.

    >>> merged(Guards(answer="no", score=0.1, deadline_s=1.0), {"answer": "yes"}, [], ("deadline",))
    Guards(fallback='previous', answer='yes', score=None, deadline_s=None, rules=())
    """
    import msgspec

    given = {name: value for name, value in asked.items() if value is not None}
    if "answer" in given or "answer" in drop:
        given = {"answer": None, "score": None} | given
    if "deadline" in drop:
        given = {"deadline_s": None} | given
    replaced = {(rule.kind, rule.field) for rule in rules}
    kept = [rule for rule in now.rules if (rule.kind, rule.field) not in replaced and rule.kind not in drop]
    return msgspec.structs.replace(now, **given, rules=(*kept, *rules))


# ---------------------------------------------------------------- reading options


def span_of(text: str) -> tuple[float | None, float | None]:
    """Both ends of "LO..HI"; None for one left out.

    >>> span_of("0.45..0.55"), span_of("..9")
    ((0.45, 0.55), (None, 9.0))
    """
    low, dots, high = text.partition("..")
    try:
        ends = [float(end) if end.strip() else None for end in (low, high)]
    except ValueError:
        ends = []
    if not dots or not ends or any(end is not None and math.isnan(end) for end in ends):
        raise click.UsageError(f"{text!r} is no range; for instance 0.45..0.55, or 0.. for no upper end")
    return ends[0], ends[1]


def _span(kind: Literal["range", "abstain"], text: str, then: Action | None) -> OutputRule:
    lo, hi = span_of(text)
    return OutputRule(kind=kind, action=then or USUAL[kind], lo=lo, hi=hi)


def _deny(text: str, then: Action | None) -> OutputRule:
    values = tuple(value.strip() for value in text.split(",") if value.strip())
    return OutputRule(kind="deny", action=then or USUAL["deny"], values=values)


def _monotonic(text: str, then: Action | None) -> OutputRule:
    field, _, direction = text.rpartition(":")
    if not field or direction not in ("up", "down"):
        raise click.UsageError(f"{text!r} does not say which way; for instance income:up")
    return OutputRule(kind="monotonic", action=then or USUAL["monotonic"], field=field, direction=direction)  # type: ignore[arg-type]


# ---------------------------------------------------------------- words


def _shown_text(name: str, now: Guards, counts: Acted) -> str:
    from mlspine.deployment.guards import told

    lines = [render.bold(f"guards of {name}"), *(f"  {line}" for line in told(now))]
    if not counts.requests:
        return "\n".join([*lines, "", "no requests since the serving processes began"])
    rows: list[tuple[str, str]] = [
        (f"answered by {path}", f"{count:,} requests") for path, count in counts.paths.items() if count
    ]
    rows += [(f"caught by {kind}", f"{count:,} of {counts.rows:,} rows") for kind, count in counts.rules.items()]
    rows.append(("refused at once (503)", f"{counts.shed:,} requests, more than could be answered in time"))
    if counts.open:
        rows.append(("left alone for now", ", ".join(counts.open)))
    head = f"since the serving processes began, {counts.requests:,} requests:"
    return "\n".join([*lines, "", head, render.table(rows)])


def _changed_text(switched: Switched) -> str:
    from mlspine.deployment.guards import told

    name = switched.endpoint
    if not switched.changed:
        return f"{render.bold(name)} is guarded like that already; nothing changed"
    lines = [f"{render.bold(name)} is guarded, revision {switched.revision.number}"]
    lines += [f"  {line}" for line in told(switched.revision.guards)]
    lines += [f"  {render.mark('amber')} {warning}" for warning in switched.warnings]
    return "\n".join([*lines, f"Next: mlspine guards {name} --try"])


def tried_text(name: str, found: list[Tried]) -> str:
    """Who would answer, in order."""
    lines = [render.bold(f"who answers for {name}, asked with recorded rows")]
    for each in found:
        who = f"version {each.version}" if each.version else each.says
        state = "green" if each.answers else "amber" if each.path == "cannot-answer" else "red"
        what = each.why or f"answered {each.answered} of {each.rows} rows"
        lines.append(f"  {render.mark(state)} {each.path}: {who}: {what}")
    return "\n".join(lines)
