"""The sentinels of what is live, asked again and again: a model that is right on paper and wrong in service."""

from __future__ import annotations

from mlspine.core.errors import Unavailable
from mlspine.core.plan import Endpoint
from mlspine.deployment.examining import Examiner, told
from mlspine.deployment.service import WATCH, Deployment
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Deployer

CAUSE = "sentinel"
SHOWN = 3


class SentinelWatch:
    """Asks each live release its sentinels; one that misses twice in a row is an alert."""

    def __init__(
        self, *, examiner: Examiner, deployment: Deployment, deployer: Deployer, monitoring: Monitoring
    ) -> None:
        self._examiner = examiner
        self._deployment = deployment
        self._deployer = deployer
        self._monitoring = monitoring
        self._missed_before: dict[str, str] = {}  # endpoint -> release that missed at the last look

    def look(self) -> list[str]:
        """Ask all; returns the endpoints that miss. One that is not loaded here, or too busy, is left for later."""
        if not self._deployer.observe():
            return []  # nothing serves: that is an alert of its own
        return [each.name for each in self._deployment.endpoints() if self._misses(each)]

    def _misses(self, endpoint: Endpoint) -> bool:
        release = endpoint.current.release_hash
        if not endpoint.current.version or endpoint.current.cause == WATCH:
            return False
        try:
            asked, missed = self._examiner.ask(endpoint.model, release)
        except Unavailable:
            return False
        if not missed:
            self._missed_before.pop(endpoint.name, None)
            self._monitoring.clear_alert(endpoint.name, CAUSE)
            return False
        if self._missed_before.get(endpoint.name) == release:
            self._monitoring.raise_alert(
                endpoint.name,
                cause=CAUSE,
                severity="CRITICAL",
                title=f"{endpoint.name}: {len(missed)} of {asked} sentinels are answered wrongly",
                why="; ".join(told(missed)[:SHOWN]),
                action=f"mlspine rollback {endpoint.name}, or: mlspine sentinels {endpoint.name}",
            )
        self._missed_before[endpoint.name] = release
        return True
