"""The five questions and the eight checks of an endpoint, answered from facts. Pure.

A claim is green only when it was exercised: a request answered, a rollback done, a window judged. What is merely
set up is amber, what is absent red, what needs more rows waits.
"""

from __future__ import annotations

from typing import Literal

from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import Endpoint, Proof, Revision
from mlspine.core.types import (
    Alert,
    DriftReport,
    Estimate,
    Evidence,
    FeedState,
    LogSummary,
    Metric,
    ModelVersion,
    PerformanceReport,
    Struct,
)
from mlspine.deployment.dividing import told
from mlspine.monitoring.exercised import HOLDS_DAYS, Exercised, days_ago, is_old

State = Literal["green", "amber", "red", "waiting"]
Verdict = Literal["healthy", "warming up", "alert", "not in production", "cannot answer"]


class Claim(Struct, frozen=True, kw_only=True):
    """One question or check: its state, and the evidence in a sentence with figures."""

    name: str
    state: State
    evidence: str


class Speed(Struct, frozen=True, kw_only=True):
    """Answers since the serving processes started; of several processes the slowest one's quantiles."""

    requests: int = 0
    failures: int = 0
    p50_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0


class EndpointStatus(Struct, frozen=True, kw_only=True):
    """Everything `mlspine status NAME` says."""

    name: str
    url: str
    verdict: Verdict
    why: str
    model: str
    version: int
    release_hash: str
    questions: tuple[Claim, ...]
    checks: tuple[Claim, ...]
    infrastructure: Claim
    data: Claim
    quality: Claim
    metric: Metric | None = None  # the figure of `quality`: on labels, else as it was at ship; rows_from says which
    speed: Speed
    rows: int
    rows_needed: int
    drifted: tuple[str, ...]
    alerts: tuple[Alert, ...]
    next_step: str
    traffic: str = ""  # who else answers or is asked along; "" when the live version answers everything


class Facts(Struct, frozen=True, kw_only=True):
    """What the store and the processes know of one endpoint, gathered in one place so that `answer` is pure."""

    endpoint: Endpoint
    url: str
    version: ModelVersion | None
    proof: Proof | None
    revisions: tuple[Revision, ...]
    switch_times: dict[str, float]
    speed: Speed | None  # None: the serving process does not answer
    log: LogSummary
    report: DriftReport | None  # newest judged window of the live release
    rows_needed: int  # until the next window can be judged; 0 when one was
    quality: PerformanceReport | None
    alerts: tuple[Alert, ...]
    error_rate: float
    now_ms: int
    feeds: tuple[FeedState, ...] = ()
    evidence: tuple[Evidence, ...] = ()  # of the kinds in `exercised`, about endpoint, model and workspace
    sinks: int = 0  # ways to tell a person, beside the log
    delivered_at_ms: int = 0  # the newest alert that reached one of them; 0: none did
    estimate: Estimate | None = None  # the newest of the live release, of its primary metric


def answer(facts: Facts) -> EndpointStatus:
    """The verdict, five questions and eight checks that follow from the facts."""
    infrastructure, data, quality = _infrastructure(facts), _data(facts), _quality(facts)
    verdict, why = _verdict(facts, infrastructure, data)
    return EndpointStatus(
        name=facts.endpoint.name,
        url=facts.url,
        verdict=verdict,
        why=why,
        model=facts.endpoint.model,
        version=facts.endpoint.current.version,
        release_hash=facts.endpoint.current.release_hash,
        questions=(
            _to_production(facts),
            _data_reaches(facts),
            quality,
            _updated(facts),
            _rolled_back(facts),
        ),
        checks=(
            _code(facts),
            _artefact(facts),
            _automated(facts),
            _watched(facts),
            _reliability(facts),
            Claim(name="production evaluation", state=quality.state, evidence=quality.evidence),
            Claim(name="rollback", state=_rolled_back(facts).state, evidence=_rolled_back(facts).evidence),
            _documentation(facts),
        ),
        infrastructure=infrastructure,
        data=data,
        quality=quality,
        metric=_metric(facts),
        speed=facts.speed or Speed(),
        rows=facts.log.rows,
        rows_needed=facts.rows_needed,
        drifted=_drifted(facts.report),
        alerts=facts.alerts,
        next_step=_next_step(facts, quality),
        traffic=told(facts.endpoint.current.traffic),
    )


