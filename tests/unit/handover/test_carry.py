"""Which releases go along when an endpoint is taken elsewhere."""

from __future__ import annotations

from mlspine.core.plan import LogSettings, Revision, Traffic
from mlspine.handover.carry import releases_of


def revision(number: int, version: int, traffic: Traffic) -> Revision:
    return Revision(
        endpoint="churn",
        number=number,
        version=version,
        release_hash=f"hash{version}" if version else "",
        cause="serve",
        log=LogSettings(),
        created_at_ms=0,
        actor="ada",
        traffic=traffic,
    )


def test_what_answers_a_share_or_is_asked_along_now_goes_along_and_what_did_before_does_not() -> None:
    history = [
        revision(1, 1, Traffic()),
        revision(2, 1, Traffic(candidate=4, share=0.1)),
        revision(3, 2, Traffic()),
        revision(4, 2, Traffic(candidate=3, share=0.1, shadow=5)),
    ]
    assert releases_of(history, lambda version: f"hash{version}") == ("hash1", "hash2", "hash3", "hash5")
    assert releases_of(history[:3], lambda version: f"hash{version}") == ("hash1", "hash2")
    assert releases_of([], lambda version: "") == ()
