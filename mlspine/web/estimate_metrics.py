"""Estimates of quality as Prometheus samples: the newest window of each metric of the live release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlspine.core.types import Estimate

Sample = tuple[dict[str, str], float]


def estimated_quality(estimates: Iterable[Estimate]) -> Iterator[Sample]:
    """`mlspine_estimated_quality`: value and interval, of those that hold; a broken estimate is no number.

    >>> from mlspine.core.types import Estimate, Interval
    >>> auc = Estimate(endpoint="churn", release_hash="r", from_at_ms=0, to_at_ms=1, as_of_ms=1, metric="auc",
    ...     status="ESTIMATED", rows=500, interval=Interval(value=0.8, lo=0.7, hi=0.9, level=0.9))
    >>> [(labels["bound"], value) for labels, value in estimated_quality([auc])]
    [('value', 0.8), ('lo', 0.7), ('hi', 0.9)]
    """
    for each in estimates:
        if each.interval is not None and each.status != "BROKEN":
            for bound in ("value", "lo", "hi"):
                labels = {"endpoint": each.endpoint, "metric": each.metric, "bound": bound}
                yield labels, float(getattr(each.interval, bound))


def estimate_broken(estimates: Iterable[Estimate]) -> Iterator[Sample]:
    """`mlspine_estimate_broken`: 1 while estimates of a metric no longer hold, 0 while they do."""
    for each in estimates:
        if each.interval is not None:
            yield {"endpoint": each.endpoint, "metric": each.metric}, float(each.status == "BROKEN")
