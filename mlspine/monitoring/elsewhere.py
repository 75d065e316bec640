"""What can be said of an endpoint that somebody else's server answers: its rows, and nothing of its processes. Pure."""

from __future__ import annotations

import msgspec

from mlspine.core.ids import SHORT_HASH
from mlspine.monitoring.claims import Claim, EndpointStatus, Facts, Verdict
from mlspine.monitoring.exercised import days_ago

NOT_KNOWN = "somebody else's server answers; its latency and failures are not known here"


def is_elsewhere(facts: Facts) -> bool:
    """Whether the endpoint is only watched from here."""
    return facts.endpoint.current.cause == "watch"


def told_elsewhere(status: EndpointStatus, facts: Facts) -> EndpointStatus:
    """The status without what only the server that answers can know: nothing is claimed of processes, speed, traffic
    or the way back."""
    name = facts.endpoint.name
    verdict, why = _verdict(status, facts)
    quality = _quality(status)
    data = _reworded(status.data, "those it was fitted on", "the reference")
    by_name = {each.name: each for each in (*status.questions, *status.checks)}
    own = {
        "how it gets to production": _to_production(facts),
        "how data reaches it": _data_reaches(facts, by_name["how data reaches it"]),
        "quality": quality,
        "how it is updated": Claim(
            name="how it is updated",
            state="amber",
            evidence=f"where it runs; what it is judged by: mlspine watch {name} --reference FILE",
        ),
        "how it is rolled back": _back("how it is rolled back"),
        "rollback": _back("rollback"),
        "release versioned": _reference(facts),
        "deployment automated": Claim(name="deployment automated", state="amber", evidence="deployed elsewhere"),
        "production evaluation": Claim(name="production evaluation", state=quality.state, evidence=quality.evidence),
        "data reliability": _reworded(by_name["data reliability"], "on every request", "of every row"),
        "documentation": _documentation(by_name["documentation"], name),
        "code versioned": _reworded(by_name["code versioned"], "shipped", "the reference was taken"),
    }
    return msgspec.structs.replace(
        status,
        url="",
        verdict=verdict,
        why=why,
        questions=tuple(own.get(each.name, each) for each in status.questions),
        checks=tuple(own.get(each.name, each) for each in status.checks),
        infrastructure=Claim(name="infrastructure", state="amber", evidence=NOT_KNOWN),
        data=data,
        quality=quality,
        next_step=_next_step(facts, quality),
    )


def _verdict(status: EndpointStatus, facts: Facts) -> tuple[Verdict, str]:
    if facts.alerts:
        worst = max(facts.alerts, key=lambda alert: (alert.severity == "CRITICAL", alert.updated_at_ms))
        more = f", and {len(facts.alerts) - 1} more" if len(facts.alerts) > 1 else ""
        return "alert", f"{worst.severity}: {worst.title}{more}"
    if status.data.state == "waiting":
        return "warming up", status.data.evidence
    return "healthy", _reworded(status.data, "those it was fitted on", "the reference").evidence


def _next_step(facts: Facts, quality: Claim) -> str:
    name = facts.endpoint.name
    if facts.alerts:
        return f"mlspine alerts {name}"
    if facts.log.rows == 0:
        return f"mlspine watch {name} --predictions LOG, or send rows: POST /endpoints/{name}/predictions"
    if quality.state != "green":
        return f"mlspine labels add {name} FILE"
    return f"mlspine quality {name} --by week"


def _to_production(facts: Facts) -> Claim:
    current = facts.endpoint.current
    when = days_ago(current.created_at_ms, now_ms=facts.now_ms)
    text = f"by whoever runs it; judged by version {current.version} since {when}, by {current.actor}"
    return Claim(name="how it gets to production", state="amber", evidence=text)


def _data_reaches(facts: Facts, told: Claim) -> Claim:
    if facts.log.rows == 0:
        log = next((each for each in facts.feeds if each.role == "predictions"), None)
        where = f"from {log.text}" if log else "by requests or the middleware"
        why = f": {log.problem}" if log and log.problem else ""
        return Claim(
            name=told.name, state="red" if why else "waiting", evidence=f"{where}; no row has arrived yet{why}"
        )
    return _reworded(told, "requests and batches", "rows answered elsewhere")


def _back(name: str) -> Claim:
    return Claim(name=name, state="amber", evidence="where it runs; nothing here can bring an earlier model back")


def _reference(facts: Facts) -> Claim:
    version = facts.version
    if version is None:
        return Claim(name="release versioned", state="red", evidence="nothing is watched")
    text = f"reference {version.release_hash[:SHORT_HASH]}, named by its content; the model itself is elsewhere"
    return Claim(name="release versioned", state="amber", evidence=text)


def _quality(status: EndpointStatus) -> Claim:
    told = _reworded(status.quality, "at ship (reference)", "on the reference's own rows")
    told = _reworded(told, "at ship (holdout)", "on rows held out")
    return _reworded(told, "not estimable at ship", "nothing in the reference to compare with")


def _documentation(told: Claim, name: str) -> Claim:
    """Runbooks of an endpoint that is answered elsewhere are kept where it runs."""
    evidence = told.evidence.replace(f"; its runbooks were not followed yet: mlspine drill {name}", "")
    settled = told.state == "amber" and "owner " in evidence and "assumed" not in evidence and "card" not in evidence
    return Claim(name=told.name, state="green" if settled else told.state, evidence=evidence)


def _reworded(claim: Claim, words: str, other: str) -> Claim:
    return msgspec.structs.replace(claim, evidence=claim.evidence.replace(words, other))
