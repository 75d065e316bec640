"""Monitoring over the real rooms below it: releases, spooled answers, labels; only sinks are fakes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import MonitoringConfig
from mlspine.core.errors import Invalid, NotFound, Unavailable
from mlspine.core.ids import uuid7
from mlspine.core.types import Actor, Alert, ModelVersion
from mlspine.data.service import Data
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.window import DAY_MS, HOUR_MS
from mlspine.predictions.service import Predictions
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.service import Registry

ANN = Actor(name="ann")
START = 20_000 * DAY_MS  # Friday, 4 October 2024; event time of every first row
Array = np.ndarray[Any, np.dtype[Any]]


class Sink:
    """A notifier that keeps what it was told, or fails while `broken`."""

    def __init__(self, name: str = "sink") -> None:
        self.name = name
        self.told: list[Alert] = []
        self.broken: Exception | None = None

    def send(self, alert: Alert) -> None:
        if self.broken is not None:
            raise self.broken
        self.told.append(alert)


class Shipped(NamedTuple):
    releases: Path
    first: Prepared
    second: Prepared
    learning: Prepared


def truth(rng: np.random.Generator, X: Array) -> Array:
    return (X[:, 0] + rng.normal(size=len(X)) > 0).astype(np.int64)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """Two releases with a holdout, and one without any unseen rows, made once for all tests."""
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("shipped")
    releases = folder / "releases"
    rng = np.random.default_rng(0)
    X, H = rng.normal(size=(2000, 3)), rng.normal(size=(1500, 3))
    y, hy = truth(rng, X), truth(rng, H)
    first, second = (
        prepare(
            LogisticRegression(C=C).fit(X, y), X, y, name="churn", holdout=(H, hy), owner="ann", releases_dir=releases
        )
        for C in (1.0, 0.5)
    )
    learning = prepare(LogisticRegression().fit(X, y), X, name="young", owner="ann", releases_dir=releases)
    return Shipped(releases, first, second, learning)


class World:
    """One workspace: answered requests go in by event time, the clock stands where the test puts it."""

    def __init__(self, folder: Path, shipped: Shipped) -> None:
        self.folder = folder
        self.now_ms = START
        self.rng = np.random.default_rng(1)
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.governance = governance = Governance(db=self.db)
        self.registry = Registry(
            db=self.db, data=Data(db=self.db), governance=governance, releases_dir=shipped.releases
        )
        self.first = self.registry.register(shipped.first, actor=ANN)
        self.second = self.registry.register(shipped.second, actor=ANN)
        self.young = self.registry.register(shipped.learning, actor=ANN)
        self.predictions = Predictions(
            db=self.db,
            blobs=FileBlobStore(folder / "blobs"),
            references_of=self.registry.references_of,
            governance=governance,
            spool_dir=folder / "spool",
            clock=self.clock,
        )
        self.sink = Sink()
        self.monitoring = self.open_monitoring(self.sink)
        (folder / "spool").mkdir()
        self.spool = SpoolWriter(folder / "spool", "inference-0")

    def clock(self) -> int:
        return self.now_ms

    def open_monitoring(self, *sinks: Any, **settings: Any) -> Monitoring:
        """As after a restart: nothing but the store is carried over."""
        return Monitoring(
            db=self.db,
            predictions=self.predictions,
            registry=self.registry,
            notifiers=sinks,
            governance=self.governance,
            clock=self.clock,
            config=MonitoringConfig(**settings),
        )

    def answer(
        self,
        hour: float,
        rows: int = 600,
        *,
        shift: float = 0.0,
        columns: tuple[int, ...] = (0,),
        version: ModelVersion | None = None,
        received: bool = True,
        endpoint: str = "churn",
    ) -> list[str]:
        """One request of `rows` rows at START + hour; its ids. The clock moves there if `received`."""
        version = version or self.first
        at_ms = START + int(hour * HOUR_MS)
        if received:
            self.now_ms = max(self.now_ms, at_ms)
        X = self.rng.normal(size=(rows, 3))
        X[:, list(columns)] += shift
        score = 1 / (1 + np.exp(-1.7 * X[:, 0]))
        request = uuid7(at_ms)
        batch = Batch(
            endpoint=endpoint,
            release_hash=version.release_hash,
            version=version.version,
            revision=1,
            request_ids=[request],
            row_counts=[rows],
            received_at_ms=[self.now_ms],
            latency_s=[0.001],
            inputs=encode_columns({f"x{i}": X[:, i] for i in range(3)}),
            prediction=encode_column("prediction", (score > 0.5).astype(np.int64)),
            score=score.tobytes(),
            event_at_ms=[at_ms] * rows,
        )
        self.spool.append([batch])
        self.predictions.ingest()
        self.scores = score
        return [f"{request}:{row}" for row in range(rows)]

    def label(self, ids: list[str], labels: Array, endpoint: str = "churn") -> None:
        self.predictions.add_label_table(endpoint, {"id": ids, "label": labels})

    def answer_and_label(self, hour: float, rows: int = 600, *, good: bool, share: float = 1.0) -> None:
        """Answers whose labels follow the score, or are drawn by lot."""
        ids = self.answer(hour, rows)
        chance = self.scores if good else np.full(rows, 0.5)
        labels = (self.rng.uniform(size=rows) < chance).astype(np.int64)
        known = int(rows * share)
        self.label(ids[:known], labels[:known])

    def open_causes(self, endpoint: str = "churn") -> list[str]:
        return [alert.cause for alert in self.monitoring.alerts(endpoint)]

    def close(self) -> None:
        self.spool.close()
        self.db.close()


@pytest.fixture
def world(tmp_path: Path, shipped: Shipped) -> Iterator[World]:
    world = World(tmp_path, shipped)
    yield world
    world.close()


# ---------------------------------------------------------------- windows


def test_nothing_was_answered_so_nothing_is_judged(world: World) -> None:
    assert world.monitoring.check() == []
    state = world.monitoring.state("churn")
    assert (state.status, state.rows_needed, state.release_hash) == ("no rows", 500, "")
    assert state.says == "no rows yet, 500 are needed"


def test_too_few_rows_warm_up_and_say_how_many_are_missing(world: World) -> None:
    world.answer(0.5, rows=300)
    world.answer(1.5, rows=50)
    assert world.monitoring.check() == []
    state = world.monitoring.state("churn")
    assert (state.status, state.severity, state.rows_waiting) == ("warming up", "OK", 350)
    assert state.says == "warming up, 150 more rows"


def test_an_hour_is_judged_when_it_is_over(world: World) -> None:
    world.answer(0.5)
    assert world.monitoring.check() == []
    assert "judged when their hour is over" in world.monitoring.state("churn").says
    world.answer(1.0, rows=10)
    (report,) = world.monitoring.check()
    assert (report.from_at_ms, report.to_at_ms, report.rows) == (START, START + HOUR_MS, 600)
    assert (report.status, report.severity, report.version) == ("JUDGED", "OK", 1)
    assert report.alpha == pytest.approx(1 / 720)
    assert world.monitoring.check() == []
    assert world.monitoring.reports("churn") == [report]
    state = world.monitoring.state("churn")
    assert (state.status, state.rows_waiting, state.rows_needed, state.last_report) == (
        "judged",
        10,
        0,
        report,
    )
    assert world.sink.told == []


def test_silence_closes_the_hour(world: World) -> None:
    world.answer(0.5)
    world.now_ms += HOUR_MS - 1
    assert world.monitoring.check() == []
    world.now_ms += 1
    assert len(world.monitoring.check()) == 1


def test_check_now_does_not_wait_for_the_hour(world: World) -> None:
    world.answer(0.5)
    (report,) = world.monitoring.check_now("churn")
    assert report.rows == 600


def test_a_replay_of_the_past_is_judged_by_its_own_time(world: World) -> None:
    world.now_ms = START + 3650 * DAY_MS
    for hour in (0.5, 1.5, 2.5):
        world.answer(hour, received=False)
    assert [report.from_at_ms for report in world.monitoring.check()] == [START, START + HOUR_MS]


def test_a_restart_judges_nothing_twice(world: World) -> None:
    for hour in (0.5, 1.5, 2.5):
        world.answer(hour)
    assert len(world.monitoring.check()) == 2
    again = world.open_monitoring(world.sink)
    assert again.check() == []
    world.answer(3.5)
    assert [report.from_at_ms for report in again.check()] == [START + 2 * HOUR_MS]


def test_late_rows_are_counted_and_not_judged(world: World) -> None:
    world.answer(0.5)
    world.answer(1.5)
    world.monitoring.check()
    world.answer(0.7, rows=40, received=False)
    assert world.monitoring.check() == []
    state = world.monitoring.state("churn")
    assert (state.late_rows, state.rows_waiting) == (40, 600)
    world.answer(2.5)
    (report,) = world.monitoring.check()
    assert (report.from_at_ms, report.rows) == (START + HOUR_MS, 600)
    assert world.monitoring.state("churn").late_rows == 40


def test_small_hours_are_judged_together_and_spend_more_alpha(world: World) -> None:
    for hour in range(7):
        world.answer(hour + 0.5, rows=100)
    (report,) = world.monitoring.check()
    assert (report.rows, report.to_at_ms - report.from_at_ms) == (500, 5 * HOUR_MS)
    assert report.alpha == pytest.approx(5 / 720)


def test_endpoints_share_the_budget_of_the_workspace(world: World) -> None:
    for endpoint in ("churn", "other"):
        world.answer(0.5, endpoint=endpoint)
    world.answer(1.0, rows=1)
    world.answer(1.0, rows=1, endpoint="other")
    alphas = [report.alpha for report in world.monitoring.check()]
    assert alphas == pytest.approx([1 / 720, 1 / 1440])


def test_each_release_is_judged_by_its_own_baseline_from_its_own_mark(world: World) -> None:
    world.answer(0.5)
    world.answer(0.6, version=world.second)
    world.answer(1.5, version=world.second)
    reports = world.monitoring.check()
    assert {report.release_hash for report in reports} == {
        world.first.release_hash,
        world.second.release_hash,
    }
    assert [report.rows for report in reports] == [600, 600]
    state = world.monitoring.state("churn")
    assert (state.release_hash, state.rows_waiting) == (world.second.release_hash, 600)
    assert world.monitoring.state("churn", release_hash=world.first.release_hash).rows_waiting == 0


def test_a_release_without_unseen_rows_learns_its_scores_first(world: World) -> None:
    for hour in (0.5, 1.5, 2.5, 3.5):
        world.answer(hour, rows=700, version=world.young, endpoint="young")
    reports = world.monitoring.check()
    outputs = [
        {verdict.role: verdict.severity for verdict in report.features if verdict.role != "input"} for report in reports
    ]
    assert [report.severity for report in reports] == ["INFO", "INFO", "OK"]
    assert outputs[0] == {"score": "INFO", "prediction": "INFO"}  # learned within this hour
    assert outputs[2] == {"score": "OK", "prediction": "OK"}
    assert world.open_causes("young") == []


# ---------------------------------------------------------------- alerts


def test_drift_is_told_once_lasts_rises_and_clears_after_two_clean_windows(world: World) -> None:
    def hour(number: int, **more: Any) -> tuple[int, list[str]]:
        world.answer(number + 0.5, **more)
        world.answer(number + 1.0, rows=1)  # the next hour begins, so this one is over
        world.monitoring.check()
        return len(world.sink.told), world.open_causes()

    assert hour(0) == (0, [])
    told, causes = hour(1, shift=1.0)
    assert told == 1
    assert "drift:x0:up" in causes
    first = world.sink.told[0]
    assert first.endpoint == "churn"
    assert "x0 went up (mean" in first.why
    told, causes = hour(2, shift=1.0)
    assert told == 2  # CRITICAL now: it lasted, on a feature that matters
    assert world.sink.told[1].severity == "CRITICAL"
    assert hour(3, shift=1.0)[0] == 2
    alerts = {alert.cause: alert for alert in world.monitoring.alerts("churn")}
    assert alerts["drift:x0:up"].windows == 3
    assert hour(4)[1] != []
    assert hour(5) == (2, [])
    closed = world.monitoring.alerts("churn", open_only=False)
    assert {alert.clear_windows for alert in closed} == {2}


def test_features_of_one_window_are_one_message(world: World) -> None:
    world.answer(0.5, shift=1.0, columns=(0, 1, 2))
    world.answer(1.0, rows=1)
    world.monitoring.check()
    assert len(world.monitoring.alerts("churn")) >= 3
    (message,) = world.sink.told
    assert "more" in message.title
    assert all(f"x{i} went up (mean" in message.why for i in range(3))


def test_a_restart_repeats_no_message_and_loses_none(world: World) -> None:
    world.sink.broken = Unavailable("sink answered 503")
    world.answer(0.5, shift=1.0)
    world.answer(1.0, rows=1)
    world.monitoring.check()
    assert world.monitoring.alerts("churn")[0].delivered == {"sink": "sink answered 503"}
    sink = Sink()
    world.open_monitoring(sink).check()
    assert len(sink.told) == 1
    world.open_monitoring(sink).check()
    assert len(sink.told) == 1
    assert world.monitoring.alerts("churn")[0].delivered == {"sink": "ok"}


def test_a_failing_sink_is_left_alone_for_longer_and_longer_and_others_hear_at_once(world: World) -> None:
    good, bad = Sink("good"), Sink("bad")
    bad.broken = RuntimeError("no such person")
    attempts = []
    bad_send = bad.send

    def counted(alert: Alert) -> None:
        attempts.append(world.now_ms)
        bad_send(alert)

    bad.send = counted  # type: ignore[method-assign]
    monitoring = world.open_monitoring(bad, good)
    monitoring.raise_alert("", cause="log", severity="CRITICAL", title="t", why="w", action="a")
    assert [alert.title for alert in good.told] == ["t"]
    begin = world.now_ms
    for _ in range(200):
        world.now_ms += 5000
        monitoring.check()
    waited = [later - earlier for earlier, later in pairwise(attempts)]
    assert waited[:7] == [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000]
    assert world.monitoring.alerts()[0].delivered == {"bad": "RuntimeError: no such person", "good": "ok"}
    bad.broken = None
    world.now_ms = begin + 3_600_000
    monitoring.check()
    assert len(bad.told) == 1
    assert len(good.told) == 1


def test_two_sinks_of_one_name_are_both_told(world: World) -> None:
    one, two = Sink("webhook:a"), Sink("webhook:a")
    monitoring = world.open_monitoring(one, two)
    monitoring.raise_alert("", cause="log", severity="WARNING", title="t", why="w", action="a")
    assert (len(one.told), len(two.told)) == (1, 1)
    assert monitoring.alerts()[0].delivered == {"webhook:a": "ok", "webhook:a#2": "ok"}


def test_what_is_observed_directly_is_raised_once_and_cleared_at_once(world: World) -> None:
    def errors(why: str, severity: Any = "WARNING") -> Alert:
        return world.monitoring.raise_alert(
            "churn", cause="errors", severity=severity, title="churn: answers fail", why=why, action="look"
        )

    first = errors("2% of 500")
    errors("2% of 500")
    assert errors("3% of 900").id == first.id
    assert (len(world.sink.told), world.monitoring.alerts("churn")[0].windows) == (1, 2)
    errors("9% of 900", "CRITICAL")
    assert len(world.sink.told) == 2
    assert world.monitoring.clear_alert("churn", "errors")
    assert not world.monitoring.clear_alert("churn", "errors")
    assert world.monitoring.alerts() == []
    assert errors("again").id != first.id


def test_alerts_of_one_endpoint_or_of_the_whole_workspace(world: World) -> None:
    for endpoint in ("", "churn", "other"):
        world.now_ms += 1
        world.monitoring.raise_alert(endpoint, cause="x", severity="WARNING", title="t", why="w", action="a")
    assert [alert.endpoint for alert in world.monitoring.alerts()] == ["", "churn", "other"]
    assert [alert.endpoint for alert in world.monitoring.alerts("other")] == ["other"]
    with pytest.raises(Invalid, match="limit 0"):
        world.monitoring.alerts(limit=0)


def test_checks_at_once_judge_each_window_once(world: World) -> None:
    for hour in range(6):
        world.answer(hour + 0.5)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(world.monitoring.check()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 0, 5]


def test_a_release_that_cannot_be_read_is_an_alert_and_no_obstacle_to_others(
    world: World, shipped: Shipped, tmp_path: Path
) -> None:
    world.answer(0.5)
    world.answer(0.5, endpoint="young", version=world.young)
    world.now_ms += 2 * HOUR_MS
    held = tmp_path / "held"
    shutil.move(shipped.releases / world.first.release_hash, held)
    try:
        reports = world.monitoring.check()
    finally:
        shutil.move(held, shipped.releases / world.first.release_hash)
    assert [report.endpoint for report in reports] == ["young"]
    assert world.open_causes() == ["judging"]
    assert [report.endpoint for report in world.monitoring.check()] == ["churn"]
    assert world.open_causes() == []


# ---------------------------------------------------------------- quality


def test_no_labels_no_quality(world: World) -> None:
    world.answer(0.5)
    assert world.monitoring.quality("churn") == []
    assert world.monitoring.quality("nobody") == []


def test_quality_is_measured_per_window_of_event_time_with_its_interval(world: World) -> None:
    for day in range(4):
        world.answer_and_label(24 * day + 1, good=True)
    by_day = world.monitoring.quality("churn", by="day")
    assert [report.from_at_ms for report in by_day] == [START + day * DAY_MS for day in range(4)]
    for report in by_day:
        metric = report.metrics[0]
        assert (metric.name, metric.rows, report.coverage, report.status) == ("auc", 600, 1.0, "FINAL")
        assert metric.interval is not None
        assert metric.interval.lo < 0.84 < metric.interval.hi
        assert report.baseline == world.first.metric
        assert report.severity == "OK"
    (whole,) = world.monitoring.quality("churn")
    assert (whole.predicted_rows, whole.from_at_ms) == (2400, START + HOUR_MS)
    assert [len(world.monitoring.quality("churn", by=by)) for by in ("week", "month")] == [2, 1]


def test_a_late_label_opens_a_new_version_and_the_old_one_can_be_read_again(world: World) -> None:
    ids = world.answer(1.0)
    labels = (world.rng.uniform(size=600) < world.scores).astype(np.int64)
    world.label(ids[:300], labels[:300])
    before = world.now_ms
    (partial,) = world.monitoring.quality("churn", by="day")
    assert (partial.status, partial.coverage, partial.metrics[0].rows) == ("PROVISIONAL", 0.5, 300)
    world.now_ms += DAY_MS
    world.label(ids[300:], labels[300:])
    (final,) = world.monitoring.quality("churn", by="day")
    assert (final.status, final.coverage, final.as_of_ms) == ("FINAL", 1.0, world.now_ms)
    assert world.monitoring.quality_as_of("churn", as_of_ms=before, by="day") == [partial]
    assert world.monitoring.quality_as_of("churn", as_of_ms=before - 1, by="day") == []


def test_a_corrected_label_counts_at_once(world: World) -> None:
    ids = world.answer(1.0)
    world.label(ids, (world.scores > 0.5).astype(np.int64))
    (perfect,) = world.monitoring.quality("churn")
    world.now_ms += 1000
    world.label(ids, (world.scores <= 0.5).astype(np.int64))
    (wrong,) = world.monitoring.quality("churn")
    values = [report.metrics[0].interval.value for report in (perfect, wrong) if report.metrics[0].interval]
    assert values == [1.0, 0.0]


def test_new_rows_renew_coverage_without_a_new_version(world: World) -> None:
    world.answer_and_label(1.0, good=True)
    (before,) = world.monitoring.quality("churn", by="day")
    world.answer(2.0)
    world.now_ms += 61_000
    (after,) = world.monitoring.quality("churn", by="day")
    assert (after.coverage, after.status) == (0.5, "PROVISIONAL")
    world.answer(3.0)
    world.now_ms += 61_000
    (later,) = world.monitoring.quality("churn", by="day")
    assert (later.as_of_ms, later.coverage) == (after.as_of_ms, pytest.approx(1 / 3))
    assert world.monitoring.quality_as_of("churn", as_of_ms=after.as_of_ms - 1, by="day") == [before]


def test_nothing_is_measured_again_when_nothing_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.answer_and_label(1.0, good=True)
    known = world.monitoring.quality("churn")

    def forbidden(*args: object, **more: object) -> None:
        raise AssertionError("rows were read again")

    monkeypatch.setattr(world.predictions, "labelled", forbidden)
    world.now_ms += DAY_MS
    assert world.monitoring.quality("churn") == known


def test_only_the_windows_that_labels_came_to_are_measured_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {}
    for day in range(3):
        ids[day] = world.answer(24 * day + 1)
        world.label(ids[day][:400], (world.scores[:400] > 0.5).astype(np.int64))
    world.monitoring.quality("churn", by="day")
    read: list[int] = []
    labelled = world.predictions.labelled

    def noted(endpoint: str, **place: Any) -> Any:
        read.append((place["from_at_ms"] - START) // DAY_MS)
        return labelled(endpoint, **place)

    monkeypatch.setattr(world.predictions, "labelled", noted)
    world.label(ids[1][400:], np.ones(200, dtype=np.int64))
    again = world.open_monitoring(world.sink)  # a restart knows it too
    assert [report.labelled_rows for report in again.quality("churn", by="day")] == [400, 600, 400]
    assert read == [1]


def test_what_was_never_measured_then_is_told_from_the_labels_dated_until_then(world: World) -> None:
    ids = world.answer(1.0)
    table = {"id": ids, "label": (world.scores > 0.5).astype(np.int64)}
    times = [START + (2 if row < 200 else 5) * DAY_MS for row in range(600)]
    world.now_ms = START + 10 * DAY_MS
    world.predictions.add_label_table("churn", {**table, "label_time": times})
    (then,) = world.monitoring.quality_as_of("churn", as_of_ms=START + 3 * DAY_MS, by="day")
    assert (then.labelled_rows, then.predicted_rows, then.status) == (200, 600, "PROVISIONAL")
    assert world.monitoring.quality_as_of("churn", as_of_ms=START + DAY_MS) == []
    (now,) = world.monitoring.quality("churn", by="day")
    assert now.labelled_rows == 600


def test_early_labels_of_high_scores_are_weighted_and_both_figures_are_kept(world: World) -> None:
    ids = world.answer(1.0, rows=4_000)
    labels = (world.rng.uniform(size=4_000) < world.scores).astype(np.int64)
    early = world.rng.uniform(size=4_000) < np.where(world.scores > 0.5, 0.9, 0.4)
    world.label([id_ for id_, came in zip(ids, early, strict=True) if came], labels[early])
    (report,) = world.monitoring.quality("churn", by="day")
    assert "no random part of all" in report.sample
    assert [metric.name for metric in report.weighted] == ["auc", "accuracy", "f1", "brier"]
    assert report.weighted[0].interval != report.metrics[0].interval
    rows = int(report.weighted[0].reason.removeprefix("as much as ").removesuffix(" rows").replace(",", ""))
    assert 0.6 * report.labelled_rows < rows < report.labelled_rows
    assert report.why.startswith("weighted auc")


def test_quality_per_level_of_a_logged_column(world: World) -> None:
    ids = world.answer(1.0, rows=3_000)
    world.label(ids, (world.scores > 0.5).astype(np.int64))
    found = world.monitoring.quality_slices("churn", "x1")
    assert sum(each.rows for each in found) == 3_000
    assert [each.worse for each in found] == [False] * 5
    with pytest.raises(NotFound, match="no column 'country'"):
        world.monitoring.quality_slices("churn", "country")
    assert world.monitoring.quality_slices("nobody", "x1") == []


def test_quality_by_blocks_is_as_wide_as_the_blocks_say(world: World) -> None:
    for day in range(12):
        world.answer_and_label(24 * day, rows=100, good=True)
    (metric,) = world.monitoring.quality_by_blocks("churn", "day")
    (whole,) = world.monitoring.quality("churn")
    assert (metric.name, metric.rows, metric.reason) == ("auc", 1_200, "12 blocks")
    assert metric.interval is not None
    assert whole.metrics[0].interval is not None
    assert metric.interval.value == pytest.approx(whole.metrics[0].interval.value)
    (by_key,) = world.monitoring.quality_by_blocks("churn", "key")
    assert by_key.reason == "1,200 blocks"  # rows without a key stand alone
    assert world.monitoring.quality_by_blocks("nobody", "key") == []


def test_the_delays_of_labels_are_told(world: World) -> None:
    for day in range(4):
        ids = world.answer(24 * day)
        table = {"id": ids, "label": [0] * 600, "label_time": [START + day * DAY_MS + 6 * HOUR_MS] * 600}
        world.predictions.add_label_table("churn", table)
    told = world.monitoring.label_delays("churn")
    assert (told.share, told.labels) == (1.0, 1_200)  # a day tells of delays once its youngest row is that old
    assert told.half_ms == pytest.approx(6 * HOUR_MS, rel=0.1)


def test_lost_quality_alerts_with_the_rollback_and_clears_after_two_good_days(world: World) -> None:
    def day(number: int, *, good: bool) -> None:
        world.answer_and_label(24 * number + 1, good=good)
        world.monitoring.check()

    day(0, good=True)
    assert world.open_causes() == []
    day(1, good=False)
    (alert,) = [each for each in world.monitoring.alerts("churn") if each.cause == "quality:auc"]
    assert (alert.severity, alert.action) == ("CRITICAL", "mlspine rollback churn")
    assert "0.8" in alert.why
    assert [told.cause for told in world.sink.told] == ["quality:auc"]
    day(2, good=True)
    assert world.open_causes() == ["quality:auc"]
    day(3, good=True)
    assert world.open_causes() == []
    assert len(world.sink.told) == 1


def test_few_early_labels_raise_no_alarm(world: World) -> None:
    world.answer_and_label(1.0, good=False, share=0.3)
    world.monitoring.check()
    (report,) = world.monitoring.quality("churn", by="day")
    assert (report.status, report.severity) == ("PROVISIONAL", "OK")
    assert "30%" in report.why
    assert world.open_causes() == []


def test_releases_are_measured_apart_and_only_the_live_one_alerts(world: World) -> None:
    world.answer_and_label(1.0, good=False)
    ids = world.answer(25.0, version=world.second)
    world.label(ids, (world.rng.uniform(size=600) < world.scores).astype(np.int64))
    world.monitoring.check()
    reports = world.monitoring.quality("churn")
    assert [(report.release_hash, report.severity) for report in reports] == [
        (world.first.release_hash, "CRITICAL"),
        (world.second.release_hash, "OK"),
    ]
    assert world.open_causes() == []
