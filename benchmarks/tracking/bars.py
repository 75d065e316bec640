"""What each figure must reach, and the table that says whether it does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks.tracking.measures import CHARTS, Figures
from benchmarks.tracking.servers import KINDS, Kind

OURS: Kind = "mlspine"
RIVALS: tuple[Kind, ...] = ("mlflow server", "mlflow, one worker")
FLAT_MIB = 32.0  # what memory may grow by while a file passes: buffers, not the file


class Goal(NamedTuple):
    """One bar: how it reads, and whether our figure reaches it given MLflow's better one and the echo server's."""

    says: str
    met: Callable[[float, float | None, float | None], bool | None]


class Line(NamedTuple):
    """One line of the table. `more` says that more is better."""

    label: str
    figure: str
    goals: tuple[Goal, ...] = ()
    more: bool = False
    digits: int = 2


def below(most: float, unit: str) -> Goal:
    return Goal(f"< {most:g} {unit}".rstrip(), lambda ours, _, __: ours < most)


def at_most(most: float) -> Goal:
    return Goal(f"<= {most:g}", lambda ours, _, __: ours <= most)


def times_faster(times: float) -> Goal:
    """In a time, against the better MLflow."""
    return Goal(
        f">= {times:g}x faster" if times > 1 else "no slower",
        lambda ours, theirs, _: None if theirs is None else ours * times <= theirs,
    )


def near_echo(times: float) -> Goal:
    return Goal(f"within {times:g}x of echo", lambda ours, _, echo: None if echo is None else ours <= echo * times)


def times_more(times: float) -> Goal:
    """In a rate, against the better MLflow."""
    return Goal(f">= {times:g}x", lambda ours, theirs, _: None if theirs is None else ours >= theirs * times)


def near_echo_rate(times: float) -> Goal:
    return Goal(f"within {times:g}x of echo", lambda ours, _, echo: None if echo is None else ours * times >= echo)


RATE = (times_more(4), near_echo_rate(1.3))
LINES = (
    Line("log_metric, one client, median ms", "log_ms", (times_faster(5), near_echo(1.5))),
    Line("  95% of calls below, ms", "log_p95_ms"),
    Line("  server CPU per call, ms", "log_cpu_ms"),
    Line("  acknowledged points lost", "log_lost", (at_most(0),), digits=0),
    Line("8 parallel loggers, requests/s", "loggers_8_per_s", RATE, more=True, digits=0),
    Line("  refused or failed requests", "loggers_8_refused", (at_most(0),), digits=0),
    Line("  acknowledged points lost", "loggers_8_lost", (at_most(0),), digits=0),
    Line("50 parallel loggers, requests/s", "loggers_50_per_s", RATE, more=True, digits=0),
    Line("  refused or failed requests", "loggers_50_refused", (at_most(0),), digits=0),
    Line("  acknowledged points lost", "loggers_50_lost", (at_most(0),), digits=0),
    Line("top 100 of 10,000 runs by metric, ms", "top_ms", (below(50, "ms"),), digits=1),
    Line("  the server's answer alone, ms", "top_answer_ms", digits=1),
    Line("filtered page of 100 of 10,000, ms", "page_ms", (below(30, "ms"),), digits=1),
    Line("  the server's answer alone, ms", "page_answer_ms", digits=1),
    Line("top 100 of 100,000, 10M points, ms", "top_large_ms", (below(1_000, "ms"),), digits=1),
    Line("  the server's answer alone, ms", "top_large_answer_ms", digits=1),
    Line("filtered page of 100 of 100,000, ms", "page_large_ms", (below(1_000, "ms"),), digits=1),
    Line("  the server's answer alone, ms", "page_large_answer_ms", digits=1),
    *(
        Line(f"100,000 points, {most} for a chart, ms", f"chart_{most}_ms", (below(20, "ms"),), digits=1)
        for most in CHARTS
    ),
    Line("100,000 points, whole history, ms", "history_ms", (times_faster(2),), digits=0),
    Line("100 MiB artifact up, s", "up_s", (times_faster(1),)),
    Line("100 MiB artifact down, s", "down_s", (times_faster(1),)),
    Line("  server memory grows by, MiB", "file_grown_mib", (below(FLAT_MIB, "MiB"),), digits=0),
    Line("large artifact up, s", "up_large_s"),
    Line("large artifact down, s", "down_large_s"),
    Line("  server memory grows by, MiB", "file_grown_large_mib", (below(FLAT_MIB, "MiB"),), digits=0),
    Line("server memory, RSS added up, MiB", "memory_mib", (below(150, "MiB"),), digits=0),
    Line("  shared pages divided (PSS), MiB", "memory_shared_mib", digits=0),
    Line("processes", "processes", (at_most(2),), digits=0),
    Line("new store until /health answers, s", "start_health_s", (below(1, "s"),)),
    Line("new store until the first run, s", "start_run_s", (below(1, "s"),)),
)


class Verdict(NamedTuple):
    """A line with its medians, and for each goal whether it is met; None when it was not measured."""

    line: Line
    medians: dict[Kind, float]
    met: tuple[bool | None, ...]


def judge(figures: Figures, lines: Iterable[Line] = LINES) -> list[Verdict]:
    """Every line that was measured for anybody."""
    verdicts = []
    for line in lines:
        medians = {
            kind: statistics.median(figures[line.figure, kind]) for kind in KINDS if figures.get((line.figure, kind))
        }
        if medians:
            verdicts.append(Verdict(line, medians, tuple(_met(line, goal, medians) for goal in line.goals)))
    return verdicts


def _met(line: Line, goal: Goal, medians: dict[Kind, float]) -> bool | None:
    if OURS not in medians:
        return None
    rivals = [medians[kind] for kind in RIVALS if kind in medians]
    better = (max(rivals) if line.more else min(rivals)) if rivals else None
    return goal.met(medians[OURS], better, medians.get("echo"))


SAYS = {True: "met", False: "NOT MET", None: "not measured"}


def table(figures: Figures) -> str:
    """The table as text: a column per server, then each bar and whether it is met, then our single rounds."""
    rows = [f"{'measure':<38}" + "".join(f"{kind:>20}" for kind in KINDS) + "   bar"]
    for line, medians, met in judge(figures):
        cells = "".join(f"{_cell(medians.get(kind), line.digits):>20}" for kind in KINDS)
        goals = "; ".join(f"{goal.says}: {SAYS[each]}" for goal, each in zip(line.goals, met, strict=True))
        rounds = " ".join(_cell(value, line.digits) for value in figures.get((line.figure, OURS), []))
        rows.append(f"{line.label:<38}{cells}   {goals}{f'   [{rounds}]' if rounds else ''}".rstrip())
    return "\n".join(rows)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
