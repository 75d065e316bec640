"""What a Prometheus knows of a cluster: nodes, CPUs, and how much of them was used."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import msgspec

from mlspine.core.errors import Invalid, Unavailable

TIMEOUT_S = 3.0
KEPT_MS = 600_000
DAYS = 30
# node_exporter first, then what the kubelet itself exports.
NODES = (
    f"count(count by (instance) (last_over_time(node_cpu_seconds_total[{DAYS}d])))",
    f"count(count by (instance) (last_over_time(machine_cpu_cores[{DAYS}d])))",
)
CPUS = (
    f'count(last_over_time(node_cpu_seconds_total{{mode="idle"}}[{DAYS}d]))',
    f"sum(last_over_time(machine_cpu_cores[{DAYS}d]))",
)
USED = (
    f'1 - avg(rate(node_cpu_seconds_total{{mode="idle"}}[{DAYS}d]))',
    f'sum(rate(container_cpu_usage_seconds_total{{id="/"}}[{DAYS}d]))'
    f" / sum(last_over_time(machine_cpu_cores[{DAYS}d]))",
)

Use = tuple[int, float, float, str]


class PrometheusCluster:
    """Asks the HTTP API of one Prometheus, at most once in KEPT_MS: a month's use does not change within minutes,
    and `mlspine status` must not wait for a monitoring server that is down."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._asked_at_ms: int | None = None
        self._found: Use | Unavailable | None = None
        if urllib.parse.urlsplit(self._url).scheme not in ("http", "https"):
            raise Invalid(
                f"advisor.cluster_metrics = {url!r} is no http(s) URL",
                hint='write the address of a Prometheus, e.g. cluster_metrics = "http://prometheus:9090"',
            )

    def use(self, at_ms: int) -> Use:
        """Nodes, CPUs, share of them used over 30 days, and the address that answers the share.

        Raises Unavailable when it does not answer, or knows of no CPUs.
        """
        if self._found is None or self._asked_at_ms is None or abs(at_ms - self._asked_at_ms) >= KEPT_MS:
            self._asked_at_ms = at_ms
            try:
                self._found = self._ask(at_ms)
            except Unavailable as exc:
                self._found = exc
        if isinstance(self._found, Unavailable):
            raise self._found
        return self._found

    def _ask(self, at_ms: int) -> Use:
        for nodes, cpus, used in zip(NODES, CPUS, USED, strict=True):
            found = [self._number(query, at_ms) for query in (nodes, cpus, used)]
            if all(value is not None for value in found):
                return int(found[0] or 0), found[1] or 0.0, found[2] or 0.0, self._address(used, at_ms)
        raise Unavailable(
            f"{self._url} has neither node_cpu_seconds_total nor machine_cpu_cores",
            hint="point advisor.cluster_metrics to the Prometheus that watches the nodes",
        )

    def _number(self, query: str, at_ms: int) -> float | None:
        """The value of a query with one result, None for no result."""
        try:
            with urllib.request.urlopen(self._address(query, at_ms), timeout=TIMEOUT_S) as answer:
                told: dict[str, Any] = msgspec.json.decode(answer.read())
            result = told["data"]["result"]
            return float(result[0]["value"][1]) if result else None
        except urllib.error.HTTPError as exc:
            with exc:
                raise Unavailable(f"{self._url} answered {exc.code}", hint="is it a Prometheus?") from exc
        except (OSError, http.client.HTTPException, msgspec.DecodeError, KeyError, TypeError, ValueError) as exc:
            raise Unavailable(f"{self._url} did not answer as a Prometheus: {exc}", hint="see whether it runs") from exc

    def _address(self, query: str, at_ms: int) -> str:
        return f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': at_ms / 1000})}"
