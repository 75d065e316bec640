"""A loaded release at work: in this event loop, or in a process of its own. The two look alike from outside."""

from __future__ import annotations

from typing import Protocol

from mlspine.core.plan import Proof
from mlspine.serving import runtime
from mlspine.serving.batcher import Batcher, LoopBatcher, Record, WorkerBatcher
from mlspine.serving.meter import Spending
from mlspine.serving.plan import InLoopMark
from mlspine.serving.worker import Worker


class Runner(Protocol):
    """A loaded release somewhere: in this loop or in a process of its own."""

    loaded: runtime.LoadedRelease
    proof: Proof

    def batcher(self, record: Record, max_queue_rows: int, spending: Spending) -> Batcher: ...

    async def healthy(self) -> bool: ...

    async def stop(self) -> None: ...

    @property
    def pid(self) -> int: ...


class LoopRunner:
    """Runs in the event loop, between two marks on disk."""

    pid = 0

    def __init__(self, loaded: runtime.LoadedRelease, proof: Proof, mark: InLoopMark) -> None:
        self.loaded = loaded
        self.proof = proof
        self._predict = mark.around(loaded.predict, loaded.release_hash)

    def batcher(self, record: Record, max_queue_rows: int, spending: Spending) -> Batcher:
        return LoopBatcher(
            spending.around(self._predict),
            canned=self._canned,
            codec=self.loaded.codec,
            task=self.loaded.release.signature.task,
            record=record,
            max_queue_rows=max_queue_rows,
        )

    def _canned(self) -> bool:
        return runtime.still_reproduces(self.loaded)

    async def healthy(self) -> bool:
        return self._canned()

    async def stop(self) -> None:
        """Nothing to stop: the model goes with its last reference."""


class WorkerRunner:
    """Runs in a model process. `loaded` here knows the schema and the rows, and never holds the model."""

    def __init__(self, loaded: runtime.LoadedRelease, proof: Proof, worker: Worker) -> None:
        self.loaded = loaded
        self.proof = proof
        self._worker = worker

    def batcher(self, record: Record, max_queue_rows: int, spending: Spending) -> Batcher:
        # Not timed here: waiting for another process is no work, and that process has a CPU time of its own.
        return WorkerBatcher(
            self._worker.predict,
            canned=self._worker.healthy,
            codec=self.loaded.codec,
            task=self.loaded.release.signature.task,
            record=record,
            max_queue_rows=max_queue_rows,
        )

    async def healthy(self) -> bool:
        return await self._worker.healthy()

    async def stop(self) -> None:
        await self._worker.stop()

    @property
    def pid(self) -> int:
        return self._worker.pid