# ---------------------------------------------------------------- verdict


def _verdict(facts: Facts, infrastructure: Claim, data: Claim) -> tuple[Verdict, str]:
    name = facts.endpoint.name
    if facts.endpoint.current.version == 0:
        return "cannot answer", f"rolled back past its first release; mlspine promote {name} VERSION"
    if facts.speed is None:
        return "not in production", infrastructure.evidence
    if facts.alerts:
        worst = max(facts.alerts, key=lambda alert: (alert.severity == "CRITICAL", alert.updated_at_ms))
        more = f", and {len(facts.alerts) - 1} more" if len(facts.alerts) > 1 else ""
        return "alert", f"{worst.severity}: {worst.title}{more}"
    if not facts.endpoint.current.log.enabled:
        return "not in production", "nothing is recorded (--no-log), so nobody would notice a change"
    if data.state == "waiting":
        return "warming up", data.evidence
    return "healthy", data.evidence


def _next_step(facts: Facts, quality: Claim) -> str:
    name = facts.endpoint.name
    if facts.endpoint.current.version == 0:
        return f"mlspine promote {name} VERSION"
    if facts.speed is None:
        return "mlspine up"
    if facts.alerts:
        return f"mlspine alerts {name}"
    if facts.log.rows == 0:
        return "send a request: the line after 'Try it' of mlspine serve"
    if quality.state != "green":
        return f"mlspine labels add {name} FILE"
    if facts.version is not None and facts.version.owner_assumed:
        return 'name an owner: mlspine.ship(..., owner="NAME")'
    return f"mlspine quality {name} --by week"


# ---------------------------------------------------------------- three levels of monitoring


def _infrastructure(facts: Facts) -> Claim:
    speed = facts.speed
    if speed is None:
        return Claim(name="infrastructure", state="red", evidence="the serving process does not answer: mlspine up")
    if speed.requests == 0:
        return Claim(name="infrastructure", state="waiting", evidence="running; no request since it started")
    failed = speed.failures / speed.requests
    evidence = (
        f"{speed.requests:,} requests, {failed:.2%} failed; P50 {speed.p50_s * 1e3:.1f} ms,"
        f" P95 {speed.p95_s * 1e3:.1f} ms, P99 {speed.p99_s * 1e3:.1f} ms"
    )
    return Claim(name="infrastructure", state="red" if failed > facts.error_rate else "green", evidence=evidence)


def _data(facts: Facts) -> Claim:
    report = facts.report
    if not facts.endpoint.current.log.enabled:
        return Claim(name="data", state="red", evidence="nothing is recorded (--no-log)")
    if report is None or report.status != "JUDGED":
        return Claim(name="data", state="waiting", evidence=_warming(facts))
    drifted = _drifted(report)
    if drifted:
        return Claim(
            name="data",
            state="red",
            evidence=f"{', '.join(drifted[:3])} changed in the last {report.rows:,} rows judged",
        )
    return Claim(
        name="data",
        state="green",
        evidence=f"the last {report.rows:,} rows judged look like those it was fitted on",
    )


def _warming(facts: Facts) -> str:
    if facts.rows_needed > 0:
        return f"{facts.rows_needed:,} more rows until inputs can be judged"
    return f"enough rows; they are judged at the full hour, or now with: mlspine check {facts.endpoint.name}"


