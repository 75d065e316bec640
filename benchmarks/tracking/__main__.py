"""Tracking side by side: mlspine, `mlflow server` by default and with one worker, and an echo server.

    python -m benchmarks.tracking [--quick] [--rounds 3] [--large] [--write]
    python -m benchmarks.tracking --only log_metric search --servers mlspine echo
    python -m benchmarks.tracking --profile log_metric

The same MLflow client asks all of them, from the environment that MLSPINE_MLFLOW_ENVS names (an environment, or a
folder of them; otherwise .venv-mlflow-* here). Servers run one at a time and take turns, round by round; every figure
is a median of rounds, and within a round a median of calls. Client and server share the machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import starlette
import uvicorn

import mlspine
from benchmarks.serving import machine
from benchmarks.tracking import filling
from benchmarks.tracking.asking import client_of, find_environment
from benchmarks.tracking.bars import table
from benchmarks.tracking.measures import FULL, QUICK, Bench, Scale
from benchmarks.tracking.profiling import profile
from benchmarks.tracking.servers import KINDS, ROOT, Kind, running

RESULT = ROOT / "benchmarks" / "results" / "tracking.txt"
ON_NEW = ("memory", "log_metric", "loggers_8", "loggers_50", "artifact")
ON_FILLED = ("search", "history")
LARGE_RUNS = 100_000


def measure(environment: Path, kinds: list[Kind], wanted: set[str], scale: Scale, rounds: int, large: bool) -> str:
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), environment, scale, lambda line: print(line, file=sys.stderr, flush=True))
        for _ in range(rounds):
            for kind in kinds:
                if wanted & set(ON_NEW):
                    bench.new_store(kind, wanted)
                if wanted & set(ON_FILLED):
                    bench.filled_store(kind, scale.runs, wanted)
        if large and "mlspine" in kinds:
            for _ in range(rounds):
                bench.filled_store("mlspine", LARGE_RUNS, {"search"}, "_large")
        head = heading(environment, Path(folder) / "versions", scale, rounds, busy)
        return "\n".join([head, "", table(bench.figures), *(f"failed: {each}" for each in bench.failures)])


def heading(environment: Path, folder: Path, scale: Scale, rounds: int, busy: float) -> str:
    with running("echo", folder, environment) as server, client_of(server, environment) as client:
        theirs = client.ask("versions")
    return "\n".join(
        [
            "Tracking: the same MLflow client against four servers",
            f"commit    {commit()}, {datetime.date.today().isoformat()}",
            f"machine   {machine()}; client and server share it; load {busy:.1f} from others when it began",
            f"versions  mlspine {mlspine.__version__}, Python {platform.python_version()},"
            f" msgspec {msgspec.__version__}, starlette {starlette.__version__}, uvicorn {uvicorn.__version__};"
            f" client and mlflow server: mlflow {theirs['mlflow']}, requests {theirs['requests']},"
            f" Python {theirs['python']}; both on SQLite",
            f"rounds    {rounds}, servers taking turns; {scale.calls} calls of log_metric, {scale.logging_s:g} s of"
            f" parallel logging, {scale.reads} reads; medians, our single rounds in brackets",
            f"stores    filled by SQL in each server's schema: {filling.METRICS} metrics of {filling.STEPS} points,"
            f" {filling.PARAMS} parameters and 3 tags a run",
            f"files     random bytes; the large one, ours only, is {scale.large_mebibytes:,} MiB",
        ]
    )


def commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "mlspine", "benchmarks/tracking")
    return git("rev-parse", "--short", "HEAD") + (" with changes not committed" if changed else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small amounts and one round: finds mistakes, not figures")
    parser.add_argument("--rounds", type=int, default=0, help="default 3, and 1 with --quick")
    parser.add_argument("--large", action="store_true", help="our search over 100,000 runs with 10 million points, too")
    parser.add_argument("--only", nargs="+", choices=ON_NEW + ON_FILLED, default=[*ON_NEW, *ON_FILLED])
    parser.add_argument("--servers", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--profile", choices=ON_NEW[1:] + ON_FILLED, help="say where our server spends its time")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULT.name}")
    options = parser.parse_args()
    environment = find_environment()
    scale = QUICK if options.quick else FULL
    if options.profile:
        print(profile(environment, options.profile, scale))
        return
    rounds = options.rounds or (1 if options.quick else 3)
    text = measure(environment, options.servers, set(options.only), scale, rounds, options.large)
    print(text)
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
