from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlspine.cli import guards as cli_guards
from mlspine.cli.guards import merged, span_of, tried_text
from mlspine.cli.main import cli
from mlspine.core.plan import Guards, OutputRule
from mlspine.handover.trying import Tried

IN_RANGE = OutputRule(kind="range", action="clip", lo=0.0, hi=1.0)
UP = OutputRule(kind="monotonic", action="count", field="income")


def asked(*words: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command line asks to be changed."""
    heard: dict[str, Any] = {}

    def change(name: str, given: Any, rules: Any, drop: Any, *, off: bool, reason: str, as_json: bool) -> None:
        heard.update(
            name=name, given={k: v for k, v in given.items() if v is not None}, rules=rules, drop=drop, off=off
        )

    monkeypatch.setattr(cli_guards, "_change", change)
    done = CliRunner().invoke(cli, ["guards", *words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return heard


def test_every_option_becomes_the_guard_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("churn", "--fallback", "none", "--answer", "no", "--score", "0.1", "--deadline", "0.2", "--range", "0..1")
    more = ("--deny", "a, b", "--abstain", "0.45..0.55", "--monotonic", "income:up", "--monotonic", "a:b:down")
    heard = asked(*words, *more, monkeypatch=monkeypatch)
    assert heard["given"] == {"fallback": "none", "answer": "no", "score": 0.1, "deadline_s": 0.2}
    assert heard["rules"] == [
        IN_RANGE,
        OutputRule(kind="deny", action="abstain", values=("a", "b")),
        OutputRule(kind="abstain", action="abstain", lo=0.45, hi=0.55),
        UP,
        OutputRule(kind="monotonic", action="count", field="a:b", direction="down"),
    ]


def test_then_says_what_becomes_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asked("churn", "--range", "..9", "--then", "fallback", monkeypatch=monkeypatch)
    assert heard["rules"] == [OutputRule(kind="range", action="fallback", hi=9.0)]


@pytest.mark.parametrize(
    "words",
    [
        ("--then", "clip"),
        ("--off", "--deadline", "1"),
        ("--try", "--off"),
        ("--try", "--answer", "no"),
        ("--range", "0-1"),
        ("--range", "a..b"),
        ("--range", "nan..1"),
        ("--monotonic", "income"),
        ("--monotonic", ":up"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_is_refused(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.UsageError):
        asked("churn", *words, monkeypatch=monkeypatch)


def test_a_range_may_be_open_at_an_end() -> None:
    assert span_of("0..") == (0.0, None)
    assert span_of("-1.5..1e3") == (-1.5, 1000.0)


def test_what_is_given_replaces_that_guard_and_leaves_the_others() -> None:
    now = Guards(answer="no", score=0.1, deadline_s=1.0, rules=(IN_RANGE, UP))
    narrower = OutputRule(kind="range", action="abstain", lo=0.2)
    then = merged(now, {"deadline_s": 2.0, "answer": None}, [narrower], ())
    assert then == Guards(answer="no", score=0.1, deadline_s=2.0, rules=(UP, narrower))


def test_monotonic_rules_stand_side_by_side_by_field() -> None:
    other = OutputRule(kind="monotonic", action="count", field="age")
    assert merged(Guards(rules=(UP,)), {}, [other], ()).rules == (UP, other)


def test_dropped_guards_are_gone() -> None:
    now = Guards(answer="no", score=0.1, deadline_s=1.0, rules=(IN_RANGE, UP))
    assert merged(now, {}, [], ("answer", "range", "monotonic", "deadline")) == Guards()


def test_another_answer_does_not_take_over_the_score_of_the_old_one() -> None:
    assert merged(Guards(answer="no", score=0.1), {"answer": "yes"}, [], ()).score is None
    assert merged(Guards(answer="no", score=0.1), {"answer": "yes", "score": 0.9}, [], ()).score == 0.9


def test_who_would_answer_is_told_with_what_stands_in_the_way() -> None:
    text = click.unstyle(
        tried_text(
            "churn",
            [
                Tried(path="live", version=2, rows=20, answered=20),
                Tried(path="fallback", version=1, rows=20, why="it cannot read these rows"),
                Tried(path="rule", says="no", rows=20, answered=20),
                Tried(path="cannot-answer", says="503 with the reason", why="only when the rule is taken away"),
            ],
        )
    )
    assert text.splitlines()[1:] == [
        "  ✓ live: version 2: answered 20 of 20 rows",
        "  ✗ fallback: version 1: it cannot read these rows",
        "  ✓ rule: no: answered 20 of 20 rows",
        "  ○ cannot-answer: 503 with the reason: only when the rule is taken away",
    ]
