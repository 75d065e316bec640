"""What is read from outside the workspace: the repository, the service manager, a Prometheus."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlspine.advisor.practice import read_practice
from mlspine.advisor.supervision import supervisor
from mlspine.backends.prometheus import PrometheusCluster
from mlspine.core.errors import Invalid, Unavailable
from tests.desk import free_port

from .metrics import prometheus
from .world import NOW_MS, commit


def test_a_repository_shows_who_works_on_it_and_how(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True, cwd=tmp_path)
    commit(tmp_path, "old", 91, README="")
    commit(
        tmp_path,
        "Ana",
        10,
        deploy__Dockerfile="",
        **{".gitlab-ci.yml": "", "tests__test_a.py": "", "src__a_test.py": ""},
    )
    commit(tmp_path, "ana", 9, **{"compose.yaml": "", "docs__Dockerfiles.md": "", "latest_results.py": ""})
    found = read_practice(tmp_path / "src", now_ms=NOW_MS)
    assert found.authors == 1
    assert found.containers == ("compose.yaml", "deploy/Dockerfile")
    assert found.ci == (".gitlab-ci.yml",)
    assert found.tests == 2


def test_outside_a_repository_nothing_is_shown(tmp_path: Path) -> None:
    assert read_practice(tmp_path, now_ms=NOW_MS).root == ""


@pytest.mark.parametrize(
    ("environment", "cgroup", "expected"),
    [
        ({}, "0::/user.slice/session-2.scope\n", ""),
        ({"SYSTEMD_EXEC_PID": "41"}, "0::/app.slice/gnome-terminal-server.service\n", ""),
        ({"SYSTEMD_EXEC_PID": "42"}, "0::/system.slice/churn.service\n", "systemd"),
        ({}, "0::/system.slice/mlspine-churn-2e57f1.service\n", "systemd"),
        ({"XPC_SERVICE_NAME": "mlspine-churn-2e57f1"}, "", "launchd"),
        ({"XPC_SERVICE_NAME": "application.com.apple.Terminal"}, "", ""),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "", "Kubernetes"),
    ],
)
def test_only_a_service_of_ours_is_supervised(
    environment: dict[str, str], cgroup: str, expected: str, tmp_path: Path
) -> None:
    for name, text in (
        ("41/cmdline", "gnome-terminal"),
        ("42/cmdline", "python\0-m\0mlspine\0up"),
        ("self/cgroup", cgroup),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert supervisor(environment, proc=tmp_path) == expected


def test_a_prometheus_tells_nodes_cpus_and_use(tmp_path: Path) -> None:
    with prometheus(tmp_path / "metrics", nodes=2, cpus=3, used_share=0.35) as url:
        nodes, cpus, used, address = PrometheusCluster(url + "/").use(NOW_MS)
        assert (nodes, cpus) == (2, 6)
        assert used == pytest.approx(0.35, abs=0.001)
        assert address.startswith(url)
        asked = PrometheusCluster(url)
        asked.use(NOW_MS)
        remembered = asked.use(NOW_MS + 60_000)
        assert remembered[3] == address
        with pytest.raises(Unavailable, match="has neither node_cpu_seconds_total nor machine_cpu_cores"):
            PrometheusCluster(url).use(NOW_MS - 400 * 86_400_000)


def test_an_address_that_is_none_and_a_silent_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is no http"):
        PrometheusCluster("prometheus:9090")
    with pytest.raises(Unavailable, match="did not answer as a Prometheus"):
        PrometheusCluster(f"http://127.0.0.1:{free_port()}").use(NOW_MS)


def test_this_process_is_no_service_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYSTEMD_EXEC_PID", "XPC_SERVICE_NAME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert supervisor(os.environ) == ""
