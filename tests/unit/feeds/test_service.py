"""Feeds of a shipped model: declared, read, judged, told once and cleared, pulled again and again for nothing."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Actor
from mlspine.registry.prepare import prepare
from tests.needs import need
from tests.unit.feeds.desk import DAY_MS, ME, FeedDesk, bikes


def declared(desk: FeedDesk, **texts: str) -> None:
    desk.workspace.feeds.declare("bikes", **texts, actor=ME)


def test_what_is_declared_overrides_what_was_said_before_and_is_in_the_ledger(feed_desk: FeedDesk) -> None:
    assert feed_desk.workspace.feeds.of("bikes").source.text == ""
    declared(feed_desk, source="fresh/*.csv", labels="caller")
    declared(feed_desk, source="select * from 'fresh/a.csv'")
    feeds = feed_desk.workspace.feeds.of("bikes")
    assert (feeds.source.text, feeds.source.said) == ("select * from 'fresh/a.csv'", "declared")
    assert (feeds.labels.text, feeds.labels.next_read_at_ms) == ("caller", 0)
    line = feed_desk.workspace.governance.entries("model:bikes")[-1]
    assert line.action == "feed"
    assert line.facts == {
        "declared": {"source": "select * from 'fresh/a.csv'"},
        "before": {"source": "fresh/*.csv"},
    }


def test_what_a_client_shipped_says_of_feeds_is_not_read_before_somebody_trusts_it(feed_desk: FeedDesk) -> None:
    X = bikes(300, 7)[["temp", "wind"]]
    y = X["temp"] - X["wind"]
    made = prepare(
        LinearRegression().fit(X, y),
        X,
        y,
        name="scooters",
        releases_dir=feed_desk.folder / ".mlspine" / "releases",
        source="select * from read_text('/etc/hostname')",
    )
    feed_desk.workspace.registry.register(made, actor=Actor(name="laptop", kind="client"))
    assert feed_desk.workspace.feeds.of("scooters").source.text == ""
    feed_desk.workspace.registry.trust("scooters:1", actor=ME)
    assert feed_desk.workspace.feeds.of("scooters").source.text.startswith("select")


def test_what_cannot_be_a_feed_is_refused(feed_desk: FeedDesk) -> None:
    with pytest.raises(Invalid, match="no source"):
        declared(feed_desk, source="fresh")
    with pytest.raises(NotFound):
        feed_desk.workspace.feeds.declare("bike", source="a.csv", actor=ME)
    with pytest.raises(Invalid, match="nothing to declare"):
        declared(feed_desk)


def test_a_healthy_source_is_read_once_and_raises_nothing(feed_desk: FeedDesk) -> None:
    declared(feed_desk, source="fresh/*.csv")
    feed_desk.put("fresh/a.csv", bikes(500, 1))
    (state,) = feed_desk.workspace.feeds.check_sources("bikes")
    assert (state.problem, state.rows, state.last_arrival_at_ms) == ("", 500, feed_desk.now_ms)
    assert feed_desk.causes() == []
    evidence = feed_desk.workspace.governance.evidence("model:bikes", kind="feed")
    assert [each.passed for each in evidence] == [True]
    feed_desk.now_ms += 1000
    feed_desk.workspace.feeds.check_sources()
    assert (
        len(feed_desk.workspace.governance.evidence("model:bikes", kind="feed")) == 1
    )  # nothing new: not judged again


def faulty(fault: str) -> pd.DataFrame:
    frame = bikes(800, 2)
    hit = np.random.default_rng(3).random(len(frame)) < 0.2
    match fault:
        case "nulls":
            frame.loc[hit, "wind"] = np.nan
        case "range":
            frame.loc[hit, "temp"] = -459.67
        case "gone":
            del frame["station"]
        case "renamed":
            frame = frame.rename(columns={"station": "stations"})
        case "type":
            frame["wind"] = frame["wind"].map("{:.1f} m/s".format)
    return frame


@pytest.mark.parametrize(
    ("fault", "field"),
    [("nulls", "wind"), ("range", "temp"), ("gone", "station"), ("renamed", "station"), ("type", "wind")],
)
def test_each_fault_of_a_source_is_one_alert_that_names_the_field_and_clears(
    feed_desk: FeedDesk, fault: str, field: str
) -> None:
    declared(feed_desk, source="fresh/*.csv")
    feed_desk.put("fresh/a.csv", faulty(fault))
    for _ in range(3):
        (state,) = feed_desk.workspace.feeds.check_sources()
        feed_desk.now_ms += 3_600_000
    assert state.problem.startswith(f"{field}: ")
    (alert,) = feed_desk.alerts()
    assert alert.cause == f"feed:source:{field}"
    assert field in alert.title
    feed_desk.put("fresh/a.csv", bikes(800, 2))
    feed_desk.workspace.feeds.check_sources()
    assert feed_desk.alerts() == []


def test_only_rows_after_the_newest_time_judged_are_judged(feed_desk: FeedDesk) -> None:
    declared(feed_desk, source="select * from 'all.csv' order by \"hired at\"")
    before, after = bikes(600, 3), faulty("nulls")
    after["hired at"] += pd.Timedelta(days=40)
    feed_desk.put("all.csv", before)
    feed_desk.workspace.feeds.check_sources()
    # A fifth of one new row in nine would drown among all; among the new rows it does not.
    feed_desk.put("all.csv", pd.concat([*[before] * 8, after]))
    (state,) = feed_desk.workspace.feeds.check_sources()
    assert "of 800 rows are null" in state.problem


def test_a_few_new_rows_wait_until_there_are_enough_to_judge(feed_desk: FeedDesk) -> None:
    declared(feed_desk, source="fresh/*.csv")
    bad = faulty("range")
    feed_desk.put("fresh/a.csv", bad[:60])
    assert feed_desk.workspace.feeds.check_sources()[0].problem == ""
    feed_desk.put("fresh/b.csv", bad[60:200])
    assert feed_desk.workspace.feeds.check_sources()[0].problem.startswith("temp: ")


def test_a_source_that_cannot_be_read_is_one_alert_until_it_can(feed_desk: FeedDesk) -> None:
    declared(feed_desk, source="fresh/*.csv")
    for _ in range(2):
        (state,) = feed_desk.workspace.feeds.check_sources()
    assert "no file fresh/*.csv" in state.problem
    assert feed_desk.causes() == ["feed:source"]
    feed_desk.put("fresh/a.csv", bikes(500, 1))
    feed_desk.workspace.feeds.check_sources()
    assert feed_desk.alerts() == []


def test_a_source_that_stops_is_stale_after_twice_its_longest_gap(feed_desk: FeedDesk) -> None:
    declared(feed_desk, source="fresh/*.csv")
    for day in range(10):
        if day not in (5, 6):  # a weekend
            feed_desk.put(f"fresh/{day}.csv", bikes(150, day))
            feed_desk.workspace.feeds.check_sources()
        feed_desk.now_ms += DAY_MS
    feed_desk.now_ms += 5 * DAY_MS - 1000
    assert feed_desk.workspace.feeds.check_sources()[0].problem == ""
    feed_desk.now_ms += 2000
    assert "nothing new for 6.0 days" in feed_desk.workspace.feeds.check_sources()[0].problem
    assert feed_desk.causes() == ["feed:source"]
    feed_desk.put("fresh/x.csv", bikes(150, 99))
    feed_desk.workspace.feeds.check_sources()
    assert feed_desk.alerts() == []


def test_feed_health_is_silent_on_a_field_that_drift_has_named(feed_desk: FeedDesk) -> None:
    feed_desk.workspace.monitoring.raise_alert(
        "bikes", cause="drift:wind:missing", severity="WARNING", title="", why="", action=""
    )
    declared(feed_desk, source="fresh/*.csv")
    feed_desk.put("fresh/a.csv", faulty("nulls"))
    assert feed_desk.workspace.feeds.check_sources()[0].problem.startswith("wind: ")
    assert feed_desk.causes() == ["drift:wind:missing"]


# ---------------------------------------------------------------- labels


def scored(desk: FeedDesk, n: int = 300) -> pd.DataFrame:
    desk.put("in.csv", bikes(n, 5))
    desk.score("in.csv")
    desk.workspace.predictions.ingest()
    return pd.read_csv(desk.folder / "out.csv", dtype={"key": str})


def test_labels_are_pulled_and_repeats_change_nothing(feed_desk: FeedDesk) -> None:
    answers = scored(feed_desk)
    declared(feed_desk, labels="truth/*.csv")
    truth = pd.DataFrame({"key": answers["key"], "label": answers["prediction"] + 1.0})
    feed_desk.put("truth/a.csv", truth[:200])
    (first,) = feed_desk.workspace.feeds.pull_labels("bikes")
    assert (first.read, first.matched, first.duplicates) == (200, 200, 0)
    feed_desk.put("truth/b.csv", truth[100:])
    (second,) = feed_desk.workspace.feeds.pull_labels()  # only the new file is read
    assert (second.read, second.matched, second.duplicates) == (200, 100, 100)
    (third,) = feed_desk.workspace.feeds.pull_labels()
    assert third.read == 0
    assert feed_desk.workspace.predictions.summary("bikes").labelled_rows == 300


def test_an_unchanged_file_is_not_opened_again(feed_desk: FeedDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = scored(feed_desk)
    declared(feed_desk, labels="truth.csv")
    feed_desk.put("truth.csv", pd.DataFrame({"key": answers["key"], "label": 1.0}))
    feed_desk.workspace.feeds.pull_labels()
    path, stat = feed_desk.folder / "truth.csv", (feed_desk.folder / "truth.csv").stat()
    path.write_bytes(b"x" * stat.st_size)  # nonsense of the same size and time: reading it would fail
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert feed_desk.workspace.feeds.pull_labels("bikes")[0].read == 0


def test_labels_from_sql_are_read_again_and_added_once(feed_desk: FeedDesk) -> None:
    scored(feed_desk)
    declared(feed_desk, labels="select key, prediction as label from 'out.csv'")
    assert feed_desk.workspace.feeds.pull_labels("bikes")[0].matched == 300
    assert feed_desk.workspace.feeds.pull_labels("bikes")[0].read == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [("hire,paid\n1,2\n", "has the columns hire, paid"), ("key,label\n1,late\n", "model answers numbers")],
)
def test_a_label_feed_that_is_wrong_is_one_alert_and_stays_unread(feed_desk: FeedDesk, content: str, said: str) -> None:
    scored(feed_desk)
    declared(feed_desk, labels="truth.csv")
    (feed_desk.folder / "truth.csv").write_text(content)
    with pytest.raises(Invalid) as refused:
        feed_desk.workspace.feeds.pull_labels("bikes")
    assert said in str(refused.value)
    assert feed_desk.workspace.feeds.pull_labels() == []  # on the cadence: told, not raised
    assert feed_desk.causes() == ["feed:labels"]
    (feed_desk.folder / "truth.csv").write_text("key,label\n5-00000,1.5\n")
    feed_desk.workspace.feeds.pull_labels()
    assert feed_desk.alerts() == []
    assert feed_desk.workspace.predictions.summary("bikes").labelled_rows == 1


def test_pulling_where_nobody_said_tells_how_to_say_it(feed_desk: FeedDesk) -> None:
    with pytest.raises(Invalid, match="nobody said"):
        feed_desk.workspace.feeds.pull_labels("bikes")
    assert feed_desk.workspace.feeds.pull_labels() == []


def test_labels_come_from_a_postgres_table(feed_desk: FeedDesk) -> None:
    psycopg = pytest.importorskip("psycopg")
    url = "postgresql://postgres@127.0.0.1:5432/test"
    try:
        session = psycopg.connect(url, connect_timeout=2, autocommit=True)
    except psycopg.OperationalError as exc:
        need("postgres", False, f"no server at 127.0.0.1:5432: {exc}")
    keys = scored(feed_desk)["key"].tolist()
    with session:
        session.execute("drop schema if exists feed_labels cascade")
        session.execute("create schema feed_labels")
        try:
            session.execute("create table feed_labels.truth (key text, label double precision, label_time timestamptz)")
            session.cursor().executemany(
                "insert into feed_labels.truth values (%s, 1.0, '2025-06-20T00:00:00Z')", [(key,) for key in keys]
            )
            declared(feed_desk, labels=f"{url}?table=feed_labels.truth")
            assert feed_desk.workspace.feeds.pull_labels("bikes")[0].matched == 300
            assert feed_desk.workspace.feeds.pull_labels("bikes")[0].read == 0
            session.execute("insert into feed_labels.truth values ('5-00000', 2.0, '2025-06-21T00:00:00Z')")
            again = feed_desk.workspace.feeds.pull_labels("bikes")[0]
            assert (again.matched, again.duplicates) == (1, 300)
        finally:
            session.execute("drop schema feed_labels cascade")


# ---------------------------------------------------------------- requests


def requests(desk: FeedDesk, frame: pd.DataFrame) -> None:
    """These rows as answered, judged by drift, then looked at as a feed."""
    desk.put("in.csv", frame)
    desk.score("in.csv")
    desk.workspace.monitoring.check_now("bikes")
    desk.workspace.feeds.check_requests()


def test_requests_like_those_at_ship_raise_nothing(feed_desk: FeedDesk) -> None:
    for seed in range(4):
        requests(feed_desk, bikes(1500, 10 + seed, from_ms=feed_desk.now_ms - DAY_MS, over_ms=DAY_MS))
        feed_desk.now_ms += DAY_MS
    assert feed_desk.causes() == []


@pytest.mark.parametrize("share", [0.008, 0.3])
def test_impossible_values_in_requests_are_one_alert_whoever_tells_it(feed_desk: FeedDesk, share: float) -> None:
    frame = bikes(3000, 20, from_ms=feed_desk.now_ms - DAY_MS, over_ms=DAY_MS)
    frame.loc[np.random.default_rng(0).random(len(frame)) < share, "temp"] = 80.0
    requests(feed_desk, frame)
    about_temp = [cause for cause in feed_desk.causes() if ":temp" in cause]
    assert len(about_temp) == 1
    assert about_temp[0].startswith("feed:requests:temp" if share < 0.01 else "drift:temp")
    feed_desk.workspace.feeds.check_requests()
    assert [cause for cause in feed_desk.causes() if ":temp" in cause] == about_temp
    feed_desk.now_ms += DAY_MS
    for seed in (21, 22):
        requests(feed_desk, bikes(3000, seed, from_ms=feed_desk.now_ms - DAY_MS, over_ms=DAY_MS))
        feed_desk.now_ms += DAY_MS
    assert feed_desk.causes() == []


def test_requests_that_stop_are_one_alert_until_they_come_again(feed_desk: FeedDesk) -> None:
    start = feed_desk.now_ms
    feed_desk.put("in.csv", bikes(6 * 21 * 24, 30, from_ms=start, over_ms=21 * DAY_MS))
    feed_desk.now_ms = start + 21 * DAY_MS
    feed_desk.score("in.csv")
    feed_desk.workspace.predictions.ingest()
    feed_desk.workspace.feeds.check_requests()
    assert [cause for cause in feed_desk.causes() if cause.startswith("feed:")] == []
    feed_desk.now_ms += 6 * 3_600_000
    for _ in range(2):
        feed_desk.workspace.feeds.check_requests()
    assert [cause for cause in feed_desk.causes() if cause.startswith("feed:")] == ["feed:requests"]
    requests(feed_desk, bikes(200, 31, from_ms=feed_desk.now_ms - 3_600_000, over_ms=3_600_000))
    assert [cause for cause in feed_desk.causes() if cause.startswith("feed:")] == []


def test_a_field_that_requests_are_refused_for_is_one_alert(feed_desk: FeedDesk) -> None:
    watch = feed_desk.workspace.feeds.watch_refusals
    watch("bikes", "inference-0", {"requests": 0, "refused_fields": {}}, 0.0)
    watch("bikes", "inference-0", {"requests": 2000, "refused_fields": {"temp": 3}}, 300.0)
    for step in range(1, 4):
        watch(
            "bikes", "inference-0", {"requests": 2000 + 200 * step, "refused_fields": {"temp": 60 * step}}, 600.0 + step
        )
    assert feed_desk.causes() == ["feed:refusals:temp"]
    for step in range(100):
        at_s = 1000.0 + 10 * step
        watch("bikes", "inference-0", {"requests": 3000 + 100 * step, "refused_fields": {"temp": 180}}, at_s)
    assert feed_desk.causes() == []


def test_what_one_process_refuses_is_not_cleared_by_another(feed_desk: FeedDesk) -> None:
    watch = feed_desk.workspace.feeds.watch_refusals
    for process in ("inference-0", "inference-1"):
        watch("bikes", process, {"requests": 0, "refused_fields": {}}, 0.0)
    watch("bikes", "inference-0", {"requests": 400, "refused_fields": {"temp": 290}}, 60.0)
    watch("bikes", "inference-1", {"requests": 400, "refused_fields": {}}, 60.0)
    assert feed_desk.causes() == ["feed:refusals:temp"]
    watch("bikes", "inference-1", {"requests": 500, "refused_fields": {}}, 200.0)  # the other is gone
    assert feed_desk.causes() == []
