from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from mlspine.advisor.effort import CONCEPTS, concepts_of, report
from mlspine.cli import typed
from mlspine.cli.main import COMMANDS, cli
from mlspine.core import effort
from mlspine.core.effort import Step

MINUTE_MS = 60_000


def step(minute: float, what: str, *names: str, by: str = "command", **rest: Any) -> Step:
    """One that ended at that minute and took six seconds."""
    return Step(at_ms=int(minute * MINUTE_MS), took_s=6.0, by=by, what=what, names=names, **rest)  # type: ignore[arg-type]


FIRST = (
    step(1, "ship", "churn", by="line"),
    step(2, "serve", "churn", ok=False, config_at_ms=90_000),
    step(3, "serve", "churn", config_at_ms=90_000),
    step(4, "status", "churn", config_at_ms=90_000),
    step(60, "rollback", "churn", config_at_ms=90_000),
)
SECOND = (step(100, "ship", "price", by="line", config_at_ms=90_000), step(101, "serve", "price", config_at_ms=90_000))


def test_a_deployment_is_counted_from_its_first_mention_to_its_answer() -> None:
    (churn,) = report(FIRST, {"churn": 3 * MINUTE_MS - 1000}).deployments
    until = churn.until_answering
    assert (until.lines, until.commands, until.failed, until.files) == (1, 2, 1, 1)
    assert until.new_concepts == ("model", "release", "endpoint")
    assert until.minutes == pytest.approx(2.1)  # from the start of the first step to the end of the third


def test_all_that_was_done_later_counts_too_and_a_pause_at_most_five_minutes() -> None:
    (churn,) = report(FIRST, {"churn": 3 * MINUTE_MS}).deployments
    assert churn.in_all.commands == 4
    assert churn.in_all.new_concepts == ("model", "release", "endpoint", "alert")
    assert churn.in_all.minutes == pytest.approx(2.1 + 1 + 5 + 0.1)


def test_the_second_deployment_is_compared_with_the_first() -> None:
    found = report([*FIRST, *SECOND], {"churn": 3 * MINUTE_MS, "price": 101 * MINUTE_MS})
    second = found.deployments[1].in_all
    assert (second.lines, second.commands, second.files, second.new_concepts) == (1, 1, 0, ())
    assert found.second == (
        "price after churn: 1 line and 1 command instead of 1 line and 4 commands, 6.1 minutes instead of 8.2,"
        " 0 new concepts instead of 4, 0 files instead of 1"
    )


def test_steps_without_a_model_belong_to_the_one_named_last_and_the_first_ones_to_the_first() -> None:
    steps = [step(1, "config"), *SECOND, step(102, "alerts test", options=("notify",))]
    (price,) = report(steps, {"price": 101 * MINUTE_MS}).deployments
    assert price.until_answering.commands == 2
    assert price.in_all.commands == 3


def test_a_model_on_its_way_is_told_as_not_answering_yet() -> None:
    (churn,) = report(FIRST[:2], {}).deployments
    assert churn.answered_at_ms == 0
    assert churn.until_answering.commands == 1


def test_every_command_has_its_concepts_written_down() -> None:
    assert [name for name in COMMANDS if name not in CONCEPTS] == []


def test_options_bring_concepts_of_their_own() -> None:
    assert concepts_of(step(0, "ship", options=("labels", "tier"))) == ["model", "release", "feed", "label", "tier"]


def test_a_file_that_cannot_be_written_or_read_fails_nobody(tmp_path: Path) -> None:
    effort.append(tmp_path / "missing", FIRST[0])
    assert effort.read(tmp_path / "missing") == []
    effort.append(tmp_path, FIRST[0])
    with (tmp_path / effort.FILE).open("ab") as file:
        file.write(b'{"half": \n')
    effort.append(tmp_path, FIRST[2])
    assert effort.read(tmp_path) == [FIRST[0], FIRST[2]]
    assert stat.S_IMODE((tmp_path / effort.FILE).stat().st_mode) == 0o600


def test_the_file_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "MAX_BYTES", 300)
    for _ in range(50):
        effort.append(tmp_path, FIRST[0])
    assert (tmp_path / effort.FILE).stat().st_size < 600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("serve churn:2 --port 9090", {"what": "serve", "names": ("churn",), "options": ("port",), "scripts": ()}),
        ("labels add churn secret.csv", {"what": "labels add", "names": ("churn",), "options": (), "scripts": ()}),
        (
            "ship model.joblib --name churn --data x.csv --tier high",
            {"what": "ship", "names": ("churn",), "options": ("name", "data", "tier"), "scripts": ()},
        ),
        ("up --notify https://secret@chat", {"what": "up", "names": (), "options": ("notify",), "scripts": ()}),
        ("status", {"what": "status", "names": (), "options": (), "scripts": ()}),
        ("serve --no-such-option", {"what": "serve", "names": (), "options": (), "scripts": ()}),
    ],
)
def test_what_was_typed_is_kept_without_the_values_of_options(line: str, words: dict[str, Any]) -> None:
    assert typed.words(cli, line.split()) == words
