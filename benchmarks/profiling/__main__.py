"""How fast tables are counted and judged: a million rows in memory, ten million from Parquet, and others beside it.

    python -m benchmarks.profiling [--runs 5] [--rows 10000000] [--rival evidently=PATH/bin/python ...] [--write]

Every run is a process of its own; the steps take turns, run by run, so that what else the machine does falls on all of
them. Figures are medians; beside the wall clock stands CPU time, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import mlspine
from benchmarks.profiling import tables
from benchmarks.serving import machine

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "profiling.txt"
MEMORY_ROWS = 1_000_000
RIVAL_RUNS = 3

STEPS = {
    "profile_frame": "profile(frame): bins laid out and rows counted",
    "profile_objects": "the same, text as Python objects",
    "count_frame": "profile(frame, like=before): rows counted on given bins",
    "judge_frame": "drift(profile, frame): counted and judged",
    "drift_frames": "drift(frame, frame): both counted, false alarms measured",
    "decode": "decode the file, one thread, as drift reads it",
    "decode_all_cores": "decode the file, pyarrow's threads over columns",
    "judge_file": "drift(profile, file): decoded, counted, judged",
    "profile_file": "profile(file): two passes",
    "decode_duckdb": "decode the file with DuckDB, no pyarrow",
    "judge_file_duckdb": "drift(profile, file) with DuckDB",
}
IN_MEMORY = ("profile_frame", "profile_objects", "count_frame", "judge_frame", "drift_frames")


class Run(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--rows", type=int, default=10_000_000, help="of the file")
    options.add_argument("--rival", action="append", default=[], metavar="NAME=PYTHON")
    options.add_argument("--write", action="store_true", help="put the table into benchmarks/results/profiling.txt")
    chosen = options.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, chosen.rows)
        found: dict[str, list[Run]] = {step: [] for step in STEPS}
        for turn in range(chosen.runs):
            for step in STEPS:
                found[step].append(ours(step, folder))
                print(f"run {turn + 1}: {step} {found[step][-1].wall_s:.2f} s", file=sys.stderr, flush=True)
        others = dict(rival(each, folder) for each in chosen.rival)
    text = "\n".join([*heading(chosen.rows, chosen.runs, load), "", *report(found, others), ""])
    print(text)
    if chosen.write:
        RESULT.write_text(text)


def prepare(folder: Path, rows: int) -> None:
    """Two tables of a million rows, a long file, and the profile the verdicts stand on."""
    tables.write(folder / "before.parquet", MEMORY_ROWS, seed=0)
    tables.write(folder / "after.parquet", MEMORY_ROWS, seed=1)
    tables.write(folder / "large.parquet", rows, seed=2)
    mlspine.profile(folder / "before.parquet", check=True).save(folder / "before.profile")


def ours(step: str, folder: Path) -> Run:
    return Run(**_run([sys.executable, "-m", "benchmarks.profiling.runs", step, str(folder)]))


def rival(said: str, folder: Path) -> tuple[str, list[Run] | str]:
    """Runs of another library, or why it did not run."""
    name, _, python = said.partition("=")
    runs: list[Run] = []
    label = name
    for _ in range(RIVAL_RUNS):
        try:
            found = _run([python, str(Path(__file__).with_name("rival.py")), name, str(folder)])
        except subprocess.CalledProcessError as exc:
            return name, f"failed: {exc.stderr.strip().splitlines()[-1][:200]}"
        label = f"{name} {found.pop('version')}"
        runs.append(Run(**found))
        print(f"{label} {runs[-1].wall_s:.2f} s", file=sys.stderr, flush=True)
    return label, runs


def _run(argv: list[str]) -> dict[str, float]:
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- text


def heading(rows: int, runs: int, load: float) -> list[str]:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "pandas", "pyarrow", "duckdb")
    )
    return [
        "Counting and judging tables",
        f"commit    {commit.strip()} and what stood beside it, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"machine   {machine()}; load {load:.1f} from others when it began",
        f"versions  mlspine {mlspine.__version__}, Python {sys.version.split()[0]}, {versions}",
        f"table     20 columns: 14 floats, 2 integers, 3 texts (5, 40, 500 levels), 1 of times; file of {rows:,} rows",
        f"runs      {runs} of each, taking turns, each a process with all loaded; medians, least and most in brackets",
    ]


def report(found: dict[str, list[Run]], others: dict[str, list[Run] | str]) -> list[str]:
    lines = [f"{'':<62}{'wall s':>22}{'CPU s':>9}{'peak MB':>9}"]
    lines += [_line(STEPS[step], found[step]) for step in IN_MEMORY]
    lines += [_line(name, runs) if isinstance(runs, list) else f"{name}: {runs}" for name, runs in others.items()]
    lines += ["", *(_line(STEPS[step], found[step]) for step in STEPS if step not in IN_MEMORY), ""]
    laid_out, counted = (_of(found, step).wall_s for step in ("profile_frame", "count_frame"))
    told = f"{laid_out:.2f} laid out and counted, {counted:.2f} counted"
    lines.append(f"1M x 20 in memory, bar 0.3 s: {_met(max(counted, laid_out) <= 0.3)} ({told})")
    for name, step, base in (
        ("reader with the same settings", "judge_file", "decode"),
        ("reader on all cores", "judge_file", "decode_all_cores"),
        ("DuckDB with the same settings", "judge_file_duckdb", "decode_duckdb"),
    ):
        wall = median(a.wall_s / b.wall_s for a, b in zip(found[step], found[base], strict=True))
        cpu = median(a.cpu_s / b.cpu_s for a, b in zip(found[step], found[base], strict=True))
        told = f"{wall:.2f} by the clock, {_met(wall <= 1.25)}; {cpu:.2f} of CPU"
        lines.append(f"file to verdict over {name}, bar 1.25: {told}")
    peak = max(run.peak_mb for step in ("judge_file", "judge_file_duckdb", "profile_file") for run in found[step])
    lines.append(f"peak memory of verdicts and profiles of the file, bar 1,000 MB: {_met(peak < 1000)} ({peak:,.0f})")
    return lines


def _line(name: str, runs: list[Run]) -> str:
    walls = [run.wall_s for run in runs]
    wall = f"{median(walls):.2f} [{min(walls):.2f}, {max(walls):.2f}]"
    return f"{name:<62}{wall:>22}{median(run.cpu_s for run in runs):>9.2f}{max(run.peak_mb for run in runs):>9,.0f}"


def _of(found: dict[str, list[Run]], step: str) -> Run:
    return Run(*(median(values) for values in zip(*found[step], strict=True)))


def _met(met: bool) -> str:
    return "met" if met else "NOT MET"


if __name__ == "__main__":
    main()
