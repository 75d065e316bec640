"""Objects to bytes and back, and what they need elsewhere."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mlspine.core.errors import Invalid, MissingExtra
from mlspine.registry import pickling

MODEL = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[ModuleType]:
    """A module that belongs to no installed package."""
    (tmp_path / "beside_the_notebook.py").write_text("class Kept:\n    value = 3\n\ndef use():\n    return 7\n")
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module("beside_the_notebook")
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("beside_the_notebook", None)


def test_the_modules_an_object_needs_are_known() -> None:
    stored = pickling.dump(MODEL)
    assert "sklearn.linear_model._base" in stored.modules
    assert stored.copy.predict([[3.0]]) == pytest.approx([3.0])


def test_modules_used_inside_a_function_are_known_too() -> None:
    stored = pickling.dump(lambda rows: np.asarray(rows) * 2)
    assert "numpy" in stored.modules


def test_a_module_beside_the_notebook_travels_by_value(beside: ModuleType) -> None:
    stored = pickling.dump(beside.Kept())
    del sys.modules["beside_the_notebook"]
    sys.path_importer_cache.clear()
    assert pickling.load(stored.data).value == 3
    assert "beside_the_notebook" not in sys.modules
    assert stored.left_behind == ()


def test_a_module_that_cannot_travel_is_named(beside: ModuleType) -> None:
    lock = threading.Lock()
    beside.lock = lock  # type: ignore[attr-defined]
    exec("def use():\n    return lock\n", beside.__dict__)
    assert pickling.dump(beside.use).left_behind == ("beside_the_notebook",)


def test_an_installed_package_is_named_by_reference() -> None:
    assert len(pickling.dump(MODEL).data) < 2_000


def test_a_missing_module_is_named_with_the_line_that_installs_it() -> None:
    data = b"cno_such_module_here\nThing\n."
    with pytest.raises(MissingExtra) as caught:
        pickling.load(data)
    assert "'no_such_module_here'" in caught.value.message
    assert caught.value.hint == "pip install no_such_module_here"
    with pytest.raises(MissingExtra) as caught:
        pickling.load(b"csklearn.no_such\nThing\n.", requirements="/r/requirements.txt")
    assert caught.value.hint == "pip install -r /r/requirements.txt"


def test_bytes_that_do_not_load_are_refused() -> None:
    with pytest.raises(Invalid, match="the transform does not load"):
        pickling.load(b"nonsense", what="transform")


def test_the_lock_holds_what_is_needed_and_what_that_needs() -> None:
    lock = pickling.environment_lock(pickling.dump(MODEL).modules)
    assert lock["python"] == ".".join(map(str, sys.version_info[:3]))
    assert lock["numpy"] == np.__version__
    assert {"scikit-learn", "scipy", "joblib", "threadpoolctl", "cloudpickle"} <= set(lock)
    assert not {"pytest", "lightgbm", "polars", "mlspine"} & set(lock)
    assert list(lock)[1:] == sorted(list(lock)[1:])


def test_the_freeze_lists_everything_installed() -> None:
    freeze = pickling.freeze()
    assert freeze["numpy"] == np.__version__
    assert {"pytest", "hypothesis"} <= set(freeze)


def test_a_folder_of_ones_own_that_hides_an_installed_module_travels_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, own = tmp_path / "site", tmp_path / "work"
    for place, text in ((installed, "def use(): return 'theirs'"), (own, "def use(): return 'mine'")):
        (place / "helpers_of_both").mkdir(parents=True)
        (place / "helpers_of_both" / "__init__.py").write_text(text)
    (installed / "theirs-1.0.dist-info").mkdir()
    (installed / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (installed / "theirs-1.0.dist-info" / "top_level.txt").write_text("helpers_of_both\n")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(own))
    pickling.distributions.cache_clear()
    module = importlib.import_module("helpers_of_both")
    stored = pickling.dump(module.use)
    del sys.modules["helpers_of_both"]
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in (str(installed), str(own))])
    assert pickling.load(stored.data)() == "mine"
    pickling.distributions.cache_clear()
