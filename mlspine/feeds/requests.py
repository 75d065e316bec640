"""Requests as a feed: whether they still come, hold possible values, and are taken at all.

What drift judges is left to drift: missing, unseen and shifted values of requests raise `drift:` alerts. Here
is what profiles cannot tell: values no row of training came near, silence, and refusals by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlspine.core.types import SubWindow
from mlspine.feeds.health import MIN_ROWS, Fault, beyond, range_fault
from mlspine.feeds.refusals import RefusalWindow
from mlspine.feeds.rhythm import DAY_MS, HOUR_MS, WEEK_HOURS, WEEKS, Flow, silence
from mlspine.feeds.telling import cause_of, tell, tell_faults
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.window import Span, event_now
from mlspine.predictions.segment import quote
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry
from mlspine.stats.profile import Reference, decode

ROLE = "requests"
REFUSALS = "refusals"
FORGOTTEN_S = 60.0


class Requests:
    """Looks at the requests of one endpoint at a time."""

    def __init__(
        self, *, registry: Registry, predictions: Predictions, monitoring: Monitoring, clock: Callable[[], int]
    ) -> None:
        self._registry = registry
        self._predictions = predictions
        self._monitoring = monitoring
        self._clock = clock
        self._judged: dict[str, int] = {}
        self._refusals: dict[tuple[str, str], RefusalWindow] = {}
        self._refused: dict[str, dict[str, tuple[float, Fault]]] = {}  # by endpoint and process, when last seen

    def check(self, endpoint: str) -> None:
        """The flow of requests, and the ranges of those rows that drift has judged."""
        flow = self.flow(endpoint)
        says = "" if self._refused.get(endpoint) else flow.says  # refused ones do come
        title, action = "requests do not come as usual", f"mlspine status {endpoint}"
        tell(self._monitoring, endpoint, ROLE, title, says, action=action, severity="WARNING")
        # Only rows that drift has spoken about: a fault then has one voice, whoever looks first.
        newest = self._monitoring.reports(endpoint, limit=1)
        if newest and newest[-1].status == "JUDGED" and self._judged.get(endpoint) != newest[-1].to_at_ms:
            faults = self._impossible(endpoint, newest[-1].release_hash, newest[-1].to_at_ms)
            tell_faults(self._monitoring, endpoint, ROLE, faults, action=action)
            self._judged[endpoint] = newest[-1].to_at_ms

    def flow(self, endpoint: str) -> Flow:
        """Whether requests come as usual at this time of the week."""
        summary = self._predictions.summary(endpoint)
        now_ms = event_now(
            high_water_at_ms=summary.last_event_at_ms,
            last_received_at_ms=summary.last_received_at_ms,
            now_ms=self._clock(),
        )
        since = now_ms - (WEEKS * WEEK_HOURS + 1) * HOUR_MS
        rows: dict[int, int] = {}
        for hour in self._predictions.sub_windows(endpoint, from_at_ms=since):
            rows[hour.start_at_ms] = rows.get(hour.start_at_ms, 0) + hour.rows
        return silence(rows, now_ms=now_ms)

    def watch_refusals(self, endpoint: str, process: str, counters: Mapping[str, Any], at_s: float) -> None:
        """Take the counters of a serving process as they stand; cheap while nothing is refused."""
        window = self._refusals.setdefault((endpoint, process), RefusalWindow())
        refused = {str(field): int(count) for field, count in counters.get("refused_fields", {}).items()}
        fault = window.add(at_s, int(counters["requests"]), refused)
        before = self._refused.get(endpoint, {})
        if fault is None and not before:
            return
        # A process that is gone says nothing any more.
        told = {name: each for name, each in before.items() if name != process and at_s - each[0] < FORGOTTEN_S}
        if fault is not None:
            told[process] = (at_s, fault)
        self._refused[endpoint] = told
        faults = list({each.field: each for _, each in told.values()}.values())
        tell_faults(self._monitoring, endpoint, REFUSALS, faults, action=f"mlspine status {endpoint}")

    def problems(self, endpoint: str) -> list[str]:
        """What is wrong now, in words."""
        causes = (cause_of(ROLE), cause_of(REFUSALS))
        return [
            f"{each.title}: {each.why}" for each in self._monitoring.alerts(endpoint) if each.cause.startswith(causes)
        ]

    # ------------------------------------------------------------ inside

    def _impossible(self, endpoint: str, release_hash: str, to_at_ms: int) -> list[Fault]:
        """Columns with impossible values in the last judged day; the log is asked only when an extreme says so."""
        reference = self._registry.references_of(release_hash).inputs
        day = Span(to_at_ms - DAY_MS, to_at_ms)
        hours = self._predictions.sub_windows(
            endpoint, release_hash=release_hash, from_at_ms=day.from_at_ms, to_at_ms=day.to_at_ms
        )
        names = [name for name in reference.names if _reaches_beyond(reference, name, hours)]
        if not names or sum(hour.rows for hour in hours) < MIN_ROWS:
            return []
        counted = self._outside(endpoint, release_hash, day, reference, names)
        questions = len(reference.names)
        faults = (
            range_fault(name, outside, rows, reference, questions=questions, worst=worst)
            for name, (outside, rows, worst) in counted.items()
            if outside
        )
        return [fault for fault in faults if fault is not None]

    def _outside(
        self, endpoint: str, release_hash: str, day: Span, reference: Reference, names: list[str]
    ) -> dict[str, tuple[int, int, float]]:
        """Per column: rows beyond its ends, rows in all, and the worst value."""
        asked = []
        for name in names:
            ends = beyond(reference, name)
            assert ends is not None
            # NaN is above everything to DuckDB.
            column, (low, high) = f"nullif(cast({quote(name)} as double), 'nan'::double)", ends
            outside = f"({column} < {low!r} or {column} > {high!r})"
            far = f"abs({column} - {(low + high) / 2!r})"
            asked += [
                f"count(*) filter ({outside})",
                f"count({column})",
                f"arg_max({column}, {far}) filter ({outside})",
            ]
        found = self._predictions.query(
            endpoint,
            f"select {', '.join(asked)} from log where _release = '{release_hash}'"
            f" and _event_time >= epoch_ms({day.from_at_ms}) and _event_time < epoch_ms({day.to_at_ms})",
        ).rows[0]
        triples = zip(found[0::3], found[1::3], found[2::3], strict=True)
        return {
            name: (int(outside), int(rows), float(worst or 0.0))
            for name, (outside, rows, worst) in zip(names, triples, strict=True)
        }


def _reaches_beyond(reference: Reference, name: str, hours: list[SubWindow]) -> bool:
    ends = beyond(reference, name)
    if ends is None:
        return False
    at = reference.parts_of(name)[0]
    tallies = (decode(hour.inputs, reference).parts[at] for hour in hours if hour.inputs)
    return any(tally.low < ends[0] or (tally.high > ends[1] and tally.high >= tally.low) for tally in tallies)
