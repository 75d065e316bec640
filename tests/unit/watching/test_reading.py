"""Every row of a log once: read twice, copied, grown, written anew, and killed in between."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine.core.errors import Invalid, NotFound
from mlspine.watching import pages, reading
from tests.unit.watching.desk import Desk, answered, desk_in


class KilledError(Exception):
    """Stands for the end of the process between two pieces."""


def test_a_log_read_again_or_copied_adds_nothing_and_keeps_log_and_profiles_alike(desk: Desk) -> None:
    desk.watch()
    answered(900, seed=1).drop(columns="label").to_parquet(desk.folder / "a.parquet")
    first = desk.read_from("*.parquet")
    assert (first.files, first.rows) == (1, 900)
    assert desk.workspace.watching.read("fraud").files == 0
    (desk.folder / "b.parquet").write_bytes((desk.folder / "a.parquet").read_bytes())
    again = desk.workspace.watching.read("fraud")
    assert (again.files, again.rows) == (1, 0)
    assert again.examples == ("b.parquet is a copy of a.parquet, which was read",)
    assert desk.logged() == desk.counted() == 900


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_that_grew_is_read_on(desk: Desk, ending: str) -> None:
    desk.watch()
    rows = answered(700, seed=2).drop(columns="label")
    path = desk.folder / f"log.{ending}"
    _write(rows[:300], path)
    assert desk.read_from(f"log.{ending}").rows == 300
    _write(rows, path)
    assert desk.workspace.watching.read("fraud").rows == 400
    assert desk.logged() == desk.counted() == 700
    assert desk.logged("select count(distinct (_id, _row)) from log") == 700
    assert abs(desk.logged("select sum(amount) from log") - rows["amount"].sum()) < 1e-6


def test_a_file_written_anew_is_left_alone_unless_its_rows_have_ids(desk: Desk) -> None:
    desk.watch()
    rows = answered(200, seed=3).drop(columns="label")
    rows.to_csv(desk.folder / "log.csv", index=False)
    desk.read_from("log.csv")
    rows[::-1].to_csv(desk.folder / "log.csv", index=False)
    told = desk.workspace.watching.read("fraud")
    assert told.rows == 0
    assert "written anew" in told.problems[0]
    assert [alert.cause for alert in desk.workspace.monitoring.alerts("fraud")] == ["feed:predictions"]
    ids = rows.assign(id=range(200))
    ids.to_parquet(desk.folder / "ids.parquet")
    assert desk.read_from("ids.parquet").rows == 200
    more = answered(50, seed=4).drop(columns="label").assign(id=range(190, 240))
    more["ts"] = [*rows["ts"][190:], *more["ts"][:40]]
    more.to_parquet(desk.folder / "ids.parquet")
    again = desk.workspace.watching.read("fraud")
    assert (again.rows, again.duplicates) == (40, 10)
    assert desk.workspace.monitoring.alerts("fraud") == []


def test_a_kill_between_two_pieces_neither_loses_nor_doubles(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pages, reading):
        monkeypatch.setattr(module, "CHUNK_ROWS", 100)
    desk.watch()
    rows = answered(450, seed=5)
    for ending in ("csv", "parquet"):
        _write(rows.assign(id=range(450)) if ending == "csv" else rows, desk.folder / f"log.{ending}")
    record, pieces = desk.workspace.predictions.record, 0

    def killed(*args: Any, **more: Any) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces % 3 == 0:
            raise KilledError
        return record(*args, **more)

    monkeypatch.setattr(desk.workspace.predictions, "record", killed)
    taken = 0
    for log in ("log.csv", "log.parquet"):
        desk.workspace.watching.read_from("fraud", source=log, actor=_me())
        for _ in range(20):
            try:
                taken += desk.workspace.watching.read("fraud").rows
                break
            except KilledError:
                continue
    assert pieces > 12
    assert desk.logged() == desk.counted() == 900
    assert desk.workspace.predictions.summary("fraud").labelled_rows == 900


def test_a_log_that_was_rotated_is_read_on_under_its_new_name(desk: Desk) -> None:
    desk.watch()
    rows = answered(300, seed=13).drop(columns="label")
    path = desk.folder / "app.csv"
    rows[:100].to_csv(path, index=False)
    assert desk.read_from("app*.csv").rows == 100
    rows[:150].to_csv(path, index=False)
    path.rename(desk.folder / "app-0601.csv")
    rows[150:].to_csv(path, index=False)
    assert desk.workspace.watching.read("fraud").rows == 200
    assert desk.workspace.watching.read("fraud").files == 0
    assert desk.logged() == desk.counted() == 300


def test_a_last_line_that_is_still_being_written_waits(desk: Desk) -> None:
    desk.watch()
    text = answered(10, seed=6).drop(columns="label").to_csv(index=False)
    path = desk.folder / "log.csv"
    path.write_text(text[:-9])
    assert desk.read_from("log.csv").rows == 9
    path.write_text(text)
    assert desk.workspace.watching.read("fraud").rows == 1


def test_what_cannot_be_read_costs_its_rows_and_is_told(desk: Desk) -> None:
    desk.watch()
    rows = answered(20, seed=7).drop(columns="label").astype({"amount": object})
    rows.loc[3, "amount"] = "much"
    rows.to_csv(desk.folder / "log.csv", index=False)
    told = desk.read_from("log.csv")
    assert (told.rows, told.refused) == (19, 1)
    assert told.examples == ("log.csv row 4: amount: 'much' is not a number",)
    assert "1 rows could not be read" in desk.workspace.monitoring.alerts("fraud")[0].why


def test_a_file_of_which_no_row_can_be_read_is_not_taken_for_read(desk: Desk) -> None:
    desk.watch()
    rows = answered(20, seed=8).drop(columns="label").rename(columns={"prediction": "answer", "score": "p"})
    rows.to_parquet(desk.folder / "log.parquet")
    told = desk.read_from("log.parquet")
    assert told.rows == 0
    assert "no column that is the prediction" in told.problems[0]
    assert desk.read_from("log.parquet", prediction="answer", score="p").rows == 20


def test_a_query_needs_ids_and_then_gives_each_row_once(desk: Desk) -> None:
    desk.watch()
    answered(60, seed=9).drop(columns="label").assign(nr=range(60)).to_parquet(desk.folder / "log.parquet")
    with pytest.raises(Invalid, match="no id to be told apart by"):
        desk.read_from("select * from 'log.parquet'", id="-")
    assert desk.read_from("select * from 'log.parquet'", id="nr").rows == 60
    again = desk.workspace.watching.read("fraud")
    assert (again.rows, again.duplicates) == (0, 60)


def test_logs_that_are_due_are_read_and_the_next_time_is_set(desk: Desk) -> None:
    desk.watch()
    answered(30, seed=10).to_parquet(desk.folder / "log.parquet")
    desk.workspace.watching.read_from("fraud", source="log.parquet", every="1h", actor=_me())
    assert [each.rows for each in desk.workspace.watching.read_due()] == [30]
    assert desk.workspace.watching.read_due() == []
    desk.clock.now_ms += 3 * 3_600_000 + 5
    (desk.folder / "log.parquet").unlink()
    assert desk.workspace.watching.read_due() == []  # told by an alert, and tried again when it is due
    source = desk.workspace.watching.of("fraud").source
    assert source is not None
    assert "no file" in source.problem
    assert source.next_due_at_ms > desk.clock.now_ms
    with pytest.raises(NotFound):
        desk.workspace.watching.read("fraud")


def test_hours_of_the_past_are_not_judged_while_they_are_read_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.watch()
    answered(1200, seed=11, start="2026-05-20", seconds=10).to_parquet(desk.folder / "log.parquet")
    record = desk.workspace.predictions.record
    seen: list[int] = []

    def watched(*args: Any, **more: Any) -> Any:
        done = record(*args, **more)
        seen.append(len(desk.workspace.monitoring.check("fraud")))
        return done

    monkeypatch.setattr(desk.workspace.predictions, "record", watched)
    desk.read_from("log.parquet")
    assert seen == [0]
    assert len(desk.workspace.monitoring.check("fraud", force=True)) >= 1


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 130), st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_any_order_of_growing_copying_and_reading_gives_each_row_once(steps: list[tuple[int, bool, bool]]) -> None:
    rows = answered(1000, seed=12).drop(columns="label")
    with tempfile.TemporaryDirectory() as folder, desk_in(Path(folder)) as desk:
        desk.watch()
        there, path = 0, desk.folder / "log.csv"
        desk.workspace.watching.read_from("fraud", source="log*.csv", actor=_me())
        for more, copied, read in steps:
            there += more
            # With a format: pandas writes a lone midnight as a date, which would be another row later.
            rows[:there].to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S")
            if read:
                desk.workspace.watching.read("fraud")
            if copied and read:
                (desk.folder / "log-copy.csv").write_bytes(path.read_bytes())
                desk.workspace.watching.read("fraud")
                (desk.folder / "log-copy.csv").unlink()
        desk.workspace.watching.read("fraud")
        assert desk.logged() == desk.counted() == there


def _write(rows: Any, path: Path) -> None:
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        rows.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        rows.to_parquet(path)


def _me() -> Any:
    from tests.unit.watching.desk import ME

    return ME
