"""What to add: what must be safe, what must be known, and only then what saves work. One rule per function, pure.

Automation is advised on data that arrives, never before: see `schedule`.
"""

from __future__ import annotations

from mlspine.advisor.advice import HOURS, MINUTES, SECOND_MACHINE, Advice
from mlspine.advisor.facts import Facts, command, shared_features
from mlspine.advisor.readings import (
    feed_link,
    is_blind,
    machines_link,
    model_link,
    most_critical,
    names,
    service_link,
    settings_link,
    status_link,
    unready_because,
)

RETRAINS_TO_SCHEDULE = 4
SHARED_BY = 3
FULL_SHARE = 0.7  # of the measured capacity, in the busiest minute

# ---------------------------------------------------------------- safety


def something_must_answer(facts: Facts) -> Advice | None:
    if not facts.served or facts.serving:
        return None
    return Advice(
        kind="add",
        what="start the serving process",
        brief="nothing answers",
        why=f"{names(facts.served)} should be answered, and nothing runs",
        evidence=(status_link(),),
        do="mlspine up",
        undo="mlspine down",
        price=MINUTES,
        effect="requests are answered",
        reason="safety",
        weight=100,
    )


def supervision(facts: Facts) -> Advice | None:
    """Above tier low at once; otherwise as soon as somebody depends on the answers."""
    if not facts.served or not facts.serving or facts.supervised_by:
        return None
    critical = most_critical(facts)
    busy = any(model.traffic.requests for model in facts.served)
    if not critical and not busy:
        return None
    whose = f"{critical.name} ({critical.critical})" if critical else names(facts.served)
    return Advice(
        kind="add",
        what="supervision by the machine's service manager",
        brief="after a reboot nothing answers",
        why=f"{whose} is served by processes that nobody starts again when the machine does",
        evidence=(service_link(), status_link()),
        do="mlspine service install",
        undo="mlspine service remove",
        price=MINUTES,
        effect="serving is back within seconds of a reboot",
        reason="safety" if critical else "effort",
        weight=90,
    )


def redundancy(facts: Facts) -> Advice | None:
    critical = next((model for model in facts.served if model.tier == "high"), None)
    if critical is None or facts.machines > 1:
        return None
    return Advice(
        kind="add",
        what="a second machine on one store",
        brief="one machine carries a model of tier high",
        why=f"{critical.name} has tier high and {facts.machines} machine; with it goes every answer",
        evidence=(machines_link(), model_link(critical)),
        do="name [store] database and blobs in mlspine.toml on both machines, then: mlspine up",
        undo="mlspine down on one machine; the other goes on",
        price=SECOND_MACHINE,
        effect="requests in flight on a machine that dies are lost, no others",
        reason="safety",
        weight=80,
    )


def dead_man(facts: Facts) -> Advice | None:
    critical = most_critical(facts)
    if critical is None or facts.deadman:
        return None
    return Advice(
        kind="add",
        what="a dead-man ping",
        brief="nobody notices a dead machine",
        why=f"{critical.name} ({critical.critical}): alerts come from the machine itself, so a dead one is silent",
        evidence=(settings_link(),),
        do="set deadman_url in [monitoring] of mlspine.toml to a URL that somebody watches",
        undo="take deadman_url out again",
        price=MINUTES,
        effect="a dead machine is noticed within a minute or two",
        reason="safety",
        weight=60,
    )


def somebody_to_tell(facts: Facts) -> Advice | None:
    if not facts.served or facts.alert_delivered:
        return None
    configured = f"{facts.sinks} sinks are configured" if facts.sinks else "no sink is configured"
    untold = f"; {facts.alerts_untold} alerts of the last 30 days reached nobody" if facts.alerts_untold else ""
    return Advice(
        kind="add",
        what="somebody who is told of alerts",
        brief="alerts reach nobody",
        why=f"{configured}, and no alert has ever reached a person{untold}",
        evidence=(settings_link(), command("alerts and who took them", "mlspine", "alerts", "--all", "--json")),
        do="mlspine alerts test" if facts.sinks else "mlspine up --notify URL, then: mlspine alerts test",
        undo="take notify out again",
        price=MINUTES,
        effect="what goes wrong is known to a person",
        reason="safety" if most_critical(facts) or facts.alerts_untold else "evidence",
        weight=70,
    )


