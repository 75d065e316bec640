"""Comparing tables: the same rows give the same verdict from wherever they come, and bad input is told."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlspine
from mlspine.comparing import rows as readers
from mlspine.comparing import survey
from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound
from mlspine.monitoring.document import schema

DAY = np.timedelta64(1, "D")


def table(rows: int, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    pay = rng.lognormal(size=rows)
    pay[rng.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "pay": pay,
            "age": rng.integers(18, 90, rows),
            "kind": rng.choice(np.array(["red", "green", "blue"], dtype=object), rows),
            "member": rng.random(rows) < 0.3,
            "at": np.datetime64("2026-01-05", "us") + rng.integers(0, 40 * 86_400, rows) * np.timedelta64(1, "s"),
            "note": [f"note {i} {'x' * (i % 9)}" for i in range(rows)],
        }
    )


@pytest.fixture(scope="module")
def before() -> pd.DataFrame:
    return table(4_000)


@pytest.fixture(scope="module")
def changed() -> pd.DataFrame:
    found = table(2_000, seed=1)
    found["pay"] *= 1.6
    found.loc[:150, "kind"] = "violet"
    return found


FORMS = {
    "polars": pl.from_pandas,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "records": lambda frame: frame.astype(object).where(frame.notna(), None).to_dict("records"),
    "arrow dtypes": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "masked dtypes": lambda frame: frame.convert_dtypes(),
    "categories": lambda frame: frame.astype({"kind": "category"}),
}


def counts(profile: mlspine.Profile) -> list[list[int]]:
    return [tally.counts.tolist() for tally in profile.reference.profile.parts]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_counted_the_same_whatever_library_holds_it(before: pd.DataFrame, form: str) -> None:
    first = mlspine.profile(before)
    again = mlspine.profile(FORMS[form](before))
    assert again.reference.id == first.reference.id
    assert counts(again) == counts(first)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_is_counted_as_the_table_in_it(before: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    write = {
        "parquet": before.to_parquet,
        "csv": lambda to: before.to_csv(to, index=False),
        "jsonl": lambda to: before.to_json(to, orient="records", lines=True, date_format="iso", double_precision=15),
    }
    write[ending](path)
    first = mlspine.profile(before)
    assert counts(mlspine.profile(str(path), like=first)) == counts(first)


def test_parquet_is_read_without_pyarrow_too(
    before: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    before.to_parquet(path, row_group_size=1_500)
    first = mlspine.profile(before)
    monkeypatch.setattr(readers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(readers, "BATCH_ROWS", 700)
    assert counts(mlspine.profile(path, like=first)) == counts(first)


def test_rows_that_do_not_fit_in_memory_are_counted_exactly(
    before: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    before.to_parquet(path, row_group_size=1_000)
    monkeypatch.setattr(survey, "HELD_VALUES", 100)
    monkeypatch.setattr(readers, "BATCH_ROWS", 300)
    streamed = mlspine.profile(path)
    assert streamed.columns == mlspine.profile(before).columns
    assert streamed.reference.kinds == mlspine.profile(before).reference.kinds
    assert counts(mlspine.profile(before, like=streamed)) == counts(streamed)
    assert all(sum(held) == 4_000 for held in counts(streamed))


def test_columns_that_changed_are_named_and_the_others_not(before: pd.DataFrame, changed: pd.DataFrame) -> None:
    found = mlspine.drift(before, changed)
    loud = {feature.name for feature in found.features if feature.severity in ("WARNING", "CRITICAL")}
    assert loud == {"pay", "kind"}
    assert found.severity == "WARNING"
    assert "'violet'" in next(feature.why for feature in found.features if feature.name == "kind")
    assert "pay" in str(found)
    jsonschema.validate(found.to_dict(), schema())
    assert found._repr_html_().startswith("<iframe")
    assert "violet" in found.html()


def test_an_unchanged_table_is_ok(before: pd.DataFrame) -> None:
    found = mlspine.drift(before, table(2_000, seed=2))
    assert found.severity in ("OK", "INFO")
    assert {feature.role for feature in found.features} == {"input"}


def test_profiles_judge_as_the_rows_they_count(before: pd.DataFrame, changed: pd.DataFrame, tmp_path: Path) -> None:
    reference = mlspine.profile(before, check=True)
    saved = reference.save(tmp_path / "before.profile")
    by_rows = mlspine.drift(before, changed).to_dict()
    counted = mlspine.profile(changed, like=reference)
    for left, right in ((reference, counted), (saved, changed), (str(saved), counted.save(tmp_path / "now.profile"))):
        found = mlspine.drift(left, right).to_dict()
        assert [(each["name"], each["p"], each["severity"]) for each in found["features"]] == [
            (each["name"], each["p"], each["severity"]) for each in by_rows["features"]
        ]


def test_halves_add_up_to_the_whole(before: pd.DataFrame) -> None:
    whole = mlspine.profile(before)
    first, second = (mlspine.profile(half, like=whole) for half in (before[:1_000], before[1_000:]))
    assert counts(first + second) == counts(whole)
    with pytest.raises(Conflict, match="different bins"):
        _ = first + mlspine.profile(before[:500])


def test_days_are_kept_so_that_any_two_periods_can_be_compared(before: pd.DataFrame) -> None:
    whole = mlspine.profile(before, time="at")
    assert "at" not in whole.columns
    assert len(whole.days) == 40
    january = whole.between("2026-01-05", "2026-02-01")
    rows = before[before["at"] < "2026-02-01"]
    assert january.rows == len(rows)
    undated = mlspine.profile(before.drop(columns="at"))
    assert counts(january) == counts(mlspine.profile(rows.drop(columns="at"), like=undated))
    assert mlspine.drift(january, whole.between("2026-02-01", "2026-03-01")).severity in ("OK", "INFO")
    with pytest.raises(Invalid, match="no rows from"):
        whole.between("2027-01-01", "2027-02-01")


def test_limits_follow_from_the_reference_s_own_weeks() -> None:
    rng = np.random.default_rng(3)
    at = np.datetime64("2026-01-05", "us") + rng.integers(0, 84 * 86_400, 40_000) * np.timedelta64(1, "s")
    weekly = rng.normal(size=13)[((at - at.min()) / (7 * DAY)).astype(int)]
    frame = pd.DataFrame({"at": at, "wild": rng.normal(size=40_000) + weekly, "calm": rng.normal(size=40_000)})
    found = mlspine.drift(frame, frame.tail(2_000), time="at")
    limit = {each["name"]: each["limit"]["mean_sd"] for each in found.to_dict()["features"]}
    assert limit["calm"] < 0.3 < limit["wild"]
    assert found.report.seasonality == ""
    assert mlspine.drift(frame, frame.tail(2_000)).report.seasonality != ""


def test_scores_and_predictions_are_judged_as_outputs(before: pd.DataFrame) -> None:
    rng = np.random.default_rng(4)
    scored = before.assign(risk=rng.random(len(before)), answer=rng.random(len(before)) < 0.5)
    later = scored.assign(risk=np.sqrt(scored["risk"]))
    found = mlspine.drift(scored, later, score="risk", prediction="answer", columns=["pay", "risk", "answer"])
    roles = {feature.role: feature.severity for feature in found.features}
    assert roles["score"] == "WARNING"
    assert roles["prediction"] == "OK"


def test_what_the_model_ignores_never_warns(before: pd.DataFrame, changed: pd.DataFrame) -> None:
    floors = {"unseen_pp": 20.0, "tv": 0.5, "js": 0.5}
    found = mlspine.drift(before, changed, importance={"kind": 1.0, "pay": 0.0}, floors={"kind": floors})
    told = {feature.name: feature.severity for feature in found.features}
    assert told["pay"] == "INFO"
    assert told["kind"] in ("INFO", "OK")


def test_too_few_rows_are_never_called_unchanged(before: pd.DataFrame) -> None:
    found = mlspine.drift(before, before[:100])
    assert found.report.status == "INSUFFICIENT"
    assert found.severity == "INFO"
    assert mlspine.drift(before, before[:100], min_rows=100).report.status == "JUDGED"


def test_columns_that_hold_nothing_are_of_any_type(before: pd.DataFrame) -> None:
    found = mlspine.drift(before, before.assign(pay=None, age=None)[:2_000])
    assert {each.name: each.severity for each in found.features}["age"] == "CRITICAL"


def test_columns_that_cannot_be_counted_are_told(before: pd.DataFrame) -> None:
    found = mlspine.profile(before.assign(odd=[{"a": 1}] * len(before)))
    assert "odd" in found.skipped
    assert "not counted: odd" in str(found)
    assert "<table>" in found._repr_html_()


def test_vectors_and_times_and_free_text_are_found_to_move(before: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    at, note = before["at"].to_numpy()[:3_000], before["note"].to_numpy()[:3_000]
    rows = {"v": rng.normal(size=(3_000, 16)), "t": at, "n": note}
    moved = {"v": rows["v"] + 1.0, "t": at.astype("datetime64[D]").astype("datetime64[us]"), "n": note + "y" * 9}
    found = mlspine.drift(rows, moved)
    assert {each.name for each in found.features if each.severity != "OK"} == {"v", "t", "n"}


def problem(reference: object, current: object, kind: type[Exception] = Invalid, **options: object) -> str:
    with pytest.raises(kind) as found:
        mlspine.drift(reference, current, **options)
    return str(found.value)


def test_every_problem_of_the_columns_is_named_at_once(before: pd.DataFrame) -> None:
    told = problem(before, before.rename(columns={"pay": "pays"}).assign(age="old"))
    assert "pay: no such column, did you mean pays?" in told
    assert "age: numbers in the DataFrame, text in the DataFrame" in told
    assert "zip: no such column" in problem(before, before, columns=["zip"])


def test_what_cannot_be_read_is_said(before: pd.DataFrame, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    before.to_parquet(broken)
    broken.write_bytes(broken.read_bytes()[:3_000])
    assert "cannot be read" in problem(before, broken)
    before.to_parquet(tmp_path / "hurt.parquet")
    whole = bytearray((tmp_path / "hurt.parquet").read_bytes())
    whole[4:20_000] = b"\xff" * 19_996
    (tmp_path / "hurt.parquet").write_bytes(bytes(whole))
    assert "hurt.parquet cannot be read" in problem(before, tmp_path / "hurt.parquet")
    assert "no file" in problem(before, tmp_path / "none.parquet", NotFound)
    assert "has no rows" in problem(before, before[:0])
    (tmp_path / "head.csv").write_text(",".join(before.columns) + "\n")
    assert "has no rows" in problem(before, tmp_path / "head.csv")
    assert "is no source" in problem(before, "rows.xlsx")


def test_files_of_one_glob_must_hold_the_same_columns(before: pd.DataFrame, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(before), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pandas(before), tmp_path / "b.parquet")
    assert mlspine.profile(tmp_path / "*.parquet").rows == 8_000
    pq.write_table(pa.Table.from_pandas(before.drop(columns="age")), tmp_path / "c.parquet")
    assert "c.parquet lacks columns" in problem(before, tmp_path / "*.parquet")


def test_profiles_that_do_not_fit_are_refused(before: pd.DataFrame, tmp_path: Path) -> None:
    plain, dated = mlspine.profile(before), mlspine.profile(before, time="at")
    assert "different bins" in problem(plain, mlspine.profile(before[:3_000]), Conflict)
    assert "no time column" in problem(plain, before, Conflict, time="at")
    assert "floors" in problem(dated, before, Conflict, floors={"pay": {"js": 0.2}})
    assert "alpha" in problem(plain, before, alpha=2.0)
    assert "importance names" in problem(plain, before, importance={"zip": 1.0})
    path = plain.save(tmp_path / "before.profile")
    path.write_bytes(path.read_bytes()[:-40])
    assert "damaged" in problem(path, before, Corrupt)


def test_a_dated_profile_comes_back_as_it_was(before: pd.DataFrame, changed: pd.DataFrame, tmp_path: Path) -> None:
    dated = mlspine.profile(before, time="at", check=True)
    back = mlspine.Profile.load(dated.save(tmp_path / "dated.profile"))
    assert str(back) == str(dated)
    assert back.hours == dated.hours
    judged = mlspine.drift(back, changed).to_dict()
    again = mlspine.drift(dated, changed).to_dict()
    assert judged["features"] == again["features"]
    assert back.between("2026-01-05", "2026-01-12").rows == dated.between("2026-01-05", "2026-01-12").rows


def test_the_verdict_is_saved_as_page_or_document(before: pd.DataFrame, tmp_path: Path) -> None:
    found = mlspine.drift(before, before[:1_000])
    assert found.save(tmp_path / "d.html").read_text().startswith("<!")
    assert b'"features"' in found.save(tmp_path / "d.json").read_bytes()
    with pytest.raises(Invalid, match="neither in"):
        found.save(tmp_path / "d.txt")
