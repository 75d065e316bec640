from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlspine.core.errors import Invalid, Unavailable
from mlspine.serving import own_environment

LOCK = {"python": platform.python_version(), "scikit-learn": "1.5.2", "numpy": "1.26.4"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mlspine" / "environments"


def fake_index(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> list[list[str]]:
    """Stand in for venv and pip: `script` is the shell that plays pip; what was asked is returned."""
    asked: list[list[str]] = []
    pip = folder / "pip.sh"
    pip.write_text(f"#!/bin/sh\n{script}\n")
    pip.chmod(0o755)

    class Played(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, argv: list[str], **more: Any) -> None:
            asked.append(argv)
            if "venv" in argv:
                python = Path(argv[-1]) / "bin" / "python"
                python.parent.mkdir(parents=True)
                python.symlink_to(sys.executable)
                super().__init__(["true"], **more)
            else:
                lines = Path(argv[-1]).read_text().splitlines()
                asked.append(lines)
                super().__init__([str(pip)], **more)

    monkeypatch.setattr(own_environment.subprocess, "Popen", Played)
    return asked


def test_it_is_built_once_from_exactly_the_lock_and_told_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    asked = fake_index(monkeypatch, tmp_path, "echo 'Collecting numpy==1.26.4'; echo '  noise'")
    said: list[str] = []
    python = own_environment.build(LOCK, say=said.append)
    assert python == own_environment.environment_path(LOCK) / "bin" / "python"
    assert asked[-1] == ["scikit-learn==1.5.2", "numpy==1.26.4", "blake3", "cloudpickle", "msgspec"]
    assert said == [
        "making an environment with Python " + LOCK["python"] + " and 2 locked packages",
        "Collecting numpy==1.26.4",
    ]
    assert own_environment.is_built(LOCK)
    calls = len(asked)
    again = own_environment.build(dict(reversed(LOCK.items())))
    assert (again, len(asked)) == (python, calls)


def test_a_build_that_was_killed_leaves_nothing_that_is_taken_for_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    path = own_environment.environment_path(LOCK)
    left = path.parent / f".draft-{path.name}-0"  # what a kill in the middle leaves
    (left / "bin").mkdir(parents=True)
    (path / "bin").mkdir(parents=True)  # without complete.json it is none either
    (path / "bin" / "python").symlink_to(sys.executable)
    assert not own_environment.is_built(LOCK)
    fake_index(monkeypatch, tmp_path, "exit 0")
    own_environment.build(LOCK)
    assert own_environment.is_built(LOCK)
    assert not left.exists()


@pytest.mark.parametrize(
    ("script", "error", "said", "fix"),
    [
        (
            "echo 'ERROR: No matching distribution found for scikit-learn==1.5.2'; exit 1",
            Invalid,
            "No matching distribution found for scikit-learn",
            "PIP_INDEX_URL",
        ),
        (
            "echo 'WARNING: Retrying (Retry(total=4)) after connection broken'; echo 'ERROR: x'; exit 1",
            Unavailable,
            "index cannot be reached",
            "try again",
        ),
        ("echo 'a compiler is missing'; exit 1", Invalid, "a compiler is missing", "requirements.txt"),
    ],
)
def test_a_failed_build_says_why_and_leaves_nothing(
    script: str,
    error: type[Exception],
    said: str,
    fix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
) -> None:
    fake_index(monkeypatch, tmp_path, script)
    with pytest.raises(error, match=said) as caught:
        own_environment.build(LOCK)
    assert fix in caught.value.hint  # type: ignore[attr-defined]
    assert not own_environment.is_built(LOCK)
    assert [each.name for each in cache.iterdir() if each.is_dir()] == []


def test_a_python_that_is_not_here_is_named() -> None:
    with pytest.raises(Invalid, match=r"shipped with Python 3\.2\.1, and there is no python3\.2 here"):
        own_environment.find_interpreter("3.2.1")


def test_a_process_of_it_finds_this_package_and_none_of_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_environment.environment_path(LOCK)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    python, variables = own_environment.launch(LOCK)
    assert own_environment.launch(LOCK) == (python, variables)
    script = (
        "import importlib.util, mlspine;"
        "print(mlspine.__file__, importlib.util.find_spec('pytest'), importlib.util.find_spec('numpy'))"
    )
    told = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, check=True, env=os.environ | variables
    ).stdout
    assert told.split()[0].endswith("mlspine/__init__.py")
    assert told.split()[1:] == ["None", "None"]


@pytest.mark.long
def test_a_release_of_another_scikit_learn_gives_its_own_predictions_in_its_environment(tmp_path: Path) -> None:
    """Needs the package index: fits under scikit-learn 1.5.2, where the model does not load under the newest."""
    import asyncio

    import msgspec
    import numpy as np

    from mlspine.core.plan import PlannedRelease
    from mlspine.registry.release import read_recorded, read_release
    from mlspine.serving.worker import Worker

    lock = {"python": platform.python_version(), "scikit-learn": "1.5.2"}
    try:
        own_environment.build(lock)
    except Unavailable as exc:
        pytest.skip(f"the package index cannot be reached: {exc}")
    python, variables = own_environment.launch(lock)
    script = (
        "import sys, platform, numpy as np, msgspec, importlib.metadata as m\n"
        "from pathlib import Path\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "from tests.serving_harness import make_release\n"
        "X = np.random.default_rng(0).normal(size=(200, 4)); y = (X[:, 0] > 0).astype(int)\n"
        "lock = {'python': platform.python_version(), 'scikit-learn': m.version('scikit-learn')}\n"
        "model = RandomForestClassifier(20, random_state=0).fit(X, y)\n"
        "print(msgspec.json.encode(make_release(Path(sys.argv[1]), model, X, y, environment=lock)).decode())\n"
    )
    root = Path(__file__).parents[3]
    env = os.environ | variables | {"PYTHONPATH": os.pathsep.join([variables["PYTHONPATH"], str(root)])}
    told = subprocess.run(
        [python, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, env=env
    ).stdout
    planned = msgspec.structs.replace(msgspec.json.decode(told, type=PlannedRelease), placement="worker", own_env=True)
    columns, expected = read_recorded(Path(planned.path), read_release(Path(planned.path)))

    async def story() -> None:
        worker = Worker(planned)
        try:
            proof = await worker.start()
            assert (proof.reproduced_rows, proof.recorded_rows) == (100, 100)
            np.testing.assert_array_equal((await worker.predict(columns)).probabilities, expected.probabilities)
        finally:
            await worker.stop()

    asyncio.run(story())
