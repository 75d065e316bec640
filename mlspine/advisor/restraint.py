"""What not yet, what to keep, what to remove: refusing is an answer with numbers. One rule per function, pure."""

from __future__ import annotations

from mlspine.advisor.additions import RETRAINS_TO_SCHEDULE, SHARED_BY, more_capacity
from mlspine.advisor.advice import HOURS, MINUTES, PLATFORM_PART, Advice
from mlspine.advisor.facts import Facts, Link, command, shared_features
from mlspine.advisor.readings import (
    count,
    feed_link,
    is_blind,
    model_link,
    models_link,
    rate,
    settings_link,
    status_link,
    traffic_links,
    unready_because,
)
from mlspine.advisor.stages import HUNDREDS, maturity

ENGINE_PER_S, SIMPLE_PER_S = 500.0, 100.0
CLUSTER_MODELS = 10
CLUSTER_IDLE_SHARE = 0.2
ORCHESTRATOR_MODELS = 6
HOURS_PER_MONTH = 730.0

# ---------------------------------------------------------------- not yet


def cluster(facts: Facts) -> Advice | None:
    """Whether there is one or not: what it would take to need one."""
    if facts.cluster is not None and not facts.cluster.problem:
        return _existing_cluster(facts)
    if len(facts.served) >= CLUSTER_MODELS and facts.peak_per_s >= ENGINE_PER_S:
        return None
    return Advice(
        kind="not yet",
        what="cluster",
        brief="cluster",
        why=f"{count(facts)}, {rate(facts)} in the busiest minute; {_enough(facts.peak_per_s)}, and a cluster is worth"
        f" a look from {ENGINE_PER_S:.0f} req/s with {CLUSTER_MODELS} models",
        evidence=traffic_links(facts),
        price=PLATFORM_PART,
    )


def _enough(peak_per_s: float) -> str:
    if peak_per_s < SIMPLE_PER_S:
        return f"one process is enough below {SIMPLE_PER_S:.0f} req/s"
    return "rows sent together, or a second machine, come first"


def _existing_cluster(facts: Facts) -> Advice | None:
    found = facts.cluster
    assert found is not None
    links = (found.read,) if found.read else ()
    if found.used_share >= CLUSTER_IDLE_SHARE:
        return Advice(
            kind="keep",
            what="the cluster",
            why=f"{found.used_share:.0%} of its {found.cpus:g} CPUs were used over {found.days:.0f} days",
            evidence=links,
        )
    models = f"{len(facts.served)} models in production" if facts.served else "no model in production"
    idle_hours = found.cpus * (1 - found.used_share) * HOURS_PER_MONTH
    saving = f"{idle_hours:,.0f} CPU-hours a month that are paid for and unused"
    if facts.per_cpu_hour is not None:
        whole = found.cpus * HOURS_PER_MONTH * facts.per_cpu_hour
        saving = f"{whole:,.0f} {facts.currency} a month at {facts.per_cpu_hour:g} per CPU-hour, {saving}"
    return Advice(
        kind="remove",
        what="the cluster",
        brief=f"{found.used_share:.0%} used",
        why=f"{found.nodes} nodes with {found.cpus:g} CPUs, {found.used_share:.1%} used over {found.days:.0f} days,"
        f" and {models}; what runs there needs {found.cpus * found.used_share:.1f} CPUs",
        evidence=(*links, settings_link()),
        do="move what runs there to one machine, then shut the nodes down",
        undo="the same manifests start it again",
        price=HOURS,
        effect=f"saves {saving}",
        confidence="high" if not facts.served else "medium",
        weight=90,
    )


def orchestrator(facts: Facts) -> Advice | None:
    by_hand = sum(model.retrains_by_hand for model in facts.models)
    if len(facts.served) >= ORCHESTRATOR_MODELS and by_hand >= RETRAINS_TO_SCHEDULE:
        return None
    return Advice(
        kind="not yet",
        what="orchestrator",
        brief="orchestrator",
        why=f"{count(facts)}, {by_hand} retrainings by hand in 60 days: one command and, where it is repeated, one"
        " line of crontab do",
        evidence=(command("every retraining", "mlspine", "ledger", "--limit", "1000"),),
        price=PLATFORM_PART,
    )


def feature_store(facts: Facts) -> Advice | None:
    shared = shared_features(facts.models)
    widely = [name for name, users in shared.items() if len(users) >= SHARED_BY]
    if widely and len(facts.served) > CLUSTER_MODELS:
        return None
    columns = sum(len(model.columns) for model in facts.models)
    first = "; a shared definition comes first" if widely else ""
    return Advice(
        kind="not yet",
        what="feature store",
        brief="feature store",
        why=f"{count(facts)}, {columns} features, {len(shared)} of them in more than one model and {len(widely)} in"
        f" {SHARED_BY} or more{first}",
        evidence=tuple(model_link(model) for model in facts.models[:4]) or (models_link(),),
        price=PLATFORM_PART,
    )


