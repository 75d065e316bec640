"""What is due now, and doing it: supervision, ingestion, judging, alerts, retention. One task never stops another."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Sequence

from mlspine.backends.deadman import DeadManPing
from mlspine.backends.processes import Death
from mlspine.core.errors import MlspineError
from mlspine.core.ids import SHORT_HASH
from mlspine.core.observed import counted
from mlspine.core.plan import ProcessState
from mlspine.core.targets import LatencyTarget, latency_target
from mlspine.core.types import SYSTEM, Alert, Severity
from mlspine.monitoring import guarded
from mlspine.workspace import Workspace

log = logging.getLogger(__name__)

TICK_S = 0.1
SUPERVISE_EVERY_S = 0.2
CHECK_EVERY_S = 5.0
SENTINELS_EVERY_S = 30.0
HEALTH_EVERY_S = 10.0
HOUSEKEEP_EVERY_S = 3600.0
TELL_EVERY_S = 10.0
COLLECT_EVERY_S = 86_400.0
METER_EVERY_S = 60.0
SCHEDULES_EVERY_S = 2.0
FOLLOW_EVERY_S = 0.5
ROLLOUTS_EVERY_S = 2.0
MACHINES_EVERY_S = 5.0
ERROR_WINDOW_S = 300.0
ERROR_WINDOW_MIN_REQUESTS = 100
SUSTAINED_MS = 15 * 60_000  # failing for so long is CRITICAL
SLOW_FOR_S = 180.0  # where nobody declared a target, one slow moment is no news


class Task:
    """One recurring duty: due `every_s` seconds after it last began.

    everywhere: each machine of the workspace does it for itself; otherwise one of them does it for all.
    apart: it may wait for somebody else's machine, so it runs in a thread of its own and holds up nothing.
    """

    def __init__(
        self,
        name: str,
        every_s: float,
        run: Callable[[], object],
        *,
        everywhere: bool = False,
        apart: bool = False,
    ) -> None:
        self.name = name
        self.every_s = every_s
        self.run = run
        self.everywhere = everywhere
        self.apart = apart
        self.thread: threading.Thread | None = None
        self.next_at = 0.0
        self.failing: bool | None = None  # None: not known yet; an earlier process may have left an alert open


class ErrorWindow:
    """Requests and failures per endpoint over the last five minutes, from cumulative counters."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[tuple[float, int, int]]] = {}

    def add(self, endpoint: str, at_s: float, requests: int, failures: int, process: str = "") -> tuple[int, int]:
        """Take the counters of a process as they stand at `at_s`; returns its (requests, failures) within the window.

        >>> window = ErrorWindow(); _ = window.add("a", 0.0, 0, 0); window.add("a", 60.0, 200, 3)
        (200, 3)
        """
        marks = self._seen.setdefault((endpoint, process), [])
        if marks and requests < marks[-1][1]:
            marks.clear()  # the process restarted: its counters began again
            marks.append((at_s, 0, 0))
        marks.append((at_s, requests, failures))
        while len(marks) > 2 and marks[1][0] <= at_s - ERROR_WINDOW_S:
            marks.pop(0)
        return requests - marks[0][1], failures - marks[0][2]


