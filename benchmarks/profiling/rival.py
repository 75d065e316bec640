"""Another library on the same two tables, run by the interpreter of its own environment: prints a line of JSON.

    PYTHON benchmarks/profiling/rival.py NAME FOLDER

It imports nothing of this repository.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import pandas as pd


def evidently(before, after):  # type: ignore[no-untyped-def]
    """Its preset for drift with its defaults, per column."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    return Report([DataDriftPreset()]).run(after, before).dict()


def whylogs(before, after):  # type: ignore[no-untyped-def]
    """Its profile of one table: no verdict."""
    import whylogs as why

    return why.log(after).view()


if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    tables = [pd.read_parquet(folder / f"{each}.parquet") for each in ("before", "after")]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    globals()[name](*tables)
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    status = Path("/proc/self/status").read_text().splitlines()
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "cpu_s": cpu_s,
                "peak_mb": next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024,
                "version": importlib.metadata.version(name),
            }
        )
    )
