"""The drills that type no runbook: who would answer here and now, and a serving process that is killed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.handover.drill import Drilled
    from mlspine.handover.rehearsal import Rehearsal
    from mlspine.handover.restarting import Killed
    from mlspine.workspace import Services

LIVE = ("fallback", "restart")  # the tasks that can be drilled here without touching what callers get


def fallback_here(workspace: Services, name: str) -> Drilled:
    """Everybody who stands behind the live release, asked with recorded rows in the serving process itself."""
    import time

    from mlspine.handover.drill import Drilled, Line

    begun = time.monotonic()
    found = workspace.handover.try_paths(name)
    duration_s = time.monotonic() - begun
    behind = [each for each in found if each.path in ("fallback", "rule")]
    wrong = [each for each in behind if not each.answers]
    lines = tuple(
        Line(
            command=f"{each.path}: {each.rows} recorded rows",
            right=each.answers,
            seen=each.why or f"answered {each.answered} of {each.rows}",
        )
        for each in found
        if each.path != "cannot-answer"
    )
    if not behind:
        why = f"nobody stands behind the live release: mlspine guards {name} --answer VALUE"
    elif wrong:
        why = f"{wrong[0].path} does not answer: {wrong[0].why or f'{wrong[0].answered} of {wrong[0].rows} rows'}"
    else:
        why = f"{' and '.join(each.path for each in behind)} answered {behind[0].rows} recorded rows here"
    return Drilled(
        endpoint=name,
        task="fallback",
        passed=bool(behind) and not wrong,
        why=why,
        lines=lines,
        duration_s=round(duration_s, 3),
    )


def restart_here(workspace: Services, name: str) -> Drilled:
    """One of several serving processes killed; asked is the endpoint's description, so that nothing is logged."""
    from mlspine.core.address import local_url
    from mlspine.core.errors import Conflict
    from mlspine.handover.restarting import conclude

    states = workspace.status.read(name).processes
    if len(states) < 2:
        raise Conflict(
            f"{name} is answered by {len(states)} process: nobody would be answered while it is gone",
            hint=f"on a copy: mlspine drill {name} restart; or let more answer: mlspine up --processes 2",
        )
    serving = workspace.config.serving
    url = f"{local_url(serving.host, serving.port)}/endpoints/{name}"
    last = states[-1]
    killed = _kill(workspace, name, last.process, last.pid, lambda: answered(url))
    return conclude(name, [killed], spare=True)


def restart_on_copy(rehearsal: Rehearsal, name: str, *, tell: Callable[[str], None]) -> Drilled:
    """On the copy: started, then its model processes and one serving process killed while recorded rows are asked."""
    import msgspec

    from mlspine.control import RemoteWorkspace, connect
    from mlspine.core.errors import Unavailable
    from mlspine.handover.restarting import conclude
    from mlspine.handover.runbook import Runbook

    for command in ("mlspine up", f"mlspine runbook {name} deploy --json"):
        ran = rehearsal.type_line(command)
        if ran.exit_code:
            raise Unavailable(
                f"the copy did not start: {ran.output.strip()[-300:]}", hint=f"mlspine drill {name} deploy"
            )
    runbook = msgspec.json.decode(ran.output, type=Runbook)
    copy = connect(rehearsal.folder)
    assert isinstance(copy, RemoteWorkspace), "`mlspine up` has just started its control process"
    try:
        return conclude(name, list(_killed(copy, name, runbook.url, runbook.example, tell)), spare=_several(copy, name))
    finally:
        copy.close()
        rehearsal.type_line("mlspine down")


def _killed(
    copy: RemoteWorkspace, name: str, url: str, example: dict[str, Any], tell: Callable[[str], None]
) -> list[Killed]:
    state = copy.status.read(name).processes[0]
    body = json.dumps({"rows": [example]}).encode()
    found = []
    for process, pid in (
        *((f"model {release[:12]}", pid) for release, pid in state.workers.items()),
        (state.process, state.pid),
    ):
        tell(f"kill {process}")
        found.append(_kill(copy, name, process, pid, lambda: answered(url, body)))
    return found


def _kill(workspace: Services, name: str, process: str, pid: int, ask: Callable[[], bool]) -> Killed:
    from mlspine.core.errors import MlspineError
    from mlspine.handover.restarting import check_ours, kill

    def pid_now() -> int:
        try:
            states = workspace.status.read(name).processes
        except MlspineError:
            return 0
        pids = {state.process: state.pid for state in states}
        for state in states:
            pids |= {f"model {release[:12]}": worker for release, worker in state.workers.items()}
        return pids.get(process, 0)

    check_ours(pid)
    return kill(process, pid, ask=ask, pid_now=pid_now)


def _several(workspace: Services, name: str) -> bool:
    return len(workspace.status.read(name).processes) > 1


def answered(url: str, body: bytes | None = None) -> bool:
    """Whether a URL answers 200; each time by a connection of its own."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            response.read()
            return bool(response.status == 200)
    except OSError as exc:
        if isinstance(exc, urllib.error.HTTPError):
            exc.close()
        return False


def check_live(task: str | None) -> None:
    """Raises UsageError for a task that changes what callers get."""
    if task not in LIVE:
        raise click.UsageError(f"--live is for {' and '.join(LIVE)}; the other drills change what callers get")
