from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.plan import Cohort, PlannedEndpoint, PlannedRelease, PlannedTraffic
from mlspine.core.types import Field, Schema
from mlspine.serving.arm import Arm, Shed
from mlspine.serving.breaker import Breaker
from mlspine.serving.endpoint import ServedEndpoint
from mlspine.serving.meter import Meter
from mlspine.serving.request import Answer, Request
from mlspine.serving.rows import RowCodec, Table
from mlspine.serving.shedding import Refusal

SCHEMA = Schema(fields=(Field(name="a", type="float", dtype=""), Field(name="place", type="text", dtype="")))
LIVE, NEW, OLD = (PlannedRelease(release_hash=letter * 4, version=at, path="") for at, letter in enumerate("abc", 1))


class Desk:
    """The batcher of one arm: takes requests in, and says no when it is told to."""

    def __init__(self) -> None:
        self.taken: list[Request] = []
        self.refuses = False

    def put(self, request: Request) -> None:
        if self.refuses:
            raise Unavailable("the queue is full")
        self.taken.append(request)


def an_arm(release: PlannedRelease, role: Any, path: str = "", breaker: Breaker | None = None) -> tuple[Arm, Desk]:
    loaded = SimpleNamespace(codec=RowCodec(SCHEMA), release=SimpleNamespace(signature=None))
    runner = cast(Any, SimpleNamespace(loaded=loaded))
    arm = Arm(
        endpoint="loans",
        revision=1,
        role=role,
        planned=release,
        runner=runner,
        breaker=breaker or Breaker(),
        path=path,
    )
    desk = Desk()
    arm.batcher = cast(Any, desk)
    return arm, desk


def served(arm: Arm, traffic: PlannedTraffic | None = None, **more: Any) -> ServedEndpoint:
    planned = PlannedEndpoint(name="loans", revision=1, live=LIVE, traffic=traffic or PlannedTraffic())
    return ServedEndpoint(planned, arm, Meter(), timer=lambda: 1.0, **more)


class Told:
    """What a caller hears."""

    def __init__(self) -> None:
        self.heard: list[Answer | Exception | None] = []

    def request(self, value: float = 1.0, place: str = "x", key: str | None = None, name: str = "id") -> Request:
        request = Request(Table(1, rows=[(value, place)]), name, received_at_ms=5, began_s=0.0, key=key)
        request.deliver = lambda _, answer, exc: self.heard.append(answer or exc)
        return request


def test_a_request_that_could_not_be_recorded_is_refused_where_the_record_comes_first() -> None:
    arm, desk = an_arm(LIVE, "live")
    full = True
    endpoint = served(arm, log_is_full=lambda: full)
    with pytest.raises(Unavailable, match="loans answers only what it can record"):
        endpoint.enter(Told().request())
    full = False
    request = Told().request()
    endpoint.enter(request)
    assert desk.taken == [request]
    assert endpoint.last_begun_at_ms == 5


def test_what_the_live_release_does_not_answer_the_one_before_does_then_the_rule_then_nobody() -> None:
    live, _ = an_arm(LIVE, "live")
    previous, before = an_arm(OLD, "fallback")
    rule, ruled = an_arm(LIVE, "fallback", path="rule")
    endpoint = served(live, previous=previous, rule=rule)
    caller, failure = Told(), Unavailable("its process died")
    request = caller.request()
    endpoint.failed(live, [request], failure, lost=True)
    assert before.taken == [request]
    endpoint.failed(previous, [request], failure, lost=True)
    assert ruled.taken == [request]
    assert caller.heard == []
    endpoint.failed(rule, [request], failure, lost=False)
    assert caller.heard == [failure]
    assert endpoint.meter.paths == {"cannot-answer": 1}
    assert (live.tally.requests, live.tally.failures) == (1, 1)


def test_rows_at_fault_are_told_so_and_nobody_else_is_asked() -> None:
    live, _ = an_arm(LIVE, "live")
    previous, before = an_arm(OLD, "fallback")
    caller, fault = Told(), Invalid("the model could not score this row")
    served(live, previous=previous).failed(live, [caller.request()], fault, lost=False)
    assert caller.heard == [fault]
    assert before.taken == []
    assert live.tally.failures == 0


def test_what_the_candidate_refuses_the_live_release_answers() -> None:
    live, _ = an_arm(LIVE, "live")
    candidate, tried = an_arm(NEW, "candidate")
    relief, relieved = an_arm(LIVE, "fallback", path="live")
    endpoint = served(live, PlannedTraffic(candidate=NEW, share=1.0), candidate=candidate, relief=relief)
    request = Told().request(key="ann")
    endpoint.enter(request)
    assert tried.taken == [request]
    endpoint.failed(candidate, [request], Invalid("not these rows"), lost=False)
    endpoint.failed(candidate, [request], Unavailable("nor these"), lost=False)
    assert relieved.taken == [request, request]
    assert (candidate.tally.requests, candidate.tally.failures, candidate.tally.failed_again) == (2, 2, 1)


