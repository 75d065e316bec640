"""A release in one role at an endpoint: who answers, who stands by, who is only compared."""

from __future__ import annotations

from typing import Literal

from mlspine.core.errors import Unavailable
from mlspine.core.plan import ArmTally, PlannedRelease
from mlspine.core.types import Signature
from mlspine.serving.again import Again
from mlspine.serving.batcher import Batcher
from mlspine.serving.breaker import NOT_ADMITTED, Breaker
from mlspine.serving.rows import RowCodec
from mlspine.serving.runner import Runner
from mlspine.serving.shedding import Admission, Refusal

Role = Literal["live", "candidate", "fallback", "shadow"]


class Tally:
    """Counts of one arm, begun anew with every revision of its endpoint; see `core.plan.ArmTally`."""

    __slots__ = (
        "broken",
        "compared",
        "difference",
        "difference_squared",
        "dropped",
        "failed_again",
        "failures",
        "flips",
        "requests",
        "slow",
        "slow_again",
    )

    def __init__(self) -> None:
        self.requests = self.failures = self.slow = self.broken = 0
        self.failed_again = self.slow_again = 0
        self.compared = self.flips = self.dropped = 0
        self.difference = self.difference_squared = 0.0


class Arm:
    """One release answering for one endpoint in one role.

    path: what its answers say of the way they took. breaker: of the release, in whatever role; door: of its queue,
    None where nobody is refused. codec, signature, runner: of the release, which reads the rows.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        revision: int,
        role: Role,
        planned: PlannedRelease,
        runner: Runner,
        breaker: Breaker,
        path: str = "",
    ) -> None:
        self.name = endpoint
        self.revision = revision
        self.role: Role = role
        self.path: str = path or role
        self.planned = planned
        self.version = planned.version
        self.release_hash = planned.release_hash
        self.runner = runner
        self.codec: RowCodec = runner.loaded.codec
        self.signature: Signature = runner.loaded.release.signature
        self.breaker = breaker
        self.ticket = breaker.ticket  # of the call that was admitted last
        self.door: Admission | None = None
        self.tally = Tally()
        self.failed_before, self.slow_before = Again(), Again()
        self.batcher: Batcher

    def admits(self, now_s: float) -> bool:
        """Whether the release is to be called now. One that is left alone is tried now and then: then with this."""
        breaker = self.breaker
        ticket = breaker.ticket if breaker.closed else breaker.admit(now_s)
        if ticket == NOT_ADMITTED:
            return False  # a trial may be under way, and its outcome needs the ticket that is kept
        self.ticket = ticket
        return True

    def state(self) -> ArmTally:
        """The counts as they stand."""
        tally = self.tally
        return ArmTally(
            endpoint=self.name,
            release_hash=self.release_hash,
            role=self.role,
            revision=self.revision,
            **{name: getattr(tally, name) for name in Tally.__slots__},
        )


class Shed(Unavailable):
    """Refused at the door: more arrives than can be answered in time. retry_after: for the header."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"too busy: {refusal.why}", hint=f"send again in {refusal.header} s")
        self.retry_after = refusal.header
