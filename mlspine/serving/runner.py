"""A loaded release at work: in this event loop, in a thread, or in a process of its own; alike from outside."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mlspine.core.errors import Unavailable
from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import PlannedRelease, Proof
from mlspine.core.types import Columns
from mlspine.registry.flavors import FromMatrix, Outputs
from mlspine.serving import runtime
from mlspine.serving.batcher import Batcher, Hooks, LoopBatcher
from mlspine.serving.meter import Spending
from mlspine.serving.plan import InLoopMark
from mlspine.serving.worker import DEADLINE_S, Worker
from mlspine.serving.worker_batcher import WorkerBatcher


class Runner(Protocol):
    """A loaded release somewhere: in this loop, in a thread or in a process of its own."""

    loaded: runtime.LoadedRelease
    proof: Proof

    def batcher(self, hooks: Hooks, spending: Spending) -> Batcher: ...

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
        from_matrix: FromMatrix | None = getattr(loaded.predict, "from_matrix", None)
        self._from_matrix = mark.around(from_matrix, loaded.release_hash) if from_matrix else None

    def batcher(self, hooks: Hooks, spending: Spending) -> Batcher:
        return LoopBatcher(
            spending.around(self._predict),
            from_matrix=spending.around(self._from_matrix) if self._from_matrix else None,
            canned=self._canned,
            codec=self.loaded.codec,
            task=self.loaded.release.signature.task,
            hooks=hooks,
        )

    def _canned(self) -> bool:
        return runtime.still_reproduces(self.loaded)

    async def healthy(self) -> bool:
        return self._canned()

    async def stop(self) -> None:
        """Nothing to stop: the model goes with its last reference."""


class ThreadRunner:
    """Runs in one thread of its own: for data-only models that take longer than the event loop can wait.

    Their libraries let the interpreter go while they compute. A call that does not come back cannot be ended; those
    behind it are refused at their deadline.
    """

    pid = 0

    def __init__(self, loaded: runtime.LoadedRelease, proof: Proof, *, deadline_s: float = DEADLINE_S) -> None:
        self.loaded = loaded
        self.proof = proof
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{loaded.release_hash[:SHORT_HASH]}")

    def batcher(self, hooks: Hooks, spending: Spending) -> Batcher:
        predict = spending.around(self.loaded.predict)

        async def in_thread(columns: Columns) -> Outputs:
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await asyncio.get_running_loop().run_in_executor(self._thread, predict, columns)
            except TimeoutError as exc:
                raise Unavailable(
                    f"the model did not answer within {self._deadline_s:g} s", hint="send fewer rows at once"
                ) from exc

        return WorkerBatcher(
            in_thread,
            canned=self.healthy,
            codec=self.loaded.codec,
            task=self.loaded.release.signature.task,
            hooks=hooks,
        )

    async def healthy(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(self._thread, runtime.still_reproduces, self.loaded)
        except TimeoutError:
            return False

    async def stop(self) -> None:
        self._thread.shutdown(wait=False)


class WorkerRunner:
    """Runs in a model process. `loaded` here knows the schema and the rows, and never holds the model."""

    def __init__(self, loaded: runtime.LoadedRelease, proof: Proof, worker: Worker) -> None:
        self.loaded = loaded
        self.proof = proof
        self._worker = worker

    def batcher(self, hooks: Hooks, spending: Spending) -> Batcher:
        # Not timed here: waiting for another process is no work, and that process has a CPU time of its own.
        return WorkerBatcher(
            self._worker.predict,
            canned=self._worker.healthy,
            codec=self.loaded.codec,
            task=self.loaded.release.signature.task,
            hooks=hooks,
        )

    async def healthy(self) -> bool:
        return await self._worker.healthy()

    async def stop(self) -> None:
        await self._worker.stop()

    @property
    def pid(self) -> int:
        return self._worker.pid


async def start_runner(planned: PlannedRelease, *, mark: InLoopMark, deadline_s: float) -> Runner:
    """Load and prove a release, and put it where it is to run.

    What runs in a process of its own is not loaded here at all: not even its pickle is opened.
    """
    if not await asyncio.to_thread(runtime.belongs_elsewhere, planned):
        loaded, proof = await asyncio.to_thread(runtime.load, planned)
        if proof.placement == "loop":
            return LoopRunner(loaded, proof, mark)
        return ThreadRunner(loaded, proof, deadline_s=deadline_s)
    described = await asyncio.to_thread(runtime.describe, planned)
    worker = Worker(planned, deadline_s=deadline_s)
    return WorkerRunner(described, await worker.start(), worker)
