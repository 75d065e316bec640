"""What CRITICAL alerts lead to, over the real store, registry and alerts; only the serving side is a stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Unavailable
from mlspine.core.plan import Acknowledgement, Plan, PlannedEndpoint, ProcessState, Proof
from mlspine.core.types import Actor, Alert, Severity
from mlspine.data.service import Data
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.monitoring.acting import FALLBACK, Acting, Policy
from mlspine.monitoring.service import Monitoring
from mlspine.predictions.service import Predictions
from mlspine.registry.prepare import prepare
from mlspine.registry.service import Registry

ADA = Actor(name="ada")
X = np.random.default_rng(0).normal(size=(300, 2))
Y = (X[:, 0] > 0).astype(int)


class Serving:
    """Acknowledges every plan, as processes that run do."""

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
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
        return (Acknowledgement(process="inference-0", plan=plan.number, applied_at_ms=0),)

    def observe(self) -> tuple[ProcessState, ...]:
        return (ProcessState(process="inference-0", pid=1, started_at_ms=0, plan=1, ready=True, endpoints={}),)

    def flush(self) -> None: ...

    def remove(self) -> None: ...


class House:
    """One workspace with versions 1 to 3 of a model, and a clock that moves a second at each look."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.now_ms = 1_700_000_000_000
        releases = folder / "releases"
        releases.mkdir()
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.governance = Governance(db=self.db)
        registry = Registry(db=self.db, data=Data(db=self.db), governance=self.governance, releases_dir=releases)
        self.deployment = Deployment(
            db=self.db,
            registry=registry,
            governance=self.governance,
            deployer=Serving(),
            base_plan=Plan(number=0, workspace=str(folder), host="127.0.0.1", port=8080),
            clock=self.clock,
        )
        predictions = Predictions(
            db=self.db,
            blobs=FileBlobStore(folder / "blobs"),
            references_of=registry.references_of,
            governance=self.governance,
            spool_dir=folder / "spool",
            clock=self.clock,
        )
        self.monitoring = Monitoring(
            db=self.db,
            predictions=predictions,
            registry=registry,
            notifiers=[],
            governance=self.governance,
            clock=self.clock,
        )
        self.acting = Acting(
            monitoring=self.monitoring,
            deployment=self.deployment,
            deployer=Serving(),
            policy=policy,
        )
        for C in (1.0, 0.1, 0.01):
            model = LogisticRegression(C=C).fit(X, Y)
            registry.register(prepare(model, X, name="churn", owner="ada", releases_dir=releases), actor=ADA)

    def clock(self) -> int:
        self.now_ms += 1000
        return self.now_ms

    def live(self) -> int:
        return self.deployment.get("churn").current.version

    def alarm(self, cause: str, severity: Severity = "CRITICAL") -> None:
        self.monitoring.raise_alert("churn", cause=cause, severity=severity, title="bad", why="5% fail", action="")

    def told(self) -> Alert | None:
        return next((each for each in self.monitoring.alerts("churn") if each.cause == FALLBACK), None)


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, "fallback")
    made.deployment.serve("churn:1", actor=ADA)
    made.deployment.promote("churn", 2, actor=ADA)
    return made


def test_while_a_candidate_answers_a_share_it_is_taken_back_and_what_is_live_stays(house: House) -> None:
    house.deployment.split("churn", "churn:3", share=0.2, actor=ADA)
    house.alarm("errors")
    assert house.acting.act() == ["churn"]
    assert (house.live(), house.deployment.get("churn").current.traffic.candidate) == (2, 0)
    told = house.told()
    assert told is not None
    assert told.title == "churn: took version 3 back by itself: version 2 answers everything"
    assert house.acting.act() == []  # the alert spoke of both of them, so a person decides about the other
    assert house.live() == 2
    house.alarm("latency")  # this one is about what answers now
    assert house.acting.act() == ["churn"]
    assert house.live() == 1


def test_a_division_begun_after_an_alarm_does_not_make_it_one_about_the_past(house: House) -> None:
    house.alarm("errors")
    house.deployment.shadow("churn", "churn:3", actor=ADA)
    assert house.acting.act() == ["churn"]
    assert house.live() == 1


@pytest.mark.parametrize("cause", ["errors", "errors@other", "latency", "quality:auc", "sentinel"])
def test_a_critical_about_the_answers_brings_the_release_before_back_once(house: House, cause: str) -> None:
    house.alarm(cause)
    assert house.acting.act() == ["churn"]
    assert house.live() == 1
    assert house.acting.act() == []
    told = house.told()
    assert told is not None
    assert "from version 2 to 1 by itself" in told.title
    line = next(each for each in house.governance.entries() if each.action == "rollback")
    assert (line.actor, line.reason) == ("system:mlspine", f"{cause}: 5% fail")


@pytest.mark.parametrize("cause", ["drift:age:up", "drift:output:score:up", "estimate:auc", "log", "judging"])
def test_nothing_else_moves_traffic_however_critical(house: House, cause: str) -> None:
    house.alarm(cause)
    assert house.acting.act() == []
    assert house.live() == 2


def test_a_warning_moves_nothing_and_what_somebody_has_taken_on_is_theirs(house: House) -> None:
    house.alarm("errors", "WARNING")
    assert house.acting.act() == []
    house.alarm("errors")
    house.monitoring.acknowledge("churn", actor=ADA)
    assert house.acting.act() == []
    assert house.live() == 2


def test_when_the_release_before_fails_as_well_a_person_is_asked(house: House) -> None:
    house.deployment.promote("churn", 3, actor=ADA)
    house.alarm("errors")
    assert house.acting.act() == ["churn"]
    house.monitoring.clear_alert("churn", "errors")
    house.alarm("errors")
    assert house.acting.act() == []
    assert house.live() == 2
    told = house.told()
    assert told is not None
    assert "somebody has to decide" in told.title
    assert "gone back once" in told.why


def test_a_release_that_cannot_be_brought_back_is_tried_once_and_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def rollback(name: str, **_: object) -> None:
        tried.append(name)
        raise Unavailable("its library is gone")

    monkeypatch.setattr(house.deployment, "rollback", rollback)
    house.alarm("errors")
    assert [house.acting.act() for _ in range(3)] == [[], [], []]
    assert tried == ["churn"]
    told = house.told()
    assert told is not None
    assert "cannot be brought back: its library is gone" in told.why


def test_with_no_release_before_it_a_person_is_asked(tmp_path: Path) -> None:
    house = House(tmp_path, "fallback")
    house.deployment.serve("churn:1", actor=ADA)
    house.alarm("errors")
    assert house.acting.act() == []
    told = house.told()
    assert told is not None
    assert "no release before" in told.why


def test_an_alert_older_than_what_is_live_speaks_of_what_was_left(house: House) -> None:
    house.alarm("errors")
    house.deployment.promote("churn", 3, actor=ADA)
    assert house.acting.act() == []
    assert house.live() == 3


def test_the_question_is_over_once_a_person_has_put_something_live(house: House) -> None:
    house.alarm("errors")
    house.acting.act()
    house.deployment.promote("churn", 3, actor=ADA)
    house.acting.act()
    assert house.told() is None


def test_unless_it_was_decided_before_people_are_only_asked(tmp_path: Path) -> None:
    house = House(tmp_path, "ask")
    house.deployment.serve("churn:1", actor=ADA)
    house.deployment.promote("churn", 2, actor=ADA)
    house.alarm("errors")
    assert house.acting.act() == []
    assert house.live() == 2
