"""A drill: a runbook typed line by line, and what came of it. The typing itself is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from mlspine.core.types import Struct
from mlspine.handover.runbook import Runbook, Step, Task

DRILL = "drill"  # evidence "drill:rollback" and so on, about "endpoint:NAME"
KEPT_CHARACTERS = 600


class Ran(NamedTuple):
    """What a typed line did."""

    exit_code: int
    output: str
    duration_s: float


class Line(Struct, frozen=True, kw_only=True):
    """One line of the runbook as it was typed. skipped: why it was not."""

    command: str
    right: bool
    exit_code: int = 0
    duration_s: float = 0.0
    seen: str = ""  # the end of its output
    skipped: str = ""


class Traffic(Struct, frozen=True, kw_only=True):
    """Requests sent while lines were typed, and the releases that answered, one after the other."""

    requests: int = 0
    failed: int = 0
    releases: tuple[str, ...] = ()


class Drilled(Struct, frozen=True, kw_only=True):
    """How a drill ended."""

    endpoint: str
    task: Task | Literal["restart"]
    passed: bool
    why: str
    lines: tuple[Line, ...]
    duration_s: float
    requests: int = 0
    failed_requests: int = 0
    releases: tuple[str, ...] = ()


def exercise(runbook: Runbook, type_line: Callable[[str], Ran], *, tell: Callable[[Line], None]) -> tuple[Line, ...]:
    """Type every line in order; the first that goes wrong ends it. tell: hears of each line."""
    lines: list[Line] = []
    before = ""
    for step in runbook.commands():
        line, before = _typed(step, type_line, before)
        lines.append(line)
        tell(line)
        if not line.right:
            break
    return tuple(lines)


def conclude(runbook: Runbook, lines: tuple[Line, ...], traffic: Traffic) -> Drilled:
    """Passed: every line printed what it should, and where no request may fail none did."""
    wrong = next((line for line in lines if not line.right), None)
    if wrong is not None:
        last = wrong.seen.strip().splitlines()[-1:] or ["nothing"]
        why = f"`{wrong.command}` ended with {wrong.exit_code} and printed: {last[0]}"
    elif traffic.failed:
        why = f"{traffic.failed} of {traffic.requests} requests failed meanwhile"
    else:
        typed = sum(not line.skipped for line in lines)
        sent = f"; {traffic.requests} requests meanwhile, none failed" if traffic.requests else ""
        why = f"{typed} commands did what the runbook says{sent}"
    return Drilled(
        endpoint=runbook.endpoint,
        task=runbook.task,
        passed=wrong is None and not traffic.failed,
        why=why,
        lines=lines,
        duration_s=sum(line.duration_s for line in lines),
        requests=traffic.requests,
        failed_requests=traffic.failed,
        releases=traffic.releases,
    )


def _typed(step: Step, type_line: Callable[[str], Ran], before: str) -> tuple[Line, str]:
    """The line and its output; a line whose condition does not hold is passed over."""
    if step.only_after and step.only_after not in before:
        return Line(command=step.command, right=True, skipped=f"the line before did not print {step.only_after}"), ""
    ran = type_line(step.command)
    right = ran.exit_code == 0 and step.prints in ran.output
    line = Line(
        command=step.command,
        right=right,
        exit_code=ran.exit_code,
        duration_s=round(ran.duration_s, 3),
        seen=ran.output[-KEPT_CHARACTERS:],
    )
    return line, ran.output
