"""Who starts the workspace again when its machine does: read from what service managers give their services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_UNIT_PREFIX = "mlspine-"


def supervisor(environment: Mapping[str, str] | None = None, proc: Path = Path("/proc")) -> str:
    """The service manager that runs this process, "" for none: a terminal's own services do not count.

    systemd names the main process of a unit; it is ours when its command is. launchd names the job. In a
    container the answer is "container": whoever runs it decides whether it comes back.
    """
    variables = os.environ if environment is None else environment
    main = variables.get("SYSTEMD_EXEC_PID", "")
    if main.isdigit() and b"mlspine" in _bytes(proc / main / "cmdline"):
        return "systemd"
    unit = _bytes(proc / "self" / "cgroup").strip().rpartition(b"/")[2].decode(errors="replace")
    if unit.startswith(_UNIT_PREFIX) and unit.endswith(".service"):
        return "systemd"
    if _UNIT_PREFIX in variables.get("XPC_SERVICE_NAME", ""):
        return "launchd"
    if variables.get("KUBERNETES_SERVICE_HOST"):
        return "Kubernetes"
    return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
