"""What `mlspine quality` says of windows without labels."""

from __future__ import annotations

import msgspec

from mlspine.cli.estimated import estimates_text
from mlspine.core.types import Estimate, Interval

AUC = Estimate(
    endpoint="churn",
    release_hash="0123456789abcdef",
    from_at_ms=1_730_000_000_000,
    to_at_ms=1_730_086_400_000,
    as_of_ms=1,
    metric="auc",
    status="ESTIMATED",
    rows=1_200,
    interval=Interval(value=0.81, lo=0.78, hi=0.84, level=0.9),
)


def test_the_primary_metric_is_shown_and_every_one_when_asked() -> None:
    f1 = msgspec.structs.replace(AUC, metric="f1")
    assert "f1" not in estimates_text([AUC, f1])
    assert "f1" in estimates_text([AUC, f1], every_metric=True)
    assert "0.810 [0.780, 0.840]" in estimates_text([AUC])
    assert estimates_text([]) == ""


def test_a_broken_or_missing_estimate_shows_no_calm_number() -> None:
    broken = msgspec.structs.replace(AUC, status="BROKEN")
    none = msgspec.structs.replace(AUC, status="NOT_ESTIMABLE", interval=None)
    text = estimates_text([broken]) + estimates_text([none])
    assert "0.810" not in text
    assert "BROKEN" in text
    assert "NOT ESTIMABLE" in text
    # Beside what came out, the number that was wrong is shown: that is the evidence.
    assert "0.810" in estimates_text([msgspec.structs.replace(broken, realised=AUC.interval)])
