"""Scheduled scoring: due times run once, missed ones once together, ends are told whatever became of the child."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.feeds.runs import Runs
from mlspine.feeds.schedule import Schedule
from tests.unit.feeds.desk import ME, FeedDesk

HOUR_MS = 3_600_000


class Children:
    """Stands for the processes that would score: started, then ended as a test says."""

    def __init__(self, desk: FeedDesk) -> None:
        self.desk = desk
        self.started: list[list[str]] = []
        self.places: list[tuple[Path, Path]] = []
        self.pid = 0  # of no process: it has ended as soon as it is looked at

    def start(self, argv: list[str], told: Path, said: Path, environment: dict[str, str]) -> int:
        assert environment["MLSPINE_WORKSPACE"] == str(self.desk.workspace.path)
        self.started.append(argv)
        self.places.append((told, said))
        return self.pid

    def end(self, *, rows: int = 0, error: str = "") -> None:
        told, said = self.places[-1]
        told.write_text("" if error else json.dumps({"rows": rows, "output": "out.csv"}))
        said.write_text(error)

    def runs(self) -> Runs:
        workspace = self.desk.workspace
        return Runs(
            db=workspace.db,
            monitoring=workspace.monitoring,
            workspace=workspace.path,
            clock=self.desk.clock,
            start=self.start,
        )


def schedule(desk: FeedDesk, **changes: str) -> Schedule:
    options = {"source": "in.csv", "output": "out-{date}.csv", "every": "1h", **changes}
    return desk.workspace.feeds.schedule("bikes", **options, actor=ME)


def only(desk: FeedDesk) -> Schedule:
    (found,) = desk.workspace.feeds.schedules()
    return found


def test_a_due_time_runs_once_at_first_at_once_and_then_every_so_often(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    runs = children.runs()
    made = schedule(feed_desk)
    first_due = feed_desk.now_ms
    assert runs.step() == [made.id]
    assert only(feed_desk).running
    children.end(rows=7)
    assert runs.step() == []
    assert (only(feed_desk).result, only(feed_desk).failed) == ("7 rows to out.csv", False)
    assert only(feed_desk).next_due_at_ms == first_due + HOUR_MS
    feed_desk.now_ms += HOUR_MS - 1
    assert runs.step() == []
    feed_desk.now_ms += 1
    assert runs.step() == [made.id]
    assert children.started[0][3:] == [
        "score", "bikes", "-i", "in.csv", "-o", "out-2025-06-15.csv", "--json",
    ]  # fmt: skip


def test_missed_runs_are_made_up_for_by_one(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    schedule(feed_desk)
    children.runs().step()
    children.end(rows=1)
    children.runs().step()
    feed_desk.now_ms += 50 * HOUR_MS + 1000
    children.runs().step()
    children.end(rows=1)
    for _ in range(5):
        children.runs().step()
    assert len(children.started) == 2
    assert only(feed_desk).next_due_at_ms == feed_desk.now_ms - 1000 + HOUR_MS


def test_two_schedulers_do_not_run_one_due_time_twice(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    schedule(feed_desk)
    first, second = children.runs(), children.runs()
    stale = feed_desk.workspace.feeds.schedules()
    first.step()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "mlspine.feeds.schedule.schedules", lambda db, ids="": stale
        )  # read before the first claimed it
        assert second.step() == []
    assert len(children.started) == 1


def test_a_run_under_way_is_not_doubled_when_the_next_is_due_or_control_restarts(
    feed_desk: FeedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = Children(feed_desk)
    monkeypatch.setattr("mlspine.feeds.runs._is_mlspine", lambda pid: pid == 4711)
    children.pid = 4711
    schedule(feed_desk)
    children.runs().step()
    feed_desk.now_ms += 3 * HOUR_MS
    assert children.runs().step() == []
    assert only(feed_desk).running


def test_a_run_that_took_longer_than_the_pace_is_followed_at_once(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    made = schedule(feed_desk)
    runs = children.runs()
    runs.step()
    feed_desk.now_ms += 2 * HOUR_MS
    children.end(rows=1)
    assert runs.step() == [made.id]
    assert (only(feed_desk).running, only(feed_desk).result) == (True, "1 rows to out.csv")
    children.end(rows=2)
    runs.step()
    assert (only(feed_desk).running, only(feed_desk).result) == (False, "2 rows to out.csv")


def test_a_failure_is_one_alert_with_its_words_until_a_run_succeeds(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    made = schedule(feed_desk)
    for _ in range(2):
        children.runs().step()
        children.end(error="error no file in.csv\n  fix   look again\n")
        children.runs().step()
        feed_desk.now_ms += HOUR_MS
    (alert,) = feed_desk.alerts()
    assert alert.cause == f"schedule:{made.id}"
    assert "no file in.csv" in alert.why
    assert only(feed_desk).failed
    children.runs().step()
    children.end(rows=3)
    children.runs().step()
    assert feed_desk.alerts() == []


def test_a_run_that_was_killed_is_told_and_the_next_goes_on(feed_desk: FeedDesk) -> None:
    children = Children(feed_desk)
    schedule(feed_desk)
    children.runs().step()  # it leaves nothing behind
    children.runs().step()
    assert "killed" in only(feed_desk).result
    feed_desk.now_ms += HOUR_MS
    assert len(children.runs().step()) == 1


def test_schedules_survive_a_restart_and_can_be_removed(feed_desk: FeedDesk) -> None:
    made = schedule(feed_desk)
    again = schedule(feed_desk, every="6h")
    assert (again.id, again.every_s) == (made.id, 6 * 3600)
    feed_desk.workspace.close()
    feed_desk.workspace = feed_desk.open()
    assert only(feed_desk).every_s == 6 * 3600
    with pytest.raises(NotFound, match="no schedule"):
        feed_desk.workspace.feeds.unschedule("nothing", actor=ME)
    feed_desk.workspace.feeds.unschedule(made.id, actor=ME)
    assert feed_desk.workspace.feeds.schedules() == []
    actions = [line.action for line in feed_desk.workspace.governance.entries("model:bikes")]
    assert actions[-3:] == ["schedule", "schedule", "unschedule"]


@pytest.mark.parametrize("every", ["soon", "10s", "-1d", "1", ""])
def test_a_pace_that_is_none_is_refused(feed_desk: FeedDesk, every: str) -> None:
    with pytest.raises(Invalid, match="minute or more"):
        schedule(feed_desk, every=every)
