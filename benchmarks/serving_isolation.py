"""What the callers of one endpoint notice when the model of another crashes natively, hangs or grows.

Two endpoints: "steady" answers at a fixed pace; the newest release of "bad", in a process of its own, misbehaves on
every request it gets, and the release before it answers instead. Each misbehaviour runs between two quiet turns of the
same length, so that what the machine does meanwhile shows; "quiet" asks the bad endpoint for rows it answers well.

    python -m benchmarks.serving_isolation [--seconds 20] [--per-s 300] [--bad-per-s 20] [--write]
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.paced import Answer, Pace, load_said, quantile
from benchmarks.serving.host import machine
from mlspine.control import connect
from mlspine.core.plan import Guards
from mlspine.core.types import Actor
from tests.desk import Desk, ship_churn

STEADY_ROW = b'{"monthly charge": 75.5, "tenure": 3, "contract": "month"}'
RESULTS = Path(__file__).parent / "results" / "serving_isolation.txt"
ACTOR = Actor(name="benchmark")
VALUES = {"crashes": 666.0, "hangs": 777.0, "grows": 555.0}
DEADLINE_S = 0.5
MEMORY_BYTES = 1_000_000_000
BAR = 1.1
SHIP_BAD = """
import ctypes, time
import numpy as np, mlspine

class Bad:
    '''Doubles its column; crashes, hangs or grows when asked for certain values.'''

    def __init__(self, bad):
        self.bad, self.held = bad, []

    def predict(self, rows):
        values = np.asarray(rows, dtype=float)[:, 0]
        if self.bad and (values == 666.0).any():
            ctypes.string_at(0)
        if self.bad and (values == 777.0).any():
            time.sleep(3600)
        if self.bad and (values == 555.0).any():
            self.held.append(np.ones(12_500_000))
        return values * 2

X = np.arange(40.0).reshape(-1, 1)
for bad in (False, True):
    mlspine.ship(Bad(bad), X, X[:, 0] * 2, name="bad")
"""


class Turn(NamedTuple):
    """One stretch of load."""

    what: str
    steady: list[Answer]
    bad: list[Answer]

    @property
    def p50_ms(self) -> float:
        return quantile([each.took_ms for each in self.steady], 0.5)

    @property
    def p99_ms(self) -> float:
        return quantile([each.took_ms for each in self.steady], 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--per-s", type=float, default=300.0)
    parser.add_argument("--bad-per-s", type=float, default=20.0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    desk = Desk(Path(tempfile.mkdtemp()))
    desk.env |= {
        "MLSPINE_MONITORING__WATCH_S": "0",  # or the bad release would be taken back
        "MLSPINE_SERVING__WORKER_MEMORY_BYTES": str(MEMORY_BYTES),
    }
    try:
        prepare(desk)
        turns = [turn(desk, "quiet", given)]
        for what in VALUES:
            turns += [turn(desk, what, given), turn(desk, "quiet", given)]
    finally:
        desk.mlspine("down")
    text = table(turns, given)
    print(text)
    if given.write:
        RESULTS.write_text(text + "\n")


def prepare(desk: Desk) -> None:
    """Both endpoints, the bad one with its good release behind it."""
    ship_churn(desk)
    desk.python(SHIP_BAD)
    desk.mlspine("serve", "churn")
    desk.mlspine("serve", "bad:1")
    workspace: Any = connect(desk.folder / ".mlspine")
    workspace.deployment.promote("bad", 2, actor=ACTOR)
    workspace.deployment.guard("bad", guards=Guards(deadline_s=DEADLINE_S), actor=ACTOR)


def turn(desk: Desk, what: str, given: argparse.Namespace) -> Turn:
    """Load on both endpoints for so long."""
    row = json.dumps({"x0": VALUES.get(what, 1.0)}).encode()
    steady = Pace(desk.port, "/endpoints/churn/predict", STEADY_ROW, per_s=given.per_s, seconds=given.seconds)
    bad = Pace(desk.port, "/endpoints/bad/predict", row, per_s=given.bad_per_s, seconds=given.seconds)
    return Turn(what, steady.answers(), bad.answers())


def table(turns: list[Turn], given: argparse.Namespace) -> str:
    """Each turn with the quiet turns on both sides of it."""
    lines = [
        f"One endpoint beside a bad one: {given.per_s:,.0f} requests/s beside {given.bad_per_s:,.0f},"
        f" {given.seconds:.0f} s each, {machine()}",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; the bad model runs in a process of its own, deadline"
        f" {DEADLINE_S} s, at most {MEMORY_BYTES / 1e6:,.0f} MB",
        load_said(),
        "",
        f"{'the other model':<16} {'P50 ms':>7} {'P99 ms':>7} {'P99, quiet':>11} {'ratio':>6} {'failed':>7}"
        "   answers of the bad endpoint",
    ]
    met = True
    for at, each in enumerate(turns):
        failed = sum(answer.status != 200 for answer in each.steady)
        beside = [turns[i].p99_ms for i in (at - 1, at + 1) if 0 <= i < len(turns)]
        quiet = sum(beside) / len(beside) if each.what != "quiet" else each.p99_ms
        met &= not failed and (each.what == "quiet" or each.p99_ms <= BAR * quiet)
        lines.append(
            f"{each.what:<16} {each.p50_ms:>7.2f} {each.p99_ms:>7.2f} {quiet:>11.2f} {each.p99_ms / quiet:>6.2f}"
            f" {failed:>7}   {said(each.bad)}"
        )
    lines += ["", f"bar: P99 within {BAR - 1:.0%} of quiet, no failed request: {'met' if met else 'NOT met'}"]
    return "\n".join(lines)


def said(answers: list[Answer]) -> str:
    """What the callers of the bad endpoint heard, commonest first."""
    kinds = Counter(f"{each.status} {each.path}".strip() for each in answers)
    slow = quantile([each.took_ms for each in answers], 0.99)
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) + f"; P99 {slow:,.0f} ms"


if __name__ == "__main__":
    main()
