"""Estimated quality beside realised, as a table: what `mlspine quality` says of windows without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.types import Estimate, Interval

PRIMARY = ("auc", "accuracy", "mae")
SHOWN_WINDOWS = 12
HEAD = ("from (UTC)", "metric", "estimated [90%]", "realised [95%]", "status", "rows", "release", "why")


def estimates_text(estimates: Sequence[Estimate], *, every_metric: bool = False) -> str:
    """The newest windows as a table, the primary metric alone unless every one is asked for; "" without any.

    BROKEN and NOT ESTIMABLE stand where the number would be: such a number is none.
    """
    shown = list(estimates) if every_metric else _primary(estimates)
    windows = sorted({(each.from_at_ms, each.release_hash) for each in shown})[-SHOWN_WINDOWS:]
    rows = [_row(each) for each in shown if (each.from_at_ms, each.release_hash) in windows]
    return render.table(rows, head=HEAD, indent="") if rows else ""


def _primary(estimates: Sequence[Estimate]) -> list[Estimate]:
    name = next((metric for metric in PRIMARY if any(each.metric == metric for each in estimates)), "")
    return [each for each in estimates if each.metric == name]


def _row(each: Estimate) -> tuple[str, ...]:
    estimated = _figure(each.interval)
    if each.status == "BROKEN" and each.realised is None:
        estimated = "none to be trusted"
    return (
        render.when(each.from_at_ms)[:10],
        each.metric,
        estimated,
        _figure(each.realised),
        each.status.replace("_", " "),
        f"{each.rows:,}",
        each.release_hash[:SHORT_HASH],
        each.why,
    )


def _figure(interval: Interval | None) -> str:
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]" if interval else "-"
