"""From what was read to HTML: the templates, and how times, shares and hostile texts are written.

Names of features, categories and people come from outside. Everything is escaped, long texts are cut, and signs
that would turn the direction of writing or hide something are spelt out.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mlspine.core.ids import SHORT_HASH, digest_bytes
from mlspine.core.late import jinja2
from mlspine.core.types import DriftReport, Effect, FeatureVerdict, Interval, Metric, ModelVersion
from mlspine.monitoring.claims import EndpointStatus, Speed
from mlspine.monitoring.drift import RANK
from mlspine.monitoring.status import WorkspaceStatus
from mlspine.web import draw
from mlspine.web.looking import Detail

HERE = Path(__file__).parent
LONGEST_TEXT = 300
REPORTS_KEPT = 32
_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)

VERDICTS = {
    "healthy": "green",
    "warming up": "waiting",
    "alert": "red",
    "not in production": "red",
    "cannot answer": "red",
}
MARKS = {"green": "✓", "amber": "○", "red": "✗", "waiting": "…"}
STATES = {
    "green": "exercised",
    "amber": "set up, not exercised",
    "red": "missing or failing",
    "waiting": "needs more requests",
}
SEVERITIES = {"OK": "green", "INFO": "waiting", "WARNING": "amber", "CRITICAL": "red"}
SEVERITY_MARKS = {"OK": "✓", "INFO": "i", "WARNING": "!", "CRITICAL": "✗"}
EFFECTS = {
    "js": ("Jensen-Shannon distance", ""),
    "tv": ("rows that changed level", "share"),
    "mean_sd": ("change of the mean", "sd"),
    "missing_pp": ("change of the missing rate", "points"),
    "unseen_pp": ("levels never seen before", "points"),
    "psi": ("population stability index", ""),
    "ks": ("Kolmogorov-Smirnov distance", ""),
    "w1_sd": ("Wasserstein distance", "sd"),
}


@functools.cache
def environment(folder: Path = HERE / "templates") -> jinja2.Environment:
    """The templates, everything in them escaped and made harmless."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "when": when,
        "day": day,
        "ms": milliseconds,
        "spell": spell,
        "amount": amount,
        "share": share,
        "short": lambda text: text[:SHORT_HASH],
        "key": key,
    }
    made.globals |= {
        "draw": draw,
        "VERDICTS": VERDICTS,
        "MARKS": MARKS,
        "STATES": STATES,
        "SEVERITIES": SEVERITIES,
        "SEVERITY_MARKS": SEVERITY_MARKS,
        "EFFECTS": EFFECTS,
        "CONVENTIONAL": draw.CONVENTIONAL,
        "headline": headline,
        "urgent_first": urgent_first,
        "rate": rate,
        "latencies": latencies,
        "leading": leading,
        "alerts": alerts,
        "reading": reading,
        "measured": measured,
        "at_ship": at_ship,
        "release_facts": release_facts,
        "commands": commands,
    }

    # Nearly all of a page, and the same until the next window is judged.
    @functools.lru_cache(maxsize=REPORTS_KEPT)
    def features(report: DriftReport) -> Markup:
        template = made.get_template("feature.html")
        return Markup("".join(template.render(each=each) for each in report.features))

    made.globals["features"] = features
    return made


