"""On a server: both ports for every machine, a supervisor that sees everything, a reboot."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlspine.handover.unit import read_environment_file
from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
WAIT_S = 60.0


def foreground(desk: Desk) -> subprocess.Popen[bytes]:
    """`mlspine up --foreground`, once everything is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlspine", "up", "--foreground"],
        cwd=desk.folder,
        env=desk.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert any(b"Stop with: mlspine down" in line for line in process.stdout)
    return process


def end(process: subprocess.Popen[bytes], number: int) -> tuple[int, str]:
    """Send a signal and wait for the end: exit code and everything it said."""
    process.send_signal(number)
    out, _ = process.communicate(timeout=WAIT_S)
    return process.returncode, out.decode()


def predicts(desk: Desk) -> bool:
    try:
        return desk.post("/endpoints/churn/predict", [ROW])[0] == 200
    except OSError:
        return False


def wait_until_predicts(desk: Desk) -> float:
    """Seconds until the endpoint answers."""
    began = time.monotonic()
    while not predicts(desk):
        assert time.monotonic() - began < WAIT_S
        time.sleep(0.05)
    return time.monotonic() - began


def pids(desk: Desk) -> list[int]:
    run = desk.folder / ".mlspine" / "run"
    return [json.loads((run / name).read_bytes())["pid"] for name in ("control.json", "inference-0.json")]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def revision(desk: Desk) -> Any:
    return desk.mlspine("status", "churn", "--json").json["version"]


