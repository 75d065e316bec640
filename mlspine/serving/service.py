"""The door of serving: which release answers for which endpoint, and changing that without a lost request.

Lives in one event loop. Loading happens in a thread; what a request sees changes in one step on the loop, so
a request belongs to the release it began on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

from mlspine.core.errors import Invalid, MlspineError, NotFound, Unavailable, closest
from mlspine.core.ids import SHORT_HASH, now_ms
from mlspine.core.plan import Acknowledgement, Plan, PlannedEndpoint, PlannedRelease, ProcessState, Proof, Spent
from mlspine.core.types import Columns
from mlspine.serving import runtime
from mlspine.serving.batcher import (
    MAX_QUEUE_ROWS,
    Answered,
    Record,
    Request,
)
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.meter import Meter, ReleaseInfo, Spending, cpus, process_cpu_s, render, rss_bytes
from mlspine.serving.plan import InLoopMark
from mlspine.serving.readiness import Readiness
from mlspine.serving.recorder import Recorder, Source
from mlspine.serving.request_id import new_request_id
from mlspine.serving.runner import LoopRunner, Runner, WorkerRunner
from mlspine.serving.worker import DEADLINE_S, Worker

log = logging.getLogger(__name__)

MAX_SCRAPERS = 8  # different readers of /metrics that are told apart


class Serving:
    """Everything one inference process answers with.

    `prepare` loads and proves a release beside what serves; `apply` makes the endpoints match a plan;
    `observe` says how it goes. Releases no longer live or warm in the plan are dropped.
    """

    def __init__(
        self,
        *,
        process: str,
        recorder: Recorder,
        mark: InLoopMark,
        deadline_s: float = DEADLINE_S,
        max_queue_rows: int = MAX_QUEUE_ROWS,
        clock: Callable[[], int] = now_ms,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._recorder = recorder
        self._mark = mark
        self._deadline_s = deadline_s
        self._max_queue_rows = max_queue_rows
        self._clock = clock
        self._timer = timer
        self._started_at_ms = clock()
        self._changing = asyncio.Lock()
        self._runners: dict[str, Runner] = {}  # by release hash
        self._meters: dict[str, Meter] = {}
        self._spending: dict[tuple[str, str], Spending] = {}  # by endpoint and release, for the life of the process
        self._scrapes: dict[str, int] = {}
        self._endpoints: dict[str, ServedEndpoint | SilentEndpoint] = {}
        self._plan: Plan | None = None
        self._acknowledged: Acknowledgement | None = None
        self._readiness = Readiness(timer)
        self.on_change: list[Callable[[], None]] = []

    # ------------------------------------------------------------ what requests use

    @property
    def endpoints(self) -> MappingProxyType[str, ServedEndpoint | SilentEndpoint]:
        """The endpoints of the applied plan, by name."""
        return MappingProxyType(self._endpoints)

    def endpoint(self, name: str) -> ServedEndpoint:
        """The endpoint of that name; raises NotFound listing what is served, Unavailable if it is silent."""
        found = self._endpoints.get(name)
        if found is None:
            near = closest(name, self._endpoints)
            listed = ", ".join(sorted(self._endpoints)) or "none"
            hint = f"did you mean {near}?" if near else f"endpoints here: {listed}"
            raise NotFound(f"no endpoint {name!r}", hint=hint)
        if isinstance(found, SilentEndpoint):
            raise found.refusal()
        return found

    async def why_not_ready(self, name: str) -> str:
        """Why the endpoint does not answer or reproduce its first recorded row, "" when it does."""
        found = self._endpoints.get(name)
        if found is None:
            return f"no endpoint {name!r}"
        if isinstance(found, SilentEndpoint):
            return found.refusal().message
        return await self._readiness.why_not(found.runner)

    async def why_process_not_ready(self) -> str:
        """Why some endpoint that is meant to answer does not, "" when all do."""
        if self._plan is None:
            return "releases are being loaded"
        if not self._endpoints:
            return "no endpoint is served"
        # Those without a live release are silent on purpose.
        names = [name for name, each in self._endpoints.items() if each.planned.live is not None]
        reasons = await asyncio.gather(*map(self.why_not_ready, names))
        return next((f"{name}: {why}" for name, why in zip(names, reasons, strict=True) if why), "")

    # ------------------------------------------------------------ what control asks

    async def prepare(self, planned: PlannedEndpoint) -> Proof:
        """Load, warm, prove and measure `planned.live`, ready for a later `apply`."""
        if planned.live is None:
            raise Invalid(f"endpoint {planned.name} has no release to prepare", hint="plan one as live")
        async with self._changing:
            runner = await self._runner(planned.live)
        return runner.proof

    async def apply(self, plan: Plan) -> Acknowledgement:
        """Answer by this plan from now on. Raises when a release it newly asks for cannot be loaded; then the
        endpoint concerned goes on as before and the others change all the same."""
        async with self._changing:
            if self._plan == plan and self._acknowledged is not None:
                return self._acknowledged
            failures: list[MlspineError] = []
            await self._load_together(plan)
            changed = [await self._next(planned, failures) for planned in plan.endpoints]
            last_old = self._swap(changed)
            self._plan = plan
            self._acknowledged = Acknowledgement(
                process=self._process,
                plan=plan.number,
                applied_at_ms=self._clock(),
                last_old_begun_at_ms=last_old,
            )
            await self._drop_unused(plan)
            log.info("plan applied", extra={"plan": plan.number, "endpoints": len(plan.endpoints)})
            if failures:
                raise failures[0]
            return self._acknowledged

    async def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a loaded release would answer to these rows: in no log, in no counter, in no profile."""
        runner = self._runners.get(release_hash)
        if runner is None:
            raise Unavailable(
                f"release {release_hash[:SHORT_HASH]} is not loaded here", hint="what answers now: mlspine status"
            )
        batcher = runner.batcher(lambda *_: None, self._max_queue_rows, Spending())
        at_ms = self._clock()
        request = Request(
            runner.loaded.codec.read_rows(rows),
            new_request_id(at_ms),
            received_at_ms=at_ms,
            began_s=self._timer(),
        )
        answer = await batcher.submit(request)
        span = slice(answer.start, answer.stop)
        scores: Sequence[float | None] = answer.call.scores or [None] * len(answer.call.predictions)
        return [
            {"prediction": prediction, "score": score}
            for prediction, score in zip(answer.call.predictions[span], scores[span], strict=True)
        ]

    async def observe(self) -> ProcessState:
        """Counters, latencies and health of this process."""
        return ProcessState(
            process=self._process,
            pid=os.getpid(),
            started_at_ms=self._started_at_ms,
            plan=self._plan.number if self._plan else 0,
            ready=not await self.why_process_not_ready(),
            endpoints={name: self._state(endpoint) for name, endpoint in self._endpoints.items()},
            spool_dropped_rows=self._recorder.dropped_rows,
            workers={release: runner.pid for release, runner in self._runners.items() if runner.pid},
            rss_bytes=rss_bytes(),
            cpus=cpus(),
            cpu_s=time.process_time(),
            worker_cpu_s={
                release: process_cpu_s(runner.pid) for release, runner in self._runners.items() if runner.pid
            },
            spent=tuple(
                Spent(
                    endpoint=endpoint,
                    release_hash=release,
                    requests=each.requests,
                    rows=each.rows,
                    calls_s=each.calls_s,
                )
                for (endpoint, release), each in self._spending.items()
            ),
            scrapes=dict(self._scrapes),
        )

    def scraped(self, agent: str) -> None:
        """Somebody read the metrics; `agent` is what it calls itself."""
        product = agent.partition("/")[0][:40] or "unknown"
        if product in self._scrapes or len(self._scrapes) < MAX_SCRAPERS:
            self._scrapes[product] = self._scrapes.get(product, 0) + 1

    def metrics(self) -> str:
        """Prometheus text."""
        releases = [
            ReleaseInfo(
                each.name,
                each.version,
                each.release_hash[:SHORT_HASH],
                each.runner.proof.placement,
                each.path,
            )
            if isinstance(each, ServedEndpoint)
            else ReleaseInfo(each.name, 0, "", "", each.path)
            for each in self._endpoints.values()
        ]
        return render(
            {name: each.meter for name, each in self._endpoints.items()},
            releases,
            dropped_rows=self._recorder.dropped_rows,
            unwritten_rows=self._recorder.unwritten_rows,
            started_at_ms=self._started_at_ms,
            rss=rss_bytes(),
            cpu_s=time.process_time(),
        )

    async def stop(self) -> None:
        """End the model processes; call it when no request is under way."""
        for runner in self._runners.values():
            await runner.stop()

    # ------------------------------------------------------------ loading

    async def _runner(self, planned: PlannedRelease) -> Runner:
        """The release loaded, from before or now; again when it ran in the loop and must leave it."""
        runner = self._runners.get(planned.release_hash)
        if runner is None or (planned.placement == "worker" and runner.proof.placement == "loop"):
            runner = self._runners[planned.release_hash] = await self._load(planned)
            log.info(
                "release loaded",
                extra={
                    "release": planned.release_hash[:SHORT_HASH],
                    "placement": runner.proof.placement,
                    "form": runner.proof.form,
                    "load_s": round(runner.proof.load_s, 3),
                    "p50_s": runner.proof.p50_s,
                },
            )
        return runner

    async def _load(self, planned: PlannedRelease) -> Runner:
        try:
            if planned.placement != "worker":
                loaded, proof = await asyncio.to_thread(runtime.load, planned)
                if proof.placement == "loop":
                    return LoopRunner(loaded, proof, self._mark)
            return await self._load_in_worker(planned)
        except MlspineError:
            raise
        except Exception as exc:
            log.exception("a release cannot be loaded", extra={"release": planned.release_hash[:SHORT_HASH]})
            raise Unavailable(
                f"release {planned.release_hash[:SHORT_HASH]} cannot be loaded: {type(exc).__name__}: {exc}",
                hint="the versions it was shipped with are in its requirements.txt",
            ) from exc

    async def _load_in_worker(self, planned: PlannedRelease) -> Runner:
        described = await asyncio.to_thread(runtime.describe, planned)
        worker = Worker(planned, deadline_s=self._deadline_s)
        proof = await worker.start()
        return WorkerRunner(described, proof, worker)

    # ------------------------------------------------------------ switching

    async def _next(self, planned: PlannedEndpoint, failures: list[MlspineError]) -> ServedEndpoint | SilentEndpoint:
        """What will answer for one endpoint; nothing a request sees changes here."""
        before = self._endpoints.get(planned.name)
        meter = self._meters.setdefault(planned.name, Meter())
        if planned.live is None:
            return SilentEndpoint(planned, meter, None)
        if isinstance(before, ServedEndpoint) and _answers_alike(before, planned):
            before.planned = planned
            return before
        try:
            runner = await self._runner(planned.live)
        except MlspineError as exc:
            log.error("a release cannot answer", extra={"endpoint": planned.name, "why": str(exc)})
            if not isinstance(before, SilentEndpoint) or before.planned.live != planned.live:
                failures.append(exc)
            if isinstance(before, ServedEndpoint):
                return before
            return SilentEndpoint(planned, meter, exc)
        spending = self._spending.setdefault((planned.name, planned.live.release_hash), Spending())
        record = self._record(planned, planned.live, runner, meter, spending)
        batcher = runner.batcher(record, self._max_queue_rows, spending)
        must_wait = self._recorder.is_full if planned.log_first and planned.log.enabled else None
        return ServedEndpoint(planned, planned.live, runner, meter, batcher, must_wait)

    def _record(
        self, planned: PlannedEndpoint, live: PlannedRelease, runner: Runner, meter: Meter, spending: Spending
    ) -> Record:
        time_column, key_column = runtime.logged_columns(runner.loaded.release)
        recording = self._recorder.recording(
            Source(
                endpoint=planned.name,
                release_hash=live.release_hash,
                version=live.version,
                revision=planned.revision,
                columns=runner.loaded.release.signature.inputs.names,
                time_column=time_column,
                key_column=key_column,
                log=planned.log,
                log_first=planned.log_first,
            )
        )
        called, spent = meter.called, spending.answered

        def record(requests: Sequence[Request], columns: Columns, answered: Answered) -> None:
            rows = len(answered.predictions)
            called(rows)
            spent(len(requests), rows)
            recording(requests, columns, answered)

        return record

    async def _load_together(self, plan: Plan) -> None:
        """Load what the plan names side by side: much of a start is models waking up in their own processes.

        A release that fails here is asked for again, and its failure told, when its endpoint is put together;
        of a warm one the failure is worth a line, not a refusal.
        """
        live = {each.live.release_hash: each.live for each in plan.endpoints if each.live is not None}
        warm = {each.warm.release_hash: each.warm for each in plan.endpoints if each.warm is not None}
        wanted = list((warm | live).values())
        results = await asyncio.gather(*(self._runner(each) for each in wanted), return_exceptions=True)
        for each, result in zip(wanted, results, strict=True):
            if isinstance(result, MlspineError) and each.release_hash not in live:
                log.warning("the release to roll back to cannot be loaded", extra={"why": str(result)})

    def _swap(self, after: Sequence[ServedEndpoint | SilentEndpoint]) -> int:
        """Put it all in place in one step; returns when the last request on what left had begun."""
        before, self._endpoints = self._endpoints, {each.name: each for each in after}
        left = [
            each
            for name, each in before.items()
            if isinstance(each, ServedEndpoint) and self._endpoints.get(name) is not each
        ]
        self._meters = {each.name: each.meter for each in after}
        for told in self.on_change:
            told()
        return max((each.last_begun_at_ms for each in left), default=0)

    async def _drop_unused(self, plan: Plan) -> None:
        """Forget releases the plan does not name; requests under way on them still end there."""
        wanted = {
            each.release_hash for planned in plan.endpoints for each in (planned.live, planned.warm) if each is not None
        }
        answering = {id(each.runner) for each in self._endpoints.values() if isinstance(each, ServedEndpoint)}
        for key in [key for key in self._runners if key not in wanted]:
            if id(self._runners[key]) in answering:
                continue
            runner = self._runners.pop(key)
            self._readiness.forget(runner)
            asyncio.get_running_loop().call_later(self._deadline_s + 1.0, _stop_soon, runner)

    def _state(self, endpoint: ServedEndpoint | SilentEndpoint) -> dict[str, Any]:
        state = endpoint.meter.state() | {"revision": endpoint.planned.revision, "path": endpoint.path}
        if isinstance(endpoint, ServedEndpoint):
            proof = endpoint.runner.proof
            state |= {
                "version": endpoint.version,
                "release": endpoint.release_hash,
                "placement": proof.placement,
                "recording": endpoint.planned.log.enabled,
            }
        else:
            state |= {"version": 0, "release": "", "why": endpoint.refusal().message}
        return state


def _answers_alike(before: ServedEndpoint, planned: PlannedEndpoint) -> bool:
    """Whether a new plan leaves the endpoint's answers and records as they are: another warm one does."""
    return (before.planned.revision, before.live, before.planned.log, before.planned.log_first) == (
        planned.revision,
        planned.live,
        planned.log,
        planned.log_first,
    )


def _stop_soon(runner: Runner) -> None:
    task = asyncio.ensure_future(runner.stop())
    task.add_done_callback(lambda done: done.exception())
