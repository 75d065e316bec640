"""For a model elsewhere, in a process or a thread: one call at a time while requests gather, late ones given away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from mlspine.core.errors import MlspineError, Unavailable
from mlspine.core.types import Columns
from mlspine.registry.flavors import Outputs
from mlspine.serving.batcher import Batcher, Hooks, Settled, check
from mlspine.serving.outputs import select
from mlspine.serving.refusing import Late, refusal
from mlspine.serving.request import Request


class WorkerBatcher(Batcher):
    """For a model in a process of its own: one call at a time, requests gather meanwhile."""

    def __init__(
        self,
        predict: Callable[[Columns], Awaitable[Outputs]],
        *,
        canned: Callable[[], Awaitable[bool]],
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._predict = predict
        self._canned = canned
        self._running: asyncio.Task[None] | None = None
        hooks: Hooks = rest["hooks"]
        self._deadline_s = hooks.deadline_s
        self._watch: asyncio.TimerHandle | None = None
        self._called: list[Request] = []
        self._called_at_s = 0.0
        self._gone = hooks.gone

    def put(self, request: Request) -> None:
        super().put(request)
        request.holder = self
        request.entered_s = self._timer()
        if self._deadline_s is not None and self._watch is None:
            self._watch = self._loop.call_later(self._deadline_s, self._look)

    def _look(self) -> None:
        """Give away what has waited for longer than its deadline; a late answer to it is nobody's."""
        assert self._deadline_s is not None
        self._watch = None
        latest_s = self._timer() - self._deadline_s
        owed = [request for request in (*self._called, *self._queue) if request.holder is self]
        late = [request for request in owed if request.entered_s <= latest_s]
        if late:
            for request in late:
                request.holder = None
            self._queue = deque(request for request in self._queue if request.holder is self)
            self._queued_rows = sum(request.table.size for request in self._queue)
            hung = bool(self._called) and self._called_at_s <= latest_s
            if self._gone is not None:
                call_rows = sum(request.table.size for request in self._called) if hung else 0
                lasted_s = self._timer() - self._called_at_s
                self._gone(sum(request.table.size for request in late), len(late), call_rows, lasted_s)
            text = f"the model did not answer within {self._deadline_s:g} s"
            exc = Unavailable(text, hint="send fewer rows at once") if hung else Late(text, hint="send again")
            self._failed(late, exc, lost=hung)
        left = [request.entered_s for request in owed if request.holder is self]
        if left and self._watch is None:
            self._watch = self._loop.call_later(max(0.001, min(left) - latest_s), self._look)

    def _wake(self) -> None:
        if self._running is None:
            self._running = self._loop.create_task(self._run())

    async def _run(self) -> None:
        await asyncio.sleep(0)  # let the other requests of this turn arrive
        try:
            while self._queue:
                await self._answer(self._take())
                self._called = []
        finally:
            self._running = None

    async def _answer(self, requests: list[Request]) -> None:
        self._called, self._called_at_s = requests, self._timer()
        try:
            columns = self._codec.columns([request.table for request in requests])
            outputs = await self._predict(columns)
            check(outputs, requests)
            settled = self._settle_those_owed(requests, columns, outputs)
        except MlspineError as exc:
            self._fail_those_owed(requests, exc, lost=isinstance(exc, Unavailable))
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            if len(requests) > 1:
                half = len(requests) // 2
                await self._answer(requests[:half])
                await self._answer(requests[half:])
            else:
                self._fail_those_owed(requests, refusal(exc, healthy=await self._canned()))
        else:
            self._resolve(settled)

    def _fail_those_owed(self, requests: Sequence[Request], exc: Exception, *, lost: bool = False) -> None:
        owed = [request for request in requests if request.holder is self]
        if owed:
            self._fail(owed, exc, lost=lost)

    def _settle_those_owed(self, requests: Sequence[Request], columns: Columns, outputs: Outputs) -> Settled:
        if all(request.holder is self for request in requests):
            return self._settle(requests, columns, outputs)
        stays, start = [np.empty(0, dtype=np.int64)], 0
        for request in requests:
            stop = start + request.table.size
            if request.holder is self:
                stays.append(np.arange(start, stop))
            start = stop
        rows = np.concatenate(stays)
        owed = [request for request in requests if request.holder is self]
        return self._settle(owed, {name: values[rows] for name, values in columns.items()}, select(outputs, rows))
