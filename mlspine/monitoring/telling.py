"""Telling people: each open alert to each sink until it took it, with patience for sinks that fail."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from mlspine.core.errors import MlspineError
from mlspine.core.types import Alert
from mlspine.monitoring import store
from mlspine.monitoring.alert import DELIVERED, messages, silenced, undelivered, with_outcome
from mlspine.ports import Database, Notifier

log = logging.getLogger(__name__)

RETRY_FIRST_S = 5.0
RETRY_LAST_S = 300.0


class Telling:
    """Sends what is untold. What was told is stored with the alert: a restart repeats and loses nothing."""

    def __init__(self, *, db: Database, notifiers: Sequence[Notifier], clock: Callable[[], int]) -> None:
        self._db = db
        self._clock = clock
        self._sinks = {name: _Sink(notifier) for name, notifier in _named(notifiers)}
        self._busy = threading.Lock()

    def deliver(self) -> int:
        """Tell every sink what it has not taken yet; returns the messages delivered. Raises for no sink.

        A sink that fails is left alone for 5 s, then longer each time, up to five minutes; its alerts wait.
        While another thread is telling, there is nothing to do here: the next call finds what it left.
        """
        if not self._busy.acquire(blocking=False):
            return 0
        try:
            return sum(self._deliver_to(name, sink) for name, sink in self._sinks.items())
        finally:
            self._busy.release()

    def tell_all(self, alert: Alert) -> dict[str, str]:
        """Send one message to every sink now, whatever failed before: sink -> "ok" or what went wrong."""
        with self._busy:
            return {name: sink.send(alert, self._clock()) for name, sink in self._sinks.items()}

    def _deliver_to(self, name: str, sink: _Sink) -> int:
        if self._clock() < sink.retry_at_ms:
            return 0
        delivered = 0
        quiet = store.silences(self._db, now_ms=self._clock())
        untold = undelivered(store.open_alerts(self._db), name)
        loud = [alert for alert in untold if not silenced(alert, quiet, now_ms=self._clock())]
        for message, members in messages(loud):
            outcome = sink.send(message, self._clock())
            self._keep(members, name, outcome)
            if outcome != DELIVERED:
                break
            delivered += 1
        return delivered

    def _keep(self, members: Sequence[Alert], sink: str, outcome: str) -> None:
        with self._db.write() as tx:
            for member in members:
                standing = store.find_open(tx, member.endpoint, member.cause)
                # Cleared or grown worse while it was being told: then this outcome is of something else.
                if standing is not None and (standing.id, standing.severity) == (member.id, member.severity):
                    store.save_alert(tx, with_outcome(standing, sink, outcome))


class _Sink:
    """A notifier, and when it may be tried again after a failure."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._pause_s = 0.0
        self.retry_at_ms = 0

    def send(self, alert: Alert, now_ms: int) -> str:
        """ "ok", or what went wrong in a sentence."""
        try:
            self._notifier.send(alert)
        except Exception as exc:
            expected = isinstance(exc, MlspineError)
            why = exc.message if isinstance(exc, MlspineError) else f"{type(exc).__name__}: {exc}"
            self._pause_s = min(RETRY_LAST_S, max(RETRY_FIRST_S, 2 * self._pause_s))
            self.retry_at_ms = now_ms + int(self._pause_s * 1000)
            fields = {"sink": self._notifier.name, "cause": alert.cause, "why": why}
            log.warning("alert not delivered", extra=fields, exc_info=None if expected else exc)
            return why
        self._pause_s, self.retry_at_ms = 0.0, 0
        return DELIVERED


def _named(notifiers: Sequence[Notifier]) -> Iterator[tuple[str, Notifier]]:
    """Each notifier under a name of its own: two webhooks on one host are two sinks."""
    seen: Counter[str] = Counter()
    for notifier in notifiers:
        seen[notifier.name] += 1
        count = seen[notifier.name]
        yield (notifier.name if count == 1 else f"{notifier.name}#{count}"), notifier
