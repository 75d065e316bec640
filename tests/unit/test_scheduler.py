from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mlspine.core.config import Config
from mlspine.core.types import ProcessState
from mlspine.scheduler import CHECK_EVERY_S, ErrorWindow, Scheduler


class Recorder:
    """Stands for a workspace's monitoring: remembers which alerts were raised and cleared."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], str] = {}

    def raise_alert(self, endpoint: str, *, cause: str, severity: str, **_: str) -> None:
        self.open[endpoint, cause] = severity

    def clear_alert(self, endpoint: str, cause: str) -> bool:
        return self.open.pop((endpoint, cause), None) is not None

    def check(self) -> list[Any]:
        return []


class Stage:
    """A workspace whose parts can be told to fail."""

    def __init__(self) -> None:
        self.monitoring = Recorder()
        self.broken = False
        self.counters = {"requests": 0, "failures": 0, "p99_s": 0.0}
        self.config = Config()
        self.predictions = SimpleNamespace(ingest=self._ingest, housekeep=lambda: None)
        self.processes = SimpleNamespace(supervise=list, observe=self._observe)
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

    def _observe(self) -> tuple[ProcessState, ...]:
        state = ProcessState(
            process="inference-0", pid=1, started_at_ms=0, plan=1, ready=True, endpoints={"churn": self.counters}
        )
        return (state,)


def test_every_task_runs_at_first_and_then_when_it_is_due() -> None:
    stage = Stage()
    assert stage.pass_time(0.0) == ["supervise", "ingest", "check", "health", "housekeep"]
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


def test_few_requests_say_nothing_about_the_error_rate() -> None:
    stage = Stage()
    stage.pass_time(0.0)
    stage.counters = {"requests": 50, "failures": 50, "p99_s": 0.01}
    stage.pass_time(10.0)
    assert stage.monitoring.open == {}


def test_the_error_window_forgets_after_five_minutes_and_survives_a_restart() -> None:
    window = ErrorWindow()
    window.add("a", 0.0, 0, 0)
    assert window.add("a", 100.0, 100, 10) == (100, 10)
    assert window.add("a", 390.0, 150, 10) == (150, 10)
    assert window.add("a", 401.0, 160, 10) == (60, 0)
    assert window.add("a", 410.0, 5, 1) == (5, 1)
