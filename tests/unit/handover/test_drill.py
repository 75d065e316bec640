"""A drill types every line in order and ends at the first that goes wrong."""

from __future__ import annotations

import pytest

from mlspine.handover.drill import Drilled, Line, Ran, Traffic, conclude, exercise
from mlspine.handover.runbook import Runbook, Step


def runbook(*steps: Step) -> Runbook:
    return Runbook(task="rollback", endpoint="churn", purpose="", facts=(), first=(), steps=steps, undo=(), call=())


def typed(steps: tuple[Step, ...], answers: dict[str, Ran], *, traffic: Traffic | None = None) -> Drilled:
    told: list[Line] = []
    lines = exercise(runbook(*steps), lambda command: answers[command], tell=told.append)
    assert tuple(told) == lines
    return conclude(runbook(*steps), lines, traffic or Traffic())


ONE, TWO = Step(command="one", does="", prints="done"), Step(command="two", does="", prints="done")


def test_all_lines_printing_what_they_should_pass() -> None:
    drilled = typed((ONE, TWO), {"one": Ran(0, "it is done", 1.0), "two": Ran(0, "done", 2.0)})
    assert drilled.passed
    assert drilled.duration_s == 3.0


@pytest.mark.parametrize("ran", [Ran(1, "done", 1.0), Ran(0, "something else", 1.0)])
def test_a_wrong_exit_code_or_other_words_end_it_there(ran: Ran) -> None:
    drilled = typed((ONE, TWO), {"one": ran})
    assert not drilled.passed
    assert [line.command for line in drilled.lines] == ["one"]
    assert "`one` ended with" in drilled.why


def test_a_line_is_left_out_when_the_one_before_did_not_print_its_condition() -> None:
    conditional = Step(command="two", does="", only_after="Staging")
    drilled = typed((ONE, conditional), {"one": Ran(0, "done: refused", 1.0)})
    assert drilled.passed
    assert "Staging" in drilled.lines[1].skipped
    drilled = typed((ONE, conditional), {"one": Ran(0, "done: Staging", 1.0), "two": Ran(0, "", 1.0)})
    assert drilled.lines[1].skipped == ""


def test_a_request_that_failed_meanwhile_fails_the_drill() -> None:
    answers = {"one": Ran(0, "done", 1.0)}
    drilled = typed((ONE,), answers, traffic=Traffic(requests=100, failed=1, releases=("a", "b")))
    assert not drilled.passed
    assert drilled.why == "1 of 100 requests failed meanwhile"
