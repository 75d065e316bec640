from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import Config
from mlspine.core.plan import ProcessState, Proof
from mlspine.core.types import Alert, Severity
from mlspine.machines.service import LEASE_S, MISSING_AFTER_S, Machines
from mlspine.scheduler import CHECK_EVERY_S, ErrorWindow, Scheduler


class Recorder:
    """Stands for a workspace's monitoring: remembers which alerts were raised and cleared."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], str] = {}
        self.since: dict[tuple[str, str], int] = {}
        self.clock: Callable[[], int] = lambda: 0

    def raise_alert(self, endpoint: str, *, cause: str, severity: Severity, title: str, why: str, action: str) -> Alert:
        self.open[endpoint, cause] = severity
        since = self.since.setdefault((endpoint, cause), self.clock())
        return Alert(
            id=cause,
            endpoint=endpoint,
            cause=cause,
            severity=severity,
            title=title,
            why=why,
            action=action,
            opened_at_ms=since,
            updated_at_ms=self.clock(),
        )

    def clear_alert(self, endpoint: str, cause: str) -> bool:
        return self.open.pop((endpoint, cause), None) is not None

    def check(self) -> list[Any]:
        return []


class Stage:
    """A workspace whose parts can be told to fail."""

    def __init__(self) -> None:
        self.monitoring = Recorder()
        self.broken = False
        self.counters: dict[str, Any] = {"requests": 0, "failures": 0, "p99_s": 0.0}
        self.config = Config()
        self.predictions = SimpleNamespace(ingest=self._ingest, housekeep=lambda: None)
        self.processes = SimpleNamespace(supervise=list, observe=self._observe)
        self.feeds = SimpleNamespace(
            pull_labels=list, check_sources=list, check_requests=list, run_due=list, watch_refusals=lambda *_: None
        )
        self.advisor = SimpleNamespace(meter=lambda *_: None, note=lambda: None)
        self.acting = SimpleNamespace(act=list)
        self.sentinel_watch = SimpleNamespace(look=list)
        self.deployment = SimpleNamespace(get=self._get, proof=lambda _: self.proof)
        self.proof: Proof | None = None
        self.artifacts = SimpleNamespace(collect=tuple)
        self.attached = SimpleNamespace(tell=lambda: 0)
        self.watching = SimpleNamespace(read_due=list, tell_others=lambda: None)
        self.rollouts = SimpleNamespace(tally=lambda: None, decide=list, note_death=lambda _: None)
        self.ingested = 0
        self.now_s = 0.0
        self.scheduler = Scheduler(self, clock_s=lambda: self.now_s)  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> list[str]:
        self.now_s += seconds
        return self.scheduler.run_due()

    def _ingest(self) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.ingested += 1

    def _get(self, name: str) -> Any:
        return SimpleNamespace(name=name, current=SimpleNamespace(release_hash="a" * 64))

    def _observe(self) -> tuple[ProcessState, ...]:
        state = ProcessState(
            process="inference-0", pid=1, started_at_ms=0, plan=1, ready=True, endpoints={"churn": self.counters}
        )
        return (state,)


def test_every_task_runs_at_first_and_then_when_it_is_due() -> None:
    stage = Stage()
    first = stage.pass_time(0.0)
    assert {"supervise", "ingest", "check", "health", "housekeep"} <= set(first)
    assert {"pull labels", "check sources", "check requests", "schedules"} <= set(first)
    assert stage.pass_time(0.05) == []
    assert "check" in stage.pass_time(CHECK_EVERY_S)


def test_a_failing_task_becomes_one_alert_and_stops_no_other() -> None:
    stage = Stage()
    stage.broken = True
    assert "health" in stage.pass_time(0.0)
    assert stage.monitoring.open == {("", "task:ingest"): "CRITICAL"}
    stage.broken = False
    stage.pass_time(2.0)
    assert stage.monitoring.open == {}


def test_a_feed_that_does_not_answer_holds_up_no_other_task() -> None:
    stage = Stage()
    answers, asked = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        answers.wait(30.0)

    stage.feeds.pull_labels = wait
    stage.scheduler = Scheduler(stage, clock_s=lambda: stage.now_s)  # type: ignore[arg-type]
    stage.scheduler.start()
    try:
        assert asked.wait(30.0)
        stage.now_s = 3600.0
        while not stage.ingested:
            asked.wait(0.01)
    finally:
        answers.set()
        stage.scheduler.stop()


def test_failed_answers_above_the_limit_alert_and_clear_when_they_cease() -> None:
    stage = Stage()
    stage.pass_time(0.0)
    stage.counters = {"requests": 200, "failures": 10, "p99_s": 0.01}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {("churn", "errors"): "WARNING"}
    for _ in range(40):
        stage.counters = stage.counters | {"requests": stage.counters["requests"] + 200}
        stage.pass_time(10.0)
    assert stage.monitoring.open == {}


def test_answers_by_somebody_else_than_the_live_release_are_told_and_forgotten_after_a_while() -> None:
    stage = Stage()
    stage.pass_time(0.0)
    stage.counters |= {"requests": 100, "rows": 100, "paths": {"live": 90, "fallback": 10}}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {("churn", "guards:fallback"): "WARNING"}
    stage.counters |= {"requests": 300, "rows": 300, "paths": {"live": 290, "fallback": 10}}
    for _ in range(31):
        stage.pass_time(10.0)
    assert stage.monitoring.open == {}


def test_answers_that_fail_for_a_quarter_of_an_hour_are_critical() -> None:
    stage = Stage()
    stage.monitoring.clock = lambda: int(stage.now_s * 1000)
    stage.pass_time(0.0)
    for _ in range(89):
        requests, failures = stage.counters["requests"] + 100, stage.counters["failures"] + 5
        stage.counters = {"requests": requests, "failures": failures, "p99_s": 0.01}
        stage.pass_time(10.0)
    assert stage.monitoring.open == {("churn", "errors"): "WARNING"}
    stage.counters = stage.counters | {"requests": requests + 100, "failures": failures + 5}
    stage.pass_time(20.0)
    assert stage.monitoring.open == {("churn", "errors"): "CRITICAL"}


def test_without_a_declared_target_slow_means_twice_as_slow_as_at_ship_for_three_minutes() -> None:
    stage = Stage()
    stage.proof = Proof(
        release_hash="a" * 64,
        recorded_rows=1,
        reproduced_rows=1,
        placement="loop",
        form="frame",
        load_s=0.1,
        p50_s=0.1,
        p95_s=0.1,
        p99_s=0.2,
        capacity_rows_per_s=10.0,
    )
    stage.counters = {"requests": 200, "failures": 0, "p99_s": 0.5}
    for _ in range(18):
        stage.pass_time(10.0)
    assert stage.monitoring.open == {}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {("churn", "latency"): "WARNING"}
    stage.counters = stage.counters | {"p99_s": 0.39}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {}


def test_few_requests_say_nothing_about_the_error_rate() -> None:
    stage = Stage()
    stage.pass_time(0.0)
    stage.counters = {"requests": 50, "failures": 50, "p99_s": 0.01}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {}


class Pair(Stage):
    """Two inference processes, each with counters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.by_process = [{"requests": 0, "failures": 0, "p99_s": 0.0} for _ in range(2)]
        self.dropped = [0, 0]

    def count(self, process: int, requests: int, failures: int = 0) -> None:
        before = self.by_process[process]
        grown = {"requests": before["requests"] + requests, "failures": before["failures"] + failures}
        self.by_process[process] = before | grown

    def _observe(self) -> tuple[ProcessState, ...]:
        return tuple(
            ProcessState(
                process=f"inference-{n}",
                pid=n + 1,
                started_at_ms=0,
                plan=1,
                ready=True,
                endpoints={"churn": counters},
                spool_dropped_rows=self.dropped[n],
            )
            for n, counters in enumerate(self.by_process)
        )


