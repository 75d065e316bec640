from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from mlspine.core.errors import Conflict
from mlspine.serving import process
from mlspine.serving.process import ControlKeeper, is_deputy, others, start_detached, take_lock, write_pid_file


class Keeper:
    """A keeper whose control dies at once, on a clock of its own."""

    def __init__(self, run: Path, argv: Sequence[str] = ("control",)) -> None:
        self.now = 1000.0
        self.started: list[float] = []
        self.deputy = False
        self.keeper = ControlKeeper(
            run, lambda: argv, start=self._start, timer=lambda: self.now, deputy=lambda: self.deputy
        )

    def _start(self, argv: Sequence[str], run: Path) -> subprocess.Popen[bytes]:
        self.started.append(self.now)
        child = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
        child.wait()
        return child

    def look_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.keeper.look()
            self.now += 1.0


def test_a_lost_control_is_started_again_ever_more_slowly(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.look_for(20)
    assert [at - 1000 for at in keeper.started] == [0, 1, 3, 7, 15]


def test_a_control_that_holds_its_lock_is_left_alone(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    with (tmp_path / "control.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        keeper.look_for(5)
        assert keeper.started == []
    keeper.look_for(1)
    assert len(keeper.started) == 1


def test_while_another_process_looks_after_control_this_one_waits(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.deputy = True
    keeper.look_for(10)
    assert keeper.started == []
    keeper.look_for(1)
    assert keeper.started == [1010.0]


def test_living_processes_are_known_by_their_pid_files_in_order(tmp_path: Path) -> None:
    script = tmp_path / "mlspine.web.inference"
    script.write_text("print(flush=True); input()")
    living = subprocess.Popen([sys.executable, "-S", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert living.stdout is not None
        living.stdout.readline()  # it runs
        for name, pid in (("inference-10", living.pid), ("inference-2", living.pid), ("inference-1", os.getpid())):
            (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode({"pid": pid}))
        (tmp_path / "inference-3.json").write_text("half a")
        assert others(tmp_path, "inference-0") == ["inference-2", "inference-10"]
        assert others(tmp_path, "inference-2") == ["inference-10"]
        assert (is_deputy(tmp_path, "inference-10"), is_deputy(tmp_path, "inference-2")) == (True, False)
    finally:
        living.communicate(b"\n")


@pytest.mark.parametrize("argv", [(), ("control",)])
def test_nothing_is_started_on_the_way_down_or_without_a_command(tmp_path: Path, argv: Sequence[str]) -> None:
    if argv:
        (tmp_path / "stopping").touch()
    keeper = Keeper(tmp_path, argv)
    keeper.look_for(5)
    assert keeper.started == []


def test_a_control_file_of_a_dead_process_claims_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    child.wait()
    (tmp_path / "control.json").write_bytes(msgspec.json.encode({"pid": child.pid, "url": "x"}))
    keeper = Keeper(tmp_path)
    keeper.look_for(1)
    assert len(keeper.started) == 1


def test_a_command_that_cannot_be_run_is_tried_later(tmp_path: Path) -> None:
    keeper = ControlKeeper(tmp_path, lambda: ("/nowhere/control",))
    assert keeper.look() is False


def test_a_detached_process_writes_to_the_log_of_control(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    start_detached([sys.executable, "-S", "-c", "import os; print('hello', os.getsid(0) == os.getpid())"], run).wait()
    assert (run / "control.log").read_text() == "hello True\n"


def test_a_second_process_of_the_same_name_is_kept_away(tmp_path: Path) -> None:
    with take_lock(tmp_path, "inference-0"), pytest.raises(Conflict, match="another inference-0"):
        take_lock(tmp_path, "inference-0", timeout_s=0.0)
    take_lock(tmp_path, "inference-0", timeout_s=0.0).close()


def test_the_pid_file_is_for_the_owner_alone(tmp_path: Path) -> None:
    path = write_pid_file(tmp_path, "inference-0")
    assert path.stat().st_mode & 0o777 == 0o600
    assert msgspec.json.decode(path.read_bytes())["pid"] == process.os.getpid()
