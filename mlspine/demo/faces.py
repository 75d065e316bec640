"""mlspine as its users meet it: the command line in a process of its own, and what it prints with `--json`.

Every reading of that JSON is here, decoded into the struct that the service behind the command returns.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from mlspine import api
from mlspine.advisor.service import Advised
from mlspine.core.columns import to_columns
from mlspine.core.errors import Unavailable
from mlspine.core.types import (
    Alert,
    DriftReport,
    LabelReceipt,
    LedgerEntry,
    LogSummary,
    PerformanceReport,
    Struct,
)
from mlspine.deployment.service import Switched
from mlspine.governance.ledger import LedgerCheck
from mlspine.registry.flavors import score_of
from mlspine.registry.release import load_predictor, read_release
from mlspine.retraining.service import Concluded
from mlspine.rollouts.store import Rollout

COMMAND_TIMEOUT_S = 120
REPORTS_READ = 10_000
# The demo loads the machine to its limit itself, so that a switch would be blamed for what the replay does.
SLOW, SLOW_S = "MLSPINE_MONITORING__LATENCY_P99_S", "2"
Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")


class Served(Struct, frozen=True, kw_only=True):
    """What `mlspine serve` answers."""

    switched: Switched
    url: str
    control_url: str


class Commands:
    """The commands of one workspace and one endpoint."""

    def __init__(self, workspace: Path, endpoint: str) -> None:
        self.workspace = workspace
        self._endpoint = endpoint

    def serve(self, *, port: int, control_port: int) -> Served:
        """Start serving and come back when it answers."""
        ports = ["--port", str(port), "--control-port", str(control_port)]
        return self._run(Served, "serve", self._endpoint, *ports, "--detach")

    def promote(self, version: int, *, reason: str) -> Switched:
        """Move the endpoint to a version."""
        return self._run(Switched, "promote", self._endpoint, str(version), "--reason", reason)

    def rollback(self, *, reason: str) -> Switched:
        """Bring the previous release back."""
        return self._run(Switched, "rollback", self._endpoint, "--reason", reason)

    def start_canary(self, version: int, *, steps: Sequence[int], step_requests: int) -> Rollout:
        """Let a version answer a growing share, step by step, without the day that a canary takes otherwise."""
        told = ["--canary", ",".join(map(str, steps)), "--min-hours", "0", "--step-minutes", "0"]
        told += ["--step-requests", str(step_requests)]
        return self._run(Rollout, "rollout", "start", f"{self._endpoint}:{version}", *told)

    @contextlib.contextmanager
    def rollouts(self) -> Iterator[Callable[[], list[Rollout]]]:
        """Canaries and watches, the newest first, as often as one likes: asked of the opened workspace."""
        opened = api.open(self.workspace)
        try:
            yield lambda: list(opened.rollouts.history(self._endpoint, limit=20))
        finally:
            opened.close()

    def retrain(self, *, message: str) -> Concluded:
        """Fit again on the declared source by the recipe of the release in Production, and ask the gate."""
        return self._run(Concluded, "retrain", self._endpoint, "--message", message)

    def check(self) -> list[DriftReport]:
        """Judge what waits."""
        return self._run(list[DriftReport], "check", self._endpoint)

    def add_labels(self, file: Path) -> LabelReceipt:
        """Hand in a file of labels."""
        return self._run(LabelReceipt, "labels", "add", self._endpoint, str(file))

    def quality_by_month(self) -> list[PerformanceReport]:
        """Measured quality, a row per month and release."""
        return self._run(list[PerformanceReport], "quality", self._endpoint, "--by", "month")

    def alerts(self) -> list[Alert]:
        """Alerts, open and cleared."""
        return self._run(list[Alert], "alerts", self._endpoint, "--all")

    def log(self) -> LogSummary:
        """What the request log holds."""
        return self._run(LogSummary, "log", self._endpoint)

    def ledger(self) -> list[LedgerEntry]:
        """Every recorded change, oldest first."""
        lines = self._said("ledger", "--limit", "1000").splitlines()
        return [msgspec.json.decode(line, type=LedgerEntry) for line in lines]

    def verify_ledger(self) -> LedgerCheck:
        """The chain, recomputed."""
        return self._run(LedgerCheck, "ledger", "--verify")

    def advise(self) -> Advised:
        """What to add next, and what not yet."""
        return self._run(Advised, "advise")

    def down(self) -> None:
        """Stop everything."""
        self._run(dict[str, Any], "down")

    def reports(self) -> list[DriftReport]:
        """Every judged window, oldest first: too many for a terminal, so asked of the opened workspace."""
        opened = api.open(self.workspace)
        try:
            return list(opened.monitoring.reports(self._endpoint, limit=REPORTS_READ))
        finally:
            opened.close()

    def scores(self, version: int, rows: Any) -> Array:
        """What a release gives each of these rows, whether or not it was asked then; shape (n,)."""
        opened = api.open(self.workspace)
        try:
            path = Path(opened.registry.get(self._endpoint, version).path)
        finally:
            opened.close()
        release = read_release(path)
        scores = score_of(load_predictor(path, release)(to_columns(rows)[0]), release.signature.task)
        assert scores is not None  # the demo's model is a classifier with probabilities
        return scores

    def _run(self, kind: type[T], *words: str) -> T:
        return msgspec.json.decode(self._said(*words), type=kind)

    def _said(self, *words: str) -> bytes:
        """What a command prints with --json; raises Unavailable with its own words when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "mlspine", *words, "--json"],
            env={SLOW: SLOW_S, **os.environ, "MLSPINE_WORKSPACE": str(self.workspace)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise Unavailable(
                f"`mlspine {' '.join(words)}` ended with {done.returncode}",
                details=said[:20],
                hint=f"its workspace is {self.workspace}; logs are in {self.workspace / 'run'}",
            )
        return done.stdout