# ---------------------------------------------------------------- evidence


def broken_feed(facts: Facts) -> Advice | None:
    """Data readiness comes before any automation."""
    broken = [(model, feed) for model in facts.models for feed in model.feeds if feed.problem]
    if not broken:
        return None
    model, feed = broken[0]
    more = f"; and {len(broken) - 1} more feeds" if len(broken) > 1 else ""
    return Advice(
        kind="add",
        what=f"mend the {'source' if feed.role == 'source' else 'label feed'} of {model.name}",
        brief=f"{model.name}: {feed.problem}",
        why=f"{feed.text}: {feed.problem}{more}",
        evidence=(command("the feed", "mlspine", "feeds", model.name, "--json"),),
        do=f"mend it, then: mlspine feeds {model.name} --pull",
        undo="",
        price=HOURS,
        effect="renewal and quality stand on data that arrives",
        reason="evidence",
        weight=90,
    )


def label_feed(facts: Facts) -> Advice | None:
    """Quality is a guess until outcomes come by themselves."""
    blind = sorted(filter(is_blind, facts.served), key=lambda model: -model.labels.blind_days)
    if not blind:
        return None
    model = blind[0]
    days = f"{model.labels.blind_days:.0f} day{'' if round(model.labels.blind_days) == 1 else 's'}"
    declared = bool(model.labels.feed)
    others = f"; so are {names(tuple(blind[1:]))}" if len(blind) > 1 else ""
    return Advice(
        kind="add",
        what=f"look after the label feed of {model.name}" if declared else "declare a label feed",
        brief=f"quality is estimated blind since {days}",
        why=f"{model.name}: {model.labels.labels:,} labels, none for {days}{others}",
        evidence=tuple(link for link in (model.labels.read, feed_link(model)) if link),
        do=f"mlspine feeds {model.name} {'--pull' if declared else '--labels PATH'}",
        undo="" if declared else f"mlspine feeds {model.name} --labels caller",
        price=MINUTES,
        effect="measured quality, and alerts when it falls",
        reason="evidence",
        weight=80,
    )


def open_checks(facts: Facts) -> Advice | None:
    """Gaps of the eight checks, all of them by name; what only needs more requests is none."""
    gaps = [(model, gap) for model in facts.served for gap in model.gaps if gap.state != "waiting"]
    if not gaps:
        return None
    first = gaps[0][0]
    listed = "; ".join(f"{model.name}: {gap.name} ({gap.evidence})" for model, gap in gaps)
    return Advice(
        kind="add",
        what=f"close {len(gaps)} gap{'' if len(gaps) == 1 else 's'} of the eight checks",
        brief=", ".join(dict.fromkeys(gap.name for _, gap in gaps)),
        why=listed,
        evidence=tuple(status_link(model.name) for model in facts.served if model.gaps),
        do=f"mlspine status {first.name}",
        undo="",
        price=MINUTES,
        effect="what is claimed has been exercised",
        reason="evidence",
        weight=50,
    )


def owner(facts: Facts) -> Advice | None:
    orphans = tuple(model for model in facts.served if not model.owner or model.owner_assumed)
    if not orphans:
        return None
    return Advice(
        kind="add",
        what="an owner",
        brief=f"nobody said who answers for {orphans[0].name}",
        why=f"{names(orphans)}: the owner is {'assumed from git' if orphans[0].owner else 'missing'}",
        evidence=tuple(model_link(model) for model in orphans),
        do='ship again with owner="NAME": the version stays, the owner is noted',
        undo="",
        price=MINUTES,
        effect="alerts and decisions have somebody to go to",
        reason="evidence",
        weight=30,
    )


