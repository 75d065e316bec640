"""What a run must have recorded to be run again; whose runs are run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlspine.core.errors import Conflict, Denied, Invalid, NotFound
from mlspine.core.types import CodeState
from mlspine.reproducing import reproduce
from mlspine.reproducing.record import check_repeatable, find_run, read_record
from mlspine.tracking import capture
from mlspine.tracking.capture import Captured
from mlspine.web.mlflow.line import Line, StoreLine

WHOLE = Captured(code=CodeState(commit="c" * 40), command=("fit.py",), script="fit.py", folder=".", tracked=True)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    line = StoreLine(tmp_path / ".mlspine")
    yield line
    line.close()


def _logged(line: Line, captured: Captured | None, *, user: str = "ann", points: int = 1) -> str:
    tags = capture.to_tags(captured, b"") if captured else {}
    made = line.post(
        "runs/create",
        experiment_id="0",
        user_id=user,
        start_time=1_000,
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )
    run_id = str(made["run"]["info"]["run_id"])
    metrics = [{"key": "loss", "value": 0.5, "timestamp": at, "step": at} for at in range(points)]
    line.post("runs/log-batch", run_id=run_id, metrics=metrics)
    line.post("runs/update", run_id=run_id, status="FINISHED", end_time=3_500)
    return run_id


def test_a_record_holds_whole_histories_and_the_capture(line: Line) -> None:
    run_id = _logged(line, WHOLE, points=1_000)
    record = read_record(line, run_id)
    assert (record.captured, record.took_s, record.user) == (WHOLE, 2.5, "ann")
    assert record.histories == {"loss": [(step, 0.5) for step in range(1_000)]}
    check_repeatable(record)


def test_files_of_the_run_serve_as_well_as_tags(line: Line) -> None:
    run_id = _logged(line, None)
    with pytest.raises(Invalid, match="without its circumstances"):
        read_record(line, run_id)
    line.put_file(f"mlflow-artifacts:/0/{run_id}/artifacts/{capture.FILE}", msgspec.json.encode(WHOLE))
    assert read_record(line, run_id).captured == WHOLE
    assert read_record(line, run_id).patch == b""
    line.put_file(f"mlflow-artifacts:/0/{run_id}/artifacts/{capture.PATCH_FILE}", b"patch")
    assert read_record(line, run_id).patch == b"patch"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": CodeState()}, "code: it did not run in a git repository"),
        ({"patch_bytes": 30_000_000}, "code: the uncommitted difference of 30,000,000 bytes"),
        ({"command": ()}, "command: it ran in a notebook"),
        ({"command": ("fit.py", "--token=…")}, "command: it held a secret"),
        ({"tracked": False}, "script: 'fit.py' is not in the repository"),
    ],
)
def test_what_is_missing_is_named(line: Line, change: dict[str, object], told: str) -> None:
    record = read_record(line, _logged(line, msgspec.structs.replace(WHOLE, **change)))
    with pytest.raises(Invalid, match="cannot be run again") as refused:
        check_repeatable(record)
    assert any(detail.startswith(told) for detail in refused.value.details)


def test_everything_that_is_missing_is_named_at_once(line: Line) -> None:
    record = read_record(line, _logged(line, Captured(), points=0))
    with pytest.raises(Invalid) as refused:
        check_repeatable(record)
    assert len(refused.value.details) == 3


def test_a_module_needs_no_script_in_the_repository(line: Line) -> None:
    module = msgspec.structs.replace(WHOLE, command=("-m", "fit"), tracked=False)
    check_repeatable(read_record(line, _logged(line, module)))


def test_code_that_somebody_else_logged_is_not_run_without_a_word(line: Line) -> None:
    run_id = _logged(line, WHOLE, user="a stranger")
    with pytest.raises(Denied, match=r"a stranger .* python fit\.py") as refused:
        reproduce(line, run_id)
    assert "--trust" in refused.value.hint
    with pytest.raises(NotFound, match="by id or name"):
        reproduce(line, "f" * 32)
    with pytest.raises(Invalid, match="1 repetitions"):
        reproduce(line, run_id, repetitions=1)


def test_a_run_is_found_by_its_name_and_its_repetitions_are_not(line: Line) -> None:
    one, again, other = (_logged(line, WHOLE) for _ in range(3))
    for run_id in (one, again):
        line.post("runs/update", run_id=run_id, run_name="it's calm")
    with pytest.raises(Conflict, match="2 runs are named"):
        find_run(line, "it's calm")
    line.post("runs/set-tag", run_id=again, key=capture.REPRODUCES_TAG, value=one)
    assert find_run(line, "it's calm") == one
    assert find_run(line, other) == other
    with pytest.raises(NotFound):
        find_run(line, "x' OR ''='")
