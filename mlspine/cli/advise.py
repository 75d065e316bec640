"""advise, effort, cost: what to do next, what it took of people, what it costs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.advisor.advice import Advice
    from mlspine.advisor.cost import Cost
    from mlspine.advisor.effort import DeploymentEffort, Effort, EffortReport
    from mlspine.advisor.service import Advised

WIDTH = 100
MARKS = {"add": "amber", "keep": "green", "not yet": "waiting", "remove": "red"}
SECTIONS = (
    ("add", "After that"),
    ("keep", "Fine as it is"),
    ("not yet", "Not yet"),
    ("remove", "Remove"),
)


@click.command()
@render.json_option
def advise(as_json: bool) -> None:
    """The one next thing, what is fine as it is, what not yet, and what to remove: each with its numbers.

    Nothing is asked: it reads the log, the ledger, the feeds, the repository, and what answering cost. Costs are
    planning figures; what this workspace itself took is printed beside them.

    \b
    Example:
      mlspine advise
    """
    from mlspine.control import connect

    advised = connect().advisor.advise()
    render.emit(advised, as_json=as_json, text=lambda: _advised_text(advised))


@click.command()
@render.json_option
def effort(as_json: bool) -> None:
    """What each deployment took of people: from naming the model to its endpoint answering, and in all so far.

    Counted from commands typed here and from notebook lines; a pause counts at most five minutes.

    \b
    Example:
      mlspine effort
    """
    from mlspine.control import connect

    report = connect().advisor.effort()
    render.emit(report, as_json=as_json, text=lambda: _effort_text(report))


@click.command()
@click.argument("name", required=False, default="")
@render.json_option
def cost(name: str, as_json: bool) -> None:
    """CPU time of the last 30 days per release, of endpoint NAME or of all; money where a rate is declared.

    Say what a CPU costs with per_cpu_hour in [cost] of mlspine.toml.

    \b
    Example:
      mlspine cost churn
    """
    from mlspine.control import connect

    found = connect().advisor.cost(name)
    render.emit(found, as_json=as_json, text=lambda: _cost_text(found))


# ---------------------------------------------------------------- advice


def _advised_text(advised: Advised) -> str:
    rest = [each for each in advised.advice if each != advised.next]
    blocks = [_next_text(advised)]
    for kind, title in SECTIONS:
        found = [each for each in rest if each.kind == kind]
        if found:
            blocks.append("\n".join([title, *(_line(each) for each in found)]))
    blocks.append(_standing(advised))
    return "\n\n".join(blocks)


def _next_text(advised: Advised) -> str:
    chosen = advised.next
    if chosen is None:
        return f"{render.bold('Next: change nothing')}"
    verb = "remove " if chosen.kind == "remove" else ""
    lines = [
        render.bold(f"Next: {verb}{chosen.what}"),
        _field("why", chosen.why),
        _field("do", chosen.do),
        _field("costs", f"{chosen.price.text(advised.currency)} (planning figure)"),
        _field("effect", f"{chosen.effect}; confidence {chosen.confidence}"),
        _field("undo", chosen.undo),
        *(_field("see" if at == 0 else "", link.at, wrap=False) for at, link in enumerate(chosen.evidence)),
    ]
    return "\n".join(line for line in lines if line)


def _line(advice: Advice) -> str:
    head = f"  {render.mark(MARKS[advice.kind])} {advice.what}: "
    text = advice.why + (f"; {advice.do}" if advice.kind in ("add", "remove") and advice.do else "")
    return textwrap.fill(head + text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _standing(advised: Advised) -> str:
    maturity = advised.maturity
    missing = f"; missing: {', '.join(maturity.missing)}" if maturity.missing else ""
    plan = f"; planned for elsewhere: {advised.plan}" if advised.plan else ""
    return "\n".join(
        [
            _field("stage", maturity.stage + plan, indent=""),
            _field("here", advised.actual, indent=""),
            _field("level", f"{maturity.level} of the {maturity.target} needed{missing}", indent=""),
            "Everything it rests on: mlspine advise --json",
        ]
    )


def _field(name: str, text: str, *, indent: str = "  ", wrap: bool = True) -> str:
    head = f"{indent}{name:<7} "
    if not text:
        return ""
    if not wrap:
        return head + text
    blank = " " * len(head)
    return textwrap.fill(head + text, WIDTH, subsequent_indent=blank, break_long_words=False, break_on_hyphens=False)


# ---------------------------------------------------------------- effort


def _effort_text(report: EffortReport) -> str:
    if not report.deployments:
        return "nothing has been deployed from here yet\nNext: mlspine.ship(model, X, y, name=NAME)"
    head = ("model", "until it answered", "lines", "commands", "files", "minutes", "new", "concepts")
    rows = [row for each in report.deployments for row in _deployment_rows(each)]
    return "\n".join([render.table(rows, head=head, indent=""), *([report.second] if report.second else [])])


def _deployment_rows(found: DeploymentEffort) -> list[tuple[object, ...]]:
    when = render.when(found.answered_at_ms) if found.answered_at_ms else "not yet"
    return [
        (found.model, when, *_effort_cells(found.until_answering)),
        ("", "in all so far", *_effort_cells(found.in_all)),
    ]


def _effort_cells(effort: Effort) -> tuple[object, ...]:
    concepts = ", ".join(effort.new_concepts) or "-"
    return effort.lines, effort.commands, effort.files, effort.minutes, len(effort.new_concepts), concepts


# ---------------------------------------------------------------- cost


def _cost_text(found: Cost) -> str:
    if not found.releases:
        return "no request has been metered yet; it is added up once a minute\nNext: mlspine status"
    priced = found.per_cpu_hour is not None
    money = (found.currency, f"{found.currency}/million") if priced else ()
    head = ("endpoint", "version", "release", "requests", "rows", "CPU s", "in the model", "CPU s/million", *money)
    rows = [
        (
            each.endpoint,
            each.version or "-",
            each.release_hash[:SHORT_HASH],
            f"{each.requests:,}",
            f"{each.rows:,}",
            f"{each.cpu_s:.1f}",
            f"{each.calls_s / each.cpu_s if each.cpu_s else 0.0:.0%}",
            f"{each.cpu_s_per_million:.1f}",
            *((f"{each.money or 0.0:.4f}", f"{each.money_per_million or 0.0:.4f}") if priced else ()),
        )
        for each in found.releases
    ]
    idle = found.cpu_s_offered - found.cpu_s_used
    lines = [
        f"{found.from_day} to {found.to_day}, UTC",
        render.table(rows, head=head, indent=""),
        f"used {found.cpu_s_used / 3600:.2f} of {found.cpu_s_offered / 3600:.2f} CPU-hours offered;"
        f" {found.cpu_s_background:.0f} s of it while nothing was asked",
    ]
    if priced:
        lines.append(f"idle: {idle / 3600:.2f} CPU-hours, {found.idle_money or 0.0:.2f} {found.currency}")
    else:
        lines.append("for money, say per_cpu_hour in [cost] of mlspine.toml")
    lines += [f"{job.what}: {job.times} times, {job.seconds:.1f} s" for job in found.jobs]
    return "\n".join([*lines, *([found.break_even] if found.break_even else []), found.method])
