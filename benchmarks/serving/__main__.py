"""mlspine with everything on, and the servers people would use else: one model, one machine, one run.

    python -m benchmarks.serving.rivals install          once: an environment for each rival
    python -m benchmarks.serving --minutes 12 --write    everything, in about so long
    python -m benchmarks.serving --only single,cost      some cases; --quick: runs of 2 s
    python -m benchmarks.serving --long 180              with so many seconds of load on a whole mlspine

Cases: single (64 clients and 1), asgi (the same without the slow rivals), neural, rows100, cost, cold, long.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.serving import cases
from benchmarks.serving.cases import CASES, CLIENTS, Bench, Measured, account, everybody, take_turns, wanted
from benchmarks.serving.chart import chart
from benchmarks.serving.long import Long, long_run
from benchmarks.serving.model import tree, write_for_rivals
from benchmarks.serving.page import PAGE, RESULT
from benchmarks.serving.page import main as fill_page
from benchmarks.serving.report import Results, text
from benchmarks.serving.rivals import ROOT, python_of

NAMES = ("single", "asgi", *CASES, "cold", "long")
CHART = ROOT / "docs" / "images" / "speed.svg"
STARTING_S = 150.0  # servers coming and going, settings tried, answers checked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="about how long all of it may take")
    parser.add_argument("--only", default="", help=f"of {', '.join(NAMES)}; with commas")
    parser.add_argument("--long", type=float, default=180.0, help="seconds of load on a whole mlspine; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="runs of 2 s in two rounds: does it work at all?")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULT.name} and the chart and page")
    options = parser.parse_args()
    chosen = set(options.only.split(",")) if options.only else set(NAMES) - {"asgi"}
    if unknown := chosen - set(NAMES):
        parser.error(f"no case named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if not options.long:
        chosen.discard("long")
    if not python_of("fastapi").exists():
        parser.error("first: python -m benchmarks.serving.rivals install")
    warnings.simplefilter("ignore")
    rounds = 2 if options.quick else options.rounds
    run_s = 2.0 if options.quick else length_of_a_run(options.minutes * 60, chosen, options.long, rounds)
    print(f"runs of {run_s:.0f} s, {rounds} rounds", file=sys.stderr)
    began, busy = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        made = tree()
        write_for_rivals(made, Path(folder), python_of("fastapi"))
        found = measure(Bench(Path(folder), made, run_s, rounds, []), chosen, options.long, busy)
    told = text(found)
    print(told)
    print(f"took {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(told + "\n")
        if PAGE.exists():
            fill_page()
        if found.single:
            CHART.write_text(chart(found.single))
    return 0


def length_of_a_run(budget_s: float, chosen: set[str], long_s: float, rounds: int) -> float:
    """Seconds per run, so that all fits: shorter ones rather than fewer."""
    left = budget_s - (long_s + 90.0 if "long" in chosen else 0.0) - STARTING_S
    runs = 0
    if chosen & {"single", "asgi"}:
        runs += (rounds + 1) * (13 if "single" in chosen else 6)
    runs += (2 * rounds if "neural" in chosen else 0) + (3 * rounds if "rows100" in chosen else 0)
    runs += 2 * (rounds + 2) if "cost" in chosen else 0
    return min(10.0, max(2.0, left / runs)) if runs else 5.0


def measure(bench: Bench, chosen: set[str], long_s: float, busy: float) -> Results:
    """Every chosen case, one after the other."""
    missing: dict[str, str] = {}
    single: list[Measured] = []
    one: list[Measured] = []
    if chosen & {"single", "asgi"}:
        bench.say("single rows")
        with everybody(bench, wanted("single" not in chosen), missing) as turns:
            single = take_turns(bench, turns, clients=CLIENTS, seconds=bench.run_s, rounds=bench.rounds)
            one = take_turns(bench, turns, clients=1, seconds=min(bench.run_s, 3.0), rounds=1)
            account(bench, turns)
    others = {}
    for name, case in CASES.items():
        if name in chosen:
            bench.say(name)
            others[name] = case(bench)
    starts = cases.starts(bench) if "cold" in chosen else []
    long: Long | None = None
    if "long" in chosen:
        bench.say("long")
        long = long_run(bench, long_s)
    return Results(single, one, others, starts, long, missing, bench.notes, busy, bench.run_s, bench.rounds)


if __name__ == "__main__":
    sys.exit(main())
