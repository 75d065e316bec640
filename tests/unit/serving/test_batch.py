"""Scoring a table: equal to the endpoint's answers, in order, logged alike, all or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.errors import Denied, Invalid
from mlspine.core.plan import LogSettings, PlannedRelease
from mlspine.serving import batch as batches
from mlspine.serving import publication, runtime
from mlspine.serving.batch import score
from tests.unit.feeds.desk import FeedDesk, bikes, desks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], FeedDesk]:
    return desks(tmp_path_factory.mktemp("bikes"))


@pytest.fixture
def desk(made: Callable[[Path], FeedDesk], tmp_path: Path) -> Iterator[FeedDesk]:
    desk = made(tmp_path)
    yield desk
    desk.workspace.close()


def answers(desk: FeedDesk, output: str = "out.parquet") -> pd.DataFrame:
    return duckdb.sql(f"select * from '{desk.folder / output}'").df()


def logged(desk: FeedDesk, sql: str) -> list[list[object]]:
    desk.workspace.predictions.ingest()
    return desk.workspace.predictions.query("bikes", sql).rows


def test_every_row_is_scored_in_order_as_the_release_would_over_http(desk: FeedDesk) -> None:
    frame = bikes(2500, 1)
    desk.put("in.csv", frame)
    scored = desk.score("in.csv", "out.parquet")
    loaded, _ = runtime.load(PlannedRelease(release_hash=desk.version.release_hash, version=1, path=desk.version.path))
    body = msgspec.json.encode({"rows": frame[["temp", "wind", "station"]].to_dict("records")})
    online = loaded.predict(loaded.codec.columns([loaded.codec.decode(body)])).prediction
    found = answers(desk)
    assert scored.rows == len(found) == 2500
    assert found["prediction"].tolist() == online.tolist()
    assert found["key"].tolist() == frame["hire"].tolist()
    assert found["id"].is_unique


def test_the_rows_are_in_the_log_with_their_time_and_key_and_say_that_they_came_in_a_batch(desk: FeedDesk) -> None:
    frame = bikes(1500, 2)
    desk.put("in.csv", frame)
    desk.score("in.csv", "out.parquet")
    rows = logged(desk, "select _id, _row, _key, epoch_ms(_event_time), _prediction, temp from log order by _key")
    found = answers(desk).sort_values("key")
    assert [f"{row[0]}:{row[1]}" for row in rows] == found["id"].tolist()
    assert [row[2] for row in rows] == sorted(frame["hire"])
    assert [row[4] for row in rows] == found["prediction"].tolist()
    times = frame.sort_values("hire")["hired at"].astype("datetime64[ms]").astype("int64")
    assert [row[3] for row in rows] == times.tolist()
    assert logged(desk, "select distinct _path, _version, _release from log") == [
        ["batch", 1, desk.version.release_hash]
    ]
    hours = desk.workspace.predictions.sub_windows("bikes")
    assert sum(hour.rows for hour in hours) == 1500


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_the_output_holds_the_same_numbers_in_every_format(desk: FeedDesk, ending: str) -> None:
    desk.put("in.csv", bikes(400, 3))
    desk.score("in.csv", "a.parquet")
    desk.score("in.csv", f"b.{ending}")
    assert answers(desk, "a.parquet")["prediction"].tolist() == answers(desk, f"b.{ending}")["prediction"].tolist()


def test_rows_are_held_a_piece_at_a_time(desk: FeedDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("in.csv", bikes(1000, 4))
    desk.score("in.csv", "whole.parquet")
    monkeypatch.setattr(batches, "CHUNK_ROWS", 128)
    seen: list[tuple[int, int]] = []
    score(desk.batch("in.csv", "pieces.parquet"), progress=lambda *at: seen.append(at), clock=desk.clock)
    assert (
        answers(desk, "pieces.parquet")["prediction"].tolist() == answers(desk, "whole.parquet")["prediction"].tolist()
    )
    assert seen[0] == (0, 1000)
    assert seen[-1] == (1000, 1000)
    assert len(seen) == 9


def spoilt(how: str) -> pd.DataFrame:
    frame = bikes(900, 5)
    match how:
        case "gone":
            return frame.drop(columns="temp")
        case "renamed":
            return frame.rename(columns={"temp": "temps"})
        case "a word":
            return frame.assign(temp=frame["temp"].astype(object).where(frame.index != 700, "cold"))
        case "a null":
            return frame.assign(station=frame["station"].where(frame.index != 3))
    return frame.assign(station=frame["station"] + 0.5)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "column temp: missing"),
        ("renamed", "column temp: missing (you sent 'temps')"),
        ("a word", 'row 701, column temp: expected a number, got "cold"'),
        ("a null", "row 4, column station: expected a whole number, got null"),
        ("fractions", "row 1, column station: expected a whole number"),
    ],
)
def test_input_that_cannot_be_read_names_row_and_column_and_leaves_nothing(
    desk: FeedDesk, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    monkeypatch.setattr(batches, "CHUNK_ROWS", 256)
    desk.put("in.csv", spoilt(how))
    (desk.folder / "out.parquet").write_text("of last week")
    with pytest.raises(Invalid) as refused:
        desk.score("in.csv", "out.parquet")
    assert said in str(refused.value)
    assert (desk.folder / "out.parquet").read_text() == "of last week"
    nothing_left(desk)


def nothing_left(desk: FeedDesk) -> None:
    run = desk.workspace.path / "run"
    assert [each.name for each in desk.folder.iterdir() if each.name.startswith(".out")] == []
    assert list((run / "scoring").iterdir()) == []
    assert list((run / "spool").glob("*.spool")) == []
    assert desk.workspace.predictions.ingest().rows == 0


def test_an_empty_table_gives_an_empty_output(desk: FeedDesk) -> None:
    desk.put("in.csv", bikes(10, 6)[:0])
    assert desk.score("in.csv", "out.csv").rows == 0
    assert (desk.folder / "out.csv").read_text().strip() == "id,key,prediction"


def test_a_model_that_fails_on_some_row_says_where(desk: FeedDesk) -> None:
    frame = bikes(50, 7)
    frame.loc[20, "temp"] = np.inf
    desk.put("in.csv", frame)
    with pytest.raises(Invalid, match="the model fails on rows 1 to 50") as refused:
        desk.score("in.csv")
    assert "infinity" in str(refused.value)
    nothing_left(desk)


def test_what_is_not_recorded_for_requests_is_not_for_batches(desk: FeedDesk) -> None:
    desk.put("in.csv", bikes(100, 8))
    assert not desk.score("in.csv", log=LogSettings(enabled=False)).logged
    assert desk.workspace.predictions.ingest().rows == 0
    desk.score("in.csv", log=LogSettings(redact=("wind",)))
    desk.workspace.predictions.ingest()
    assert "wind" not in desk.workspace.predictions.query("bikes", "select * from log limit 1").columns


def test_a_model_nobody_vouched_for_is_not_loaded(desk: FeedDesk) -> None:
    desk.put("in.csv", bikes(10, 9))
    batch = desk.batch("in.csv")
    foreign = msgspec.structs.replace(batch, version=msgspec.structs.replace(batch.version, trusted=False))
    with pytest.raises(Denied, match="nobody has vouched"):
        score(foreign)


@pytest.mark.parametrize(
    ("output", "said"), [("out.xlsx", "no format"), ("nowhere/out.csv", "no folder"), ("", "names no")]
)
def test_an_output_that_cannot_be_written_is_told_before_any_work(desk: FeedDesk, output: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        desk.score("in.csv", output)


# ---------------------------------------------------------------- kills


class Killed(BaseException):
    """The process dies here: nothing of it runs any more."""


def die_after(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """End the next publication as a kill would, after this step."""
    monkeypatch.setattr(publication.Publication, "__exit__", lambda self, *_: self._lock.close())
    if step == "scored":
        monkeypatch.setattr(publication.Publication, "publish", _dies)
    elif step == "complete":
        monkeypatch.setattr(publication, "_finish", _dies)
    else:
        monkeypatch.setattr(publication.shutil, "rmtree", _dies)


def _dies(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize(("step", "rows_after"), [("scored", 0), ("complete", 600), ("moved", 600)])
def test_killed_anywhere_a_batch_has_happened_once_or_never(desk: FeedDesk, step: str, rows_after: int) -> None:
    desk.put("in.csv", bikes(600, 10))
    with pytest.MonkeyPatch.context() as patched:
        die_after(patched, step)
        with contextlib.suppress(Killed):
            desk.score("in.csv")
    run = desk.workspace.path / "run"
    publication.recover(aside=run / "scoring", spool_dir=run / "spool")
    assert desk.workspace.predictions.ingest().rows == rows_after
    assert (desk.folder / "out.csv").exists() == (rows_after > 0)
    assert list((run / "scoring").iterdir()) == []
    assert [each.name for each in desk.folder.iterdir() if each.name.startswith(".out")] == []


def test_a_batch_at_work_is_let_alone_by_another(desk: FeedDesk) -> None:
    run = desk.workspace.path / "run"
    with publication.Publication(
        aside=run / "scoring", spool_dir=run / "spool", output=desk.folder / "other.csv"
    ) as other:
        desk.put("in.csv", bikes(50, 11))
        desk.score("in.csv")
        assert other.folder.is_dir()
    assert not other.folder.exists()