class Scheduler:
    """Runs the duties of a workspace; `run_due` is one pass, `start` repeats it in a thread.

    leads: whether this machine does what one machine does for all. machine: its name where there are others;
    alerts about it carry the name, so that a healthy machine does not clear what is wrong with another.
    """

    def __init__(
        self,
        workspace: Workspace,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        leads: Callable[[], bool] = lambda: True,
        machine: str = "",
    ) -> None:
        self._workspace = workspace
        self._clock_s = clock_s
        self._leads = leads
        self._at = f"@{machine}" if machine else ""
        self._on = f" on {machine}" if machine else ""
        self._errors = ErrorWindow()
        self._guards = guarded.GuardWatch()
        self._slow_since_s: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        config = workspace.config
        self._tasks = [
            Task("supervise", SUPERVISE_EVERY_S, self._supervise, everywhere=True),
            Task("ingest", config.log.ingest_every_s, workspace.predictions.ingest, everywhere=True),
            Task("check", CHECK_EVERY_S, workspace.monitoring.check),
            Task("sentinels", SENTINELS_EVERY_S, workspace.sentinel_watch.look),
            Task("act", CHECK_EVERY_S, workspace.acting.act),
            Task("count rollouts", ROLLOUTS_EVERY_S, workspace.rollouts.tally, everywhere=True),
            Task("decide rollouts", ROLLOUTS_EVERY_S, workspace.rollouts.decide),
            Task("pull labels", config.feeds.labels_every_s, workspace.feeds.pull_labels, apart=True),
            Task("check sources", config.feeds.source_every_s, workspace.feeds.check_sources, apart=True),
            Task("check requests", config.feeds.requests_every_s, workspace.feeds.check_requests, apart=True),
            Task("schedules", SCHEDULES_EVERY_S, workspace.feeds.run_due),
            Task("read logs", SCHEDULES_EVERY_S, workspace.watching.read_due, apart=True),
            Task("tell watchers", TELL_EVERY_S, workspace.watching.tell_others, everywhere=True),
            Task("health", HEALTH_EVERY_S, self._watch_health, everywhere=True),
            Task("housekeep", HOUSEKEEP_EVERY_S, workspace.predictions.housekeep),
            Task("tell registries", TELL_EVERY_S, workspace.attached.tell, apart=True),
            Task("collect files", COLLECT_EVERY_S, workspace.artifacts.collect, apart=True),
            Task("meter", METER_EVERY_S, workspace.advisor.meter, everywhere=True),
            Task("note parts", HOUSEKEEP_EVERY_S, workspace.advisor.note),
            *self._deadman(),
            *(self._among_machines() if machine else ()),
        ]

    def run_due(self) -> list[str]:
        """Run every task that is due; returns their names. A failing task becomes an alert, not a crash."""
        ran = []
        for task in self._tasks:
            now_s = self._clock_s()
            if now_s < task.next_at or not (task.everywhere or self._leads()):
                continue
            if task.thread is not None and task.thread.is_alive():
                continue
            task.next_at = now_s + task.every_s
            if task.apart and self._thread is not None:
                task.thread = threading.Thread(target=self._run, args=(task,), name=task.name, daemon=True)
                task.thread.start()
            else:
                self._run(task)
            ran.append(task.name)
        return ran

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30.0)
        for task in self._tasks:
            if task.thread is not None:
                task.thread.join(timeout=5.0)

    # ------------------------------------------------------------ inside

    def _loop(self) -> None:
        while not self._stop.wait(TICK_S):
            self.run_due()

    def _run(self, task: Task) -> None:
        cause = f"task:{task.name}{self._at if task.everywhere else ''}"
        try:
            task.run()
        except Exception as exc:
            if not task.failing:
                log.exception("scheduled task failed", extra={"task": task.name})
                task.failing = True
                self._raise_alert(
                    "",
                    cause,
                    "CRITICAL",
                    f"the recurring task {task.name!r} fails{self._on if task.everywhere else ''}",
                    exc.message if isinstance(exc, MlspineError) else f"{type(exc).__name__}: {exc}",
                    "mlspine status",
                )
            return
        if task.failing is not False:
            task.failing = False
            self._workspace.monitoring.clear_alert("", cause)

    def _raise_alert(
        self, endpoint: str, cause: str, severity: Severity, title: str, why: str, action: str
    ) -> Alert | None:
        try:
            return self._workspace.monitoring.raise_alert(
                endpoint, cause=cause, severity=severity, title=title, why=why, action=action
            )
        except Exception:
            # The store itself may be what fails (a full disk): the log is then the only witness left.
            log.exception("an alert could not be stored", extra={"cause": cause, "why": why})
            return None

    def _deadman(self) -> list[Task]:
        config = self._workspace.config.monitoring
        if not config.deadman_url:
            return []
        ping = DeadManPing(config.deadman_url)

        def beat_when_well() -> None:
            if self._is_well():
                ping.beat()

        # Each machine for itself. That the scheduler lives is shown by this being run at all.
        return [Task("deadman", config.deadman_every_s, beat_when_well, everywhere=True)]

    def _is_well(self) -> bool:
        """Whether this machine does its work: inference answers and is ready when anything is served."""
        if not self._workspace.deployment.answers():
            return True
        states = self._workspace.processes.observe()
        return bool(states) and all(state.ready for state in states)

    def _among_machines(self) -> list[Task]:
        return [
            Task("follow", FOLLOW_EVERY_S, self._workspace.deployment.follow, everywhere=True, apart=True),
            Task("machines", MACHINES_EVERY_S, self._watch_machines),
        ]

    def _watch_machines(self) -> None:
        """Whoever leads tells of machines that fell silent without having been stopped."""
        for machine in self._workspace.machines.machines():
            cause = f"machine:{machine.name}:{machine.id[-6:]}"
            if machine.missing:
                self._raise_alert(
                    "",
                    cause,
                    "CRITICAL",
                    f"machine {machine.name} has fallen silent",
                    f"{machine.url} was last heard of at {_utc(machine.last_seen_at_ms)}; the others go on answering",
                    "see whether it runs; there: mlspine up",
                )
            else:
                self._workspace.monitoring.clear_alert("", cause)

    def _supervise(self) -> None:
        for death in self._workspace.processes.supervise():
            self._tell_of(death)

    def _tell_of(self, death: Death) -> None:
        ended = f"exit code {death.exit_code}" if death.exit_code is not None else "no exit code (not our child)"
        inside = f", inside a call of release {death.in_call_of[:SHORT_HASH]}" if death.in_call_of else ""
        self._raise_alert(
            "",
            f"process:{death.process}{self._at}",
            "CRITICAL",
            f"{death.process} died and was restarted{self._on}",
            f"{ended}{inside}; answers written to the log more than 0.25 s before are safe",
            "mlspine status",
        )
        if death.in_call_of:
            self._workspace.rollouts.note_death(death.in_call_of)
        if death.native and death.in_call_of:
            moved = self._workspace.deployment.record_native_crash(death.in_call_of, actor=SYSTEM)
            if moved:
                self._workspace.deployment.restore()

    def _watch_health(self) -> None:
        monitoring = self._workspace.monitoring
        states = self._workspace.processes.observe()
        for state in states:
            monitoring.clear_alert("", f"process:{state.process}{self._at}")
            for endpoint, counters in state.endpoints.items():
                self._workspace.feeds.watch_refusals(endpoint, f"{state.process}{self._at}", counters, self._clock_s())
        if states:
            self._watch_log(states)
        for endpoint in dict.fromkeys(name for state in states for name in state.endpoints):
            self._watch_errors(endpoint, states)
            self._watch_latency(endpoint, states)
            self._watch_guards(endpoint, states)

    def _watch_log(self, states: Sequence[ProcessState]) -> None:
        monitoring = self._workspace.monitoring
        lost = {state.process: state.spool_dropped_rows for state in states if state.spool_dropped_rows}
        if lost:
            self._raise_alert(
                "",
                f"log{self._at}",
                "CRITICAL",
                f"answered rows are missing from the log{self._on}",
                f"{sum(lost.values())} rows could not be written and were dropped since {' and '.join(lost)} started",
                "free disk space, then: mlspine status",
            )
        else:
            monitoring.clear_alert("", f"log{self._at}")

    def _watch_guards(self, endpoint: str, states: Sequence[ProcessState]) -> None:
        """A WARNING while others answer for the live release, output rules catch much, or requests are turned away."""
        monitoring, now_s = self._workspace.monitoring, self._clock_s()
        recent = guarded.total(
            self._guards.add(endpoint, state.process, guarded.read(state.endpoints[endpoint]), now_s)
            for state in states
            if endpoint in state.endpoints
        )
        told = {reason.cause: reason for reason in guarded.reasons(endpoint, recent)}
        for cause in guarded.CAUSES:
            if reason := told.get(cause):
                title = f"{reason.title}{self._on}"
                self._raise_alert(endpoint, f"{cause}{self._at}", "WARNING", title, reason.why, reason.action)
            else:
                monitoring.clear_alert(endpoint, f"{cause}{self._at}")

    def _watch_errors(self, endpoint: str, states: Sequence[ProcessState]) -> None:
        told = [(state.process, state.endpoints[endpoint]) for state in states if endpoint in state.endpoints]
        grown = [
            self._errors.add(endpoint, self._clock_s(), int(each["requests"]), int(each["failures"]), process)
            for process, each in told
        ]
        recent, failed = (sum(counts) for counts in zip(*grown, strict=True))
        limit = self._workspace.config.monitoring.error_rate
        if recent >= ERROR_WINDOW_MIN_REQUESTS and failed / recent > limit:
            self._raise_lasting(
                endpoint,
                f"errors{self._at}",
                f"{endpoint}: {failed / recent:.1%} of answers failed{self._on}",
                f"{failed} of {recent} requests in the last 5 minutes (limit {limit:.0%})",
                f"mlspine rollback {endpoint}",
            )
        elif failed == 0:
            self._workspace.monitoring.clear_alert(endpoint, f"errors{self._at}")

    def _watch_latency(self, endpoint: str, states: Sequence[ProcessState]) -> None:
        """Of several processes the slowest counts, among those with enough requests to say."""
        target = self._latency_target(endpoint)
        told = counted(states, endpoint, min_requests=ERROR_WINDOW_MIN_REQUESTS)
        if target is None or told is None or not told.p99_s:
            return
        p99_s = told.p99_s
        if p99_s <= target.seconds:
            self._slow_since_s.pop(endpoint, None)
            self._workspace.monitoring.clear_alert(endpoint, f"latency{self._at}")
            return
        since_s = self._slow_since_s.setdefault(endpoint, self._clock_s())
        if target.declared or self._clock_s() - since_s >= SLOW_FOR_S:
            held_to = "target" if target.declared else "twice that at ship:"
            self._raise_lasting(
                endpoint,
                f"latency{self._at}",
                f"{endpoint}: answers take longer than agreed{self._on}",
                f"P99 of the last requests is {p99_s * 1e3:.0f} ms ({held_to} {target.seconds * 1e3:.0f} ms)",
                f"mlspine status {endpoint} --explain",
            )

    def _raise_lasting(self, endpoint: str, cause: str, title: str, why: str, action: str) -> None:
        """A WARNING, and CRITICAL once it has lasted a quarter of an hour."""
        alert = self._raise_alert(endpoint, cause, "WARNING", title, why, action)
        if alert is not None and alert.updated_at_ms - alert.opened_at_ms >= SUSTAINED_MS:
            self._raise_alert(endpoint, cause, "CRITICAL", title, f"for a quarter of an hour: {why}", action)

    def _latency_target(self, endpoint: str) -> LatencyTarget | None:
        declared_s = self._workspace.config.monitoring.latency_p99_s
        if declared_s is not None:
            return latency_target(declared_s, None)
        try:
            served = self._workspace.deployment.get(endpoint)
        except MlspineError:
            return None  # taken away in this moment
        return latency_target(None, self._workspace.deployment.proof(served.current.release_hash))


def _utc(at_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