def harmless(value: Any) -> Any:
    """A value as it may be shown: markup of our own as it is, text cut and without hidden signs.

    >>> harmless("eur\\u202egnp"), harmless("x" * 10_000)[-21:]
    ('eur\\\\u202egnp', '… (10,000 characters)')
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if len(value) > LONGEST_TEXT:
        value = f"{value[: LONGEST_TEXT - 30]}… ({len(value):,} characters)"
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


# ---------------------------------------------------------------- home


def headline(status: WorkspaceStatus) -> str:
    """The workspace in one sentence."""
    count = len(status.endpoints)
    if not count:
        return "Nothing is served yet"
    troubled = [each.name for each in status.endpoints if VERDICTS[each.verdict] == "red"]
    warming = sum(VERDICTS[each.verdict] == "waiting" for each in status.endpoints)
    noun = "endpoint" if count == 1 else "endpoints"
    if troubled:
        return (
            f"{troubled[0]} needs attention"
            if len(troubled) == 1
            else f"{len(troubled)} of {count} {noun} need attention"
        )
    if warming:
        return f"{warming} of {count} {noun} warming up, the rest healthy" if warming < count else "Warming up"
    return f"All {count} {noun} healthy" if count > 1 else f"{status.endpoints[0].name} is healthy"


def urgent_first(endpoints: tuple[EndpointStatus, ...]) -> list[EndpointStatus]:
    """Those that need somebody before the others."""
    order = {"red": 0, "waiting": 1, "green": 2}
    return sorted(endpoints, key=lambda each: (order[VERDICTS[each.verdict]], each.name))


def rate(requests: int, since_at_ms: int, now_ms: int) -> str:
    """Requests per second since the process started.

    >>> rate(90, 0, 60_000), rate(3, 0, 3_600_000)
    ('1.5/s', '3.0/h')
    """
    seconds = max(now_ms - since_at_ms, 1000) / 1000
    for size, unit in ((1, "s"), (60, "min")):
        if requests * size >= seconds:
            return f"{requests * size / seconds:,.1f}/{unit}"
    return f"{requests * 3600 / seconds:.1f}/h"


# ---------------------------------------------------------------- drift and quality


def leading(verdict: FeatureVerdict) -> Effect | None:
    """The effect that went farthest along to its limit."""
    deciding = [effect for effect in verdict.effects if effect.limit > 0]
    return max(deciding, key=lambda effect: effect.value / effect.limit, default=None)


def alerts(verdict: FeatureVerdict) -> bool:
    return RANK[verdict.severity] >= RANK["WARNING"]


def reading(effect: Effect, verdict: FeatureVerdict) -> str:
    """What an effect of a column says, in words."""
    if effect.limit > 0 and effect.value > effect.limit:
        if alerts(verdict):
            return "over its limit"
        return "over its limit, does not alert" if verdict.named else "over its limit, within chance"
    if effect.value <= effect.noise:
        return "within chance"
    return "within its limit" if effect.limit > 0 else "shown, never decides"


def measured(detail: Detail) -> list[draw.Measured]:
    """The points of the quality chart, oldest first."""
    return [
        draw.Measured(
            from_at_ms=report.from_at_ms,
            to_at_ms=report.to_at_ms,
            interval=report.metrics[0].interval,
            current=report.release_hash == detail.status.release_hash,
            words=f"from {day(report.from_at_ms)} {report.metrics[0].name} {spell(report.metrics[0].interval)}",
        )
        for report in detail.quality
        if report.metrics and report.metrics[0].interval is not None
    ]


def at_ship(detail: Detail) -> Metric | None:
    """The figure at ship when it is the same measure as the one drawn."""
    metric = detail.version.metric if detail.version else None
    drawn = next((report.metrics[0].name for report in detail.quality if report.metrics), "")
    return metric if metric is not None and metric.interval is not None and metric.name == drawn else None


# ---------------------------------------------------------------- release


def release_facts(version: ModelVersion) -> Iterator[tuple[str, str]]:
    """What is known of a release, in pairs of name and words."""
    captured = version.captured
    data, code = captured.get("data", {}), captured.get("code", {})
    yield "model", f"{version.model}, version {version.version}, {version.stage}"
    yield "owner", (version.owner or "nobody") + (" (assumed from git)" if version.owner_assumed else "")
    yield "shipped", f"{when(version.created_at_ms)} UTC, {version.origin or 'in-process'}"
    yield "tier", version.tier
    yield "kind", f"{version.flavor}, {captured.get('task', '')}"
    yield "fitted on", f"{data.get('rows', 0):,} rows × {data.get('columns', 0)} columns, {data.get('digest', '')[:12]}"
    commit = code.get("commit", "")[:10] or "no commit"
    yield "code", f"{commit} and uncommitted changes" if code.get("dirty_digest") else commit
    libraries = list(captured.get("libraries", {}).items())
    shown = ", ".join(f"{name} {number}" for name, number in libraries[:8])
    yield "libraries", f"{shown}, and {len(libraries) - 8} more" if len(libraries) > 8 else shown
    if version.message:
        yield "message", version.message
    yield "release", version.release_hash


def commands(detail: Detail) -> list[tuple[str, str]]:
    """What one types next about this endpoint: purpose and command."""
    name = detail.status.name
    return [
        ("judge the newest rows now", f"mlspine check {name}"),
        ("measured quality by week", f"mlspine quality {name} --by week"),
        ("add true outcomes", f"mlspine labels add {name} FILE"),
        ("what was answered last", f"mlspine log {name}"),
        ("take the alerts on", f"mlspine alerts ack {name}"),
        ("move to another version", f"mlspine promote {name} VERSION"),
        ("bring the release before back", f"mlspine rollback {name}"),
        ("who changed what and why", f"mlspine ledger endpoint:{name}"),
    ]


# ---------------------------------------------------------------- figures


def when(at_ms: int, *, seconds: bool = False) -> str:
    """
    >>> when(1_357_000_000_000)
    '2013-01-01 00:26'
    """
    moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def day(at_ms: int) -> str:
    return when(at_ms)[:10]


def milliseconds(seconds: float) -> str:
    """
    >>> milliseconds(0.00213), milliseconds(0.25), milliseconds(12.3)
    ('2.1 ms', '250 ms', '12.3 s')
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def spell(interval: Interval) -> str:
    """
    >>> spell(Interval(value=.7142, lo=.7, hi=.73))
    '0.714 [0.700, 0.730]'
    """
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def amount(value: float) -> str:
    """
    >>> amount(0.0312), amount(12.5), amount(0.0)
    ('0.031', '12.5', '0')
    """
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def latencies(speed: Speed) -> str:
    """P50, P95 and P99 in one unit.

    >>> latencies(Speed(p50_s=.0021, p95_s=.0114, p99_s=.14)), latencies(Speed(p50_s=.2, p95_s=1.1, p99_s=2))
    ('2.1 · 11.4 · 140.0 ms', '0.20 · 1.10 · 2.00 s')
    """
    marks = (speed.p50_s, speed.p95_s, speed.p99_s)
    if speed.p99_s >= 1:
        return " · ".join(f"{mark:.2f}" for mark in marks) + " s"
    return " · ".join(f"{mark * 1e3:.1f}" for mark in marks) + " ms"


def share(part: float) -> str:
    """
    >>> share(0.0312), share(0.25), share(0.0)
    ('3.1%', '25%', '0%')
    """
    return f"{100 * part:.1f}%" if 0 < part < 0.1 else f"{100 * part:.0f}%"


def key(text: str) -> str:
    """A name from outside as the id of an element: the same for the same name, and nothing else."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))[:10]
