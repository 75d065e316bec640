"""What an endpoint did since its process started: counts, latencies, and their Prometheus text."""

from __future__ import annotations

import os
import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from mlspine.registry.flavors import Outputs

T = TypeVar("T")

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_PLACE = re.compile(r"\A(?:rows\[\d+\]\.|columns\.)|\[\d+\]\Z")
SETTLE_CALLS = 16  # model calls put by before they are counted: soon enough for their requests to be in the cache
RECENT = 4096  # latencies kept for the quantiles of `observe`; a power of two


class Timed(Protocol):
    """A request that was answered."""

    latency_s: float


class Histogram:
    """Counts per bucket; the last one is everything above the bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Many values at once."""
        found = np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts)).tolist()
        self.counts = [had + more for had, more in zip(self.counts, found, strict=True)]
        self.total += float(values.sum())


class Meter:
    """Counters of one endpoint, over all its revisions since the process started."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.latency = Histogram(LATENCY_BOUNDS_S)
        self.call_rows = Histogram(ROWS_BOUNDS)
        self.rows = 0
        self.unanswerable = 0  # of the 503s, those of an endpoint rolled back to nothing
        self.paths: dict[str, int] = {}  # requests by who answered
        self.shed = 0  # requests refused because more came than can be answered in time
        self.rules: dict[str, int] = {}  # rows that an output rule caught, by its kind
        self.refused_fields: dict[str, int] = {}  # requests refused for what they held, by column at fault
        self._recent = array("d", bytes(8 * RECENT))
        self._seen = 0
        self._unsettled: list[Sequence[Timed]] = []  # requests answered with 200 and not yet counted

    def took(self, requests: Sequence[Timed], path: str = "live") -> None:
        """One model call answered these requests with 200. They are counted later, many at once: that is cheaper."""
        self.paths[path] = self.paths.get(path, 0) + len(requests)
        self._unsettled.append(requests)
        if len(self._unsettled) >= SETTLE_CALLS:
            self.settle()

    def settle(self) -> None:
        """Count what `took` put by."""
        calls, self._unsettled = self._unsettled, []
        seconds = np.array([request.latency_s for requests in calls for request in requests], dtype=np.float64)
        if len(seconds):
            self.answered_all(200, seconds)

    def answered(self, code: int, seconds: float) -> None:
        """One request was answered with this status code after so long."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.latency.add(seconds)
        self._recent[self._seen & (RECENT - 1)] = seconds
        self._seen += 1

    def answered_all(self, code: int, seconds: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Many requests were answered with this status code, each after so long; oldest first."""
        self.codes[code] = self.codes.get(code, 0) + len(seconds)
        self.latency.add_all(seconds)
        for each in seconds[-RECENT:].tolist():
            self._recent[self._seen & (RECENT - 1)] = each
            self._seen += 1
        self._seen += max(0, len(seconds) - RECENT)

    def refused(self, problems: Iterable[str], names: Collection[str]) -> None:
        """One request was refused; `problems` name columns by their paths, of which only `names` are counted."""
        for field in {_field_of(problem) for problem in problems}.intersection(names):
            self.refused_fields[field] = self.refused_fields.get(field, 0) + 1

    def called(self, rows: int) -> None:
        """The model was called once with so many rows."""
        self.call_rows.add(rows)
        self.rows += rows

    def quantiles_s(self) -> tuple[float, float, float]:
        """P50, P95 and P99 of the last RECENT requests, zeros before the first."""
        self.settle()
        count = min(self._seen, RECENT)
        if count == 0:
            return 0.0, 0.0, 0.0
        p50, p95, p99 = np.quantile(np.frombuffer(self._recent)[:count], (0.5, 0.95, 0.99)).tolist()
        return p50, p95, p99

    def state(self) -> dict[str, Any]:
        """The counters as plain values. failures: answers with a 5xx status, "cannot answer" apart."""
        p50, p95, p99 = self.quantiles_s()
        return {
            "requests": self._seen,
            "failures": sum(count for code, count in self.codes.items() if code >= 500) - self.unanswerable,
            "refused": sum(count for code, count in self.codes.items() if 400 <= code < 500),
            "refused_fields": dict(self.refused_fields),
            "codes": {str(code): count for code, count in sorted(self.codes.items())},
            "paths": dict(self.paths),
            "shed": self.shed,
            "rules": dict(self.rules),
            "rows": self.rows,
            "model_calls": sum(self.call_rows.counts),
            "p50_s": p50,
            "p95_s": p95,
            "p99_s": p99,
        }


class Spending:
    """What answering with one release at one endpoint takes: requests, rows, seconds inside the model's calls."""

    __slots__ = ("calls_s", "requests", "rows")

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.calls_s = 0.0

    def answered(self, requests: int, rows: int) -> None:
        """One call of the model answered so many requests."""
        self.requests += requests
        self.rows += rows

    def around(self, predict: Callable[[T], Outputs]) -> Callable[[T], Outputs]:
        """The same call, timed. By the wall: reading a thread's CPU time is a system call, this is none."""
        now = time.perf_counter

        def timed(rows: T) -> Outputs:
            began = now()
            try:
                return predict(rows)
            finally:
                self.calls_s += now() - began

        return timed


class ReleaseInfo(NamedTuple):
    """What answers for an endpoint, as labels of a gauge."""

    endpoint: str
    version: int
    release: str
    placement: str
    path: str


def render(
    meters: Mapping[str, Meter],
    releases: Iterable[ReleaseInfo],
    *,
    dropped_rows: int,
    unwritten_rows: int,
    started_at_ms: int,
    rss: int,
    cpu_s: float,
) -> str:
    """The metrics of an inference process in Prometheus text format 0.0.4.

    Labels are endpoints, status codes and releases: bounded by what is served, never by what is asked.
    """
    lines: list[str] = []
    ordered = sorted(meters.items())
    for _, meter in ordered:
        meter.settle()
    _head(lines, "mlspine_requests_total", "counter", "Requests answered, by endpoint and status code.")
    for name, meter in ordered:
        for code, count in sorted(meter.codes.items()):
            lines.append(f"mlspine_requests_total{_labels(endpoint=name, code=str(code))} {count}")
    _head(lines, "mlspine_answers_total", "counter", "Requests by who answered: live, candidate, fallback, rule.")
    for name, meter in ordered:
        for path, count in sorted(meter.paths.items()):
            lines.append(f"mlspine_answers_total{_labels(endpoint=name, path=path)} {count}")
    _head(lines, "mlspine_fallback_total", "counter", "Requests that the release asked for did not answer.")
    for name, meter in ordered:
        for path in ("fallback", "rule", "cannot-answer"):
            count = meter.paths.get(path, 0)
            lines.append(f"mlspine_fallback_total{_labels(endpoint=name, path=path)} {count}")
    _head(lines, "mlspine_shed_total", "counter", "Requests refused because more came than could be answered in time.")
    lines += [f"mlspine_shed_total{_labels(endpoint=name)} {meter.shed}" for name, meter in ordered]
    _head(lines, "mlspine_output_rule_total", "counter", "Rows whose answer an output rule caught.")
    for name, meter in ordered:
        for kind, count in sorted(meter.rules.items()):
            lines.append(f"mlspine_output_rule_total{_labels(endpoint=name, kind=kind)} {count}")
    _head(lines, "mlspine_request_duration_seconds", "histogram", "Time from request read to answer ready.")
    for name, meter in ordered:
        _histogram(lines, "mlspine_request_duration_seconds", name, meter.latency)
    _head(lines, "mlspine_rows_total", "counter", "Rows predicted.")
    lines += [f"mlspine_rows_total{_labels(endpoint=name)} {meter.rows}" for name, meter in ordered]
    _head(lines, "mlspine_model_call_rows", "histogram", "Rows given to the model at once.")
    for name, meter in ordered:
        _histogram(lines, "mlspine_model_call_rows", name, meter.call_rows)
    _head(lines, "mlspine_release_info", "gauge", "What answers for an endpoint; always 1.")
    for info in sorted(releases):
        labels = _labels(
            endpoint=info.endpoint,
            version=str(info.version),
            release=info.release,
            placement=info.placement,
            path=info.path,
        )
        lines.append(f"mlspine_release_info{labels} 1")
    _head(lines, "mlspine_log_dropped_rows_total", "counter", "Answered rows that never reached the log.")
    lines.append(f"mlspine_log_dropped_rows_total {dropped_rows}")
    _head(lines, "mlspine_log_unwritten_rows", "gauge", "Answered rows waiting to be written.")
    lines.append(f"mlspine_log_unwritten_rows {unwritten_rows}")
    _head(lines, "process_start_time_seconds", "gauge", "Start of this process since 1970.")
    lines.append(f"process_start_time_seconds {started_at_ms / 1000:.3f}")
    _head(lines, "process_resident_memory_bytes", "gauge", "Resident memory of this process.")
    lines.append(f"process_resident_memory_bytes {rss}")
    _head(lines, "process_cpu_seconds_total", "counter", "CPU time of this process since it started.")
    lines.append(f"process_cpu_seconds_total {cpu_s:.3f}")
    return "\n".join(lines) + "\n"


def rss_bytes() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_cpu_s(pid: int) -> float:
    """CPU time of another process since it started, 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _field_of(problem: str) -> str:
    """The column a problem is about: "rows[3].temp: ...", "columns.temp[3]: ..." or "temp: ..." name temp."""
    path = problem.partition(": ")[0]
    return _PLACE.sub("", path)


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _histogram(lines: list[str], name: str, endpoint: str, histogram: Histogram) -> None:
    count = 0
    for bound, here in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        count += here
        lines.append(f"{name}_bucket{_labels(endpoint=endpoint, le=str(bound))} {count}")
    lines.append(f"{name}_sum{_labels(endpoint=endpoint)} {histogram.total!r}")
    lines.append(f"{name}_count{_labels(endpoint=endpoint)} {count}")


def _labels(**values: str) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in values.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
