"""Whatever is done to an endpoint, in whatever order: what a rollback may bring back, and what a division keeps."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlspine.core.plan import Cause, Guards, LogSettings, Revision, Traffic
from mlspine.deployment.dividing import told, widens, with_candidate, with_shadow, without_candidate
from mlspine.deployment.endpoint import live_since, next_number, rollback_target, trail

VERSIONS = st.integers(1, 4)
SHARES = st.sampled_from([0.01, 0.05, 0.5, 1.0])


class Endpoint(RuleBasedStateMachine):
    """The rules of the service on an endpoint, with a plain model of what people expect beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.revisions: list[Revision] = []
        # The way back as a person would keep it: versions, and the guards each was last live with.
        self.expected: list[tuple[int, Guards]] = []
        self._append("serve", 1, Traffic(), Guards())
        self.expected.append((1, Guards()))

    @property
    def now(self) -> Revision:
        return self.revisions[-1]

    def _append(self, cause: Cause, version: int, traffic: Traffic, guards: Guards) -> None:
        self.revisions.append(
            Revision(
                endpoint="churn",
                number=next_number(self.revisions),
                version=version,
                release_hash=f"hash{version}" if version else "",
                cause=cause,
                log=LogSettings(),
                created_at_ms=len(self.revisions),
                actor="ada",
                traffic=traffic,
                guards=guards,
            )
        )

    @rule(version=VERSIONS)
    def promote(self, version: int) -> None:
        if version == self.now.version:
            return
        self._append("promote", version, Traffic(), self.now.guards)
        self.expected.append((version, self.now.guards))

    @precondition(lambda self: self.now.version)
    @rule(candidate=VERSIONS, share=SHARES, unit=st.sampled_from(["", "customer"]))
    def split(self, candidate: int, share: float, unit: str) -> None:
        if candidate == self.now.version:
            return
        before = self.now.traffic
        fresh = f"salt{next_number(self.revisions)}"
        then = with_candidate(before, candidate, share=share, unit=unit, cohort=None, salt="", fresh_salt=fresh)
        if before.candidate == candidate:
            assert then.salt == before.salt
            assert then.unit == (unit or before.unit)
        else:
            assert then.salt == fresh
            assert widens(before, then)
        assert then.shadow == before.shadow
        assert f"version {candidate} answers" in told(then)
        self._append("traffic", self.now.version, then, self.now.guards)

    @precondition(lambda self: self.now.version)
    @rule(shadow=st.integers(0, 4))
    def shadow(self, shadow: int) -> None:
        if shadow == self.now.version:
            return
        then = with_shadow(self.now.traffic, shadow, 0.5)
        assert without_candidate(then).shadow == shadow
        self._append("traffic", self.now.version, then, self.now.guards)

    @rule(answer=st.sampled_from([None, "later"]))
    def guard(self, answer: str | None) -> None:
        guards = Guards(answer=answer)
        self._append("guards", self.now.version, self.now.traffic, guards)
        if self.expected:
            self.expected[-1] = (self.now.version, guards)

    @precondition(lambda self: self.now.version)
    @rule()
    def rollback(self) -> None:
        if self.now.traffic.candidate:
            self._append("traffic", self.now.version, without_candidate(self.now.traffic), self.now.guards)
            return
        target = rollback_target(self.revisions)
        steps = len(trail(self.revisions))
        self.expected.pop()
        version, guards_then = self.expected[-1] if self.expected else (0, Guards())
        assert ((target.version, target.guards) if target else (0, Guards())) == (version, guards_then)
        self._append("rollback", version, Traffic(), self.now.guards)
        if self.expected:
            self.expected[-1] = (version, self.now.guards)
        assert len(trail(self.revisions)) == steps - 1  # so that no sequence of rollbacks returns to what was left

    @invariant()
    def the_way_back_is_what_a_person_would_have_kept(self) -> None:
        assert [each.version for each in trail(self.revisions)] == [version for version, _ in self.expected]

    @invariant()
    def what_is_live_is_the_end_of_the_way(self) -> None:
        way = trail(self.revisions)
        assert (way[-1].version if way else 0) == self.now.version
        assert not way or way[-1].number == self.now.number

    @invariant()
    def nobody_is_answered_by_a_candidate_that_is_live(self) -> None:
        assert self.now.traffic.candidate != self.now.version or not self.now.version

    @invariant()
    def the_moment_it_went_live_is_that_of_a_move(self) -> None:
        since = live_since(self.revisions)
        assert since is not None
        assert since.version == self.now.version
        assert since.cause in ("serve", "promote", "rollback")

    @invariant()
    def what_is_stored_can_be_read_again(self) -> None:
        text = msgspec.json.encode(self.now)
        assert msgspec.json.decode(text, type=Revision) == self.now


TestEndpoint = Endpoint.TestCase