@pytest.mark.parametrize("release", ["live", "candidate"])
def test_a_release_that_fails_again_and_again_is_left_alone(release: str) -> None:
    breaker = Breaker()
    live, at_live = an_arm(LIVE, "live", breaker=breaker if release == "live" else None)
    candidate, at_candidate = an_arm(NEW, "candidate", breaker=breaker if release == "candidate" else None)
    relief, at_relief = an_arm(LIVE, "fallback", path="live", breaker=live.breaker)
    previous, at_previous = an_arm(OLD, "fallback")
    share = 0.0 if release == "live" else 1.0
    endpoint = served(
        live, PlannedTraffic(candidate=NEW, share=share), candidate=candidate, relief=relief, previous=previous
    )
    while breaker.closed:
        breaker.failed(breaker.ticket, 1.0)
    endpoint.enter(Told().request())
    assert (len(at_live.taken), len(at_candidate.taken)) == (0, 0)
    assert (len(at_relief.taken), len(at_previous.taken)) == ((0, 1) if release == "live" else (1, 0))


def test_a_full_queue_of_the_live_release_is_what_the_one_before_is_for() -> None:
    live, desk = an_arm(LIVE, "live")
    previous, before = an_arm(OLD, "fallback")
    desk.refuses = True
    endpoint = served(live, previous=previous)
    with pytest.raises(Unavailable, match="the queue is full"):
        endpoint.enter(Told().request())  # too many at once: told at once, not handed round
    assert before.taken == []


def test_more_than_can_be_answered_in_time_is_refused_at_the_door() -> None:
    live, desk = an_arm(LIVE, "live")
    live.door = cast(Any, SimpleNamespace(admit=lambda rows, now_s: Refusal(2.5, "900 requests wait")))
    endpoint = served(live)
    with pytest.raises(Shed, match="900 requests wait") as refused:
        endpoint.enter(Told().request())
    assert refused.value.retry_after == "3"
    assert endpoint.meter.shed == 1
    assert desk.taken == []


@pytest.mark.parametrize("why", ["stuck", "failing"])
def test_where_the_model_is_the_trouble_the_door_leads_to_whoever_stands_by(why: str) -> None:
    live, desk = an_arm(LIVE, "live")
    previous, before = an_arm(OLD, "fallback")
    refusal = Refusal(2.5, "900 requests wait", stuck=why == "stuck")
    live.door = cast(Any, SimpleNamespace(admit=lambda rows, now_s: refusal))
    if why == "failing":
        live.breaker.failed(live.breaker.ticket, 0.0)
    endpoint = served(live, previous=previous)
    request = Told().request()
    endpoint.enter(request)
    assert before.taken == [request]
    assert desk.taken == []
    assert endpoint.meter.shed == 0


def dealt(endpoint: ServedEndpoint, desk: Desk, requests: list[Request]) -> int:
    for request in requests:
        endpoint.enter(request)
    return len(desk.taken)


def test_a_unit_stays_where_it_was_dealt_and_the_share_is_kept() -> None:
    live, _ = an_arm(LIVE, "live")
    candidate, desk = an_arm(NEW, "candidate")
    by_key = served(live, PlannedTraffic(candidate=NEW, share=0.2, salt="s"), candidate=candidate)
    caller = Told()
    first = dealt(by_key, desk, [caller.request(key=f"customer {i}", name=str(i)) for i in range(2000)])
    assert 320 < first < 480
    chosen = {request.key for request in desk.taken}
    desk.taken.clear()
    dealt(by_key, desk, [caller.request(key=f"customer {i}", name=f"again {i}") for i in range(2000)])
    assert {request.key for request in desk.taken} == chosen


def test_a_column_can_be_what_requests_are_dealt_by() -> None:
    live, _ = an_arm(LIVE, "live")
    candidate, desk = an_arm(NEW, "candidate")
    endpoint = served(live, PlannedTraffic(candidate=NEW, share=0.5, unit="place"), candidate=candidate)
    dealt(endpoint, desk, [Told().request(place="ulm", name=str(i)) for i in range(20)])
    assert len(desk.taken) in (0, 20)


def test_a_cohort_alone_meets_the_candidate() -> None:
    live, at_live = an_arm(LIVE, "live")
    candidate, desk = an_arm(NEW, "candidate")
    traffic = PlannedTraffic(candidate=NEW, share=1.0, cohort=Cohort(field="place", values=("ulm", "bonn")))
    endpoint = served(live, traffic, candidate=candidate)
    dealt(endpoint, desk, [Told().request(place=place) for place in ("ulm", "kiel", "bonn", "kiel")])
    assert [request.table.rows for request in desk.taken] == [[(1.0, "ulm")], [(1.0, "bonn")]]
    assert len(at_live.taken) == 2


def test_rows_are_read_anew_for_a_release_of_another_schema() -> None:
    live, _ = an_arm(LIVE, "live")
    previous, before = an_arm(OLD, "fallback")
    previous.codec = RowCodec(Schema(fields=(Field(name="a", type="float", dtype=""),)))
    endpoint = served(live, previous=previous)
    assert endpoint.rereads
    request, reads = Told().request(), list[Arm]()

    def reread(arm: Arm) -> Table:
        reads.append(arm)
        return Table(1, rows=[(7.0,)])

    request.reread = cast(Callable[[Any], Table], reread)
    endpoint.failed(live, [request], Unavailable("gone"), lost=True)
    assert reads == [previous]
    assert before.taken[0].table.rows == [(7.0,)]