def _quality(facts: Facts) -> Claim:
    measured = facts.quality.metrics[0] if facts.quality and facts.quality.metrics else None
    if measured is not None and measured.interval is not None and facts.quality is not None:
        state: State = "green" if facts.quality.severity in ("OK", "INFO") else "red"
        sample = f"{measured.rows:,} labelled rows, {facts.quality.coverage:.0%} of those answered"
        return Claim(name="quality", state=state, evidence=f"measured {_figure(measured)} on {sample}")
    hint = f"no labels yet: mlspine labels add {facts.endpoint.name} FILE"
    estimate = facts.estimate
    if estimate is not None and estimate.interval is not None and estimate.status != "BROKEN":
        figure = f"{estimate.interval.value:.3f} [{estimate.interval.lo:.3f}, {estimate.interval.hi:.3f}]"
        said = f"{estimate.metric} {figure} from {estimate.rows:,} answers alone, {estimate.status.lower()}"
        return Claim(name="quality", state="amber", evidence=f"{said}; {hint}")
    metric = facts.version.metric if facts.version else None
    if metric is not None and metric.interval is not None:
        return Claim(name="quality", state="amber", evidence=f"{_figure(metric)} at ship ({metric.rows_from}); {hint}")
    why = f"not estimable at ship ({metric.reason})" if metric else "not estimable at ship"
    return Claim(name="quality", state="red", evidence=f"{why}; {hint}")


def _metric(facts: Facts) -> Metric | None:
    measured = facts.quality.metrics[0] if facts.quality and facts.quality.metrics else None
    if measured is not None and measured.interval is not None:
        return measured
    return facts.version.metric if facts.version else None


# ---------------------------------------------------------------- the five questions


def _to_production(facts: Facts) -> Claim:
    current = facts.endpoint.current
    if facts.version is None:
        return Claim(name="how it gets to production", state="red", evidence="nothing is live")
    proof = facts.proof
    proved = f"; {proof.reproduced_rows} of {proof.recorded_rows} recorded predictions reproduced" if proof else ""
    text = f"version {current.version}, put live with `mlspine {current.cause}` by {current.actor}{proved}"
    exercised = facts.speed is not None and proof is not None and proof.recorded_rows > 0
    return Claim(name="how it gets to production", state="green" if exercised else "amber", evidence=text)


def _data_reaches(facts: Facts) -> Claim:
    name = "how data reaches it"
    if facts.log.rows == 0:
        return Claim(name=name, state="waiting", evidence="over HTTP; no row has arrived yet")
    ago_s = max(0, facts.now_ms - facts.log.last_received_at_ms) / 1000
    recorded = f"requests and batches: {facts.log.rows:,} rows recorded, the last {_ago(ago_s)} ago"
    feeds = [each for each in facts.feeds if each.text not in ("", "caller")]
    failing = [f"{_FEEDS[each.role]}: {each.problem}" for each in feeds if each.problem]
    if failing:
        return Claim(name=name, state="red", evidence="; ".join([recorded, *failing]))
    unread = [each for each in feeds if not each.last_read_at_ms]
    told = [f"{_FEEDS[each.role]} from {each.text}, {_read(each, facts.now_ms)}" for each in feeds]
    return Claim(name=name, state="amber" if unread else "green", evidence="; ".join([recorded, *told]))


_FEEDS = {"source": "fresh rows", "labels": "labels", "predictions": "answers"}


def _read(feed: FeedState, now_ms: int) -> str:
    if not feed.last_read_at_ms:
        return "not read yet"
    return f"read {_ago(max(0, now_ms - feed.last_read_at_ms) / 1000)} ago"


def _updated(facts: Facts) -> Claim:
    name, exercised = "how it is updated", _exercised(facts)
    way = f"mlspine retrain {facts.endpoint.model} or ship again, then mlspine promote {facts.endpoint.name} VERSION"
    renewed = [told for kind in ("retrain", "drill:retrain") if (told := exercised.told(kind))]
    updates = _updates(facts.revisions)
    if updates or exercised.holds("drill:retrain"):
        done = f"done so far: {len(updates)}" if updates else "not done yet"
        return Claim(name=name, state="green", evidence="; ".join([f"by hand, {done}", *renewed, way]))
    return Claim(name=name, state="amber", evidence="; ".join(["by hand, not done yet", *renewed, way]))


