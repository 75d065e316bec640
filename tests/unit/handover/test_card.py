"""A card's gaps carry their reason; go or no go is computed from measured figures."""

from __future__ import annotations

import pytest

from mlspine.core.errors import Invalid
from mlspine.core.types import Interval, Metric
from mlspine.handover.card import FIELDS, Card, gaps_of, judge, markdown, parse_settings


def metric(name: str, value: float, lo: float, hi: float) -> Metric:
    interval = Interval(value=value, lo=lo, hi=hi)
    return Metric(name=name, status="ESTIMATED", interval=interval, rows=900, rows_from="labels")


MEASURED = {"auc": metric("auc", 0.8, 0.7, 0.9), "rmse": metric("rmse", 3.0, 2.5, 3.5)}


def test_every_field_nobody_filled_is_a_gap_with_its_reason_and_the_words_that_close_it() -> None:
    gaps = gaps_of("churn", {"owner": "ada"})
    assert [gap.field for gap in gaps] == [name for name in FIELDS if name != "owner"]
    assert all(gap.fails and gap.opens_with.startswith("mlspine card churn --set") for gap in gaps)


@pytest.mark.parametrize(
    ("criterion", "verdict"),
    [
        ("auc >= 0.7", "go"),
        ("AUC > 0.69 on labelled rows", "go"),
        ("auc >= 0.75", "no go"),  # the point estimate would pass, the lower end does not
        ("rmse <= 3.5", "go"),
        ("rmse < 3.2", "no go"),
        ("f1 >= 0.5", "not measured"),
        ("callers are happy", "no criterion"),
        ("", "no criterion"),
    ],
)
def test_the_unfavourable_end_of_the_interval_decides(criterion: str, verdict: str) -> None:
    assert judge(criterion, MEASURED).verdict == verdict


def test_a_metric_that_is_missing_is_told_beside_those_there_are() -> None:
    assert judge("f1 >= 0.5", MEASURED).why == "no f1 was measured yet; there is auc, rmse"


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(Invalid, match="purose; did you mean purpose"):
        parse_settings({"purose": "x"})


def test_the_page_shows_what_was_said_what_is_known_and_the_gaps() -> None:
    said = {"purpose": "call before they leave", "success": "auc >= 0.7"}
    card = Card(
        model="churn",
        edition=2,
        said=said,
        facts={"task": "binary"},
        gaps=gaps_of("churn", said),
        success=judge(said["success"], MEASURED),
        changed_by="ada",
    )
    page = markdown(card, changed="2026-01-01 10:00")
    for words in (
        "Edition 2",
        "**Go**",
        "call before they leave",
        "**owner**: not given",
        "**task**: binary",
        "## Gaps",
    ):
        assert words in page
