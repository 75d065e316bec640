"""Telling people: each open alert to each sink until it took it, with patience for sinks that fail.

A standing sink (Alertmanager) is also told again while an alert lasts, and once when it is over.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mlspine.core.errors import MlspineError
from mlspine.core.types import Alert
from mlspine.monitoring import store
from mlspine.monitoring.alert import DELIVERED, messages, silenced, undelivered, with_outcome
from mlspine.ports import Database, Notifier, Standing

log = logging.getLogger(__name__)

RETRY_FIRST_S = 5.0
RETRY_LAST_S = 300.0


class Telling:
    """Sends what is untold. What was told is stored with the alert: a restart repeats and loses nothing.

    owner_of: who answers for an endpoint, "" when nobody does; it goes out with each message.
    """

    def __init__(
        self,
        *,
        db: Database,
        notifiers: Sequence[Notifier],
        clock: Callable[[], int],
        owner_of: Callable[[str], str] = lambda endpoint: "",
    ) -> None:
        self._db = db
        self._clock = clock
        self._owner_of = owner_of
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
        for message, members in self._due(name, sink):
            outcome = sink.send(self._addressed(message), self._clock())
            self._keep(members, name, outcome)
            if outcome != DELIVERED:
                break
            delivered += 1
        return delivered

    def _due(self, name: str, sink: _Sink) -> list[tuple[Alert, tuple[Alert, ...]]]:
        """The messages a sink is to get now, and the alerts each of them tells."""
        now = self._clock()
        quiet = store.silences(self._db, now_ms=now)
        standing = store.open_alerts(self._db)
        loud = [alert for alert in standing if not silenced(alert, quiet, now_ms=now)]
        if not sink.standing:
            return messages(undelivered(loud, name))
        sink.end_all_but(loud, now)
        return [(alert, (alert,)) for alert in sink.to_renew(loud, now)]

    def _addressed(self, alert: Alert) -> Alert:
        return msgspec.structs.replace(alert, owner=self._owner_of(alert.endpoint)) if alert.endpoint else alert

    def _keep(self, members: Sequence[Alert], sink: str, outcome: str) -> None:
        with self._db.write() as tx:
            for member in members:
                standing = store.find_open(tx, member.endpoint, member.cause)
                # Cleared or grown worse while it was being told: then this outcome is of something else.
                if standing is not None and (standing.id, standing.severity) == (member.id, member.severity):
                    store.save_alert(tx, with_outcome(standing, sink, outcome))


class _Sent(NamedTuple):
    """An alert as a standing sink last heard of it."""

    alert: Alert
    at_ms: int


class _Sink:
    """A notifier, when it may be tried again after a failure, and what stands there if it keeps alerts standing."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._pause_s = 0.0
        self._sent: dict[str, _Sent] = {}  # by the alert's id; after a restart they lapse there by themselves
        self.retry_at_ms = 0

    @property
    def standing(self) -> bool:
        return isinstance(self._notifier, Standing)

    def send(self, alert: Alert, now_ms: int) -> str:
        """ "ok", or what went wrong in a sentence."""
        outcome = self._try(self._notifier.send, alert, now_ms)
        if outcome == DELIVERED and self.standing:
            self._sent[alert.id] = _Sent(alert, now_ms)
        return outcome

    def to_renew(self, alerts: Sequence[Alert], now_ms: int) -> list[Alert]:
        """Those this sink does not know, knows otherwise, or would soon take for over."""
        assert isinstance(self._notifier, Standing)
        oldest_ms = now_ms - int(self._notifier.renew_every_s * 1000)
        known = self._sent
        return [
            alert
            for alert in alerts
            if alert.id not in known or known[alert.id].at_ms <= oldest_ms or _otherwise(alert, known[alert.id].alert)
        ]

    def end_all_but(self, alerts: Sequence[Alert], now_ms: int) -> None:
        """Say of what was sent and stands no more, or at another severity now, that it is over."""
        assert isinstance(self._notifier, Standing)
        severity = {alert.id: alert.severity for alert in alerts}
        for id_, sent in list(self._sent.items()):
            if severity.get(id_) == sent.alert.severity:
                continue
            if self._try(self._notifier.end, sent.alert, now_ms) != DELIVERED:
                return
            del self._sent[id_]

    def _try(self, act: Callable[[Alert], None], alert: Alert, now_ms: int) -> str:
        try:
            act(alert)
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


def _otherwise(now: Alert, before: Alert) -> bool:
    return (now.title, now.why, now.acknowledged_by) != (before.title, before.why, before.acknowledged_by)


def _named(notifiers: Sequence[Notifier]) -> Iterator[tuple[str, Notifier]]:
    """Each notifier under a name of its own: two webhooks on one host are two sinks."""
    seen: Counter[str] = Counter()
    for notifier in notifiers:
        seen[notifier.name] += 1
        count = seen[notifier.name]
        yield (notifier.name if count == 1 else f"{notifier.name}#{count}"), notifier