def _updates(revisions: tuple[Revision, ...]) -> list[Revision]:
    """The changes that brought a version newer than all before; coming back after a rollback is none."""
    highest, found = 0, []
    for revision in revisions:
        if highest and revision.version > highest:
            found.append(revision)
        highest = max(highest, revision.version)
    return found


def _rolled_back(facts: Facts) -> Claim:
    name, exercised = "how it is rolled back", _exercised(facts)
    done = next((each for each in reversed(facts.revisions) if each.cause == "rollback"), None)
    drill, drilled = exercised.find("drill:rollback"), exercised.told("drill:rollback")
    target = facts.endpoint.previous
    way = f"to version {target.version}, kept warm" if target else 'to "cannot answer": there is no earlier release'
    text = f"mlspine rollback {facts.endpoint.name}: {way}"
    if drill is not None and not drill.passed and (done is None or drill.at_ms > done.created_at_ms):
        return Claim(name=name, state="red", evidence=f"{text}; {drilled}")
    if done is not None and not is_old(done.created_at_ms, now_ms=facts.now_ms):
        took = facts.switch_times.get(str(done.number), 0.0)
        when = days_ago(done.created_at_ms, now_ms=facts.now_ms)
        return Claim(name=name, state="green", evidence=f"{text}; last done {when} in {took * 1e3:.0f} ms")
    if exercised.holds("drill:rollback"):
        return Claim(name=name, state="green", evidence=f"{text}; {drilled}")
    again = f"last exercised more than {HOLDS_DAYS} days ago" if done or drill else "not done yet"
    return Claim(name=name, state="amber", evidence=f"{text}; {again}: mlspine drill {facts.endpoint.name} rollback")


# ---------------------------------------------------------------- the other checks


def _code(facts: Facts) -> Claim:
    code = facts.version.captured.get("code", {}) if facts.version else {}
    commit, dirty = str(code.get("commit", "")), bool(code.get("dirty_digest"))
    if not commit:
        return Claim(name="code versioned", state="red", evidence="shipped outside a git repository")
    if dirty:
        return Claim(
            name="code versioned",
            state="amber",
            evidence=f"commit {commit[:10]} and uncommitted changes, both kept",
        )
    return Claim(name="code versioned", state="green", evidence=f"commit {commit[:10]}")


def _artefact(facts: Facts) -> Claim:
    if facts.version is None:
        return Claim(name="release versioned", state="red", evidence="nothing is live")
    text = f"release {facts.version.release_hash[:SHORT_HASH]}, named by its content"
    return Claim(
        name="release versioned",
        state="green" if facts.proof else "amber",
        evidence=f"{text}, checked when it was loaded" if facts.proof else text,
    )


def _automated(facts: Facts) -> Claim:
    state: State = "green" if facts.proof and facts.speed is not None else "amber"
    return Claim(
        name="deployment automated",
        state=state,
        evidence=f"one command; changes of traffic so far: {len(facts.revisions)}, each checked before it took effect",
    )


def _reliability(facts: Facts) -> Claim:
    if facts.log.dropped_rows:
        return Claim(
            name="data reliability",
            state="red",
            evidence=f"{facts.log.dropped_rows:,} rows could not be recorded",
        )
    unwell = [alert.title for alert in facts.alerts if alert.cause.startswith("feed:")]
    if unwell:
        return Claim(name="data reliability", state="red", evidence="; ".join(unwell))
    if facts.log.rows == 0:
        return Claim(name="data reliability", state="waiting", evidence="types are checked on every request; none yet")
    source = next((each for each in facts.feeds if each.role == "source" and each.last_read_at_ms), None)
    checked = f"; the source was checked {_read(source, facts.now_ms).removeprefix('read ')}" if source else ""
    return Claim(
        name="data reliability",
        state="green",
        evidence=f"types checked on every request; {facts.log.rows:,} rows recorded, none lost{checked}",
    )


