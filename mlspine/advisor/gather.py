"""Reading the facts: from the rooms below, the repository, and where the user points to it a cluster's metrics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mlspine.advisor import store
from mlspine.advisor.facts import (
    DAY_MS,
    Cluster,
    Facts,
    Idle,
    Labels,
    Link,
    ModelFacts,
    Traffic,
    command,
)
from mlspine.advisor.practice import read_practice
from mlspine.advisor.supervision import supervisor
from mlspine.core.config import Config
from mlspine.core.effort import Step
from mlspine.core.errors import MlspineError
from mlspine.core.types import Alert, Evidence, LedgerEntry, Tier
from mlspine.deployment.service import Deployment
from mlspine.feeds.service import Feeds
from mlspine.governance.service import PAGE_LIMIT, Governance
from mlspine.governance.tokens import Tokens
from mlspine.machines.service import Machines
from mlspine.monitoring.claims import EndpointStatus
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.status import StatusReader
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry

ClusterUse = Callable[[int], tuple[int, float, float, str]]

TRAFFIC_DAYS = 7
RETRAIN_DAYS = 60
PEOPLE_DAYS = 90
UNUSED_DAYS = 90
CLUSTER_DAYS = 30.0
ALERT_TEST = "alert-test"
CARD = "card"
SHARED_STORE = "shared store"
SCRAPED = "scraped by "


class Sources(NamedTuple):
    """Where facts come from."""

    db: Database
    registry: Registry
    deployment: Deployment
    predictions: Predictions
    monitoring: Monitoring
    feeds: Feeds
    machines: Machines
    governance: Governance
    tokens: Tokens
    status: StatusReader
    config: Config
    folder: Path  # which holds the workspace
    cluster: ClusterUse | None


def gather(sources: Sources, steps: Sequence[Step], *, now_ms: int) -> Facts:
    """Every fact, as it is now."""
    read = sources.status.read()
    ledger = sources.governance.entries(limit=PAGE_LIMIT)
    alerts = sources.monitoring.alerts(open_only=False)
    by_endpoint = {each.name: each for each in read.endpoints}
    config = sources.config
    models = tuple(
        _model(sources, summary.name, by_endpoint.get(summary.name), ledger, steps, now_ms)
        for summary in sources.registry.models()
    )
    recent = [alert for alert in alerts if alert.updated_at_ms >= now_ms - 30 * DAY_MS]
    noted = store.parts(sources.db)
    return Facts(
        now_ms=now_ms,
        models=models,
        serving=read.serving,
        supervised_by=supervisor() if read.serving else "",
        machines=_living(sources.machines, now_ms),
        shared_store=bool(config.store.database),
        sinks=len(config.monitoring.notify),
        alert_delivered=_delivered(alerts, sources.governance.evidence("workspace", kind=ALERT_TEST)),
        alerts_30_days=len(recent),
        alerts_untold=sum(not _reached(alert) for alert in recent),
        deadman=bool(config.monitoring.deadman_url),
        scrapers=tuple(
            part.name.removeprefix(SCRAPED)
            for part in noted
            if part.name.startswith(SCRAPED) and part.used_at_ms >= now_ms - TRAFFIC_DAYS * DAY_MS
        ),
        people=_people(ledger, now_ms),
        practice=read_practice(sources.folder, now_ms=now_ms),
        cluster=_cluster(config.advisor.cluster_metrics, sources.cluster, now_ms),
        idle=(*_idle_parts(noted, now_ms), *_idle_tokens(sources.tokens, now_ms)),
        per_cpu_hour=config.cost.per_cpu_hour,
        currency=config.cost.currency,
        cpu_s_30_days=sum(each.cpu_s for each in store.spent(sources.db, from_day=day(now_ms - 30 * DAY_MS))),
    )


def day(at_ms: int) -> str:
    """The UTC day of a moment.

    >>> day(0)
    '1970-01-01'
    """
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%d")


# ---------------------------------------------------------------- one model


def _model(
    sources: Sources,
    name: str,
    status: EndpointStatus | None,
    ledger: Sequence[LedgerEntry],
    steps: Sequence[Step],
    now_ms: int,
) -> ModelFacts:
    versions = sources.registry.versions(name)
    number = status.version if status and status.version else versions[-1].version
    version = sources.registry.get(name, number)
    about = [entry for entry in ledger if entry.subject in (f"model:{name}", f"endpoint:{name}")]
    retrains = [e for e in about if e.action == "retrain" and e.at_ms >= now_ms - RETRAIN_DAYS * DAY_MS]
    by_itself = sum(entry.actor.startswith("system:") for entry in retrains)
    served = status is not None and status.version > 0
    proof = sources.deployment.proof(version.release_hash)
    typed = [step for step in steps if step.what == "retrain" and name in step.names and step.ok]
    card = sources.governance.evidence(f"model:{name}", kind=CARD, limit=1)
    return ModelFacts(
        name=name,
        version=number,
        served=served,
        tier=version.tier,
        owner=version.owner,
        owner_assumed=version.owner_assumed,
        shipped_by=tuple(dict.fromkeys(entry.actor for entry in about if entry.action == "ship")),
        columns={str(each["name"]): str(each["type"]) for each in version.captured.get("schema", ())},
        traffic=_traffic(sources.predictions, name, now_ms) if served else Traffic(),
        labels=_labels(sources, name, now_ms) if served else Labels(),
        feeds=sources.feeds.states(name),
        gaps=tuple(claim for claim in status.checks if claim.state != "green") if status else (),
        retrains_by_hand=len(retrains) - by_itself,
        retrains_by_itself=by_itself,
        retrain_minutes=sum(step.took_s for step in typed) / 60,
        capacity_rows_per_s=proof.capacity_rows_per_s if proof else 0.0,
        rollback_exercised=any(entry.action == "rollback" for entry in about) or _drilled(sources.governance, name),
        critical=_critical(version.tier, card),
    )


def _traffic(predictions: Predictions, name: str, now_ms: int) -> Traffic:
    """From the log; a request's first row stands for it. The query is the evidence: whoever types it reads the same.

    The quantile is approximate: an exact one sorts every row of a week.
    """
    since = dt.datetime.fromtimestamp((now_ms - TRAFFIC_DAYS * DAY_MS) / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    recent = f"from log where _received_at >= timestamp '{since}'"
    by_minute = f"select date_trunc('minute', _received_at) as at, count(*) filter (_row = 0) as n {recent} group by 1"
    sql = (
        f"with minute as ({by_minute})"
        " select coalesce(sum(n), 0) as requests, count(*) as minutes, coalesce(max(n), 0) as busiest,"
        f" (select approx_quantile(_latency_s, 0.99) {recent}) as p99_s from minute"
    )
    requests, minutes, busiest, p99_s = predictions.query(name, sql).rows[0]
    mean = requests / (60 * minutes) if minutes else 0.0
    return Traffic(
        requests=int(requests),
        minutes=int(minutes),
        mean_per_s=mean,
        peak_per_s=busiest / 60,
        p99_s=p99_s or 0.0,
        read=command(f"{mean:.1f} req/s, busiest minute {busiest / 60:.1f}", "mlspine", "log", name, sql),
    )


def _labels(sources: Sources, name: str, now_ms: int) -> Labels:
    sql = (
        "select (select count(*) from labels) as labels, (select epoch_ms(max(received_at)) from labels) as newest,"
        " (select epoch_ms(min(_received_at)) from outcomes) as first_answer"
    )
    count, newest, first = sources.predictions.query(name, sql).rows[0]
    since = newest or first or now_ms
    blind = max(0.0, (now_ms - since) / DAY_MS)
    feed = next((state.text for state in sources.feeds.states(name) if state.role == "labels"), "")
    return Labels(
        feed=feed,
        labels=int(count),
        first_answer_at_ms=first or 0,
        newest_at_ms=newest or 0,
        blind_days=blind,
        read=command(f"{count:,} labels, none for {blind:.0f} days", "mlspine", "log", name, sql),
    )


def _drilled(governance: Governance, name: str) -> bool:
    return any(each.passed for each in governance.evidence(f"endpoint:{name}", kind="drill:rollback"))


def _critical(tier: Tier, card: Sequence[Evidence]) -> str:
    """Why a failure would hurt: the tier somebody chose, and the value on the card. Any model is worth something."""
    if tier == "low":
        return ""
    value = str(card[0].document.get("said", {}).get("value", "")) if card else ""
    return f"tier {tier}, worth {value}" if value else f"tier {tier}"


# ---------------------------------------------------------------- the workspace


def _living(machines: Machines, now_ms: int) -> int:
    return max(1, sum(not (each.missing or each.stopped) for each in machines.machines()))


def _reached(alert: Alert) -> bool:
    """Whether a person's sink took it; the log of the control process is nobody."""
    return any(outcome == "ok" for sink, outcome in alert.delivered.items() if sink != "log")


