"""Tables from files: Parquet, CSV and JSON lines, as the notebook would have read them.

With pandas installed a frame comes back, read by pandas, so dtypes are those the model was most likely fitted
on; without it a dict of arrays, read by DuckDB.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid, NotFound, closest

Array = np.ndarray[Any, np.dtype[Any]]
SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


def load_table(path: str | Path) -> Any:
    """The rows of a file: a pandas frame, or a dict of arrays where pandas is not installed.

    Raises NotFound naming close matches in the folder, Invalid for an unknown suffix or an unreadable file.
    """
    path = Path(path)
    check_file(path)
    kind = next((kind for suffix, kind in SUFFIXES.items() if path.name.lower().endswith(suffix)), "")
    if not kind:
        raise Invalid(
            f"{path.name} is no table this version reads",
            hint=f"supported: {', '.join(SUFFIXES)}; convert it first",
        )
    read = _by_pandas if importlib.util.find_spec("pandas") else _by_duckdb
    try:
        return read(path, kind)
    except Exception as exc:
        raise Invalid(
            f"{path} cannot be read as {kind}: {type(exc).__name__}: {str(exc)[:300]}",
            hint="check that it is complete, and that its suffix names its format",
        ) from exc


def split_target(table: Any, target: str | None, path: str | Path) -> tuple[Any, Any]:
    """(X, y): the table without its target column, and that column; (table, None) without a target."""
    if target is None:
        return table, None
    names = [str(name) for name in (table if isinstance(table, dict) else table.columns)]
    if target not in names:
        near = closest(target, names)
        raise Invalid(
            f"{Path(path).name} has no column {target!r}",
            hint=f"did you mean --target {near}?" if near else f"its columns: {', '.join(names[:20])}",
        )
    if isinstance(table, dict):
        return {name: values for name, values in table.items() if name != target}, table[target]
    return table.drop(columns=[target]), table[target]


def check_file(path: Path) -> None:
    """Raises NotFound when there is nothing at `path`, with the names in its folder that come close."""
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise NotFound(f"no file {path}: the folder {folder} does not exist", hint=f"this is {Path.cwd()}")
    near = closest(path.name, [each.name for each in folder.iterdir()])
    raise NotFound(
        f"no file {path}",
        hint=f"did you mean {folder / near}?" if near else f"looked in {folder.resolve()}",
    )


_READ = {
    "parquet": "select * from read_parquet(?)",
    "csv": "select * from read_csv(?)",
    "json": "select * from read_json(?, format = 'newline_delimited')",
}


def _by_pandas(path: Path, kind: str) -> Any:
    import pandas as pd

    if kind == "csv":
        return pd.read_csv(path)
    if kind == "json":
        return pd.read_json(path, lines=True)
    if not (importlib.util.find_spec("pyarrow") or importlib.util.find_spec("fastparquet")):
        return pd.DataFrame(_by_duckdb(path, kind))
    return pd.read_parquet(path)


def _by_duckdb(path: Path, kind: str) -> dict[str, Array]:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        columns = connection.execute(_READ[kind], [str(path)]).fetchnumpy()
    return {name: _plain(values) for name, values in columns.items()}


def _plain(values: Any) -> Array:
    """Masked values as NaN, NaT or None."""
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    missing = np.ma.getmaskarray(values)
    plain = values.data
    if not missing.any():
        return plain
    if plain.dtype.kind in "iuf":
        plain = plain.astype(np.float64)
        plain[missing] = np.nan
    elif plain.dtype.kind == "M":
        plain = plain.copy()
        plain[missing] = np.datetime64("NaT")
    else:
        plain = plain.astype(object)
        plain[missing] = None
    return plain