@pytest.mark.long
@pytest.mark.slow
def test_up_for_every_machine_says_what_is_open_and_keeps_it(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    told = desk.mlspine("up", "--host", "0.0.0.0").out
    assert f"0.0.0.0:{desk.port} answers predictions to whoever reaches it" in told
    assert f"0.0.0.0:{desk.control_port} asks everybody for a token: mlspine tokens create" in told
    assert f"http://127.0.0.1:{desk.port}/endpoints/churn" in told
    assert predicts(desk)
    assert desk.get("/health/live", port=desk.control_port)[0] == 200
    desk.mlspine("down")
    assert "answers predictions to whoever" in desk.mlspine("up").out
    assert "answers predictions to whoever" not in desk.mlspine("up", "--host", "127.0.0.1").out


@pytest.mark.long
@pytest.mark.slow
def test_the_foreground_outlives_a_dead_control_and_a_signal_ends_everything_with_exit_code_0(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    desk.mlspine("down")
    process = foreground(desk)
    assert predicts(desk)
    control, _ = pids(desk)
    os.kill(control, signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while control_pid(desk) in (None, control) and time.monotonic() < deadline:
        time.sleep(0.1)
    before = pids(desk)
    assert process.poll() is None
    assert before[0] != control
    code, said = end(process, signal.SIGTERM)
    assert (code, said.splitlines()[-1]) == (0, "stopped")
    assert not any(map(lives, before))


@pytest.mark.long
@pytest.mark.slow
def test_the_foreground_ends_well_when_somebody_wanted_it_and_with_an_error_when_nobody_did(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    wanted = foreground(desk)
    desk.mlspine("down")
    wanted.communicate(timeout=WAIT_S)
    assert wanted.returncode == 0
    unwanted = foreground(desk)
    for pid in pids(desk)[::-1]:
        os.kill(pid, signal.SIGKILL)
    out, _ = unwanted.communicate(timeout=WAIT_S)
    assert unwanted.returncode == 7, out.decode()
    assert "control and inference have ended" in out.decode()


@pytest.mark.slow
def test_ctrl_c_in_the_foreground_is_an_orderly_end(desk: Desk) -> None:
    process = foreground(desk)
    assert end(process, signal.SIGINT)[0] == 0


@pytest.mark.long
@pytest.mark.slow
def test_after_a_reboot_the_unit_serves_the_same_revision(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, seed=1)
    desk.mlspine("serve", "churn:1")
    desk.mlspine("promote", "churn", "2")
    told = desk.mlspine("service", "install", "--json", XDG_CONFIG_HOME=str(desk.folder / "home/.config")).json
    before = revision(desk)
    for pid in pids(desk):
        os.kill(pid, signal.SIGKILL)
    assert not predicts(desk)
    argv, variables = as_systemd_reads(Path(told["file"]))
    process = subprocess.Popen(argv, env={"HOME": desk.env["HOME"], **variables}, cwd="/", stdout=subprocess.PIPE)
    print(f"serving back after {wait_until_predicts(desk):.2f} s")
    assert revision(desk) == before == 2
    gap = desk.mlspine("status", "--json").json["outages"][0]
    assert (gap["cause"], gap["answered"], gap["to_at_ms"] > gap["from_at_ms"]) == ("killed", False, True)
    code, _ = end(process, signal.SIGTERM)
    assert code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_install_tells_the_manager_keeps_variables_and_can_be_repeated_and_undone(desk: Desk) -> None:
    said = desk.folder / "said"
    for name, state in (("systemctl", "running"), ("loginctl", "")):
        program = desk.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {said}\necho {state}\n')
        program.chmod(0o755)
    desk.env |= {"PATH": f"{desk.folder / 'bin'}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(desk.folder / "config")}
    (desk.folder / "mlspine.toml").write_text('[monitoring]\nnotify = ["env:TEAM_HOOK"]\n')
    first = desk.mlspine("service", "install", "--json", TEAM_HOOK="https://hook.example/hunter22").json
    unit = Path(first["file"]).name
    assert first["to_run"] == []
    assert [words for words in first["ran"] if "linger" not in words] == [
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {unit}",
    ]
    assert {"TEAM_HOOK", "MLSPINE_SERVING__PORT", "PATH"} <= set(first["variables"])
    kept = desk.folder / ".mlspine" / "service.env"
    assert kept.stat().st_mode & 0o077 == 0
    text = Path(first["file"]).read_text()
    assert "hunter22" not in text
    # From a shell without the variable: what was kept before stays.
    desk.mlspine("service", "install")
    assert read_environment_file(kept.read_text())["TEAM_HOOK"] == "https://hook.example/hunter22"
    assert Path(first["file"]).read_text() == text
    shown = desk.mlspine("service", "show", "--json").json
    assert (shown["installed"], shown["up_to_date"], shown["state"]) == (True, True, "running")
    desk.mlspine("service", "remove")
    assert not Path(first["file"]).exists()
    assert not kept.exists()
    assert f"systemctl --user disable --now {unit}" in said.read_text()
    assert desk.mlspine("service", "remove").out == "not installed\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("scope", ["--user", "--system"])
@pytest.mark.parametrize("folder", ["plain", '100% "sure" it\'s $HOME é'])
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, scope: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    desk = Desk(tmp_path / folder)
    (tmp_path / "mlspine-test.service").write_text(desk.mlspine("service", "install", scope, "--print").out)
    assert not (desk.folder / ".mlspine").exists()
    done = subprocess.run(
        ["systemd-analyze", "verify", scope, str(tmp_path / "mlspine-test.service")],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, variables = as_systemd_reads(tmp_path / "mlspine-test.service")
    assert variables["MLSPINE_WORKSPACE"] == str(desk.folder / ".mlspine")


def control_pid(desk: Desk) -> int | None:
    try:
        return pids(desk)[0]
    except OSError:
        return None


def as_systemd_reads(unit: Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the variables of a unit, by systemd's rules of quoting."""
    lines = dict(re.findall(r"^(ExecStart|Environment|EnvironmentFile)=(.*)$", unit.read_text(), re.MULTILINE))
    argv = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(lines["ExecStart"])]
    name, _, value = shlex.split(lines["Environment"])[0].replace("%%", "%").partition("=")
    file = Path(lines["EnvironmentFile"].removeprefix("-").replace("%%", "%"))
    kept = read_environment_file(file.read_text()) if file.exists() else {}
    return argv, {**kept, name: value}
