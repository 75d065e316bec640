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
from mlspine.serving.assembly import Assembly
from mlspine.serving.batcher import MAX_QUEUE_ROWS, Hooks
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.meter import Meter, ReleaseInfo, Spending, cpus, process_cpu_s, render, rss_bytes
from mlspine.serving.plan import InLoopMark
from mlspine.serving.readiness import Readiness
from mlspine.serving.recorder import Recorder
from mlspine.serving.request import Request
from mlspine.serving.request_id import new_request_id
from mlspine.serving.runner import Runner, start_runner
from mlspine.serving.shadowing import record_nothing
from mlspine.serving.worker import DEADLINE_S

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
        self._replaced: list[Runner] = []  # loaded anew elsewhere, perhaps still answering
        self._meters: dict[str, Meter] = {}
        self._scrapes: dict[str, int] = {}
        self._endpoints: dict[str, ServedEndpoint | SilentEndpoint] = {}
        self._plan: Plan | None = None
        self._acknowledged: Acknowledgement | None = None
        self._readiness = Readiness(timer)
        self._assembly = Assembly(
            recorder=recorder,
            runner_of=self._runner,
            before=lambda: self._endpoints,
            deadline_s=deadline_s,
            max_queue_rows=max_queue_rows,
        )
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
        batcher = runner.batcher(Hooks(record_nothing, max_queue_rows=self._max_queue_rows), Spending())
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
                for (endpoint, release), each in self._assembly.spending.items()
            ),
            arms=tuple(
                arm.state()
                for each in self._endpoints.values()
                if isinstance(each, ServedEndpoint)
                for arm in each.arms
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
        for runner in (*self._runners.values(), *self._replaced):
            await runner.stop()

    # ------------------------------------------------------------ loading

    async def _runner(self, planned: PlannedRelease) -> Runner:
        """The release loaded, from before or now; again when it has to leave this process or this environment."""
        before = runner = self._runners.get(planned.release_hash)
        if runner is None or _runs_elsewhere(runner, planned):
            runner = self._runners[planned.release_hash] = await self._load(planned)
            if before is not None:
                self._replaced.append(before)
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
            return await start_runner(planned, mark=self._mark, deadline_s=self._deadline_s)
        except MlspineError:
            raise
        except Exception as exc:
            log.exception("a release cannot be loaded", extra={"release": planned.release_hash[:SHORT_HASH]})
            raise Unavailable(
                f"release {planned.release_hash[:SHORT_HASH]} cannot be loaded: {type(exc).__name__}: {exc}",
                hint="the versions it was shipped with are in its requirements.txt",
            ) from exc

    # ------------------------------------------------------------ switching

    async def _next(self, planned: PlannedEndpoint, failures: list[MlspineError]) -> ServedEndpoint | SilentEndpoint:
        """What will answer for one endpoint; nothing a request sees changes here."""
        before = self._endpoints.get(planned.name)
        meter = self._meters.setdefault(planned.name, Meter())
        if planned.live is None:
            return await self._assembly.by_rule_alone(planned, meter) or SilentEndpoint(planned, meter, None)
        if isinstance(before, ServedEndpoint) and before.planned == planned:
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
        return await self._assembly.served(planned, planned.live, runner, meter)

    async def _load_together(self, plan: Plan) -> None:
        """Load what the plan names side by side: much of a start is models waking up in their own processes.

        A release that fails here is asked for again, and its failure told, when its endpoint is put together;
        of a warm one the failure is worth a line, not a refusal.
        """
        live = {each.live.release_hash: each.live for each in plan.endpoints if each.live is not None}
        beside = {each.release_hash: each for planned in plan.endpoints for each in _beside_live(planned)}
        wanted = list((beside | live).values())
        results = await asyncio.gather(*(self._runner(each) for each in wanted), return_exceptions=True)
        for each, result in zip(wanted, results, strict=True):
            if isinstance(result, MlspineError) and each.release_hash not in live:
                log.warning("a release beside the live one cannot be loaded", extra={"why": str(result)})

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
            each.release_hash
            for planned in plan.endpoints
            for each in (planned.live, *_beside_live(planned))
            if each is not None
        }
        answering = {
            id(arm.runner) for each in self._endpoints.values() if isinstance(each, ServedEndpoint) for arm in each.arms
        }
        for key in [key for key in self._runners if key not in wanted]:
            if id(self._runners[key]) in answering:
                continue
            self._stop_later(self._runners.pop(key))
        for runner in [each for each in self._replaced if id(each) not in answering]:
            self._replaced.remove(runner)
            self._stop_later(runner)

    def _stop_later(self, runner: Runner) -> None:
        """End a runner once the requests under way on it must be over."""
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
                "breakers": {arm.path: arm.breaker.state for arm in endpoint.arms if arm.path != "rule"},
            }
        else:
            state |= {"version": 0, "release": "", "why": endpoint.refusal().message}
        return state


def _beside_live(planned: PlannedEndpoint) -> list[PlannedRelease]:
    """The releases an endpoint needs beside the one that is live."""
    # A release that is more than a shadow runs as what it is besides: the later of two wins.
    beside = (planned.traffic.shadow, planned.warm, planned.traffic.candidate)
    return [each for each in beside if each is not None]


def _runs_elsewhere(runner: Runner, planned: PlannedRelease) -> bool:
    """Whether the plan wants the release in another process or environment than it is in."""
    loaded = runner.loaded.planned
    if planned.own_env != loaded.own_env:
        return True
    if planned.placement == "worker":
        return runner.proof.placement != "worker"
    return loaded.placement == "worker"  # it was sent away as a shadow, and is more than that now


def _stop_soon(runner: Runner) -> None:
    task = asyncio.ensure_future(runner.stop())
    task.add_done_callback(lambda done: done.exception())
