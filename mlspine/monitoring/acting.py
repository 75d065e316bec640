"""What a CRITICAL alert leads to: a question to a person, or the way back by itself where that was decided before.

Only what shows that answers themselves are bad may move traffic: failing answers, slow answers, wrong answers to
sentinels, measured quality. Drifting inputs never do. Going back is done once: when the release before fails as well,
a person is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from mlspine.core.errors import MlspineError
from mlspine.core.plan import Endpoint
from mlspine.core.types import SYSTEM, Alert
from mlspine.deployment.service import WATCH, Deployment
from mlspine.governance.service import signature
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Deployer

log = logging.getLogger(__name__)

Policy = Literal["ask", "fallback"]
MAY_SWITCH = ("errors", "latency", "quality", "sentinel")
FALLBACK = "fallback"


class Acting:
    """Looks at the open CRITICAL alerts of every endpoint and does what the policy says. Call it after judging."""

    def __init__(
        self,
        *,
        monitoring: Monitoring,
        deployment: Deployment,
        deployer: Deployer,
        policy: Policy,
    ) -> None:
        self._monitoring = monitoring
        self._deployment = deployment
        self._deployer = deployer
        self._policy = policy
        self._failed: dict[str, tuple[int, str]] = {}  # endpoint -> revision that could not be left, and why

    def act(self) -> list[str]:
        """Return the endpoints that were brought back to the release before. Writes a ledger line for each."""
        if self._policy == "ask":
            return []  # the alert itself asks: it names the command
        # What somebody else's server answers has no release here to go back to.
        ours = (each for each in self._deployment.endpoints() if each.current.cause != WATCH)
        return [each.name for each in ours if self._act_on(each)]

    def _act_on(self, endpoint: Endpoint) -> bool:
        self._settle(endpoint)
        cause = switching_alert(self._monitoring.alerts(endpoint.name), endpoint)
        if cause is None or not self._deployer.observe():
            return False
        candidate = endpoint.current.traffic.candidate
        why_not = "" if candidate else self._why_not(endpoint)
        if why_not:
            self._ask(endpoint, cause, why_not)
            return False
        if candidate:  # the smaller step, and the likelier cause
            told = f"took version {candidate} back by itself: version {endpoint.current.version} answers everything"
            again = f"mlspine split {endpoint.name}:VERSION SHARE; if it goes on: mlspine rollback {endpoint.name}"
        else:
            assert endpoint.previous is not None
            told = f"went back from version {endpoint.current.version} to {endpoint.previous.version} by itself"
            again = f"mlspine promote {endpoint.name} VERSION"
        reason = f"{cause.cause}: {cause.why}"
        try:
            self._deployment.rollback(endpoint.name, actor=SYSTEM, reason=reason)
        except MlspineError as exc:
            log.error(
                "the release before could not be brought back", extra={"endpoint": endpoint.name, "why": str(exc)}
            )
            # Loading a release that does not load takes seconds: not again every few of them.
            self._failed[endpoint.name] = endpoint.current.number, exc.message
            self._ask(endpoint, cause, self._why_not(endpoint) or exc.message)
            return False
        self._monitoring.raise_alert(
            endpoint.name,
            cause=FALLBACK,
            severity="CRITICAL",
            title=f"{endpoint.name}: {told}",
            why=reason,
            action=f"mlspine ledger; once it is mended: {again}",
        )
        return True

    def _why_not(self, endpoint: Endpoint) -> str:
        """Why going back is for a person to decide, "" when it is not."""
        if endpoint.previous is None or not endpoint.previous.version:
            return "there is no release before it"
        if went_back_itself(endpoint):
            return "it has gone back once already"
        revision, failure = self._failed.get(endpoint.name, (0, ""))
        return f"the release before cannot be brought back: {failure}" if revision == endpoint.current.number else ""

    def _ask(self, endpoint: Endpoint, cause: Alert, why_not: str) -> None:
        self._monitoring.raise_alert(
            endpoint.name,
            cause=FALLBACK,
            severity="CRITICAL",
            title=f"{endpoint.name}: somebody has to decide what answers",
            why=f"{cause.title}; {why_not}",
            action=f"mlspine rollback {endpoint.name}, or mlspine promote {endpoint.name} VERSION",
        )

    def _settle(self, endpoint: Endpoint) -> None:
        """What was done or asked is over once a person has put something live since."""
        standing = next((each for each in self._monitoring.alerts(endpoint.name) if each.cause == FALLBACK), None)
        if (
            standing is not None
            and not (endpoint.current.rolled_back_from and _by_itself(endpoint))
            and endpoint.current.created_at_ms > standing.opened_at_ms
        ):
            self._monitoring.clear_alert(endpoint.name, FALLBACK)


def switching_alert(alerts: Sequence[Alert], endpoint: Endpoint) -> Alert | None:
    """The open CRITICAL about the answers of what is live now, None when there is none.

    One that opened before the live revision speaks of the release that was left; one that somebody has taken on is
    theirs to decide. One from while a candidate answered as well speaks of the two of them, until that is taken back.
    """
    since = endpoint.current.created_at_ms if endpoint.current.rolled_back_from else endpoint.live_since_ms
    return next(
        (
            alert
            for alert in alerts
            if alert.severity == "CRITICAL"
            and not alert.acknowledged_by
            and alert.cause.partition(":")[0].partition("@")[0] in MAY_SWITCH
            and alert.opened_at_ms >= since
        ),
        None,
    )


def went_back_itself(endpoint: Endpoint) -> bool:
    """Whether what is live is there because mlspine went back, and nobody has decided anything since."""
    return endpoint.current.cause == "rollback" and _by_itself(endpoint)


def _by_itself(endpoint: Endpoint) -> bool:
    return endpoint.current.actor == signature(SYSTEM)
