"""Malformed HTTP against both faces of the predictions port: nothing crashes, nobody's fault is answered 5xx.

    python -m tests.soak [--minutes 30] [--seed N] [--write]      MLSPINE_SOAK_MINUTES is the default of --minutes

atheris walks through the parser's paths when `.venv-soak` has it (make soak); else the same checks get seeded inputs.
Exits with 1 when anything went wrong.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from benchmarks.serving.host import machine, peak_rss_bytes, usage
from tests.http_cases import ask
from tests.serving_harness import Inference, endpoint, inference, make_release
from tests.soak.crowd import idle, raise_file_limit, slowloris
from tests.soak.mutating import mutated, parts
from tests.soak.sockets import Told, documented, mutate

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "soak_http.txt"
ATHERIS = ROOT / ".venv-soak" / "bin" / "python"
IDLE_CLIENTS, SLOW_CLIENTS = 10_000, 1_000
SLOW_S = 25.0  # at least; our own HTTP waits 10 s for a head
MOST_GROWTH_BYTES = 200 << 20  # of a server's memory over everything it went through
PARALLEL = 4


class Shares(NamedTuple):
    """Shares of the time; crowds take as long as they take."""

    sockets: float = 0.35
    document: float = 0.10
    parser: float = 0.40
    slow: float = 0.05


class Report:
    """Lines for the table, and what is wrong."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.wrong: list[str] = []

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def fault(self, line: str) -> None:
        print(f"WRONG: {line[:2000]}", flush=True)
        self.wrong.append(f"wrong     {line[:2000]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MLSPINE_SOAK_MINUTES", "30")))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--write", action="store_true", help=f"keep the result in {RESULT.name}")
    options = parser.parse_args()
    report, seconds, shares = Report(), options.minutes * 60, Shares()
    limit = raise_file_limit(2 * IDLE_CLIENTS + 1000)
    report.say(f"malformed HTTP, {options.minutes:g} minutes, seed {options.seed}, {datetime.date.today().isoformat()}")
    report.say(f"machine   {machine()}, Python {platform.python_version()}, {limit:,} open files allowed")
    began = time.monotonic()
    for face, share in (("own", 0.8), ("asgi", 0.2)):
        with tempfile.TemporaryDirectory() as folder:
            over_sockets(
                report, face, Path(folder), seconds * share, shares, options.seed, min(IDLE_CLIENTS, limit // 2)
            )
    walk(report, seconds * shares.parser, options.seed)
    report.say(f"took      {(time.monotonic() - began) / 60:.1f} minutes")
    report.say(f"wrong     {len(report.wrong)}")
    report.lines += report.wrong
    if options.write:
        RESULT.write_text("\n".join(report.lines) + "\n")
    return 1 if report.wrong else 0


def over_sockets(
    report: Report, face: str, folder: Path, seconds: float, shares: Shares, seed: int, idle_clients: int
) -> None:
    """Everything that needs a server, on one server, whose memory is looked at before and after."""
    dice = np.random.default_rng(2)
    X = pd.DataFrame(dice.normal(size=(50, 2)), columns=["a", "b"])
    release = make_release(folder, LinearRegression().fit(X, 2 * X["a"] + X["b"]), X)
    settings = {"MLSPINE_SERVING__HTTP": face, "MLSPINE_SERVING__MAX_BODY_BYTES": str(1 << 20)}
    with inference(folder, endpoint("prices", release), settings=settings) as running:
        pid = running.process.pid

        def alive() -> bool:
            return running.process.poll() is None

        mutate(running.port, seconds=min(5.0, seconds / 20), seed=seed - 1, alive=alive)  # what it ever needs is loaded
        before = usage([pid]).rss_bytes
        _tell(report, face, "mutated requests over sockets", _several(running, seconds * shares.sockets, seed, alive))
        _tell(
            report,
            face,
            "requests by the OpenAPI document (schemathesis)",
            documented(running.port, seconds=seconds * shares.document, alive=alive),
        )
        for what, crowd in (
            (
                "dawdle",
                slowloris(running.port, ask(), clients=SLOW_CLIENTS, seconds=max(SLOW_S, seconds * shares.slow)),
            ),
            ("idle", idle(running.port, ask(), clients=idle_clients)),
        ):
            report.say(
                f"{face:<6}{crowd.clients:,} clients that {what if what == 'dawdle' else 'stay and say nothing'}:"
                f" {crowd.ended:,} ended by the server; others' p99 {crowd.beside_p99_ms:.1f} ms"
                f" ({crowd.alone_p99_ms:.1f} without them), {crowd.failed} failed"
            )
            wrongly_kept = what == "dawdle" and face == "own" and crowd.ended < crowd.clients
            if crowd.failed or wrongly_kept or (what == "idle" and crowd.ended):
                report.fault(f"{face}: {crowd}")
        if not alive():
            report.fault(f"{face}: the process ended with {running.process.returncode}: {running.log_text()[-2000:]}")
            return
        after, peak = usage([pid]).rss_bytes, peak_rss_bytes(pid)
        report.say(f"{face:<6}memory {before / 1e6:.0f} MB before, {after / 1e6:.0f} after, {peak / 1e6:.0f} at most")
        if after - before > MOST_GROWTH_BYTES:
            report.fault(f"{face}: memory grew by {(after - before) / 1e6:.0f} MB")
        errors = running.log_text().count("Traceback")
        if errors:
            report.fault(f"{face}: {errors} tracebacks in the log, the last: {running.log_text()[-1500:]}")


def _several(running: Inference, seconds: float, seed: int, alive: object) -> Told:
    """The same from several threads, each with a seed of its own."""
    told: list[Told] = []

    def one(at: int) -> None:
        told.append(mutate(running.port, seconds=seconds, seed=seed + at * 1_000_000_000, alive=alive))  # type: ignore[arg-type]

    threads = [threading.Thread(target=one, args=[at]) for at in range(PARALLEL)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    whole = Told(0, type(told[0].statuses)(), [])
    for each_told in told:
        whole = Told(whole.sent + each_told.sent, whole.statuses + each_told.statuses, whole.faults + each_told.faults)
    return whole


def _tell(report: Report, face: str, what: str, told: Told) -> None:
    by_class = {
        f"{digit}xx": sum(n for status, n in told.statuses.items() if status // 100 == digit) for digit in range(1, 6)
    }
    counts = ", ".join(f"{name} {count:,}" for name, count in by_class.items() if count)
    report.say(f"{face:<6}{told.sent:,} {what}: {counts or 'no answer'}; faults {told.fives}")
    for fault in told.faults:
        report.fault(f"{face}: {fault}")


def walk(report: Report, seconds: float, seed: int) -> None:
    """The parser without a network: by atheris where it is installed, and by seeded mutations."""
    share = 0.8 if ATHERIS.exists() else 0.0
    if share:
        words = [str(ATHERIS), "-m", "tests.soak.walk", str(max(1, int(seconds * share)))]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        if done.returncode == 0 and runs:
            report.say(
                f"own   {int(runs[0]):,} inputs by atheris on the parser path: 0 crashes, no answer depends on the cuts"
            )
        elif "No module named" in done.stderr:
            report.say(f"own   atheris: not run ({done.stderr.strip().splitlines()[-1]})")
        else:
            report.fault(f"atheris ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    else:
        report.say("own   atheris: not run (no .venv-soak; make soak makes it)")
    from tests.soak.parser import check

    until, tried = time.monotonic() + seconds * (1 - share), 0
    while time.monotonic() < until and len(report.wrong) < 50:
        dice = random.Random(seed * 1_000 + tried)
        raw = mutated(dice)
        tried += 1
        try:
            check(raw, parts(raw, dice))
        except Exception as exc:
            report.fault(f"parser: {type(exc).__name__} {exc!s:.2000}")
    report.say(f"own   {tried:,} mutated requests on the parser path, each in four ways")


if __name__ == "__main__":
    sys.exit(main())