def second_person(facts: Facts) -> Advice | None:
    """Knowledge that one person holds leaves with that person."""
    critical = most_critical(facts)
    if critical is None or len(facts.people) > 1 or facts.practice.authors > 1:
        return None
    who = facts.people[0] if facts.people else "nobody"
    return Advice(
        kind="add",
        what="a second person",
        brief=f"only {who} has worked on it",
        why=f"{critical.name} ({critical.critical}): in 90 days {who} alone shipped, promoted or rolled back",
        evidence=(command("who did what", "mlspine", "ledger", f"model:{critical.name}", "--json"),),
        do=f"let a colleague follow the runbooks: mlspine drill {critical.name}",
        undo="",
        price=HOURS,
        effect="somebody else can deploy, revert and renew it",
        reason="evidence",
        weight=40,
    )


# ---------------------------------------------------------------- less work


def schedule(facts: Facts) -> Advice | None:
    """A retraining that is done again and again by hand, on data that can be relied on."""
    busy = [model for model in facts.models if model.retrains_by_hand >= RETRAINS_TO_SCHEDULE]
    if not busy:
        return None
    model = max(busy, key=lambda each: each.retrains_by_hand)
    why = f"{model.name} was retrained by hand {model.retrains_by_hand} times in 60 days"
    spent = f", {model.retrain_minutes:.0f} minutes of waiting" if model.retrain_minutes >= 1 else ""
    unready = unready_because(model)
    ledger = command("each retraining", "mlspine", "ledger", f"model:{model.name}", "--json")
    if unready:
        return Advice(
            kind="not yet",
            what="scheduled retraining",
            brief=f"scheduled retraining ({unready})",
            why=f"{why}, but {unready}: what runs by itself must stand on data that arrives",
            evidence=(ledger, feed_link(model)),
        )
    return Advice(
        kind="add",
        what=f"a schedule for the retraining of {model.name}",
        brief=f"retrained by hand {model.retrains_by_hand} times in 60 days",
        why=f"{why}{spent}; its feeds are well, and the gate decides either way",
        evidence=(ledger, feed_link(model)),
        do=f"a line in crontab: 0 6 * * 1 mlspine retrain {model.name}",
        undo="take the line out of crontab",
        price=MINUTES,
        effect=f"about {model.retrains_by_hand / 2:.0f} fewer interruptions a month",
        confidence="medium",
        weight=60,
    )


def shared_definition(facts: Facts) -> Advice | None:
    """One definition of a feature that several models compute, before anybody thinks of a store."""
    shared = {name: users for name, users in shared_features(facts.models).items() if len(users) >= SHARED_BY}
    if not shared:
        return None
    name, users = max(shared.items(), key=lambda each: len(each[1]))
    more = f", as do {len(shared) - 1} more" if len(shared) > 1 else ""
    return Advice(
        kind="add",
        what=f"one shared definition of {name}",
        brief=f"{name} goes into {len(users)} models",
        why=f"{name} goes into {len(users)} models ({', '.join(users)}) with the same type{more}",
        evidence=tuple(command(f"columns of {user}", "mlspine", "models", user, "--json") for user in users),
        do="put its computation in one function, imported by each model's transform= at ship",
        undo="give each model its own function again",
        price=HOURS,
        effect="one place to mend it, and no two models that disagree about it",
        confidence="medium",  # the same name and type are no proof of the same meaning
        weight=40,
    )


def more_capacity(facts: Facts) -> Advice | None:
    """The measured capacity against the busiest minute."""
    tight = [
        model
        for model in facts.served
        if model.capacity_rows_per_s and model.traffic.peak_per_s > FULL_SHARE * model.capacity_rows_per_s
    ]
    if not tight:
        return None
    model = max(tight, key=lambda each: each.traffic.peak_per_s / each.capacity_rows_per_s)
    return Advice(
        kind="add",
        what=f"capacity for {model.name}",
        brief=f"{model.name} is near its capacity",
        why=f"{model.traffic.peak_per_s:.0f} req/s in the busiest minute, {model.capacity_rows_per_s:.0f} rows/s"
        " measured when it was loaded",
        evidence=tuple(link for link in (model.traffic.read, status_link(model.name)) if link),
        do="send several rows per request, or add a machine on one store",
        undo="take the machine away again: mlspine down",
        price=SECOND_MACHINE,
        effect="room for the next peak",
        confidence="medium",
        reason="safety",
        weight=50,
    )
