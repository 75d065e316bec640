"""Tables from files, with and without pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.data.tables import load_table, split_target

FRAME = pd.DataFrame({"age": [1.5, None, 3.0], "city name": ["a", "b", None], "n": [1, 2, 3]})

WITHOUT_PANDAS = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pandas" else find(name, *rest)
from mlspine.core.columns import to_columns
from mlspine.data.tables import load_table, split_target
X, y = split_target(load_table(sys.argv[1]), "n", sys.argv[1])
columns, schema = to_columns(X)
lists = {name: values.tolist() for name, values in columns.items()}
print(schema.container, lists, y.tolist())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FRAME.to_parquet(tmp_path / "rows.parquet")
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    FRAME.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    return tmp_path


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
def test_a_file_becomes_the_frame_a_notebook_would_have(folder: Path, name: str) -> None:
    table = load_table(folder / name)
    assert table.isna().equals(FRAME.isna())  # a null is None or NaN, as each reader of pandas has it
    pd.testing.assert_frame_equal(table.dropna(), FRAME.dropna())


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
def test_without_pandas_a_file_becomes_a_dict_of_arrays(folder: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, str(folder / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "arrays {'age': [1.5, nan, 3.0], 'city name': ['a', 'b', None]} [1, 2, 3]", (
        done.stderr
    )


def test_categories_survive_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["a", "b"], categories=["b", "a"], ordered=True)})
    frame.to_parquet(tmp_path / "c.parquet")
    assert load_table(tmp_path / "c.parquet")["c"].cat.categories.tolist() == ["b", "a"]


def test_a_missing_file_names_the_one_that_is_there(folder: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_table(folder / "row.parquet")
    assert "rows.parquet" in caught.value.hint
    with pytest.raises(NotFound, match="does not exist"):
        load_table(folder / "nowhere" / "rows.csv")


def test_an_unknown_suffix_lists_the_known_ones(folder: Path) -> None:
    (folder / "rows.xlsx").write_bytes(b"")
    with pytest.raises(Invalid) as caught:
        load_table(folder / "rows.xlsx")
    assert ".parquet" in caught.value.hint


def test_a_broken_file_is_refused_with_its_cause(folder: Path) -> None:
    (folder / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(Invalid, match=r"bad\.parquet cannot be read as parquet"):
        load_table(folder / "bad.parquet")


def test_the_target_is_split_off_or_its_near_name_shown() -> None:
    X, y = split_target(FRAME, "n", "rows.csv")
    assert list(X) == ["age", "city name"]
    assert y.tolist() == [1, 2, 3]
    assert split_target(FRAME, None, "rows.csv")[1] is None
    with pytest.raises(Invalid) as caught:
        split_target(FRAME, "city", "rows.csv")
    assert "city name" in caught.value.hint
