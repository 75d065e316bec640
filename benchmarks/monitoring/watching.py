"""The path a served row takes until somebody is woken, without a server: windows, alpha, verdicts, alerts.

Every step is the one monitoring takes: hours become windows by `due_windows`, alpha comes from the budget by
`expected_windows`, a window is judged by `judge` against the baseline at its own hours, and alerts open, last
and clear by `after_drift`. Only the database is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.types import Alert, DriftReport, SubWindow
from mlspine.monitoring.alert import after_drift, messages
from mlspine.monitoring.drift import judge
from mlspine.monitoring.window import HOUR_MS, Span, alpha_for, due_windows, expected_windows, rows_by_slot, span_of
from mlspine.stats.baseline import MIN_ROWS, Baseline, at_hours
from mlspine.stats.profile import Array, Floats, Ints, Profile

RESAMPLES = 5_000
NONE_SEEN = 3.69  # 97.5% bound of a Poisson mean when nothing was counted
Window = tuple[SubWindow, ...]


class Interval(NamedTuple):
    """A mean over clusters with its 95% interval."""

    mean: float
    lo: float
    hi: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.lo:.2f}, {self.hi:.2f}]"


class Watch:
    """Alerts of one endpoint through time. Feed it reports in the order of event time."""

    def __init__(self) -> None:
        self.opened: list[Alert] = []
        self.told = 0  # messages a person gets: alerts that open together are one
        self.standing: list[Alert] = []
        self.history: list[DriftReport] = []

    def take(self, report: DriftReport) -> list[Alert]:
        """The alerts this window opened."""
        changed = after_drift(report, self.standing, now_ms=report.to_at_ms, new_id=lambda: str(len(self.opened)))
        known = {alert.cause for alert in self.standing}
        fresh = [alert for alert in changed if alert.cause not in known]
        by_cause = {alert.cause: alert for alert in [*self.standing, *changed]}
        self.standing = [alert for alert in by_cause.values() if not alert.cleared_at_ms]
        self.history = [*self.history[-1:], report]
        self.opened += fresh
        self.told += len(messages(fresh))
        return fresh


def windows_of(at_ms: Ints, *, window_s: int = 3600, min_rows: int = MIN_ROWS) -> list[Window]:
    """The windows service would cut from rows of these event times."""
    hour, rows = np.unique(at_ms // HOUR_MS, return_counts=True)
    hours = [
        SubWindow(endpoint="study", release_hash="r", start_at_ms=int(start) * HOUR_MS, rows=int(count), inputs=b"")
        for start, count in zip(hour.tolist(), rows.tolist(), strict=True)
    ]
    closed = int(hour[-1] + 1) * HOUR_MS if hour.size else 0
    return due_windows(hours, closed_at_ms=closed, window_s=window_s, min_rows=min_rows)


def window_of_rows(at_ms: Ints, windows: Sequence[Window]) -> Ints:
    """Which window each row belongs to, -1 for those of none."""
    spans = [span_of(window) for window in windows]
    start = np.array([span.from_at_ms for span in spans], dtype=np.int64)
    stop = np.array([span.to_at_ms for span in spans], dtype=np.int64)
    found = np.searchsorted(start, at_ms, side="right") - 1
    inside = (found >= 0) & (at_ms < np.append(stop, 0)[found])
    return np.where(inside, found, -1)


def judged(
    baseline: Baseline,
    window: Window,
    inputs: Profile,
    *,
    alpha: float,
    outputs: Profile | None = None,
    history: Sequence[DriftReport] = (),
) -> DriftReport:
    """One window's verdict, against the baseline at its hours."""
    span = span_of(window)
    return judge(
        at_hours(baseline, rows_by_slot(window)),
        inputs,
        outputs,
        learned_outputs=None,
        alpha=alpha,
        history=history,
        endpoint="study",
        release_hash="r",
        version=1,
        from_at_ms=span.from_at_ms,
        to_at_ms=span.to_at_ms,
    )


def alphas(spans: Sequence[tuple[int, Span]], *, budget: float = 1.0) -> list[float]:
    """What each window may spend, of several endpoints sharing a budget. spans: (endpoint, span), in the order
    in which they are judged."""
    seen: dict[int, list[Span]] = {}
    found = []
    for endpoint, span in spans:
        seen.setdefault(endpoint, []).append(span)
        expected = expected_windows(seen.values(), until_at_ms=span.to_at_ms)
        found.append(alpha_for(budget_per_30_days=budget, expected=expected))
    return found


def mean_of(by_cluster: Sequence[float] | Array, *, weights: Sequence[float] | None = None, seed: int = 0) -> Interval:
    """Mean over clusters, and a 95% interval from resampling whole clusters. weights: of the clusters, as in a
    ratio of sums. Where every cluster says 0 resampling cannot show what was missed: then Poisson's bound for
    one count in all clusters."""
    values = np.asarray(by_cluster, dtype=np.float64)
    weight = np.ones(values.size) if weights is None else np.asarray(weights, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, values.size, (RESAMPLES, values.size))
    means: Floats = (values * weight)[draws].sum(axis=1) / np.maximum(weight[draws].sum(axis=1), 1e-12)
    lo, hi = np.quantile(means, [0.025, 0.975])
    if not values.any():
        hi = NONE_SEEN / values.size
    return Interval(float((values * weight).sum() / weight.sum()), float(lo), float(hi))


def written(lines: Sequence[str], path: str, write: bool, show: Callable[[str], None] = print) -> None:
    """Show the lines, and keep them as a result where asked."""
    text = "\n".join(lines)
    show(text)
    if write:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")


class Kept:
    """Results of earlier runs by key, so that a long study can stop and go on."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._found: dict[str, Any] = {}
        if self._path is not None and self._path.exists():
            self._found = dict(json.loads(line) for line in self._path.read_text().splitlines())

    def of(self, key: str, kind: Any, compute: Callable[[], Any]) -> Any:
        """What is known under this key, or what `compute` gives, kept."""
        if key not in self._found:
            self._found[key] = msgspec.to_builtins(compute())
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps([key, self._found[key]]) + "\n")
        return msgspec.convert(self._found[key], kind, strict=False)