def test_failed_answers_of_several_processes_are_judged_together() -> None:
    pair = Pair()
    pair.count(0, 100_000)
    pair.count(1, 10)
    pair.pass_time(0.0)
    for _ in range(3):
        pair.count(0, 1000)
        pair.count(1, 60, failures=6)
        pair.pass_time(10.0)
    assert pair.monitoring.open == {}  # 0.6% of all answers, though a tenth of one process's
    pair.count(1, 500, failures=200)
    pair.pass_time(10.0)
    assert pair.monitoring.open == {("churn", "errors"): "WARNING"}


def test_the_slowest_of_several_processes_speaks_for_the_latency() -> None:
    pair = Pair()
    declared = msgspec.structs.replace(pair.config.monitoring, latency_p99_s=0.1)
    pair.config = msgspec.structs.replace(pair.config, monitoring=declared)
    pair.by_process = [
        {"requests": 500, "failures": 0, "p99_s": 0.01},
        {"requests": 99, "failures": 0, "p99_s": 0.5},
    ]
    pair.pass_time(0.0)
    assert pair.monitoring.open == {}  # too few requests to say
    pair.count(1, 1)
    for _ in range(3):
        pair.pass_time(10.0)
        assert pair.monitoring.open == {("churn", "latency"): "WARNING"}