def serving_engine(facts: Facts) -> Advice | None:
    if facts.peak_per_s >= ENGINE_PER_S and len(facts.served) > 1:
        return None
    return Advice(
        kind="not yet",
        what="serving engine",
        brief="serving engine",
        why=f"{rate(facts)} in the busiest minute, {count(facts)}; considered from {ENGINE_PER_S:.0f} req/s with"
        " several models",
        evidence=traffic_links(facts),
        price=PLATFORM_PART,
    )


def automated_retraining(facts: Facts) -> Advice | None:
    """Level 3 is for hundreds of models."""
    if len(facts.served) >= HUNDREDS:
        return None
    return Advice(
        kind="not yet",
        what="retraining without a person",
        brief="retraining without a person",
        why=f"{count(facts)}: level {maturity(facts).target} is what that needs; renewal without a person is for"
        f" {HUNDREDS} models and more",
        evidence=(models_link(),),
        price=PLATFORM_PART,
    )


# ---------------------------------------------------------------- keep


def keep_serving(facts: Facts) -> Advice | None:
    if not facts.served or not facts.serving or more_capacity(facts):
        return None
    p99 = max(model.traffic.p99_s for model in facts.served)
    machines = f"{facts.machines} machine{'' if facts.machines == 1 else 's'}"
    return Advice(
        kind="keep",
        what="one serving process per machine",
        why=f"{facts.mean_per_s:.3g} req/s while requests come, {rate(facts)} in the busiest minute on {machines},"
        f" P99 {p99 * 1e3:.1f} ms",
        evidence=traffic_links(facts),
    )


def keep_practice(facts: Facts) -> Advice | None:
    """Containers, CI, tests and a dashboard that are there already."""
    practice = facts.practice
    scraped = [f"metrics are read by {name}" for name in facts.scrapers]
    said = [
        *([f"containers ({practice.containers[0]})"] if practice.containers else []),
        *([f"CI ({practice.ci[0]})"] if practice.ci else []),
        *([f"{practice.tests} test files"] if practice.tests else []),
        *scraped,
    ]
    if not said:
        return None
    files = [*practice.containers[:1], *practice.ci[:1]]
    links = [Link(says=name, kind="file", at=f"{practice.root}/{name}") for name in files]
    return Advice(
        kind="keep",
        what="how you work" if practice.containers and practice.ci else "what you have",
        why=f"{', '.join(said)}; {practice.authors} people committed in 90 days",
        evidence=(*links, *([practice.read] if practice.read else []), *([status_link()] if scraped else [])),
    )


def keep_monitoring(facts: Facts) -> Advice | None:
    if not facts.served:
        return None
    beside = f", beside {', '.join(facts.scrapers)}" if facts.scrapers else ""
    return Advice(
        kind="keep",
        what="monitoring as it is built in",
        why=f"{facts.alerts_30_days} alerts in 30 days for {count(facts)}{beside}",
        evidence=(command("alerts", "mlspine", "alerts", "--all", "--json"),),
    )


def keep_feeds(facts: Facts) -> Advice | None:
    well = [model for model in facts.served if model.labels.feed and not is_blind(model) and not unready_because(model)]
    if not well:
        return None
    return Advice(
        kind="keep",
        what="the feeds",
        why="; ".join(f"{each.name}: labels from {each.labels.feed}, {each.labels.labels:,} so far" for each in well),
        evidence=tuple(feed_link(model) for model in well),
    )


def keep_level(facts: Facts) -> Advice | None:
    """Reaching what is needed is the end of the road, not a step on it."""
    found = maturity(facts)
    if not facts.served or found.level < found.target:
        return None
    return Advice(
        kind="keep",
        what=f"the level reached ({found.level})",
        why=f"{count(facts)} need level {found.target}, and all of it was exercised",
        evidence=tuple(status_link(model.name) for model in facts.served),
    )


# ---------------------------------------------------------------- remove


def unused_part(facts: Facts) -> Advice | None:
    """What is configured and was of no use for 90 days: the one that has been idle longest."""
    if not facts.idle:
        return None
    longest = max(facts.idle, key=lambda idle: idle.days)
    others = [idle.part for idle in facts.idle if idle is not longest]
    more = f"; also unused: {', '.join(others)}" if others else ""
    return Advice(
        kind="remove",
        what=longest.part,
        brief=longest.part,
        why=longest.why + more,
        evidence=tuple(idle.read for idle in facts.idle),
        do=longest.remove,
        undo=longest.undo,
        price=MINUTES,
        effect="one thing less to keep alive",
        confidence="medium",
    )
