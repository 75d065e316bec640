"""Notifier for Prometheus Alertmanager: it groups, routes and repeats; mlspine keeps each alert standing there."""

from __future__ import annotations

import datetime as dt
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.types import Alert

SCHEME = "alertmanager+"
RENEW_EVERY_S = 60.0
# As Prometheus does: an alert not heard of for four rounds is over, whatever became of who sent it.
LASTS_S = 4 * RENEW_EVERY_S
TIMEOUT_S = 5.0
_NAMES = {
    "drift": "MlspineDrift",
    "quality": "MlspineQuality",
    "estimate": "MlspineEstimate",
    "errors": "MlspineErrors",
    "latency": "MlspineLatency",
    "process": "MlspineProcess",
    "machine": "MlspineMachine",
    "test": "MlspineTest",
}


class AlertmanagerNotifier:
    """POSTs each alert by itself to /api/v2/alerts, with the endpoint, cause, severity and owner as labels.

    url: "alertmanager+http://HOST:9093", with a path where Alertmanager has one.
    """

    renew_every_s = RENEW_EVERY_S

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, now_s: Callable[[], float] = time.time) -> None:
        plain = url.removeprefix(SCHEME)
        parts = urlsplit(plain)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"{SCHEME}{parts.scheme or '...'} names no Alertmanager",
                hint=f"e.g. {SCHEME}http://alertmanager:9093",
            )
        self.name = f"alertmanager:{parts.hostname}"
        self._url = f"{plain.rstrip('/')}/api/v2/alerts"
        self._timeout_s = timeout_s
        self._now_s = now_s

    def send(self, alert: Alert) -> None:
        self._post(standing(alert, until_s=self._now_s() + LASTS_S))

    def end(self, alert: Alert) -> None:
        self._post(standing(alert, until_s=self._now_s()))

    def _post(self, document: dict[str, Any]) -> None:
        request = urllib.request.Request(
            self._url,
            data=msgspec.json.encode([document]),
            headers={"Content-Type": "application/json", "User-Agent": "mlspine"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as exc:
            with exc:
                words = exc.read(300).decode("utf-8", "replace").strip()
                raise self._failed(f"answered {exc.code} {exc.reason}: {words}") from exc
        except OSError as exc:
            raise self._failed(str(getattr(exc, "reason", "") or exc or type(exc).__name__)) from exc

    def _failed(self, why: str) -> Unavailable:
        return Unavailable(f"{self.name} {why}", hint="the alert is kept and sent again at the next check")


def standing(alert: Alert, *, until_s: float) -> dict[str, Any]:
    """One element of Alertmanager's POST /api/v2/alerts: an alert that stands until a moment, s since 1970.

    Labels say which alert it is, so they hold nothing that changes while it lasts but its severity; figures are
    annotations.

    >>> alert = Alert(id="1", endpoint="churn", cause="drift:age:up", severity="WARNING", title="churn: age went up",
    ...     why="mean 40 -> 47", action="mlspine status churn", opened_at_ms=1000, updated_at_ms=2000)
    >>> standing(alert, until_s=60.0)["labels"]["alertname"], standing(alert, until_s=60.0)["endsAt"]
    ('MlspineDrift', '1970-01-01T00:01:00.000Z')
    """
    labels = {
        "alertname": _NAMES.get(alert.cause.partition(":")[0].partition("@")[0], "Mlspine"),
        "service": "mlspine",
        "endpoint": alert.endpoint,
        "cause": alert.cause,
        "severity": alert.severity.lower(),
        "owner": alert.owner,
    }
    said = {"summary": alert.title, "description": alert.why, "action": alert.action}
    if alert.acknowledged_by:
        said["acknowledged_by"] = alert.acknowledged_by
    return {
        # An empty label is no label to Alertmanager.
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in said.items() if value},
        "startsAt": _utc(alert.opened_at_ms / 1000),
        "endsAt": _utc(until_s),
    }


def _utc(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
