"""Putting an endpoint together: who answers, who stands by, who is compared, and what each call of them is told to."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mlspine.core.errors import MlspineError
from mlspine.core.plan import PlannedEndpoint, PlannedRelease
from mlspine.serving import runtime
from mlspine.serving.arm import Arm, Role
from mlspine.serving.batcher import MAX_CALL_ROWS, Hooks, Record, RuleBatcher
from mlspine.serving.breaker import Breaker
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.matrix import MatrixReader
from mlspine.serving.meter import Meter, Spending
from mlspine.serving.output_rules import OutputRules
from mlspine.serving.recorder import Recorder, Source
from mlspine.serving.request import Answered, Request, Rows
from mlspine.serving.rows import Table
from mlspine.serving.rule_answer import RuleAnswer
from mlspine.serving.runner import Runner
from mlspine.serving.shadowing import Shadow, spread_of
from mlspine.serving.shedding import Admission

log = logging.getLogger(__name__)

_sized = functools.lru_cache(maxsize=1024)(Table)  # tables that only know how many rows they had


class Assembly:
    """Makes endpoints from what a plan says of them. Nothing a request sees changes here.

    runner_of: a release loaded, from before or now. before: the endpoints as they are, whose counts go on where the
    revision is the same. spending: by endpoint and release, for the life of the process.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        runner_of: Callable[[PlannedRelease], Awaitable[Runner]],
        before: Callable[[], Mapping[str, ServedEndpoint | SilentEndpoint]],
        deadline_s: float,
        max_queue_rows: int,
    ) -> None:
        self._recorder = recorder
        self._runner_of = runner_of
        self._before = before
        self._deadline_s = deadline_s
        self._max_queue_rows = max_queue_rows
        self._breakers: dict[str, Breaker] = {}  # by release hash: in whatever role it answers
        self.spending: dict[tuple[str, str], Spending] = {}

    async def served(
        self, planned: PlannedEndpoint, release: PlannedRelease, runner: Runner, meter: Meter
    ) -> ServedEndpoint:
        """An endpoint with everybody who may answer for it."""
        live = self._arm(planned, release, "live", runner)
        candidate = await self._beside(planned, planned.traffic.candidate, "candidate")
        relief = self._arm(planned, release, "fallback", runner, path="live") if candidate is not None else None
        wanted = planned.warm if planned.guards.fallback == "previous" else None
        endpoint = ServedEndpoint(
            planned,
            live,
            meter,
            candidate=candidate,
            relief=relief,
            previous=await self._beside(planned, wanted, "fallback"),
            rule=self._rule(planned, live) if planned.guards.answer is not None else None,
            shadow=await self._shadow(planned, live),
            log_is_full=self._recorder.is_full if planned.log_first and planned.log.enabled else None,
        )
        for arm in endpoint.arms:
            if arm.role != "shadow":
                self._connect(arm, endpoint)
        return endpoint

    async def by_rule_alone(self, planned: PlannedEndpoint, meter: Meter) -> ServedEndpoint | None:
        """Rolled back past the first release: the declared rule answers, for rows as the release left reads them."""
        if planned.warm is None or planned.guards.answer is None:
            return None
        try:
            runner = await self._runner_of(planned.warm)
        except MlspineError as exc:
            log.error("the declared rule cannot answer", extra={"endpoint": planned.name, "why": str(exc)})
            return None
        nobody = PlannedRelease(release_hash="", version=0, path="")
        arm = self._arm(planned, nobody, "live", runner, path="rule")
        endpoint = ServedEndpoint(planned, arm, meter)
        self._connect(arm, endpoint)
        return endpoint

    def _arm(
        self, planned: PlannedEndpoint, release: PlannedRelease, role: Role, runner: Runner, *, path: str = ""
    ) -> Arm:
        breaker = self._breakers.setdefault(release.release_hash, Breaker())
        arm = Arm(
            endpoint=planned.name,
            revision=planned.revision,
            role=role,
            planned=release,
            runner=runner,
            breaker=breaker,
            path=path,
        )
        before = self._before().get(planned.name)
        for known in before.arms if isinstance(before, ServedEndpoint) else ():
            if (known.revision, known.role, known.path, known.release_hash) == (
                arm.revision,
                role,
                arm.path,
                arm.release_hash,
            ):
                arm.tally = known.tally  # the plan changed elsewhere: go on counting
        return arm

    def _rule(self, planned: PlannedEndpoint, live: Arm) -> Arm:
        return self._arm(planned, live.planned, "fallback", live.runner, path="rule")

    async def _beside(self, planned: PlannedEndpoint, release: PlannedRelease | None, role: Role) -> Arm | None:
        """An arm beside the live one; None without a release, and for one that cannot be loaded."""
        if release is None or (planned.live is not None and release.release_hash == planned.live.release_hash):
            return None
        try:
            return self._arm(planned, release, role, await self._runner_of(release))
        except MlspineError as exc:
            log.error("a release cannot stand by", extra={"endpoint": planned.name, "role": role, "why": str(exc)})
            return None

    async def _shadow(self, planned: PlannedEndpoint, live: Arm) -> Shadow | None:
        arm = await self._beside(planned, planned.traffic.shadow, "shadow")
        if arm is None:
            return None
        task = live.signature.task
        spread = await asyncio.to_thread(spread_of, live.planned) if task == "regression" else 1.0
        hooks = Hooks(
            self._recorder.recording(self._source(planned, arm)), arm=arm, max_queue_rows=self._max_queue_rows
        )
        arm.batcher = arm.runner.batcher(hooks, self._spent_by(planned.name, arm))
        traffic = planned.traffic
        return Shadow(arm, share=traffic.shadow_share, task=task, spread=spread, slow_s=traffic.slow_s)

    def _connect(self, arm: Arm, endpoint: ServedEndpoint) -> None:
        """Give an arm its batcher, which tells endpoint, meters and log of every call."""
        guards, proof = endpoint.planned.guards, arm.runner.proof
        deadline_s = guards.deadline_s or self._deadline_s
        spending = self._spent_by(endpoint.name, arm)
        hooks = Hooks(
            self._record(arm, endpoint, spending),
            failed=lambda requests, exc, *, lost: endpoint.failed(arm, requests, exc, lost=lost),
            arm=arm,
            max_queue_rows=self._max_queue_rows,
            max_call_rows=proof.max_call_rows or MAX_CALL_ROWS,
        )
        if arm.path == "rule":
            arm.batcher = RuleBatcher(
                RuleAnswer(guards, arm.signature).outputs, codec=arm.codec, task=arm.signature.task, hooks=hooks
            )
            return
        rules = OutputRules(guards.rules, arm.signature)
        if rules.active:
            hooks = hooks._replace(rules=rules, fallen=lambda requests, ruled: endpoint.fallen(arm, requests, ruled))
        if arm is endpoint.arm or arm is endpoint.candidate:
            arm.door = Admission(
                deadline_s=deadline_s,
                call_s=proof.p50_s,
                rows_per_s=proof.capacity_rows_per_s,
                max_call_rows=hooks.max_call_rows,
            )
            hooks = hooks._replace(over=arm.door.answered, gone=arm.door.left)
        arm.batcher = arm.runner.batcher(hooks._replace(deadline_s=deadline_s), spending)

    def _spent_by(self, endpoint: str, arm: Arm) -> Spending:
        return self.spending.setdefault((endpoint, arm.release_hash), Spending())

    def _record(self, arm: Arm, endpoint: ServedEndpoint, spending: Spending) -> Record:
        """What is done about every call of an arm: counted, put by for the log, shown to the shadow."""
        recording = self._recorder.recording(self._source(endpoint.planned, arm))
        meter, tally, path, breaker = endpoint.meter, arm.tally, arm.path, arm.breaker
        called, took, spent = meter.called, meter.took, spending.answered
        slow_s = endpoint.planned.traffic.slow_s
        shadow = endpoint.shadow
        if shadow is not None and shadow.arm.release_hash == arm.release_hash:
            shadow = None  # compared with itself it would only look more alike

        def record(requests: Sequence[Request], rows: Rows, answered: Answered) -> None:
            called(len(answered.predictions))
            took(requests, path)
            spent(len(requests), len(answered.predictions))
            tally.requests += len(requests)
            breaker.succeeded(arm.ticket)
            if slow_s:
                for request in requests:
                    if request.latency_s > slow_s:
                        tally.slow += 1
                        tally.slow_again += arm.slow_before(endpoint.unit_of(request))
            recording(requests, rows, answered)
            if shadow is not None:
                shadow.offer(requests, answered)
            # The values are in `rows` from here on: a quarter of a second's worth of requests would hold them twice.
            for request in requests:
                request.table = _sized(request.table.size)

        return record

    def _source(self, planned: PlannedEndpoint, arm: Arm) -> Source:
        time_column, key_column = runtime.logged_columns(arm.runner.loaded.release)
        return Source(
            endpoint=planned.name,
            release_hash=arm.release_hash,
            version=arm.version,
            revision=planned.revision,
            columns=arm.signature.inputs.names,
            time_column=time_column,
            key_column=key_column,
            log=planned.log,
            log_first=planned.log_first,
            path=arm.path,
            unfold=MatrixReader(arm.signature.inputs).columns,
        )
