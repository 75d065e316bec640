"""How long the release before goes on answering after a change of traffic is stored, and whether a request fails.

Under a steady 1,000 requests/s each round promotes, rolls back, gives all requests to a candidate and takes them back;
the targets are warm. "Effective" is read from outside: from the commit to the sending of the last request that the
release before answered, over all processes; "stored to effective" of the command itself is printed beside it. At the
end a release that no process has loaded is promoted: its total, loading included.

    python -m benchmarks.switching [--rounds 20] [--per-s 1000] [--processes 1] [--write]
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.paced import Answer, Pace, load_said, quantile
from benchmarks.serving.host import machine
from mlspine.control import connect
from mlspine.core.types import Actor
from tests.desk import Desk, ship_churn

NAME, ROW = "churn", b'{"monthly charge": 75.5, "tenure": 3, "contract": "month"}'
RESULTS = Path(__file__).parent / "results" / "switching.txt"
ACTOR = Actor(name="benchmark")
PAUSE_S = 0.3  # between changes, so that each is seen by itself
BAR_MS = 100.0


class Change(NamedTuple):
    """One change of traffic, by its own account."""

    what: str
    committed_ms: int
    before: str  # the release that answered until then
    own_effective_ms: float
    total_ms: float  # of the command


class Seen(NamedTuple):
    """What callers saw of one kind of change."""

    what: str
    times: int
    effective_ms: list[float]
    own_ms: list[float]
    total_ms: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--per-s", type=float, default=1000.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    desk = Desk(Path(tempfile.mkdtemp()))
    desk.env["MLSPINE_SERVING__PROCESSES"] = str(given.processes)
    desk.env["MLSPINE_MONITORING__WATCH_S"] = "0"  # nothing comes back by itself here
    try:
        text = measured(desk, rounds=given.rounds, per_s=given.per_s, processes=given.processes)
    finally:
        desk.mlspine("down")
    print(text)
    if given.write:
        RESULTS.write_text(text + "\n")


def measured(desk: Desk, *, rounds: int, per_s: float, processes: int) -> str:
    """The table."""
    for seed in range(3):
        ship_churn(desk, seed=seed, C=1.0 / (seed + 1))
    desk.mlspine("serve", f"{NAME}:1")
    workspace: Any = connect(desk.folder / ".mlspine")
    deployment = workspace.deployment
    deployment.promote(NAME, 2, actor=ACTOR)
    deployment.rollback(NAME, actor=ACTOR)
    changes: list[Change] = []
    seconds = 1.0 + rounds * 4 * (PAUSE_S + 0.6)
    load = Pace(desk.port, f"/endpoints/{NAME}/predict", ROW, per_s=per_s, seconds=seconds)
    time.sleep(1.0)
    for _ in range(rounds):
        changes.append(change("promote", workspace, lambda: deployment.promote(NAME, 2, actor=ACTOR)))
        changes.append(change("rollback", workspace, lambda: deployment.rollback(NAME, actor=ACTOR)))
        changes.append(
            change("split, all to it", workspace, lambda: deployment.split(NAME, f"{NAME}:2", share=1.0, actor=ACTOR))
        )
        changes.append(
            change("split, none to it", workspace, lambda: deployment.split(NAME, f"{NAME}:2", share=0.0, actor=ACTOR))
        )
    under_load = load.running()
    answers = load.answers()
    cold = change("promote, cold", workspace, lambda: deployment.promote(NAME, 3, actor=ACTOR))
    seen = [
        summed(what, [each for each in changes if each.what == what], answers)
        for what in dict.fromkeys(each.what for each in changes)
    ]
    failed = sum(each.status != 200 for each in answers)
    times = [each.took_ms for each in answers]
    worst = max(max(each.effective_ms, default=0.0) for each in seen)
    lines = [
        f"Changes of traffic under load: {rounds} rounds, {per_s:,.0f} requests/s, {processes} inference"
        f" {'process' if processes == 1 else 'processes'}, {machine()}",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; effective: from the commit to the last request sent that the"
        " release before answered",
        load_said(),
        "",
        f"{'change':<20} {'times':>5} {'effective ms: median':>21} {'most':>7} {'own account, most':>18}"
        f" {'whole command, median':>22}",
        *(
            f"{each.what:<20} {each.times:>5} {quantile(each.effective_ms, 0.5):>21.1f}"
            f" {max(each.effective_ms, default=0.0):>7.1f} {max(each.own_ms):>18.1f}"
            f" {quantile(each.total_ms, 0.5):>22.0f}"
            for each in seen
        ),
        "",
        f"requests {len(answers):,}, failed {failed}; P50 {quantile(times, 0.5):.2f} ms,"
        f" P99 {quantile(times, 0.99):.2f} ms, longest {max(times):.0f} ms",
        f"a release that nobody had loaded: {cold.total_ms:,.0f} ms in all, loading and proof included",
        f"bar: 0 failed and at most {BAR_MS:.0f} ms effective:"
        f" {'met' if not failed and worst <= BAR_MS else 'NOT met'}",
    ]
    if not under_load:
        lines.append("NOTE: the load ended before the last change")
    return "\n".join(lines)


def change(what: str, workspace: Any, do: Callable[[], Any]) -> Change:
    """Make one change, and wait until it has been seen."""
    before = answering(workspace)
    began_s = time.perf_counter()
    switched = do()
    total_ms = (time.perf_counter() - began_s) * 1e3
    time.sleep(PAUSE_S)
    return Change(what, switched.committed_at_ms, before, switched.effective_s * 1e3, total_ms)


def answering(workspace: Any) -> str:
    """The release all requests get now: the candidate's where it has all of them."""
    current = workspace.deployment.get(NAME).current
    if current.traffic.share == 1.0:
        return str(workspace.registry.get(NAME, current.traffic.candidate).release_hash)
    return str(current.release_hash)


def summed(what: str, changes: list[Change], answers: list[Answer]) -> Seen:
    """What the answers say of these changes. An answer counts for the change it was sent after, until PAUSE_S later."""
    ordered = sorted(answers, key=lambda each: each.sent_ms)
    effective = []
    for each in changes:
        window = itertools.takewhile(
            lambda answer, last_ms=each.committed_ms + PAUSE_S * 1e3: answer.sent_ms < last_ms,
            itertools.dropwhile(lambda answer, from_ms=each.committed_ms: answer.sent_ms < from_ms, ordered),
        )
        late = [answer.sent_ms - each.committed_ms for answer in window if answer.release == each.before]
        effective.append(max(late, default=0.0))
    return Seen(
        what,
        len(changes),
        effective,
        [each.own_effective_ms for each in changes],
        [each.total_ms for each in changes],
    )


if __name__ == "__main__":
    main()