def _watched(facts: Facts) -> Claim:
    """Green when rows are judged and telling a person was seen to work."""
    name, exercised = "monitoring", _exercised(facts)
    if not facts.endpoint.current.log.enabled:
        return Claim(name=name, state="red", evidence="nothing is recorded (--no-log)")
    if facts.report is None or facts.report.status != "JUDGED":
        return Claim(name=name, state="waiting", evidence=_warming(facts))
    judged = f"inputs are judged, the last time on {facts.report.rows:,} rows"
    if not facts.sinks:
        return Claim(name=name, state="amber", evidence=f"{judged}; alerts reach nobody: mlspine up --notify URL")
    if exercised.failed("alert-test"):
        return Claim(name=name, state="red", evidence=f"{judged}; {exercised.told('alert-test')}: mlspine alerts test")
    if facts.delivered_at_ms and not is_old(facts.delivered_at_ms, now_ms=facts.now_ms):
        when = days_ago(facts.delivered_at_ms, now_ms=facts.now_ms)
        return Claim(name=name, state="green", evidence=f"{judged}; an alert reached somebody {when}")
    if exercised.holds("alert-test"):
        return Claim(name=name, state="green", evidence=f"{judged}; {exercised.told('alert-test')}")
    return Claim(name=name, state="amber", evidence=f"{judged}; whether alerts arrive is untried: mlspine alerts test")


def _documentation(facts: Facts) -> Claim:
    """Green when somebody owns the model and its runbooks were followed."""
    name, endpoint, exercised = "documentation", facts.endpoint.name, _exercised(facts)
    if facts.version is None:
        return Claim(name=name, state="red", evidence="nothing is live")
    card = exercised.find("card")
    owner = card.document["said"].get("owner", "") if card else ""
    if not owner and not facts.version.owner_assumed:
        owner = facts.version.owner
    if not owner:
        whose = f"owner {facts.version.owner} is assumed from git" if facts.version.owner else "nobody owns it"
        return Claim(name=name, state="amber", evidence=f"{whose}: mlspine card {endpoint} --set owner=NAME")
    gaps = f"card without {', '.join(card.document['gaps'])}" if card and card.document["gaps"] else ""
    told = [f"owner {owner}", *filter(None, (gaps or ("" if card else "no project card"),))]
    needed = ("drill:deploy", "drill:rollback")
    told += [each for kind in needed if (each := exercised.told(kind))]
    if any(exercised.failed(kind) for kind in needed):
        return Claim(name=name, state="red", evidence="; ".join(told))
    if all(exercised.holds(kind) for kind in needed):
        return Claim(name=name, state="green", evidence="; ".join(told))
    untried = f"its runbooks were not followed yet: mlspine drill {endpoint}"
    return Claim(name=name, state="amber", evidence="; ".join([*told, untried]))


def _exercised(facts: Facts) -> Exercised:
    return Exercised(facts.evidence, now_ms=facts.now_ms)


# ---------------------------------------------------------------- words


def _drifted(report: DriftReport | None) -> tuple[str, ...]:
    if report is None:
        return ()
    named = [verdict for verdict in report.features if verdict.severity in ("WARNING", "CRITICAL")]
    # Inputs first: they are causes, outputs that moved with them are consequences.
    ranked = sorted(named, key=lambda verdict: (verdict.role != "input", -verdict.impact))
    return tuple(verdict.name if verdict.role == "input" else f"the {verdict.role}" for verdict in ranked)


def _figure(metric: Metric) -> str:
    interval = metric.interval
    assert interval is not None
    return f"{metric.name} {interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
