"""Fit a model again by its release's recipe, on other rows.

A script is run by this interpreter in the folder that holds the workspace, with three environment variables:
`MLSPINE_DATA`, a Parquet file of the rows to fit on, the target among its columns; `MLSPINE_TARGET`, the
target's name; and `MLSPINE_MODEL`, the file into which it must `joblib.dump` the fitted model.

Generators left to chance (Python's, numpy's) start from `seed`, so the same rows give the same model again.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.columns import to_columns
from mlspine.core.errors import Invalid
from mlspine.core.late import duckdb
from mlspine.core.types import Release
from mlspine.registry import pickling
from mlspine.registry.files import load_model_file
from mlspine.registry.recipe import GIVE_RECIPE, booster_parameters, booster_rounds, recipe_of
from mlspine.registry.release import flavor_of, load_model, load_transform, read_recipe_bytes
from mlspine.stats.score import class_index

Array = np.ndarray[Any, np.dtype[Any]]
TOLD_LINES = 15  # of what a failed script printed


def fit_again(path: Path, release: Release, rows: Any, labels: Array, *, root: Path, seed: int = 0) -> Any:
    """A model fitted by the recipe of the release at `path`.

    rows: raw, in the container the release takes; its transform is applied here. root: the folder a script is
    run in. Runs the code of the release, so only for one that is trusted. Raises Invalid when there is no
    recipe, and with the cause when it fails.
    """
    recipe = recipe_of(path, release)
    transform = load_transform(path, release)
    taken = transform(rows) if transform else rows
    with _seeded(seed):
        match recipe.kind:
            case "refit":
                return _refit(load_model(path, release), release, taken, labels)
            case "function":
                fit = pickling.load(read_recipe_bytes(path, release), what="recipe")
                return _told(lambda: fit(taken, labels), "the recipe")
            case "script":
                return _run(read_recipe_bytes(path, release), release, taken, labels, root, seed)
    raise Invalid("nobody said how this model is fitted, and it cannot be cloned", hint=GIVE_RECIPE)


def _refit(model: Any, release: Release, rows: Any, labels: Array) -> Any:
    if type(model).__name__ == "Booster":
        return _told(lambda: _boost(model, release, rows, labels), "fitting the booster again")
    from sklearn.base import clone

    return _told(lambda: clone(model).fit(rows, labels), f"fitting the {type(model).__name__} again")


def _boost(booster: Any, release: Release, rows: Any, labels: Array) -> Any:
    import lightgbm

    classes = flavor_of(release).classes
    numbers = class_index(labels, classes).astype(np.float64) if classes else labels
    data = lightgbm.Dataset(rows, numbers, params={"verbose": -1})
    return lightgbm.train({"verbose": -1, **booster_parameters(booster)}, data, num_boost_round=booster_rounds(booster))


def _run(script: bytes, release: Release, rows: Any, labels: Array, root: Path, seed: int) -> Any:
    target = release.signature.target or "target"
    with tempfile.TemporaryDirectory(prefix="mlspine-recipe-") as name:
        folder = Path(name)
        program, data, model = folder / "recipe.py", folder / "rows.parquet", folder / "model.joblib"
        program.write_bytes(script)
        target = write_rows(rows, labels, target, data)
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH", "")])]
        told = {
            "MLSPINE_DATA": str(data),
            "MLSPINE_TARGET": target,
            "MLSPINE_MODEL": str(model),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": str(seed),
        }
        done = subprocess.run(
            [sys.executable, str(program)], cwd=root, env=os.environ | told, capture_output=True, check=False
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()[-TOLD_LINES:]
        if done.returncode:
            raise Invalid(f"the recipe ended with exit code {done.returncode}", hint="mend it", details=said)
        if not model.is_file():
            raise Invalid(
                "the recipe wrote no model",
                hint='it must end with: joblib.dump(model, os.environ["MLSPINE_MODEL"])',
                details=said,
            )
        return load_model_file(model, trust=True).model


def write_rows(rows: Any, labels: Array, target: str, file: Path) -> str:
    """Rows and labels as one Parquet file; returns the name the target got, another one where it is taken."""
    columns, _ = to_columns(rows)
    while target in columns:
        target = f"{target}_"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("fit_rows", {**columns, target: labels})
        connection.table("fit_rows").write_parquet(str(file))
    return target


def _told(fit: Any, what: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what fitting warns about, its author has seen
            return fit()
    except Exception as exc:
        raise Invalid(
            f"{what} fails on these rows: {type(exc).__name__}: {str(exc)[:300]}",
            hint="mend the rows, or ship the model again with another recipe=",
        ) from exc


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    before, numpy_before = random.getstate(), np.random.get_state(legacy=True)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
