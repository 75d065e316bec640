"""The inference process as a whole: switching, recording, dying and coming back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlspine.backends.processes import in_loop_at_death
from mlspine.core.errors import Corrupt, Invalid, MlspineError
from mlspine.core.plan import LogSettings, Placement, PlannedRelease
from mlspine.predictions.spool import Batch, decode_columns, read_frames, spool_files
from tests.serving_harness import (
    Inference,
    endpoint,
    free_port,
    inference,
    make_plan,
    make_release,
    start,
    write_plan,
)
from tests.unit.serving.models import CRASH, FAIL, Doubler, rows

PREDICT = "/endpoints/double/predict"


def doubler(folder: Path, version: int = 1, **more: Any) -> PlannedRelease:
    """Releases differ by their settings, so that each version has a hash of its own. A slow one runs in a process."""
    settings = {"n": version} | more.pop("settings", {})
    placement: Placement = "worker" if "pause_s" in more else "loop"
    return make_release(
        folder,
        Doubler(**more),
        rows(),
        rows()[:, 0] + 0.5,
        version=version,
        settings=settings,
        placement=placement,
    )


def within(seconds: float, told: Callable[[], bool]) -> None:
    """Wait for something another process does by itself."""
    deadline = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def logged(running: Inference) -> list[Batch]:
    running.command("flush")
    files = spool_files(running.folder / "run" / "spool")
    return [batch for file in files for frame in read_frames(file) for batch in frame.batches]


def ask(running: Inference, value: float, **headers: str) -> Any:
    return running.post(PREDICT, {"x0": value}, **headers)


def test_no_request_fails_while_releases_change_hands(tmp_path: Path) -> None:
    first, second = doubler(tmp_path, 1), doubler(tmp_path, 2)
    with inference(tmp_path, endpoint("double", first)) as running:
        answers: list[tuple[int, int]] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                began_ms = int(time.time() * 1000)
                answer = ask(running, 1.0)
                answers.append((began_ms, answer.json["version"] if answer.status == 200 else -answer.status))

        callers = [threading.Thread(target=keep_asking) for _ in range(4)]
        for caller in callers:
            caller.start()
        acknowledged = []
        for revision in range(2, 8):
            planned = endpoint("double", (first, second)[revision % 2 == 0], warm=first, revision=revision)
            running.prepare(planned)
            acknowledged.append(running.apply(planned))
        stop.set()
        for caller in callers:
            caller.join()
        assert {version for _, version in answers} == {1, 2}
        for word in acknowledged:
            assert 0 < word["last_old_begun_at_ms"] <= word["applied_at_ms"] + 1
        assert running.command("observe")["endpoints"]["double"]["failures"] == 0


def test_every_answered_row_is_in_the_spool_once_with_its_facts(tmp_path: Path) -> None:
    planned = endpoint("double", doubler(tmp_path, 3, settings={"time": "at", "key": "who"}), revision=9)
    with inference(tmp_path, planned) as running:
        ids = [ask(running, float(i)).json["id"] for i in range(20)]
        many = running.post(
            PREDICT,
            {"rows": [{"x0": 1, "who": "ann", "at": 5000}, {"x0": 2}]},
            Mlspine_Key="bob",
            Mlspine_Event_Time="1970-01-01T00:00:07Z",
        ).json["id"]
        assert ask(running, FAIL).status == 422
        batches = logged(running)
    assert [name for batch in batches for name in batch.request_ids] == [*ids, many]
    last = batches[-1]
    assert (last.endpoint, last.version, last.revision) == ("double", 3, 9)
    assert last.release_hash == planned.live.release_hash if planned.live else False
    assert (last.event_at_ms[-2:], last.keys[-2:]) == ([5000, 7000], ["ann", "bob"])
    columns = decode_columns(last.inputs)
    assert list(columns) == ["x0"]
    assert columns["x0"].tolist()[-2:] == [1.0, 2.0]
    assert all(seconds > 0 for seconds in last.latency_s)


def test_thousands_of_rows_in_one_request_are_one_answer_and_one_entry(tmp_path: Path) -> None:
    values = [float(i) for i in range(5000) if i not in (666, 777, 888)]
    with inference(tmp_path, endpoint("double", doubler(tmp_path))) as running:
        body = {"rows": [{"x0": value} for value in values]}
        answers = [running.post(PREDICT, body), running.post_gzip(PREDICT, body)]
        batches = logged(running)
    for answer in answers:
        assert [each["prediction"] for each in answer.json["predictions"]] == [2 * value for value in values]
    assert [count for batch in batches for count in batch.row_counts] == [len(values)] * 2


def test_redaction_and_no_log_keep_values_from_the_disk(tmp_path: Path) -> None:
    release = doubler(tmp_path)
    with inference(tmp_path, endpoint("double", release, log=LogSettings(redact=("x0",)))) as running:
        ask(running, 424242.0)
        (batch,) = logged(running)
        assert batch.inputs == []
        assert batch.rows == 1
        running.apply(endpoint("double", release, revision=2, log=LogSettings(enabled=False)))
        ask(running, 1.0)
        assert [each.revision for each in logged(running)] == [1]


def test_rows_answered_before_a_kill_are_in_the_spool(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path))) as running:
        ids = [ask(running, float(i)).json["id"] for i in range(5)]
        files = tmp_path / "run" / "spool"
        within(
            2, lambda: sum(batch.rows for f in spool_files(files) for fr in read_frames(f) for batch in fr.batches) == 5
        )
        running.kill()
        batches = [batch for file in spool_files(files) for frame in read_frames(file) for batch in frame.batches]
        assert [name for batch in batches for name in batch.request_ids] == ids


def test_it_serves_again_from_the_plan_on_disk_with_nobody_else_alive(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path))) as running:
        running.kill()
        again = start(tmp_path, running.port)
        try:
            assert ask(again, 2.0).json["predictions"] == [{"prediction": 4.0}]
            assert json.loads((tmp_path / "run" / "inference-0.json").read_text())["pid"] == again.process.pid
        finally:
            assert again.stop() == 0
        assert not (tmp_path / "run" / "inference-0.json").exists()


def test_a_plan_that_only_reached_the_disk_is_followed(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path, 1))) as running:
        write_plan(
            tmp_path, make_plan(tmp_path, endpoint("double", doubler(tmp_path, 2), revision=2), port=running.port)
        )
        within(10, lambda: ask(running, 1.0).json["version"] == 2)


def test_a_slow_model_is_answered_by_a_process_of_its_own(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path, pause_s=0.003))) as running:
        assert ask(running, 3.0).json["predictions"] == [{"prediction": 6.0}]
        assert ask(running, FAIL).status == 422
        (pid,) = running.command("observe")["workers"].values()
        os.kill(pid, signal.SIGKILL)
        assert ask(running, 4.0).json["predictions"] == [{"prediction": 8.0}]
        refused = ask(running, CRASH)
        assert (refused.status, "died twice" in refused.json["error"]["message"]) == (503, True)
        assert ask(running, 5.0).status == 200
        assert running.get("/health/ready").status == 200


def test_a_native_crash_in_the_loop_leaves_the_name_of_its_release(tmp_path: Path) -> None:
    release = doubler(tmp_path)
    with inference(tmp_path, endpoint("double", release)) as running:
        ask(running, 1.0)
        assert in_loop_at_death(tmp_path, 0) is None
        with pytest.raises(ConnectionError):
            ask(running, CRASH)
        assert running.process.wait(timeout=20) == -signal.SIGABRT
        assert in_loop_at_death(tmp_path, 0) == release.release_hash


def test_a_release_sent_out_of_the_loop_runs_in_a_worker(tmp_path: Path) -> None:
    release = doubler(tmp_path)
    moved = PlannedRelease(release_hash=release.release_hash, version=1, path=release.path, placement="worker")
    with inference(tmp_path, endpoint("double", release)) as running:
        assert running.command("observe")["workers"] == {}
        running.apply(endpoint("double", moved))
        assert list(running.command("observe")["workers"]) == [release.release_hash]
        assert ask(running, CRASH).status == 503
        assert ask(running, 1.0).json["predictions"] == [{"prediction": 2.0}]


def test_a_damaged_release_is_refused_before_it_gets_any_request(tmp_path: Path) -> None:
    good, bad = doubler(tmp_path, 1), doubler(tmp_path, 2)
    (Path(bad.path) / "model.pkl").write_bytes(b"damage")
    with inference(tmp_path, endpoint("double", good)) as running:
        with pytest.raises(Corrupt, match="damaged"):
            running.prepare(endpoint("double", bad))
        with pytest.raises(Corrupt, match="damaged"):
            running.apply(endpoint("double", bad, revision=2))
        assert ask(running, 1.0).json["version"] == 1


def test_damage_done_while_serving_shows_in_readiness(tmp_path: Path) -> None:
    release = doubler(tmp_path)
    with inference(tmp_path, endpoint("double", release)) as running:
        assert running.get("/health/ready").json == {"ready": True}
        (Path(release.path) / "model.pkl").write_bytes(b"damage")
        within(5, lambda: running.get("/health/ready").status == 503)
        assert "damaged" in running.get("/health/ready").json["reason"]
        assert running.command("observe")["ready"] is False
        assert ask(running, 1.0).status == 200


def test_one_damaged_release_at_start_does_not_silence_the_others(tmp_path: Path) -> None:
    good, bad = doubler(tmp_path, 1), doubler(tmp_path, 2)
    (Path(bad.path) / "model.pkl").write_bytes(b"damage")
    with inference(tmp_path, endpoint("double", good), endpoint("broken", bad)) as running:
        assert ask(running, 1.0).status == 200
        answer = running.post("/endpoints/broken/predict", {"x0": 1})
        assert (answer.status, "damaged" in answer.json["error"]["message"]) == (503, True)
        assert running.get("/health/ready").status == 503
        running.apply(endpoint("double", good, revision=2), endpoint("broken", bad))
        state = running.command("observe")["endpoints"]
        assert (state["double"]["revision"], state["broken"]["failures"]) == (2, 1)


def test_a_rollback_to_nothing_answers_that_it_cannot(tmp_path: Path) -> None:
    release = doubler(tmp_path)
    with inference(tmp_path, endpoint("double", release)) as running:
        running.apply(endpoint("double", None, revision=2))
        answer = ask(running, 1.0)
        assert (answer.status, answer.headers["mlspine-path"]) == (503, "cannot-answer")
        assert running.command("observe")["endpoints"]["double"]["failures"] == 0
        running.apply(endpoint("double", release, revision=3))
        assert ask(running, 1.0).status == 200


def test_releases_the_plan_no_longer_names_are_dropped_and_warm_ones_kept(tmp_path: Path) -> None:
    one, two, three = (doubler(tmp_path, version, pause_s=0.003) for version in (1, 2, 3))
    with inference(tmp_path, endpoint("double", two, warm=one)) as running:
        assert set(running.command("observe")["workers"]) == {one.release_hash, two.release_hash}
        running.apply(endpoint("double", three, warm=two, revision=2))
        assert set(running.command("observe")["workers"]) == {two.release_hash, three.release_hash}


def test_commands_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path))) as running:
        with pytest.raises(Invalid, match="no command 'dance'"):
            running.command("dance")
        with pytest.raises(Invalid, match="plan cannot be read"):
            running.command("apply", plan={"number": "x"})
        with pytest.raises(Invalid, match="no release to prepare"):
            running.prepare(endpoint("double", None))
        assert running.command("observe")["ready"]


def test_it_starts_control_again_when_control_is_gone(tmp_path: Path) -> None:
    script = tmp_path / "control.py"
    script.write_text(
        "import fcntl, pathlib, sys, time\n"
        "run = pathlib.Path(sys.argv[1]) / 'run'\n"
        "lock = open(run / 'control.lock', 'ab'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "open(run / 'started', 'a').write('x'); time.sleep(60)\n"
    )
    argv = [sys.executable, "-S", str(script), str(tmp_path)]
    started = tmp_path / "run" / "started"
    with inference(tmp_path, endpoint("double", doubler(tmp_path)), control_argv=argv) as running:
        within(10, started.exists)
        (tmp_path / "run" / "stopping").touch()
        assert ask(running, 1.0).status == 200
    found = subprocess.run(["pgrep", "-f", str(script)], capture_output=True, check=False).stdout.split()
    assert len(found) == 1, "one control, which outlives the inference process"
    os.kill(int(found[0]), signal.SIGKILL)


def test_a_taken_port_and_a_missing_plan_end_it_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RuntimeError, match=r"plan\.json cannot be read"):
        start(tmp_path, 1)
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        write_plan(tmp_path, make_plan(tmp_path, port=owner.getsockname()[1]))
        with pytest.raises(RuntimeError, match="is taken"):
            start(tmp_path, free_port())


def test_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path, pause_s=0.05))) as running:
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(ask(running, 1.0).status))
        caller.start()
        within(5, lambda: running.command("observe")["rss_bytes"] > 0)
        time.sleep(0.05)
        assert running.stop() == 0
        caller.join()
        assert answers == [200]
    files = spool_files(tmp_path / "run" / "spool")
    assert sum(batch.rows for file in files for frame in read_frames(file) for batch in frame.batches) == 1


def test_the_family_is_what_comes_back(tmp_path: Path) -> None:
    with inference(tmp_path, endpoint("double", doubler(tmp_path))) as running:
        gone = PlannedRelease(release_hash="0" * 64, version=9, path=str(tmp_path / "nowhere"))
        with pytest.raises(MlspineError) as caught:
            running.prepare(endpoint("double", gone))
        assert caught.value.code == "not_found"
        assert np.isfinite(running.command("observe")["rss_bytes"])