def _delivered(alerts: Sequence[Alert], tests: Sequence[Evidence]) -> bool:
    return any(map(_reached, alerts)) or any(test.passed for test in tests)


def _people(ledger: Sequence[LedgerEntry], now_ms: int) -> tuple[str, ...]:
    recent = [entry for entry in ledger if entry.at_ms >= now_ms - PEOPLE_DAYS * DAY_MS]
    return tuple(dict.fromkeys(entry.actor for entry in recent if not entry.actor.startswith("system:")))


def _cluster(url: str, use: ClusterUse | None, now_ms: int) -> Cluster | None:
    if use is None:
        return None
    try:
        nodes, cpus, used, address = use(now_ms)
    except MlspineError as exc:
        return Cluster(url=url, problem=exc.message)
    read = Link(says=f"{used:.1%} of {cpus:g} CPUs used", kind="url", at=address)
    return Cluster(url=url, nodes=nodes, cpus=cpus, used_share=used, days=CLUSTER_DAYS, read=read)


def _idle_parts(noted: Sequence[store.Part], now_ms: int) -> list[Idle]:
    found = []
    for part in noted:
        days = (now_ms - max(part.since_at_ms, part.used_at_ms)) / DAY_MS
        if part.name == SHARED_STORE and days >= UNUSED_DAYS:
            found.append(
                Idle(
                    part="the shared store (Postgres and bucket)",
                    days=days,
                    why=f"one machine has used it for {days:.0f} days: a store in the folder does the same",
                    remove="mlspine export workspace DIR, then take [store] out of mlspine.toml",
                    undo="put [store] back into mlspine.toml",
                    read=command("where the store is", "mlspine", "config", "--json"),
                )
            )
    return found


def _idle_tokens(tokens: Tokens, now_ms: int) -> list[Idle]:
    found = []
    for token in tokens.known():
        days = (now_ms - max(token.created_at_ms, token.last_used_at_ms)) / DAY_MS
        if token.state == "valid" and days >= UNUSED_DAYS:
            used = "was last used" if token.last_used_at_ms else "was made and never used"
            found.append(
                Idle(
                    part=f"the token {token.name}",
                    days=days,
                    why=f"it {used} {days:.0f} days ago, and opens the workspace to whoever finds it",
                    remove=f"mlspine tokens revoke {token.name}",
                    undo=f"mlspine tokens create {token.name} --role {token.role}",
                    read=command("tokens and when they were used", "mlspine", "tokens", "--json"),
                )
            )
    return found