def test_rows_that_one_process_lost_are_not_forgotten_for_the_other() -> None:
    pair = Pair()
    pair.dropped = [7, 0]
    for _ in range(2):
        pair.pass_time(10.0)
        assert pair.monitoring.open == {("", "log"): "CRITICAL"}
    pair.dropped = [0, 0]
    pair.pass_time(10.0)
    assert pair.monitoring.open == {}


def test_the_error_window_forgets_after_five_minutes_and_survives_a_restart() -> None:
    window = ErrorWindow()
    window.add("a", 0.0, 0, 0)
    assert window.add("a", 100.0, 100, 10) == (100, 10)
    assert window.add("a", 390.0, 150, 10) == (150, 10)
    assert window.add("a", 401.0, 160, 10) == (60, 0)
    assert window.add("a", 410.0, 5, 1) == (5, 1)


class Witness(Recorder):
    """The monitoring of one machine of several: alerts are in the shared store, checks are told of."""

    def __init__(self, alerts: dict[tuple[str, str], str], checked: Callable[[], None]) -> None:
        super().__init__()
        self.open = alerts
        self._checked = checked

    def check(self) -> list[Any]:
        self._checked()
        return []


class Fleet:
    """Two machines on one store and one clock, each with a schedule; `did` says who did what for all."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 1_000.0
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.did: list[tuple[float, str]] = []
        self.alerts: dict[tuple[str, str], str] = {}
        self.stages: dict[str, Stage] = {}
        self.machines: dict[str, Machines] = {}
        for name in ("a", "b"):
            self._add(name, folder)

    def _add(self, name: str, folder: Path) -> None:
        machines = Machines(
            db=self.db, run_dir=folder / name, name=name, alone=False, clock=lambda: int(self.now_s * 1000)
        )
        machines.arrive(answered=False)
        stage = Stage()
        stage.deployment.follow = lambda: False
        stage.machines = machines
        stage.monitoring = Witness(self.alerts, lambda: self.did.append((self.now_s, name)))
        stage.scheduler = Scheduler(stage, clock_s=lambda: self.now_s, leads=machines.leads, machine=name)  # type: ignore[arg-type]
        self.stages[name], self.machines[name] = stage, machines

    def live(self, seconds: float, *, alive: str = "ab") -> None:
        """Half a second at a time: every living machine beats and does what is due."""
        for _ in range(int(seconds * 2)):
            self.now_s += 0.5
            for name in alive:
                self.machines[name].beat()
                self.stages[name].scheduler.run_due()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.db.close()


def test_one_machine_does_what_is_done_for_all_and_another_goes_on_when_it_dies(fleet: Fleet) -> None:
    fleet.live(20.0)
    assert [name for _, name in fleet.did] == ["a"] * 4
    died_at = fleet.now_s
    fleet.live(30.0, alive="b")
    fleet.live(20.0)  # a is back, and leaves it to b
    later = fleet.did[4:]
    assert {name for _, name in later} == {"b"}
    assert later[0][0] - died_at <= LEASE_S + 1.0
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(fleet.did)]
    assert min(gaps) >= CHECK_EVERY_S  # never twice for one turn


def test_a_clean_stop_hands_over_at_once(fleet: Fleet) -> None:
    fleet.live(5.0)
    fleet.machines["a"].leave()
    fleet.live(1.0, alive="b")
    assert [name for _, name in fleet.did] == ["a", "b"]


def test_each_machine_ingests_for_itself(fleet: Fleet) -> None:
    fleet.live(5.0)
    assert fleet.stages["a"].ingested > 1
    assert fleet.stages["b"].ingested > 1


def test_an_alert_about_one_machine_is_not_cleared_by_the_other(fleet: Fleet) -> None:
    a, b = fleet.stages["a"], fleet.stages["b"]
    a.counters = {"requests": 200, "failures": 0, "p99_s": 0.01}
    b.counters = {"requests": 200, "failures": 0, "p99_s": 0.01}
    fleet.live(15.0)
    b.counters = {"requests": 400, "failures": 50, "p99_s": 0.01}
    b.broken = True
    fleet.live(15.0)
    assert fleet.alerts == {("churn", "errors@b"): "WARNING", ("", "task:ingest@b"): "CRITICAL"}


def test_a_machine_that_falls_silent_is_told_until_it_is_heard_of_again(fleet: Fleet) -> None:
    fleet.live(5.0)
    fleet.live(MISSING_AFTER_S + 6.0, alive="a")
    assert [cause.rpartition(":")[0] for _, cause in fleet.alerts] == ["machine:b"]
    fleet.live(6.0)
    assert fleet.alerts == {}
    fleet.machines["b"].leave()
    fleet.live(60.0, alive="a")
    assert fleet.alerts == {}  # it was stopped on purpose
