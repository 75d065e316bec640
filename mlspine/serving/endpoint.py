"""An endpoint as requests meet it: one that answers, or one that says why it cannot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from mlspine.core.columns import to_jsonable_rows
from mlspine.core.errors import Invalid, MlspineError, Unavailable
from mlspine.core.plan import PlannedEndpoint, PlannedRelease
from mlspine.core.types import Signature
from mlspine.serving.arm import Arm, Shed
from mlspine.serving.breaker import LOST_WEIGHT
from mlspine.serving.division import goes_to_candidate
from mlspine.serving.fallback import Reserve, next_answerer
from mlspine.serving.meter import Meter
from mlspine.serving.output_rules import Ruled
from mlspine.serving.refusing import Late
from mlspine.serving.request import Answer, Request, awaited
from mlspine.serving.rows import RowCodec
from mlspine.serving.runner import Runner
from mlspine.serving.shadowing import Shadow
from mlspine.serving.shedding import Refusal

CANNOT_ANSWER = "cannot-answer"


class ServedEndpoint:
    """One endpoint as requests meet it; replaced as a whole when its plan changes.

    arm: the live release. candidate: takes a share of the requests; relief: the live release once more, for what the
    candidate did not answer. previous: the release before, rule: the declared rule; they answer in this order what the
    live release does not. log_is_full: asked before each request where an answer without a record is worse than none.
    """

    path = "live"

    def __init__(
        self,
        planned: PlannedEndpoint,
        arm: Arm,
        meter: Meter,
        *,
        candidate: Arm | None = None,
        relief: Arm | None = None,
        previous: Arm | None = None,
        rule: Arm | None = None,
        shadow: Shadow | None = None,
        log_is_full: Callable[[], bool] | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.planned = planned
        self.arm = arm
        self.live: PlannedRelease = arm.planned
        self.name = planned.name
        self.path = arm.path
        self.version = arm.version
        self.release_hash = arm.release_hash
        self.runner: Runner = arm.runner
        self.meter = meter
        self.codec: RowCodec = arm.codec
        self.signature: Signature = arm.signature
        self.candidate = candidate
        self.relief = relief
        self.previous = previous
        self.rule = rule
        self.shadow = shadow
        self.last_begun_at_ms = 0
        self._behind = Reserve(previous=previous is not None, rule=rule is not None)
        self._log_is_full = log_is_full
        self._timer = timer

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every release, in every role, that may answer here or is compared."""
        beside = (self.candidate, self.relief, self.previous, self.rule, self.shadow.arm if self.shadow else None)
        return (self.arm, *(each for each in beside if each is not None))

    @property
    def rereads(self) -> bool:
        """Whether some request may have to be read by another schema than that of the live release."""
        return any(each.codec.schema != self.codec.schema for each in self.arms)

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Hand over a request; the future resolves to the answer or an error of the family."""
        future = awaited(request)
        self.enter(request)
        return future

    def enter(self, request: Request) -> None:
        """Hand over a request whose `deliver` is set; raises what refuses it at once."""
        if self._log_is_full is not None and self._log_is_full():
            raise Unavailable(
                f"endpoint {self.name} answers only what it can record, and its log cannot be written",
                hint="free disk space where the workspace lies; requests are answered again at once",
            )
        self.last_begun_at_ms = request.received_at_ms
        arm = self.arm if self.candidate is None else self._dealt_to(request, self.candidate)
        breaker = arm.breaker
        if not breaker.closed:
            self._try(request, arm)
            return
        arm.ticket = breaker.ticket
        door = arm.door
        if door is not None:
            refusal = door.admit(request.table.size, request.began_s)
            if refusal is not None:
                self._turn_away(request, arm, refusal)
                return
        if arm is self.arm:
            arm.batcher.put(request)
        else:
            self._put_or_pass_on(request, arm)

    def failed(self, arm: Arm, requests: Sequence[Request], exc: Exception, *, lost: bool) -> None:
        """What a call of an arm did not answer: who is next does, or the caller is told."""
        if isinstance(exc, Invalid):
            arm.breaker.succeeded(arm.ticket)
            if arm is not self.candidate:
                for request in requests:  # the rows are at fault, as the release's own recorded row shows
                    request.deliver(request, None, exc)
                return
        elif isinstance(exc, Late):
            arm.breaker.given_up(arm.ticket)
        else:
            arm.breaker.failed(arm.ticket, self._timer(), weight=LOST_WEIGHT if lost else 1)
        arm.tally.requests += len(requests)
        for request in requests:
            self._note_failure(arm, request)
            self._pass_on(request, arm.path, exc)

    def fallen(self, arm: Arm, requests: Sequence[Request], ruled: Ruled) -> None:
        """What an output rule caught; the answers to `requests` were given away."""
        arm.tally.broken += len(ruled.broken_spans)
        for kind, rows in ruled.broken:
            self.meter.rules[kind] = self.meter.rules.get(kind, 0) + rows
        exc = Unavailable(
            f"endpoint {self.name} may not answer this: an output rule forbids it",
            hint=f"the rules and how often they acted: mlspine guards {self.name}",
        )
        for request in requests:
            self._pass_on(request, arm.path, exc)

    def unit_of(self, request: Request) -> str:
        """What the request is dealt by, "" where each is dealt by itself."""
        column = self.planned.traffic.unit
        named = self.codec.first(request.table, column) if column else None
        return request.key or "" if named is None else str(named)

    def example_rows(self) -> list[dict[str, Any]]:
        """A recorded row as JSON values, so that an example works as it stands; empty without one."""
        return to_jsonable_rows(self.runner.loaded.canned[0], self.signature.inputs)

    # ------------------------------------------------------------ who answers

    def _dealt_to(self, request: Request, candidate: Arm) -> Arm:
        table, codec = request.table, self.codec
        chosen = goes_to_candidate(
            self.planned.traffic,
            unit=request.key or request.request_id,
            value=lambda column: codec.first(table, column),
        )
        return candidate if chosen else self.arm

    def _turn_away(self, request: Request, arm: Arm, refusal: Refusal) -> None:
        """Too many requests are the callers' to send again; a model that is stuck is ours to stand in for."""
        if (refusal.stuck or arm.breaker.failing) and (arm is self.candidate or any(self._behind)):
            arm.tally.requests += 1
            self._note_failure(arm, request)
            self._pass_on(request, arm.path, Shed(refusal))
            return
        self.meter.shed += 1
        raise Shed(refusal)

    def _try(self, request: Request, arm: Arm) -> None:
        """Ask a release that has failed again and again, if it is time to; else whoever stands behind it."""
        if arm.admits(self._timer()):
            self._put_or_pass_on(request, arm)
            return
        waits_s = arm.breaker.retry_in_s(self._timer())
        arm.tally.requests += 1
        self._note_failure(arm, request)
        self._pass_on(
            request,
            arm.path,
            Unavailable(
                f"version {arm.version} has failed again and again and is tried again in {waits_s:.0f} s",
                hint=f"see why: mlspine status {self.name}",
            ),
        )

    def _put_or_pass_on(self, request: Request, arm: Arm) -> None:
        try:
            self._put(request, arm)
        except MlspineError as exc:
            arm.breaker.given_up(arm.ticket)
            if arm.door is not None:
                arm.door.left(request.table.size, 1)
            arm.tally.requests += 1
            self._note_failure(arm, request)
            self._pass_on(request, arm.path, exc)

    def _pass_on(self, request: Request, path: str, exc: Exception) -> None:
        """Ask whoever stands behind, one after the other; the last of them is the caller, who is told."""
        now_s = self._timer()
        while True:
            path = next_answerer(
                path,  # type: ignore[arg-type]
                self._behind,
                live_admits=self.relief is not None and self.relief.admits(now_s),
                previous_admits=self.previous is not None and self.previous.admits(now_s),
            )
            arm = {"live": self.relief, "fallback": self.previous, "rule": self.rule}.get(path)
            if arm is None:
                self.meter.paths[CANNOT_ANSWER] = self.meter.paths.get(CANNOT_ANSWER, 0) + 1
                request.deliver(request, None, exc)
                return
            try:
                self._put(request, arm)
                return
            except MlspineError:
                arm.tally.requests += 1
                arm.tally.failures += 1

    def _put(self, request: Request, arm: Arm) -> None:
        if request.reread is not None and arm.codec.schema != self.codec.schema:
            request.table = request.reread(arm)
        arm.batcher.put(request)

    def _note_failure(self, arm: Arm, request: Request) -> None:
        arm.tally.failures += 1
        arm.tally.failed_again += arm.failed_before(self.unit_of(request))


class SilentEndpoint:
    """An endpoint that is declared and has nothing to answer with, and why."""

    path = CANNOT_ANSWER

    def __init__(self, planned: PlannedEndpoint, meter: Meter, failure: MlspineError | None) -> None:
        self.planned = planned
        self.name = planned.name
        self.meter = meter
        self.failure = failure

    def refusal(self) -> MlspineError:
        """What to tell whoever asks."""
        if self.failure is not None:
            return Unavailable(
                f"endpoint {self.name} cannot answer: {self.failure.message}",
                hint=self.failure.hint,
                details=self.failure.details,
            )
        return Unavailable(
            f"endpoint {self.name} cannot answer: it was rolled back and no earlier release exists",
            hint=f"bring a version forward: mlspine promote {self.name} VERSION",
        )
