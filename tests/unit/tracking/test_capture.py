"""What a run records by itself: circumstances, as tags and back; what the process of a repetition is told."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mlspine.core.errors import Corrupt
from mlspine.core.types import CodeState
from mlspine.tracking import capture, generators
from mlspine.tracking.capture import Captured, Repetition

REPORT = """
import sys, msgspec
from mlspine.tracking import capture
captured, patch = capture.take()
capture.take()
captured_again, _ = capture.take()
print(msgspec.json.encode([captured, captured_again.ordinal, patch.decode()]).decode())
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "fit.py").write_text(REPORT)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *person, *words], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def _reported(folder: Path, *words: str) -> tuple[Captured, int, str]:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=tuple[Captured, int, str])


def test_command_folder_and_script_mean_the_same_in_another_clone(repository: Path) -> None:
    file = repository / "work" / "fit.py"
    captured, _, patch = _reported(repository / "work", str(file), "--lr", "0.1", "--token=abc")
    assert captured.command == ("fit.py", "--lr", "0.1", "--token=…")
    assert (captured.folder, captured.script, captured.tracked, patch) == ("work", "work/fit.py", True, "")
    assert str(repository) not in msgspec.json.encode(captured).decode()
    assert captured.hardware.cpus > 0
    assert "msgspec" in captured.libraries


def test_the_difference_is_whole_and_a_new_script_is_part_of_it(repository: Path) -> None:
    (repository / "work" / "new.py").write_text(REPORT)
    captured, third, patch = _reported(repository, "work/new.py")
    assert captured.tracked
    assert captured.patch_bytes == len(patch.encode())
    assert "+++ b/work/new.py" in patch
    assert (captured.ordinal, third) == (0, 2)


def test_a_script_outside_the_repository_is_not_tracked(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "fit.py"
    elsewhere.write_text(REPORT)
    assert not _reported(repository, str(elsewhere))[0].tracked


def test_tags_bring_everything_back() -> None:
    patch = random.Random(0).randbytes(30_000)
    captured = Captured(code=CodeState(commit="c" * 40), random=generators.states(), command=("fit.py",))
    tags = capture.to_tags(captured, patch)
    assert len(tags) > 3
    assert max(map(len, tags.values())) <= 8_000
    assert capture.from_tags({**tags, "mlflow.user": "ann"}) == (captured, patch)


def test_too_large_a_difference_is_left_out_and_the_rest_stays() -> None:
    captured = Captured(patch_bytes=600_000, command=("fit.py",))
    tags = capture.to_tags(captured, random.Random(0).randbytes(600_000))
    assert capture.from_tags(tags) == (captured, b"")


def test_no_tags_say_nothing_and_broken_ones_say_so() -> None:
    assert capture.from_tags({"mlflow.user": "ann"}) is None
    with pytest.raises(Corrupt):
        capture.from_tags({f"{capture.TAG}00": "not what was written"})


def test_only_the_run_that_is_repeated_gets_the_random_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert capture.repetition(0) == {}
    kept = generators.states()
    drawn = random.random()
    order = Repetition(run_id="r", attempt="a", ordinal=1, random=kept)
    (tmp_path / "order.json").write_bytes(msgspec.json.encode(order))
    monkeypatch.setenv(capture.REPETITION_VARIABLE, str(tmp_path / "order.json"))
    assert capture.repetition(0) == {capture.ATTEMPT_TAG: "a"}
    assert random.random() != drawn
    assert capture.repetition(1) == {
        capture.ATTEMPT_TAG: "a",
        capture.REPRODUCES_TAG: "r",
        "mlflow.parentRunId": "r",
    }
    assert random.random() == drawn
