"""Workspaces with a past, each with the right advice and the right refusals; every link resolves."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlspine.core.types import Actor
from mlspine.retraining.renewal import retrain
from tests.desk import free_port
from tests.postgres import postgres_schema
from tests.s3 import s3_bucket

from .metrics import prometheus
from .world import (
    CANCER,
    DAY_MS,
    EIGHT,
    MARIA,
    MINUTE_MS,
    NOW_MS,
    World,
    commit,
    unresolved,
    whats,
    why,
)

MakeWorld = Callable[..., World]
NOTIFIED = '[monitoring]\nnotify = ["command:/bin/true"]\n'


def test_one_small_model_needs_labels_and_none_of_the_platform(make_world: MakeWorld) -> None:
    world = make_world(NOTIFIED)
    world.now_ms = NOW_MS - 12 * DAY_MS
    world.ship("tumour", owner="maria@example.org")
    world.serve("tumour")
    world.answer("tumour", at_ms=world.now_ms, minutes=1, per_minute=10)
    world.workspace.monitoring.send_test(actor=MARIA)
    world.now_ms = NOW_MS
    world.answer("tumour", at_ms=NOW_MS - 61 * MINUTE_MS, minutes=60, per_minute=120)

    advised = world.advise()

    assert advised.line == (
        "next: declare a label feed (quality is estimated blind since 12 days). Not yet: feature store, orchestrator,"
        " cluster, because 1 model, 2 req/s, 0 shared features."
    )
    assert {"feature store", "cluster", "orchestrator", "serving engine"} <= set(whats(advised, "not yet"))
    assert "2 req/s in the busiest minute" in why(advised, "cluster")
    assert "8 features, 0 of them in more than one model" in why(advised, "feature store")
    gaps = next(each for each in advised.advice if "of the eight checks" in each.what)
    assert {"code versioned", "production evaluation", "rollback"} <= set(gaps.brief.split(", "))
    assert not whats(advised, "remove")
    assert (advised.maturity.level, advised.maturity.target) == (0, 1)
    assert advised.plan == "50-500 USD/month and 2-3 days"
    assert unresolved(advised) == []
    traffic = next(link for each in advised.advice for link in each.evidence if "req/s" in link.says)
    again = world.workspace.predictions.query("tumour", shlex.split(traffic.at)[3]).rows[0]
    assert again[:3] == [7_200, 60, 120]


def test_a_critical_model_on_one_machine_needs_supervision_and_redundancy_first(make_world: MakeWorld) -> None:
    world = make_world()
    world.ship("tumour", owner="maria@example.org", tier="high")
    world.workspace.registry.approve("tumour:1", actor=Actor(name="board", kind="system"))
    world.serve("tumour")
    world.answer("tumour", at_ms=NOW_MS - 10 * MINUTE_MS, minutes=5, per_minute=30)

    advised = world.advise()

    added = whats(advised, "add")
    assert added[:2] == ["supervision by the machine's service manager", "a second machine on one store"]
    assert {"a dead-man ping", "a second person"} <= set(added)
    assert advised.next is not None
    assert advised.next.do == "mlspine service install"
    assert "tier high" in advised.next.why
    assert {"feature store", "orchestrator", "cluster"} <= set(whats(advised, "not yet"))
    assert unresolved(advised) == []


def test_three_healthy_models_of_five_engineers_change_nothing(
    make_world: MakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True, cwd=tmp_path)
    commit(tmp_path, "gone", 200, README="")
    files = {"Dockerfile": "FROM scratch\n", ".github__workflows__ci.yml": "on: push\n", "tests__test_fit.py": "\n"}
    commit(tmp_path, "ana", 80, **files)
    for number, author in enumerate(("ben", "cleo", "dan", "eva")):
        commit(tmp_path, author, 20 * number + 1)
    world = make_world(NOTIFIED)
    commit(tmp_path, "ana", 30)
    names = ("tumour", "radius", "texture")
    for name, columns in zip(
        names, (EIGHT, tuple(CANCER.data.columns[10:16]), tuple(CANCER.data.columns[20:26])), strict=True
    ):
        world.now_ms = NOW_MS - 20 * DAY_MS
        said: dict[str, Any] = {"owner": "ana@example.org", "labels": f"{name}/*.csv"}
        world.ship(name, columns, **said)
        world.serve(name)
        world.ship(name, columns, C=0.5, **said)
        world.workspace.deployment.promote(name, 2, actor=MARIA)
        world.workspace.deployment.rollback(name, actor=MARIA, reason="a drill")
        world.now_ms = NOW_MS - DAY_MS
        ids = world.answer(name, at_ms=world.now_ms - 90 * MINUTE_MS, minutes=15, per_minute=60)
        world.label(name, ids)
        world.now_ms = NOW_MS
        world.workspace.monitoring.check(name, force=True)
        world.drilled(name)
    world.workspace.monitoring.send_test(actor=MARIA)
    for _ in range(12):
        world.scrape()
    world.workspace.advisor.meter()
    world.post("tumour")
    (serving,) = world.workspace.processes.observe()
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(serving.pid))  # as systemd tells the processes of a unit

    advised = world.advise()

    assert [(each.what, each.why) for each in advised.advice if each.kind in ("add", "remove")] == []
    assert advised.next is None
    assert advised.line.startswith(
        "next: change nothing. Not yet: feature store, orchestrator, cluster, because 3 models"
    )
    practice = why(advised, "how you work")
    assert "Dockerfile" in practice
    assert ".github/workflows/ci.yml" in practice
    assert "metrics are read by Prometheus" in practice
    assert "5 people committed in 90 days" in practice
    assert "3 models in production, 3 req/s" in why(advised, "cluster")
    assert "500 req/s with 10 models" in why(advised, "cluster")
    assert (advised.maturity.level, advised.maturity.target) == (1, 1)
    assert unresolved(advised) == []


def test_an_idle_cluster_before_any_model_is_to_be_removed(make_world: MakeWorld, tmp_path: Path) -> None:
    with prometheus(tmp_path / "metrics", nodes=4, cpus=8, used_share=0.04) as url:
        world = make_world(f'[advisor]\ncluster_metrics = "{url}"\n[cost]\nper_cpu_hour = 0.05\ncurrency = "EUR"\n')
        world.ship("tumour", owner="maria@example.org")

        advised = world.advise()

        assert advised.next is not None
        assert (advised.next.kind, advised.next.what) == ("remove", "the cluster")
        assert advised.line.startswith("next: remove the cluster (4% used)")
        assert "4 nodes with 32 CPUs, 4.0% used over 30 days, and no model in production" in advised.next.why
        assert advised.next.effect.startswith("saves 1,168 EUR a month at 0.05 per CPU-hour, 22,426 CPU-hours a month")
        assert advised.next.confidence == "high"
        assert advised.next.undo
        assert {"feature store", "orchestrator"} <= set(whats(advised, "not yet"))
        assert whats(advised, "add") == []
        assert unresolved(advised) == []


def test_a_cluster_that_does_not_answer_is_no_cluster(make_world: MakeWorld) -> None:
    world = make_world(f'[advisor]\ncluster_metrics = "http://127.0.0.1:{free_port()}"\n')
    facts = world.workspace.advisor.facts()
    assert facts.cluster is not None
    assert "did not answer as a Prometheus" in facts.cluster.problem
    assert "cluster" in whats(world.advise(), "not yet")


def test_a_schedule_waits_until_the_feed_is_mended(make_world: MakeWorld, tmp_path: Path) -> None:
    rows = CANCER.data[list(EIGHT)].assign(target=CANCER.target)
    source = tmp_path / "rows.csv"
    rows.to_csv(source, index=False)
    world = make_world()
    world.now_ms = NOW_MS - 40 * DAY_MS
    world.ship("tumour", owner="maria@example.org", source="rows.csv", labels="caller")
    for seed in range(5):
        world.now_ms += 7 * DAY_MS
        retrain(world.workspace, "tumour:1", data="rows.csv", target="target", seed=seed, actor=MARIA)
    world.now_ms = NOW_MS
    rows.drop(columns="mean radius").to_csv(source, index=False)
    world.workspace.feeds.check_sources("tumour")

    broken = world.advise()

    assert broken.next is not None
    assert broken.next.what == "mend the source of tumour"
    assert "mean radius" in broken.next.why
    refusal = why(broken, "scheduled retraining")
    assert "retrained by hand 5 times in 60 days, but its source is not well" in refusal
    assert not any("a schedule" in what for what in whats(broken, "add"))
    assert unresolved(broken) == []

    rows.to_csv(source, index=False)
    world.workspace.feeds.check_sources("tumour")
    mended = world.advise()
    assert whats(mended, "add")[0] == "a schedule for the retraining of tumour"
    assert "orchestrator" in whats(mended, "not yet")
    assert unresolved(mended) == []


def test_a_feature_in_four_models_gets_one_definition_and_no_store(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(4):
        own = tuple(CANCER.data.columns[10 + 3 * number : 13 + 3 * number])
        world.ship(f"model-{number}", ("mean radius", *own), owner="maria@example.org")

    advised = world.advise()

    assert advised.next is not None
    assert advised.next.what == "one shared definition of mean radius"
    assert "goes into 4 models (model-0, model-1, model-2, model-3)" in advised.next.why
    assert "16 features, 1 of them in more than one model and 1 in 3 or more" in why(advised, "feature store")
    assert "a shared definition comes first" in why(advised, "feature store")
    assert unresolved(advised) == []


def test_what_nobody_used_for_ninety_days_is_to_be_removed(make_world: MakeWorld) -> None:
    world = make_world()
    world.now_ms = NOW_MS - 100 * DAY_MS
    world.workspace.tokens.create("old-laptop", role="admin", life_s=365 * 86_400, actor=MARIA)
    unused = world.workspace.tokens.create("ci", role="viewer", life_s=365 * 86_400, actor=MARIA)
    world.now_ms = NOW_MS
    world.workspace.tokens.verify(unused.secret)

    advised = world.advise()

    assert whats(advised, "remove") == ["the token old-laptop"]
    assert advised.next is not None
    assert advised.next.do == "mlspine tokens revoke old-laptop"
    assert "made and never used 100 days ago" in advised.next.why
    assert unresolved(advised) == []
    world.workspace.tokens.revoke("old-laptop", actor=MARIA)
    assert whats(world.advise(), "remove") == []


def test_a_shared_store_that_one_machine_uses_is_to_be_removed_after_ninety_days(make_world: MakeWorld) -> None:
    with postgres_schema() as url, s3_bucket() as (blobs, endpoint):
        world = make_world(f'[store]\ndatabase = "{url}"\nblobs = "{blobs}"\nendpoint = "{endpoint}"\n')
        world.now_ms = NOW_MS - 100 * DAY_MS
        world.workspace.advisor.note()
        world.now_ms = NOW_MS - 11 * DAY_MS
        world.workspace.advisor.note()
        assert whats(world.advise(), "remove") == []

        world.now_ms = NOW_MS
        world.workspace.advisor.note()
        advised = world.advise()

        assert whats(advised, "remove") == ["the shared store (Postgres and bucket)"]
        assert "one machine has used it for 100 days" in why(advised, "the shared store (Postgres and bucket)")
        assert unresolved(advised, apart=True) == []
        world.close()  # while the bucket is there
