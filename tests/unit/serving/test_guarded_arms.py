"""How a release that fails is told from one that is asked too much."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Columns, Field, Schema, Signature
from mlspine.registry.flavors import Outputs
from mlspine.serving.arm import Arm
from mlspine.serving.batcher import Hooks
from mlspine.serving.breaker import Breaker, BreakerRule
from mlspine.serving.refusing import Late
from mlspine.serving.request import Answered, Request, awaited
from mlspine.serving.rows import RowCodec, Table
from mlspine.serving.worker_batcher import WorkerBatcher

SCHEMA = Schema(fields=(Field(name="a", type="float", dtype=""),))
CODEC = RowCodec(SCHEMA)
DEADLINE_S = 0.01


def arm() -> Arm:
    signature = Signature(inputs=SCHEMA, task="regression")
    loaded = SimpleNamespace(codec=CODEC, release=SimpleNamespace(signature=signature))
    return Arm(
        endpoint="churn",
        revision=1,
        role="live",
        planned=PlannedRelease(release_hash="a" * 64, version=1, path=""),
        runner=SimpleNamespace(loaded=loaded),  # type: ignore[arg-type]
        breaker=Breaker(BreakerRule(in_a_row=1, trials=1), draw=lambda: 0.0),
    )


def test_a_request_turned_away_during_a_trial_does_not_take_the_trial_s_ticket() -> None:
    live = arm()
    live.breaker.failed(live.ticket, 0.0)
    assert live.admits(1.0)
    assert not live.admits(1.1)
    live.breaker.succeeded(live.ticket)
    assert live.breaker.closed


class Elsewhere:
    """A model in another process that answers when it is told to, one row per call; what came of the requests."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.answer = asyncio.Event()
        self.called = asyncio.Event()
        self.calls = 0
        self.told = asyncio.Event()
        self.failed: list[tuple[int, bool, bool]] = []  # how many, whether late, whether lost
        self.gone: list[tuple[int, int, int]] = []
        self.over: list[int] = []
        hooks = Hooks(
            self.record,
            failed=self.hear,
            max_call_rows=1,
            deadline_s=DEADLINE_S,
            over=lambda rows, *_: self.over.append(rows),
            gone=lambda rows, requests, call_rows, seconds: self.gone.append((rows, requests, call_rows)),
        )
        self.batcher = WorkerBatcher(
            self.predict, canned=self.canned, codec=CODEC, task="regression", hooks=hooks, timer=lambda: self.now_s
        )

    async def predict(self, columns: Columns) -> Outputs:
        self.calls += 1
        self.called.set()
        await self.answer.wait()
        self.answer.clear()
        return Outputs(np.array(columns["a"]), None)

    async def canned(self) -> bool:
        return True

    def record(self, requests: Sequence[Request], rows: Any, answered: Answered) -> None: ...

    def hear(self, requests: Sequence[Request], exc: Exception, *, lost: bool) -> None:
        self.failed.append((len(requests), isinstance(exc, Late), lost))
        self.told.set()

    def put(self, name: str) -> None:
        request = Request(Table(1, rows=[(1.0,)]), name, received_at_ms=0, began_s=self.now_s)
        awaited(request)
        self.batcher.put(request)


def test_a_call_that_lasts_longer_than_the_deadline_is_lost_with_all_who_wait_behind_it() -> None:
    async def story() -> Elsewhere:
        model = Elsewhere()
        model.put("a")
        model.put("b")
        await model.called.wait()
        model.now_s = 2 * DEADLINE_S
        await asyncio.wait_for(model.told.wait(), 10)
        model.answer.set()
        return model

    model = asyncio.run(story())
    assert model.failed == [(2, False, True)]
    assert (model.gone, model.over) == ([(2, 2, 1)], [])  # the call that hangs has one row


def test_what_waited_too_long_for_its_turn_is_late_and_no_word_against_the_model() -> None:
    async def story() -> Elsewhere:
        model = Elsewhere()
        for name in "abc":
            model.put(name)
        await model.called.wait()
        model.called.clear()
        model.now_s = 0.8 * DEADLINE_S
        model.answer.set()
        await model.called.wait()  # b: its call is young
        model.now_s = 1.2 * DEADLINE_S
        await asyncio.wait_for(model.told.wait(), 10)
        model.answer.set()
        return model

    model = asyncio.run(story())
    assert model.failed == [(2, True, False)]
    assert (model.gone, model.over) == ([(2, 2, 0)], [1])
