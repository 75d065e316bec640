"""The report in a terminal: the same figures, no wider than the terminal, whatever names come from outside."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.cli.report_text import text
from mlspine.core.errors import NotFound
from mlspine.core.types import CauseReport, Suspect
from mlspine.monitoring.document import document
from tests.unit.reporting.test_page import DAY_MS, estimate, fine, measured, report, verdict

Type = Callable[..., str]
CAUSES = CauseReport(
    endpoint="flights", release_hash="r", from_at_ms=DAY_MS, to_at_ms=2 * DAY_MS, rows=2000, output="score",
    before=0.2, now=0.3, suspects=(Suspect(name="temp", influence=0.8, onset_at_ms=DAY_MS),), says="temp explains it",
)  # fmt: skip
FULL: dict[str, Any] = document(
    report(verdict("temp"), verdict("wind", severity="INFO", why="changed beyond chance " * 12), fine("humid")),
    realised=[measured(1, 0.9), measured(2, 0.8, "PROVISIONAL")],
    estimated=[estimate(2, "UNVERIFIED"), estimate(3, "NOT_ESTIMABLE")],
    causes=CAUSES,
)


def test_it_says_what_the_page_says_in_the_same_order() -> None:
    said = click.unstyle(text(FULL, width=100))
    one_line = " ".join(said.split())
    for part in (
        "! flights, version 3 1970-01-02 00:00 to 1970-01-03 00:00 UTC, 2,000 rows",
        "temp changed beyond chance and beyond limits: mean 55 -> 62.6, +0.42 sd (limit 0.10 sd)",
        "of windows without change 0.14% may be called significant; measured 0.94% [0.76%, 1.1%] where 1% was promised",
        "! WARNING temp",
        "▅▅",
        "▂█",
        "✓ OK humid",
        "temp: mean shift 0.42 sd is 4.2 times what it takes",
        "temp: 80% of the change, since 1970-01-02 00:00 UTC",
        "Quality: auc 0.900 [0.880, 0.920] at ship, holdout",
        "1970-01-03 0.800 [0.780, 0.820] measured, PROVISIONAL, 70% labelled",
        "1970-01-03 0.850 [0.800, 0.900] estimated, UNVERIFIED, back-test error 0.012",
        "1970-01-04 – estimated, NOT_ESTIMABLE",
        "mlspine retrain flights",
    ):
        assert part in one_line, part
    heads = ["Columns, the greatest", "What would change", "Where it comes from", "Quality", "Next"]
    assert [said.index(head) for head in heads] == sorted(said.index(head) for head in heads)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_of_words_is_wider_than_the_terminal(width: int) -> None:
    lines = click.unstyle(text(FULL, width=width)).splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith("  mlspine ")] == []


def test_a_hundred_columns_are_told_by_the_first_twenty() -> None:
    wide = document(report(*(verdict(f"x{i}") for i in range(100))))
    said = click.unstyle(text(wide))
    assert "and 80 more, 80 of them warn: --html FILE shows all" in said
    assert len(said.splitlines()) < 120


@settings(max_examples=50, deadline=None)
@given(name=st.text(st.characters(exclude_categories=()), max_size=60))
def test_a_name_cannot_move_the_cursor_or_break_a_line(name: str) -> None:
    made = document(report(verdict(name, why=name, bin_labels=(name, name)), fine(name)))
    said = click.unstyle(text(made))
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\u200b\ud800-\udfff]", said) is None
    said.encode()


def test_a_time_that_is_none_and_two_forms_at_once_are_refused_before_anything_is_asked(typed: Type) -> None:
    with pytest.raises(click.BadParameter, match="'yesterday' is not a time"):
        typed("report", "churn", "--window", "yesterday")
    with pytest.raises(click.UsageError, match="give one of them"):
        typed("report", "churn", "--json", "--open")
    with pytest.raises(NotFound, match="no endpoint 'churn'"):
        typed("report", "churn")
