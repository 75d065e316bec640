"""The table that is counted: 14 columns of fractions, two of whole numbers, three of categories, one of times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

GROUP_ROWS = 1_000_000
LEVELS = (5, 40, 500)


def arrow_table(rows: int, rng: np.random.Generator) -> Any:
    """20 columns: normal, lognormal, gamma and prices with cents by turns, a fifth of them with 2% missing."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for i in range(14):
        values = _numbers(i % 4, rows, rng)
        if i % 5 == 0:
            values[rng.random(rows) < 0.02] = np.nan
        columns[f"f{i}"] = pa.array(values)
    columns["n0"] = pa.array(rng.integers(0, 1_000, rows))
    columns["n1"] = pa.array(rng.poisson(3, rows))
    for i, count in enumerate(LEVELS):
        words = pa.array([f"level-{j}" for j in range(count)])
        codes = pa.array(rng.integers(0, count, rows), pa.int32())
        columns[f"c{i}"] = pa.DictionaryArray.from_arrays(codes, words).cast(pa.string())
    seconds = rng.integers(0, 90 * 86_400, rows)
    columns["t"] = pa.array(np.datetime64("2024-01-01", "us") + seconds * np.timedelta64(1, "s"))
    return pa.table(columns)


def _numbers(kind: int, rows: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    match kind:
        case 0:
            return rng.standard_normal(rows)
        case 1:
            return rng.lognormal(size=rows)
        case 2:
            return rng.gamma(2.0, size=rows) * 100
    return np.round(rng.normal(50, 10, rows), 2)


def write(path: Path, rows: int, *, seed: int) -> None:
    """Parquet with a row group per million rows, as the writer's defaults have it."""
    from pyarrow import parquet

    rng = np.random.default_rng(seed)
    with parquet.ParquetWriter(path, arrow_table(1, rng).schema) as writer:
        for size in _sizes(rows):
            writer.write_table(arrow_table(size, rng), row_group_size=GROUP_ROWS)


def _sizes(rows: int) -> Iterator[int]:
    for start in range(0, rows, GROUP_ROWS):
        yield min(GROUP_ROWS, rows - start)
