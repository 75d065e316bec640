"""Deployer that serves from child processes on this machine, all of them on one port.

Each process answers by the whole plan. Everything they need is on disk (`run/plan.json`), so that they start and
serve with control dead; a change is pushed to those that live, and one that starts meanwhile begins by it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlspine.backends.inference_process import (
    COMMAND_TIMEOUT_S,
    Death,
    InferenceProcess,
    in_loop_at_death,
    is_process,
    known_indices,
)
from mlspine.core.errors import MlspineError, Unavailable
from mlspine.core.messages import NoAnswer
from mlspine.core.plan import Acknowledgement, Plan, PlannedEndpoint, ProcessState, Proof

__all__ = ["Death", "LocalProcesses", "in_loop_at_death", "is_process"]

log = logging.getLogger(__name__)

PREPARE_TIMEOUT_S = 300.0

T = TypeVar("T")


class LocalProcesses:
    """The inference processes `inference-0` to `inference-N-1`, started when a plan has endpoints.

    How many is for the plan to say; until one was applied, for `base_plan`.
    """

    def __init__(self, workspace: Path, base_plan: Plan) -> None:
        self._workspace = workspace
        self._base_plan = base_plan
        self._run = workspace / "run"
        self._run.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()  # the scheduler and the control API both come here
        self._count = base_plan.processes
        self._processes: dict[int, InferenceProcess] = {}
        self._deaths: list[Death] = []
        self._expected = False

    # ------------------------------------------------------------ the port

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        """One process after the other measures, in the first, and the others take its word for where the release
        runs; so no measurement is disturbed by another, and all agree."""
        if not self._same_address(self._base_plan):
            self._store_plan(self._base_plan)
        first, *others = self._running()
        proof = msgspec.convert(self._prepare(first, endpoint), type=Proof)
        if endpoint.live is not None and endpoint.live.placement == "auto":
            placed = msgspec.structs.replace(endpoint.live, placement=proof.placement)
            endpoint = msgspec.structs.replace(endpoint, live=placed)
        told = _each(others, lambda process: self._prepare(process, endpoint))
        self._raise_refusals(others, told)
        return proof

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        """Acknowledged by every process that answers. One that does not is waited for only while no other does: it
        reads the plan before its first answer, so after this no process begins an answer by an earlier plan."""
        self._store_plan(plan)
        self._count = plan.processes
        ones = self._all()
        told = _each(ones, lambda process: self._push(process, plan))  # nothing is waited for before this
        with self._lock:
            self._send_away_surplus()
            self._start_missing()
        if all(isinstance(each, NoAnswer) for each in told):
            ones = self._running()
            told = _each(ones, lambda process: self._push(process, plan))
        self._raise_refusals(ones, told)
        acknowledged = tuple(each for each in told if isinstance(each, Acknowledgement))
        if not acknowledged:
            raise next(each for each in told if isinstance(each, MlspineError))
        return acknowledged

    def applied(self) -> Plan | None:
        try:
            return msgspec.json.decode((self._run / "plan.json").read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError):
            return None

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        failure = Unavailable("no inference process answers", hint="start with: mlspine up")
        for process in self._all():
            try:
                answers: list[dict[str, Any]] = process.call("ask", COMMAND_TIMEOUT_S, release=release_hash, rows=rows)
            except Unavailable as exc:
                failure = exc
            else:
                return answers
        raise failure

    def observe(self) -> tuple[ProcessState, ...]:
        told = _each(self._all(), InferenceProcess.observe)
        return tuple(state for state in told if isinstance(state, ProcessState))

    def flush(self) -> None:
        _each(self._all(), lambda process: process.call("flush", COMMAND_TIMEOUT_S))

    def remove(self) -> None:
        with self._lock:
            self._expected = False
            ones = [self._at(index) for index in sorted({*range(self._count), *self._known()})]
        _each(ones, InferenceProcess.stop)

    # ------------------------------------------------------------ supervision

    def expect(self) -> None:
        """From now on a missing inference process is a death to be mended."""
        self._expected = True

    def supervise(self) -> list[Death]:
        """Look once; restart processes that died or stopped answering, and say how they died. One that dies again
        and again is restarted after longer and longer pauses."""
        with self._lock:
            if self._expected and (self._run / "plan.json").exists():
                _each(self._all(), InferenceProcess.kill_when_silent)
                self._start_missing()
                self._send_away_surplus()
            deaths, self._deaths = self._deaths, []
            return deaths

    # ------------------------------------------------------------ inside

    def _at(self, index: int) -> InferenceProcess:
        return self._processes.setdefault(index, InferenceProcess(self._workspace, index))

    def _all(self) -> list[InferenceProcess]:
        return [self._at(index) for index in range(self._count)]

    def _start_missing(self, *, at_once: bool = False) -> list[InferenceProcess]:
        with self._lock:
            self._expected = True
            ones = self._all()
            self._deaths += [death for each in ones if (death := each.start_when_gone(at_once=at_once)) is not None]
            return ones

    def _send_away_surplus(self) -> None:
        for index in self._known():
            if index >= self._count:
                self._at(index).retire()

    def _known(self) -> set[int]:
        """The indices that have, or had, a process."""
        return {*known_indices(self._run), *self._processes}

    def _running(self) -> list[InferenceProcess]:
        """Those that answer commands, after waiting for all that are starting; raises Unavailable when none does."""
        ones = self._start_missing(at_once=True)
        told = _each(ones, InferenceProcess.await_answer)
        failed = [each for each in told if isinstance(each, MlspineError)]
        if len(failed) == len(ones):
            raise failed[0]
        return [process for process, failure in zip(ones, told, strict=True) if failure is None]

    def _prepare(self, process: InferenceProcess, endpoint: PlannedEndpoint) -> Any:
        return process.call("prepare", PREPARE_TIMEOUT_S, endpoint=msgspec.to_builtins(endpoint))

    def _push(self, process: InferenceProcess, plan: Plan) -> Acknowledgement:
        reply = process.call("apply", PREPARE_TIMEOUT_S, plan=msgspec.to_builtins(plan))
        return msgspec.convert(reply, type=Acknowledgement)

    def _raise_refusals(self, ones: Sequence[InferenceProcess], told: Sequence[object]) -> None:
        """Raise what a process answered with; one that said nothing reads the plan when it starts."""
        for process, answer in zip(ones, told, strict=True):
            if isinstance(answer, NoAnswer):
                log.info("a process will read the change when it starts", extra={"who": process.name})
            elif isinstance(answer, MlspineError):
                raise answer

    def _same_address(self, plan: Plan) -> bool:
        """Whether the plan on disk listens where `plan` wants to."""
        stored = self.applied()
        return stored is not None and (stored.host, stored.port) == (plan.host, plan.port)

    def _store_plan(self, plan: Plan) -> None:
        if not self._same_address(plan):
            self.remove()  # a listening socket cannot move: the next process binds the new address
        target = self._run / "plan.json"
        draft = target.with_suffix(".tmp")
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(plan)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)


def _each(processes: Sequence[InferenceProcess], do: Callable[[InferenceProcess], T]) -> list[T | MlspineError]:
    """What came of doing it with all of them at once, in their order."""

    def attempt(process: InferenceProcess) -> T | MlspineError:
        try:
            return do(process)
        except MlspineError as exc:
            return exc

    if len(processes) < 2:
        return [attempt(each) for each in processes]
    with ThreadPoolExecutor(len(processes), thread_name_prefix="inference") as pool:
        return list(pool.map(attempt, processes))
