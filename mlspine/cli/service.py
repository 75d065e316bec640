"""service: have the machine's service manager start this workspace with the machine, and again whenever it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.handover.unit import Service

COMMAND_TIMEOUT_S = 120
PREFIX = "MLSPINE_"


class Manager:
    """systemd or launchd, of this user or of the whole machine: where its file lies and what it is told."""

    def __init__(self, service: Service, *, system: bool) -> None:
        self.service = service
        self.system = system
        self.launchd = sys.platform == "darwin"

    @property
    def file(self) -> Path:
        if self.launchd:
            library = Path("/Library/LaunchDaemons") if self.system else Path.home() / "Library" / "LaunchAgents"
            return library / f"{self.service.name}.plist"
        own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
        return (Path("/etc/systemd/system") if self.system else own) / self._unit

    def text(self, variables: dict[str, str]) -> str:
        from mlspine.handover.unit import launchd_plist, systemd_unit

        return launchd_plist(self.service, variables) if self.launchd else systemd_unit(self.service)

    def start_commands(self) -> list[list[str]]:
        """Make the manager read the file, start it at boot, and start it now."""
        if self.launchd:
            return [["launchctl", "bootstrap", self._domain(), str(self.file)]]
        linger = [] if self.system else [["loginctl", "enable-linger", str(os.getuid())]]
        return [self._systemctl("daemon-reload"), self._systemctl("enable", "--now", self._unit), *linger]

    def stop_commands(self) -> list[list[str]]:
        if self.launchd:
            return [["launchctl", "bootout", f"{self._domain()}/{self.service.name}"]]
        return [self._systemctl("disable", "--now", self._unit)]

    def reload_commands(self) -> list[list[str]]:
        """After the file is gone."""
        return [] if self.launchd else [self._systemctl("daemon-reload")]

    def state(self) -> str:
        """What the manager says of it, "" when it cannot be asked."""
        if not self.answers():
            return ""
        words = (
            ["launchctl", "print", f"{self._domain()}/{self.service.name}"]
            if self.launchd
            else self._systemctl("is-active", self._unit)
        )
        done = _run(words)
        return ("loaded" if done.returncode == 0 else "not loaded") if self.launchd else done.stdout.strip()

    def answers(self) -> bool:
        """Whether the manager can be spoken to from here: not in a container, nor without a session."""
        if self.launchd:
            return shutil.which("launchctl") is not None
        if shutil.which("systemctl") is None:
            return False
        return _run(self._systemctl("is-system-running")).stdout.strip() in ("running", "degraded", "starting")

    @property
    def _unit(self) -> str:
        return f"{self.service.name}.service"

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *(() if self.system else ("--user",)), *words]

    def _domain(self) -> str:
        return "system" if self.system else f"gui/{os.getuid()}"


@click.group()
def service() -> None:
    """Start what this workspace serves with the machine, and again whenever it ends.

    \b
    Examples:
      mlspine service install
      mlspine service show
      mlspine service remove
    """


def _system_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--user/--system",
        "user",
        default=True,
        help="For this user (default), or for the whole machine, run as the workspace's owner.",
    )(command)


@service.command()
@_system_option
@click.option("--print", "only_print", is_flag=True, help="Print the unit and change nothing.")
@render.json_option
def install(user: bool, only_print: bool, as_json: bool) -> None:
    """Write the unit for this workspace, enable and start it; again writes it anew.

    MLSPINE_SECTION__KEY variables set now, and those that mlspine.toml names by env:NAME, are kept for it in
    the workspace, readable by its owner only.

    \b
    Example:
      mlspine service install --system --print
    """
    from mlspine.folder import create
    from mlspine.running import anything_runs

    manager = _manager(system=not user)
    variables = _variables(Path(manager.service.workspace))
    if only_print:
        text = manager.text(variables)
        render.emit({"file": str(manager.file), "text": text}, as_json=as_json, text=lambda: text)
        return
    directory = Path(manager.service.workspace)
    create(directory)
    runs_already = anything_runs(directory)
    _keep_variables(manager, variables)
    _write_file(manager, manager.text(variables))
    ran, left = _told(manager, manager.start_commands())
    told = {"file": str(manager.file), "variables": sorted(variables), "ran": ran, "to_run": left}
    lines = [f"written: {manager.file}"]
    if variables:
        lines.append(f"kept for it: {', '.join(sorted(variables))}")
    lines += _commands_text(ran, left)
    if runs_already:
        lines.append("what runs already goes on; to hand it over: mlspine down, then start the service")
    render.emit(told, as_json=as_json, text=lambda: "\n".join(lines))


@service.command()
@_system_option
@render.json_option
def show(user: bool, as_json: bool) -> None:
    """The service of this workspace: whether it is installed, up to date and running.

    \b
    Example:
      mlspine service show
    """
    manager = _manager(system=not user)
    installed = manager.file.read_text() if manager.file.exists() else ""
    current = installed == manager.text(_variables(Path(manager.service.workspace)))
    told = {
        "name": manager.service.name,
        "file": str(manager.file),
        "installed": bool(installed),
        "up_to_date": bool(installed) and current,
        "state": manager.state(),
        "text": installed,
    }
    if not installed:
        text = f"not installed: {manager.file}\nNext: mlspine service install{'' if user else ' --system'}"
    else:
        state = told["state"] or "unknown, its manager does not answer here"
        stale = "" if current else "\nIt is not what would be written now: mlspine service install"
        text = f"{manager.file}\nstate: {state}{stale}\n\n{installed}"
    render.emit(told, as_json=as_json, text=lambda: text)


@service.command()
@_system_option
@render.json_option
def remove(user: bool, as_json: bool) -> None:
    """Stop the service and take it away; the workspace stays.

    \b
    Example:
      mlspine service remove
    """
    manager = _manager(system=not user)
    if not manager.file.exists():
        render.emit({"removed": False}, as_json=as_json, text=lambda: "not installed")
        return
    ran, left = _told(manager, manager.stop_commands())
    try:
        manager.file.unlink()
    except PermissionError as exc:
        raise _not_yours(manager, exc) from exc
    (Path(manager.service.workspace) / _environment_file()).unlink(missing_ok=True)
    more_ran, more_left = _told(manager, manager.reload_commands())
    told = {"removed": True, "file": str(manager.file), "ran": ran + more_ran, "to_run": left + more_left}
    lines = [f"removed: {manager.file}", *_commands_text(ran + more_ran, left + more_left)]
    render.emit(told, as_json=as_json, text=lambda: "\n".join(lines))


def _manager(*, system: bool) -> Manager:
    from mlspine.folder import locate, this_actor
    from mlspine.handover.unit import Service

    directory = locate()
    owner = directory.owner() if directory.exists() else this_actor().name
    argv = (sys.executable, "-m", "mlspine", "up", "--foreground")
    return Manager(Service(workspace=str(directory), argv=argv, user=owner if system else ""), system=system)


def _variables(directory: Path) -> dict[str, str]:
    """What the service must find in its environment: our settings set here, secrets named in mlspine.toml, PATH."""
    from mlspine.core.config import load_config
    from mlspine.folder import running_options
    from mlspine.handover.unit import read_environment_file

    file = directory / _environment_file()
    kept = read_environment_file(file.read_text()) if file.exists() else {}
    settings = load_config(directory, environment={**kept, **os.environ}, overrides=running_options(directory)).settings
    named = {
        word.removeprefix("env:") for each in settings for word in each.value.split(", ") if word.startswith("env:")
    }
    ours = {name for name in {**kept, **os.environ} if name.startswith(PREFIX) and "__" in name}
    return {
        name: value
        for name in sorted(ours | named | {"PATH"})
        if (value := os.environ.get(name, kept.get(name))) is not None
    }


def _keep_variables(manager: Manager, variables: dict[str, str]) -> None:
    from mlspine.handover.unit import environment_file

    if manager.launchd:
        return  # they stand in the property list
    file = Path(manager.service.workspace) / _environment_file()
    file.touch(mode=0o600)
    file.write_text(environment_file(variables))


def _write_file(manager: Manager, text: str) -> None:
    try:
        manager.file.parent.mkdir(parents=True, exist_ok=True)
        manager.file.touch(mode=0o600 if manager.launchd else 0o644)
        manager.file.write_text(text)
    except PermissionError as exc:
        raise _not_yours(manager, exc) from exc


def _not_yours(manager: Manager, exc: PermissionError) -> Exception:
    from mlspine.core.errors import Denied

    words = f"{sys.executable} -m mlspine service"
    return Denied(
        f"{manager.file} may not be changed by this user ({exc.strerror})",
        hint=f"sudo MLSPINE_WORKSPACE={manager.service.workspace} {words} ... --system, or without --system",
    )


def _told(manager: Manager, commands: list[list[str]]) -> tuple[list[str], list[str]]:
    """Run the commands in order; those that ran, and those left to the person since one failed or nobody answers."""
    if not manager.answers():
        return [], [" ".join(words) for words in commands]
    ran: list[str] = []
    for at, words in enumerate(commands):
        done = _run(words)
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            click.echo(f"{' '.join(words)}: {why}", err=True)
            return ran, [" ".join(rest) for rest in commands[at:]]
        ran.append(" ".join(words))
    return ran, []


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)


def _environment_file() -> str:
    from mlspine.handover.unit import ENVIRONMENT_FILE

    return ENVIRONMENT_FILE


def _commands_text(ran: list[str], left: list[str]) -> list[str]:
    return [*(f"ran: {words}" for words in ran), *(f"run: {words}" for words in left)]
