"""A real Prometheus on loopback that holds a month of a cluster's metrics."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.desk import free_port
from tests.needs import need

from .world import NOW_MS

STEP_S, DAYS = 6 * 3600, 31
START_TIMEOUT_S = 60.0


@contextlib.contextmanager
def prometheus(folder: Path, *, nodes: int, cpus: int, used_share: float) -> Iterator[str]:
    """Its address; every CPU was busy for that share of the time."""
    found = shutil.which("promtool") and shutil.which("prometheus")
    need("promtool", found, "promtool and prometheus are not installed")
    folder.mkdir()
    (folder / "cluster.om").write_text(_openmetrics(nodes, cpus, used_share))
    (folder / "prometheus.yml").write_text("global: {}\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "cluster.om", "data"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    port = free_port()
    argv = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _openmetrics(nodes: int, cpus: int, used_share: float) -> str:
    """node_exporter's counter of CPU seconds, by CPU and mode."""
    lines = ["# TYPE node_cpu_seconds counter"]
    start_s = NOW_MS // 1000 - DAYS * 86_400
    for node in range(nodes):
        for cpu in range(cpus):
            for mode, share in (("idle", 1 - used_share), ("user", used_share)):
                labels = f'instance="node-{node}:9100",cpu="{cpu}",mode="{mode}"'
                lines += [
                    f"node_cpu_seconds_total{{{labels}}} {share * at_s:.3f} {start_s + at_s}"
                    for at_s in range(0, DAYS * 86_400 + 1, STEP_S)
                ]
    return "\n".join([*lines, "# EOF", ""])


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "prometheus ended while starting"
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise AssertionError("prometheus did not become ready")
