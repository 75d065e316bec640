from __future__ import annotations

import os
import plistlib
import signal

from mlspine.cli.foreground import StopSignals
from mlspine.handover.unit import (
    Service,
    environment_file,
    launchd_plist,
    read_environment_file,
    service_name,
    systemd_unit,
)

OWN = Service(workspace="/srv/a/.mlspine", argv=("/venv/bin/python", "-m", "mlspine", "up", "--foreground"))


def lines(service: Service) -> set[str]:
    return set(systemd_unit(service).splitlines())


def test_whatever_ends_is_started_again_unless_somebody_wanted_the_end() -> None:
    assert {"Restart=always", "RestartPreventExitStatus=0", "StartLimitIntervalSec=0"} <= lines(OWN)


def test_stopping_lets_the_foreground_drain_the_others() -> None:
    assert {"KillMode=mixed", "TimeoutStopSec=90"} <= lines(OWN)


def test_ones_own_service_starts_without_a_session_and_the_machines_as_its_owner() -> None:
    assert "WantedBy=default.target" in lines(OWN)
    assert not any(line.startswith("User=") for line in lines(OWN))
    machine = Service(workspace=OWN.workspace, argv=OWN.argv, user="ann")
    assert {"User=ann", "WantedBy=multi-user.target", "ProtectSystem=full"} <= lines(machine)


def test_every_word_is_written_so_that_systemd_reads_it_back() -> None:
    strange = Service(workspace='/a "b" 100%/$x', argv=('/a "b"/py$thon', "50%"))
    told = lines(strange)
    assert 'ExecStart="/a \\"b\\"/py$$thon" "50%%"' in told
    assert 'Environment="MLSPINE_WORKSPACE=/a \\"b\\" 100%%/$x"' in told
    assert 'WorkingDirectory=/a "b" 100%%/$x' in told


def test_names_tell_workspaces_apart() -> None:
    assert service_name("/a/churn/.mlspine") != service_name("/b/churn/.mlspine")
    assert service_name("/a/churn/.mlspine").startswith("mlspine-churn-")
    assert service_name("/über/.mlspine").startswith("mlspine-ber-")
    assert service_name("/").startswith("mlspine-workspace-")


def test_launchd_is_told_the_same() -> None:
    told = plistlib.loads(launchd_plist(OWN, {"PATH": "/bin"}).encode())
    assert told["ProgramArguments"] == list(OWN.argv)
    assert told["EnvironmentVariables"] == {"PATH": "/bin", "MLSPINE_WORKSPACE": OWN.workspace}
    assert (told["RunAtLoad"], told["KeepAlive"], told["ExitTimeOut"]) == (True, {"SuccessfulExit": False}, 90)
    assert "UserName" not in told


def test_variables_survive_their_file() -> None:
    variables = {"A": "", "B": 'x "y" \\ $z `q`', "C": "two\nlines", "D": "a#b;c d'e"}
    assert read_environment_file(environment_file(variables)) == variables


def test_a_signal_is_remembered_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        asked = [signals.asked]
        os.kill(os.getpid(), signal.SIGTERM)
        asked.append(signals.asked)
    assert asked == [False, True]
    assert signal.getsignal(signal.SIGTERM) is before
