"""Runbooks hold real values, whole commands and what they print; they follow from what is live."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from mlspine.core.plan import Endpoint, LogSettings, Revision, Traffic
from mlspine.core.types import FeedState, ModelVersion
from mlspine.handover.runbook import TASKS, Known, Runbook, markdown, write_runbook

NOW = 1_760_000_000_000


def version(number: int) -> ModelVersion:
    return ModelVersion(
        model="churn",
        version=number,
        release_hash=f"{number}" * 64,
        stage="Production",
        path=f"releases/{number}",
        created_at_ms=NOW,
        captured={"example": {"it's": number, "city": "São Paulo"}},
    )


def revision(number: int) -> Revision:
    return Revision(
        endpoint="churn",
        number=number or 1,
        version=number,
        release_hash=f"{number}" * 64 if number else "",
        cause="serve",
        log=LogSettings(),
        created_at_ms=NOW,
        actor="ada",
    )


def known(*, live: int = 2, before: int = 1, versions: int = 2, **changes: object) -> Known:
    all_versions = tuple(version(number) for number in range(1, versions + 1))
    said = Known(
        endpoint=Endpoint(
            name="churn",
            model="churn",
            current=revision(live),
            previous=revision(before) if before else None,
        ),
        versions=all_versions,
        live=all_versions[live - 1] if live else None,
        steps_back=2 if before else 1,
        workspace="/srv/my team/.mlspine",
        predictions_url="http://127.0.0.1:8080",
        control_url="http://127.0.0.1:8081",
        sinks=("webhook:hooks.example.org",),
        feeds=(FeedState(model="churn", role="source", text="fresh/*.parquet"),),
        recipe="refit",
        labelled_rows=0,
        owner="ada@example.org",
        owner_assumed=False,
        at_ms=NOW,
    )
    return msgspec.structs.replace(said, **changes)


def commands(runbook: Runbook) -> list[str]:
    return [step.command for step in runbook.commands()]


@pytest.mark.parametrize("task", TASKS)
def test_every_command_can_be_typed_as_it_stands(task: str) -> None:
    for command in commands(write_runbook(task, known())):  # type: ignore[arg-type]
        words = shlex.split(command)
        assert words[0] in ("mlspine", "curl")
        assert not any(word.isupper() and word.isalpha() for word in words)  # no NAME, FILE or VERSION to fill in


def test_deploying_a_newer_version_promotes_it_and_undo_names_the_one_it_returns_to() -> None:
    written = write_runbook("deploy", known(live=1, before=0, versions=2))
    (switch,) = [step for step in written.steps if "promote" in step.command]
    assert switch.command.startswith("mlspine promote churn 2 ")
    assert switch.prints == "moved to version 2, release 222222222222"
    assert written.undo[0].prints == "is back at version 1, release 111111111111"
    assert written.uninterrupted


def test_deploying_what_is_live_starts_it_and_interrupts_nothing_to_measure() -> None:
    written = write_runbook("deploy", known(live=2, before=1))
    assert "mlspine serve churn:2" in commands(written)
    assert not written.uninterrupted


def test_rolling_back_asks_a_recorded_row_and_expects_the_earlier_release() -> None:
    written = write_runbook("rollback", known())
    ask = next(step for step in written.steps if step.command.startswith("curl"))
    assert shlex.split(ask.command)[-1] == """{"rows": [{"it's": 1, "city": "S\\u00e3o Paulo"}]}"""
    assert ask.prints == "mlspine-release: " + "1" * 64
    assert written.uninterrupted


def test_rolling_back_the_first_release_expects_the_refusal_and_brings_it_forward_again() -> None:
    written = write_runbook("rollback", known(live=1, before=0, versions=1))
    assert written.steps[1].prints == 'now says "cannot answer"'
    assert written.undo[0].command.startswith("mlspine promote churn 1 ")
    assert not written.uninterrupted


def test_the_fallback_goes_back_as_often_as_there_are_releases() -> None:
    written = write_runbook("fallback", known())
    backs = [step.prints for step in written.steps if "rollback" in step.command]
    assert backs == ["is back at version", 'now says "cannot answer"']


def test_retraining_promotes_only_what_the_gate_let_pass_and_undoes_only_what_was_promoted() -> None:
    written = write_runbook("retrain", known())
    refit, promote = written.steps[1:]
    assert refit.command == "mlspine retrain churn"
    assert promote.command.startswith("mlspine promote churn 3 ")
    assert promote.only_after == "It is in Staging"
    assert written.undo[0].only_after == "moved to version"


@pytest.mark.parametrize("source", ["", "caller"])
def test_without_rows_to_fit_on_the_runbook_says_what_to_declare(source: str) -> None:
    feeds = (FeedState(model="churn", role="source", text=source),)
    written = write_runbook("retrain", known(feeds=feeds))
    assert written.steps == ()
    assert "mlspine feeds churn --source" in written.missing[0]
    assert "declare first" in markdown(written, when="2026-01-01")
    assert write_runbook("retrain", known(feeds=feeds, labelled_rows=500)).missing == ()


def test_without_a_recipe_the_runbook_says_how_to_give_one() -> None:
    assert "recipe=" in write_runbook("retrain", known(recipe="none")).missing[0]


def test_the_page_names_the_place_the_owner_and_when_it_was_drilled() -> None:
    page = markdown(write_runbook("rollback", known()), when="2026-01-01 10:00", drilled="Drilled today: passed.")
    for words in ("'/srv/my team/.mlspine'", "ada@example.org", "Drilled today", "webhook:hooks.example.org"):
        assert words in page


def test_an_owner_that_git_assumed_or_nobody_named_is_said_so() -> None:
    assert "assumed" in write_runbook("deploy", known(owner_assumed=True)).call[0]
    assert "mlspine card churn --set owner=" in write_runbook("deploy", known(owner="")).call[0]


def test_a_candidate_is_taken_back_before_the_rollback_that_would_otherwise_do_only_that() -> None:
    divided = msgspec.structs.replace(revision(2), traffic=Traffic(candidate=3, share=0.1))
    endpoint = msgspec.structs.replace(known().endpoint, current=divided)
    for task in ("rollback", "fallback"):
        typed = commands(write_runbook(task, known(endpoint=endpoint)))  # type: ignore[arg-type]
        back = next(n for n, line in enumerate(typed) if line.startswith("mlspine rollback"))
        assert typed.index("mlspine split churn --off") < back
        assert "mlspine split churn --off" not in commands(write_runbook(task, known()))  # type: ignore[arg-type]
