"""The release directory: whole, checked, and named by its content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from mlspine.core.columns import to_columns
from mlspine.core.errors import Corrupt, NotFound
from mlspine.registry.baseline import read_baseline
from mlspine.registry.prepare import prepare
from mlspine.registry.release import (
    choose_recorded,
    load_predictor,
    read_recorded,
    read_release,
    release_hash,
)
from tests.unit.registry.conftest import people

X, Y = people(100)
NUMERIC = X[["charge", "visits"]].astype("float64")
MODEL = LogisticRegression().fit(NUMERIC, Y)


def ready(rows: pd.DataFrame) -> pd.DataFrame:
    return rows * 1.0


@pytest.fixture(scope="module")
def shipped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    releases = tmp_path_factory.mktemp("releases")
    prepared = prepare(MODEL, NUMERIC, Y, name="churn", releases_dir=releases, transform=ready)
    return releases / prepared.release_hash


@pytest.fixture
def path(shipped_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_once, tmp_path / shipped_once.name))


def test_the_directory_holds_what_it_should_and_its_name_is_its_hash(path: Path) -> None:
    files = {str(each.relative_to(path)) for each in path.rglob("*") if each.is_file()}
    assert files == {
        "MLmodel",
        "requirements.txt",
        "python_env.yaml",
        "input_example.json",
        "code/release_loader.py",
        "model.pkl",
        "transform.pkl",
        "mlspine/release.json",
        "mlspine/baseline.bin",
        "mlspine/recorded.json",
        "mlspine/files.json",
        "mlspine/fitted_rows.bin",
    }
    assert release_hash(read_release(path)) == path.name
    assert not list(path.parent.glob(".draft-*"))


@pytest.mark.parametrize(
    "name",
    [
        "MLmodel",
        "requirements.txt",
        "python_env.yaml",
        "input_example.json",
        "code/release_loader.py",
        "model.pkl",
        "transform.pkl",
        "mlspine/baseline.bin",
        "mlspine/recorded.json",
    ],
)
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_every_file_is_checked_and_named(path: Path, name: str, how: str) -> None:
    file = path / name
    if how == "missing":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(Corrupt) as caught:
        read_release(path)
    assert caught.value.details == (f"{name}: {how}",)
    assert name in caught.value.message


def test_a_release_that_cannot_be_read_is_corrupt_and_one_that_is_not_there_not_found(path: Path) -> None:
    (path / "mlspine" / "release.json").write_bytes(b"{")
    with pytest.raises(Corrupt, match="damaged"):
        read_release(path)
    (path / "mlspine" / "release.json").unlink()
    with pytest.raises(Corrupt, match=r"mlspine/release\.json"):
        read_release(path)
    with pytest.raises(NotFound, match="no release at"):
        read_release(path.parent / "absent")


def test_what_is_loaded_is_what_was_checked(path: Path) -> None:
    release = read_release(path)
    for name, load in [
        ("model.pkl", load_predictor),
        ("transform.pkl", load_predictor),
        ("mlspine/baseline.bin", read_baseline),
        ("mlspine/recorded.json", read_recorded),
    ]:
        kept = (path / name).read_bytes()
        (path / name).write_bytes(kept + b" ")
        with pytest.raises(Corrupt, match=name):
            load(path, release)
        (path / name).write_bytes(kept)


def test_the_hash_covers_every_field(path: Path) -> None:
    release = read_release(path)
    changed = {
        "model": "0",
        "transform": "0",
        "signature": msgspec.structs.replace(release.signature, target="other"),
        "environment": {"numpy": "0"},
        "data": "0",
        "code": msgspec.structs.replace(release.code, commit="0"),
        "settings": {},
        "baseline": "0",
        "recorded": "0",
        "thresholds": {},
        "format": 2,
    }
    assert set(changed) == set(release.__struct_fields__)
    hashes = {release_hash(msgspec.structs.replace(release, **{name: value})) for name, value in changed.items()}
    assert len(hashes | {path.name}) == len(changed) + 1


def test_the_plain_text_is_yaml_that_says_what_mlflow_needs(path: Path) -> None:
    document = yaml.safe_load((path / "MLmodel").read_text())
    assert document["flavors"]["python_function"]["loader_module"] == "release_loader"
    assert "sklearn" not in document["flavors"]  # the bare model would skip the transform
    assert json.loads(document["signature"]["inputs"]) == [
        {"type": "double", "name": "charge", "required": True},
        {"type": "double", "name": "visits", "required": True},
    ]
    assert json.loads(document["signature"]["outputs"]) == [{"type": "string", "required": True}]
    env = yaml.safe_load((path / "python_env.yaml").read_text())
    assert env["dependencies"] == ["-r requirements.txt"]
    lines = (path / "requirements.txt").read_text().splitlines()
    assert f"numpy=={np.__version__}" in lines
    assert not [line for line in lines if line.startswith("python==")]
    example = json.loads((path / "input_example.json").read_text())
    assert example["columns"] == ["charge", "visits"]


def test_rows_with_an_infinity_are_not_recorded() -> None:
    columns, _ = to_columns(np.array([[1.0, np.inf], [2.0, 3.0], [-np.inf, 0.0], [4.0, np.nan]]))
    assert choose_recorded(columns).tolist() == [1, 3]


def test_recorded_rows_are_spread_evenly() -> None:
    chosen = choose_recorded({"a": np.arange(10_000.0)})
    assert (len(chosen), chosen[0], chosen[-1]) == (100, 0, 9_999)
    assert set(np.diff(chosen)) <= {100, 101, 102}
