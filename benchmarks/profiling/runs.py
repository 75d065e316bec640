"""One measured run in a process of its own, so that its peak of memory is its own: prints a line of JSON.

python -m benchmarks.profiling.runs STEP FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXTS = ["c0", "c1", "c2"]
BATCH_ROWS = 262_144


def frames(folder: Path) -> tuple[Any, Any]:
    import pandas as pd

    return pd.read_parquet(folder / "before.parquet"), pd.read_parquet(folder / "after.parquet")


def with_objects(frame: Any) -> Any:
    """Text as Python objects, as pandas 2 has it."""
    return frame.astype(dict.fromkeys(TEXTS, object))


def profile_frame(folder: Path) -> Callable[[], object]:
    import mlspine

    _, after = frames(folder)
    return lambda: mlspine.profile(after)


def profile_objects(folder: Path) -> Callable[[], object]:
    import mlspine

    after = with_objects(frames(folder)[1])
    return lambda: mlspine.profile(after)


def count_frame(folder: Path) -> Callable[[], object]:
    import mlspine

    before = mlspine.Profile.load(folder / "before.profile")
    _, after = frames(folder)
    return lambda: mlspine.profile(after, like=before)


def judge_frame(folder: Path) -> Callable[[], object]:
    import mlspine

    before = mlspine.Profile.load(folder / "before.profile")
    _, after = frames(folder)
    return lambda: mlspine.drift(before, after)


def drift_frames(folder: Path) -> Callable[[], object]:
    import mlspine

    before, after = frames(folder)
    return lambda: mlspine.drift(before, after)


def judge_file(folder: Path) -> Callable[[], object]:
    import mlspine

    before = mlspine.Profile.load(folder / "before.profile")
    return lambda: mlspine.drift(before, folder / "large.parquet")


def judge_file_duckdb(folder: Path) -> Callable[[], object]:
    _hide_pyarrow()
    return judge_file(folder)


def profile_file(folder: Path) -> Callable[[], object]:
    import mlspine

    return lambda: mlspine.profile(folder / "large.parquet")


def decode(folder: Path) -> Callable[[], object]:
    """The same reader with the same settings, and nothing done with what it reads."""
    from mlspine.comparing.rows import open_rows

    def run() -> None:
        with open_rows(folder / "large.parquet") as rows:
            for _ in rows.batches(list(rows.types)):
                pass

    return run


def decode_duckdb(folder: Path) -> Callable[[], object]:
    _hide_pyarrow()
    return decode(folder)


def decode_all_cores(folder: Path) -> Callable[[], object]:
    """pyarrow's own reader by row group, threads over columns, as a person in a hurry would call it."""
    from pyarrow import parquet

    def run() -> None:
        with parquet.ParquetFile(folder / "large.parquet", read_dictionary=TEXTS) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=True)

    return run


def _hide_pyarrow() -> None:
    from mlspine.comparing import rows

    rows.importlib.util.find_spec = lambda name, package=None: None  # type: ignore[attr-defined]


STEPS: dict[str, Callable[[Path], Callable[[], object]]] = {
    each.__name__: each
    for each in (
        *(profile_frame, profile_objects, count_frame, judge_frame, drift_frames),
        *(judge_file, judge_file_duckdb, profile_file, decode, decode_duckdb, decode_all_cores),
    )
}


def measured(step: Callable[[], object]) -> dict[str, float]:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    step()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory of this process; getrusage would give what it inherited from the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def warm() -> None:
    """Load what a first comparison loads, so that the clock runs for the second."""
    import mlspine

    rows = {"x": [float(i) for i in range(600)], "c": ["a", "b"] * 300}
    mlspine.drift(rows, rows, check=False)


if __name__ == "__main__":
    warm()
    print(json.dumps(measured(STEPS[sys.argv[1]](Path(sys.argv[2])))))
