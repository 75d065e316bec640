"""What a service manager is told to keep a workspace running: a systemd unit, a launchd property list. Pure."""

from __future__ import annotations

import hashlib
import plistlib
import re
from collections.abc import Mapping
from pathlib import Path

from mlspine.core.types import Struct

STOP_TIMEOUT_S = 90  # requests under way, the log and the last ingest; longer than any wait of `mlspine down`
ENVIRONMENT_FILE = "service.env"

# What a model server does not need. Not here, on purpose: MemoryDenyWriteExecute (compilers inside model
# libraries), PrivateDevices (accelerators), ProtectHome (workspaces live there), PrivateTmp (a long path makes
# the command socket live in /tmp).
HARDENING = (
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
)
SYSTEM_HARDENING = (
    "ProtectSystem=full",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
)


class Service(Struct, frozen=True, kw_only=True):
    """A workspace as a service. user: who runs it, for a service of the whole machine; "" for one's own."""

    workspace: str
    argv: tuple[str, ...]
    user: str = ""

    @property
    def name(self) -> str:
        return service_name(self.workspace)


def service_name(workspace: str) -> str:
    """A name that two workspaces never share and that a person recognises.

    >>> service_name("/srv/Fraud Models/.mlspine")
    'mlspine-fraud-models-2e57f1'
    """
    path = Path(workspace)
    folder = path.parent.name if path.name.startswith(".") else path.name
    slug = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40] or "workspace"
    return f"mlspine-{slug}-{hashlib.sha256(workspace.encode()).hexdigest()[:6]}"


def systemd_unit(service: Service) -> str:
    """The unit's text.

    SIGTERM goes to the foreground process alone, which drains the others; whatever is left after it ended, or
    after it was killed, goes with the unit. Only exit code 0 stays down: somebody typed `mlspine down`.
    """
    machine = bool(service.user)
    unit = [
        f"Description=mlspine, {_percent(_one_line(service.workspace))}",
        "StartLimitIntervalSec=0",
        *(("Wants=network-online.target", "After=network-online.target") if machine else ()),
    ]
    run = [
        "Type=exec",
        *((f"User={service.user}",) if machine else ()),
        f"ExecStart={' '.join(map(_exec_word, service.argv))}",
        f"WorkingDirectory={_percent(_one_line(service.workspace))}",
        f"Environment={_quoted('MLSPINE_WORKSPACE=' + service.workspace)}",
        f"EnvironmentFile=-{_percent(_one_line(service.workspace))}/{ENVIRONMENT_FILE}",
        "Restart=always",
        "RestartSec=2",
        "RestartPreventExitStatus=0",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_TIMEOUT_S}",
        "OOMPolicy=continue",
        "LimitNOFILE=65536",
        *HARDENING,
        *(SYSTEM_HARDENING if machine else ()),
    ]
    install = [f"WantedBy={'multi-user' if machine else 'default'}.target"]
    parts = (("Unit", unit), ("Service", run), ("Install", install))
    return "\n\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in parts) + "\n"


def launchd_plist(service: Service, variables: Mapping[str, str]) -> str:
    """The property list's text; launchd reads no file of variables, so they stand inside."""
    log = f"{service.workspace}/run/service.log"
    document: dict[str, object] = {
        "Label": service.name,
        "ProgramArguments": list(service.argv),
        "WorkingDirectory": service.workspace,
        "EnvironmentVariables": {**variables, "MLSPINE_WORKSPACE": service.workspace},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": STOP_TIMEOUT_S,
        "StandardOutPath": log,
        "StandardErrorPath": log,
        **({"UserName": service.user} if service.user else {}),
    }
    return plistlib.dumps(document).decode()


def environment_file(variables: Mapping[str, str]) -> str:
    """Variables as systemd reads them from a file, in name order.

    >>> environment_file({"B": 'say "$x"', "A": "1"})
    'A="1"\\nB="say \\\\"\\\\$x\\\\""\\n'
    """
    escaped = {name: re.sub(r'(["\\$`])', r"\\\1", value) for name, value in variables.items()}
    return "".join(f'{name}="{escaped[name]}"\n' for name in sorted(escaped))


def read_environment_file(text: str) -> dict[str, str]:
    """The variables of such a file.

    >>> read_environment_file(environment_file({"B": 'say "$x"', "A": "two\\nlines"}))
    {'A': 'two\\nlines', 'B': 'say "$x"'}
    """
    found = re.findall(r'^(\w+)="((?:[^"\\]|\\.)*)"$', text, re.MULTILINE | re.DOTALL)
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in found}


def _exec_word(word: str) -> str:
    return _quoted(word.replace("$", "$$"))


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_percent(escaped)}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
