"""A serving process is killed while somebody asks: how long nobody was answered, and whether it came back."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlspine.core.errors import Unavailable
from mlspine.core.types import Struct
from mlspine.handover.drill import Drilled, Line

BACK_WITHIN_S = 30.0
LONGEST_GAP_S = 10.0
ASK_EVERY_S = 0.02
STEADY_S = 1.0  # asked for so long before and after


class Asked(NamedTuple):
    """One question to the endpoint while the drill lasted. at_s: when it ended."""

    at_s: float
    answered: bool


class Killed(Struct, frozen=True, kw_only=True):
    """What a killed process meant for those who asked. gap_s: the longest time without an answer; -1: none came."""

    process: str
    pid: int
    came_back: bool
    back_s: float
    gap_s: float
    asked: int
    failed: int


def longest_gap_s(asked: list[Asked]) -> float:
    """The longest time from one answer to the next; -1 when nothing was answered after a failure.

    >>> longest_gap_s([Asked(0.0, True), Asked(0.1, True), Asked(0.2, False), Asked(0.9, True)])
    0.8
    """
    answers = [each.at_s for each in asked if each.answered]
    if not answers or not asked[-1].answered:
        return -1.0
    return round(max((later - one for one, later in itertools.pairwise(answers)), default=0.0), 3)


def kill(
    process: str,
    pid: int,
    *,
    ask: Callable[[], bool],
    pid_now: Callable[[], int],
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    end: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL),
) -> Killed:
    """Kill one serving process and go on asking until another has taken its place.

    ask: one question, whether it was answered. pid_now: the pid that goes by this name, 0 while none does.
    """
    asked: list[Asked] = []

    def go_on(seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        ends_s = timer() + seconds
        while timer() < ends_s and not until():
            answered = ask()
            asked.append(Asked(timer(), answered))
            sleep(ASK_EVERY_S)

    go_on(STEADY_S)
    killed_at_s = timer()
    end(pid)
    go_on(BACK_WITHIN_S, until=lambda: asked[-1].answered and pid_now() not in (0, pid))
    came_back = pid_now() not in (0, pid)
    back_s = timer() - killed_at_s
    go_on(STEADY_S)
    return Killed(
        process=process,
        pid=pid,
        came_back=came_back,
        back_s=round(back_s, 3),
        gap_s=longest_gap_s(asked),
        asked=len(asked),
        failed=sum(not each.answered for each in asked),
    )


def conclude(endpoint: str, killed: list[Killed], *, spare: bool) -> Drilled:
    """How the drill ended. spare: other serving processes went on answering while one was gone."""
    lines = tuple(_line(each) for each in killed)
    wrong = next((each for each, line in zip(killed, lines, strict=True) if not line.right), None)
    if wrong is not None and not wrong.came_back:
        why = f"{wrong.process} was not started again within {BACK_WITHIN_S:g} s"
    elif wrong is not None and wrong.gap_s < 0.0:
        why = f"{endpoint} did not answer again after {wrong.process} was killed"
    elif wrong is not None:
        why = f"nobody was answered for {wrong.gap_s:.1f} s after {wrong.process} was killed (limit {LONGEST_GAP_S:g})"
    else:
        others = "others answered meanwhile" if spare else "no other was there to answer"
        why = "; ".join(
            f"{each.process} was back {each.back_s:.1f} s after it was killed, longest time without an answer"
            f" {each.gap_s:.2f} s"
            for each in killed
        )
        why += f" ({others})"
    return Drilled(
        endpoint=endpoint,
        task="restart",
        passed=bool(killed) and wrong is None,
        why=why,
        lines=lines,
        duration_s=sum(each.back_s for each in killed),
        requests=sum(each.asked for each in killed),
        failed_requests=sum(each.failed for each in killed),
    )


def _line(killed: Killed) -> Line:
    return Line(
        command=f"kill -9 {killed.pid}",
        right=killed.came_back and 0.0 <= killed.gap_s <= LONGEST_GAP_S,
        duration_s=killed.back_s,
        seen=f"{killed.process}: longest time without an answer {killed.gap_s:.2f} s,"
        f" {killed.failed} of {killed.asked} questions failed, back after {killed.back_s:.2f} s",
    )


def check_ours(pid: int) -> None:
    """Raises Unavailable unless this is a serving process of ours: a pid may have been given to another meanwhile."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        said = b"mlspine"  # where the system does not tell, the state it gave a moment ago has to do
    if b"mlspine" not in said:
        raise Unavailable(f"process {pid} is none of mlspine's any more", hint="repeat the command")
