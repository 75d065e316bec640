"""A workspace with three versions of a model and a serving side that is only pretended: it counts what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Unavailable
from mlspine.core.plan import Acknowledgement, ArmTally, Plan, PlannedEndpoint, ProcessState, Proof, Revision
from mlspine.core.types import Actor, Alert, Tier
from mlspine.data.service import Data
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.predictions.service import Predictions
from mlspine.registry.prepare import prepare
from mlspine.registry.service import Registry
from mlspine.rollouts.service import Rollouts

ADA = Actor(name="ada")
WATCH_S = 1800.0
X = np.random.default_rng(0).normal(size=(300, 2))
Y = (X[:, 0] > 0).astype(int)


class Pretended:
    """One process: what it was planned, and counts that begin anew with each revision."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.started_at_ms = 1
        self.tallies: dict[tuple[str, str, int], dict[str, float]] = {}
        self.workers: dict[str, int] = {}
        self.scores: dict[str, Any] = {}  # release -> what it says to n rows
        self.refuses = False

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        if self.refuses:
            raise Unavailable("the release cannot be loaded")
        assert endpoint.live is not None
        return Proof(
            release_hash=endpoint.live.release_hash,
            recorded_rows=2,
            reproduced_rows=2,
            placement="worker",
            form="matrix",
            load_s=0.1,
            p50_s=0.01,
            p95_s=0.01,
            p99_s=0.01,
            capacity_rows_per_s=100.0,
        )

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        self.plan = plan
        return (Acknowledgement(process="inference-0", plan=plan.number, applied_at_ms=0),)

    def applied(self) -> Plan | None:
        return self.plan

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if release_hash not in self.scores:
            raise Unavailable("not loaded")
        scores = self.scores[release_hash](np.linspace(0.05, 0.95, len(rows)))
        return [{"prediction": int(score > 0.5), "score": float(score)} for score in scores]

    def observe(self) -> tuple[ProcessState, ...]:
        arms = tuple(
            ArmTally(endpoint="churn", role=role, release_hash=release, revision=revision, **counts)  # type: ignore[arg-type]
            for (role, release, revision), counts in self.tallies.items()
        )
        return (
            ProcessState(
                process="inference-0",
                pid=1,
                started_at_ms=self.started_at_ms,
                plan=1,
                ready=True,
                endpoints={},
                workers=dict(self.workers),
                arms=arms,
            ),
        )

    def flush(self) -> None: ...

    def remove(self) -> None: ...


class House:
    """Version 1 answers; 2 and 3 are there. Everything but the serving side is real."""

    def __init__(self, folder: Path, *, tier: Tier = "low", watch_s: float = 0.0) -> None:
        self.now_ms = 1_700_000_000_000
        releases = folder / "releases"
        releases.mkdir()
        self.watch_s = watch_s
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.governance = Governance(db=self.db)
        self.registry = Registry(db=self.db, data=Data(db=self.db), governance=self.governance, releases_dir=releases)
        self.serving = Pretended()
        self.deployment = Deployment(
            db=self.db,
            registry=self.registry,
            governance=self.governance,
            deployer=self.serving,
            base_plan=Plan(number=0, workspace=str(folder), host="127.0.0.1", port=8080),
            clock=self.clock,
            watch_s=watch_s,
            watch_share=0.2,
        )
        self.monitoring = Monitoring(
            db=self.db,
            predictions=Predictions(
                db=self.db,
                blobs=FileBlobStore(folder / "blobs"),
                references_of=self.registry.references_of,
                governance=self.governance,
                spool_dir=folder / "spool",
                clock=self.clock,
            ),
            registry=self.registry,
            notifiers=[],
            governance=self.governance,
            clock=self.clock,
        )
        for penalty in (1.0, 0.1, 0.01):
            model = LogisticRegression(C=penalty, random_state=0).fit(X, Y)
            prepared = prepare(model, X, name="churn", owner="ada@example.org", tier=tier, releases_dir=releases)
            self.registry.register(prepared, actor=ADA)
        self.hashes = {each.version: each.release_hash for each in self.registry.versions("churn")}
        self.serving.scores = {each: lambda scores: scores for each in self.hashes.values()}
        self.deployment.serve("churn:1", actor=ADA)
        self.now_ms += 3_600_000
        self.rollouts = self.restarted()

    def clock(self) -> int:
        return self.now_ms

    def restarted(self) -> Rollouts:
        """The room as a new control process has it: nothing remembered that is not stored."""
        self.rollouts = Rollouts(
            db=self.db,
            registry=self.registry,
            deployment=self.deployment,
            deployer=self.serving,
            governance=self.governance,
            monitoring=self.monitoring,
            clock=self.clock,
            watch_s=self.watch_s,
            watch_disagreement=0.5,
        )
        return self.rollouts

    @property
    def current(self) -> Revision:
        return self.deployment.get("churn").current

    def answers(self, role: str, version: int, **counts: float) -> None:
        """A release answered: added to what its process has counted in this revision."""
        key = role, self.hashes[version], self.current.number
        tally = self.serving.tallies.setdefault(key, {})
        for name, count in counts.items():
            tally[name] = tally.get(name, 0) + count

    def minute(self, live: dict[str, float], candidate: dict[str, float], *, version: int = 2) -> None:
        """A minute passes in which both answer, and is looked at."""
        self.answers("live", self.current.version, **live)
        if candidate:
            self.answers("candidate", version, **candidate)
        self.look()
        self.now_ms += 60_000

    def look(self) -> None:
        self.rollouts.tally()
        self.rollouts.decide()

    def alerts(self) -> Sequence[Alert]:
        return self.monitoring.alerts("churn")

    def lines(self) -> list[tuple[str, str]]:
        """Action and actor of the ledger, without those of ship."""
        return [(each.action, each.actor) for each in self.governance.entries() if each.action != "ship"]


def passes_the_gate(house: House, version: int) -> None:
    document = {"release": house.hashes[version], "verdict": "PASSED", "paragraph": f"churn:{version} passes."}
    house.governance.record_evidence("gate", "model:churn", ADA, passed=True, document=document)
