"""docs/speed.md shows the results file, and the chart is of the same run."""

from __future__ import annotations

import re

import pytest

from benchmarks.serving.page import PAGE, RESULT, filled
from benchmarks.serving.rivals import ROOT


def test_the_page_says_what_was_measured() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text(), RESULT.read_text()), "python -m benchmarks.serving.page"


def test_the_chart_shows_the_figures_of_the_table() -> None:
    table, chart = RESULT.read_text(), (ROOT / "docs" / "images" / "speed.svg").read_text()
    block = table.partition("single rows, 64 clients")[2].partition("\n\n")[0]
    shown = re.findall(r'class="figure"[^>]*>([\d,]+)<', chart)
    assert shown
    assert [figure for figure in shown if f" {figure} " not in block] == [], "python -m benchmarks.serving --write"


def test_a_page_without_a_place_for_the_results_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        filled("# Speed\n", "figures")
