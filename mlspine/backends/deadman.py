"""A sign of life to a URL of the user's own: what watches it there notices when this machine falls silent."""

from __future__ import annotations

import http.client
import logging
import threading
import urllib.request
from urllib.parse import urlsplit

from mlspine.core.errors import Invalid

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0


class DeadManPing:
    """GETs the URL in the background, one at a time: a slow watcher never holds up who beats.

    Failures are logged when they begin and when they end, by host only: the rest of such a URL is a secret.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                "monitoring.deadman_url is no http:// or https:// URL",
                hint="e.g. https://watcher.example.org/ping/...; the secret kept elsewhere: env:NAME",
            )
        self._host = parts.hostname
        self._url = url
        self._timeout_s = timeout_s
        self._under_way: threading.Thread | None = None
        self._failing = False

    def beat(self) -> bool:
        """Start one ping; False while the one before is still under way."""
        if self._under_way is not None and self._under_way.is_alive():
            return False
        self._under_way = threading.Thread(target=self._ping, name="deadman", daemon=True)
        self._under_way.start()
        return True

    def wait(self, timeout_s: float | None = None) -> None:
        """Until the ping under way has ended."""
        if self._under_way is not None:
            self._under_way.join(timeout_s)

    def _ping(self) -> None:
        request = urllib.request.Request(self._url, headers={"User-Agent": "mlspine"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except (OSError, http.client.HTTPException) as exc:
            if not self._failing:
                why = str(getattr(exc, "reason", "") or type(exc).__name__)
                log.warning("the dead-man ping fails", extra={"host": self._host, "why": why})
            self._failing = True
            return
        if self._failing:
            log.info("the dead-man ping arrives again", extra={"host": self._host})
        self._failing = False
