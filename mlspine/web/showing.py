"""From what was read to HTML: the templates, and how endpoints, releases and speed are written."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from mlspine.core.ids import SHORT_HASH
from mlspine.core.late import jinja2
from mlspine.core.types import DriftReport, Metric, ModelVersion
from mlspine.monitoring.claims import EndpointStatus, Speed
from mlspine.monitoring.document import address
from mlspine.monitoring.edge import alerts
from mlspine.monitoring.status import WorkspaceStatus
from mlspine.reporting import draw
from mlspine.reporting.words import (
    EFFECTS,
    SEVERITIES,
    SEVERITY_MARKS,
    amount,
    day,
    harmless,
    key,
    leading,
    reading,
    share,
    spell,
    when,
)
from mlspine.web.looking import Detail

HERE = Path(__file__).parent
REPORTS_KEPT = 32
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
        "address": address,
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


def measured(detail: Detail) -> list[draw.Measured]:
    """The points of the quality chart, oldest first."""
    return [
        draw.Measured(
            from_at_ms=report.from_at_ms,
            to_at_ms=report.to_at_ms,
            interval=report.metrics[0].interval,
            current=report.release_hash == detail.status.release_hash,
            words=f"from {day(report.from_at_ms)} {report.metrics[0].name} {spell(report.metrics[0].interval)}",
            kind="provisional" if report.status == "PROVISIONAL" else "",
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
    moves = [
        ("move to another version", f"mlspine promote {name} VERSION"),
        ("bring the release before back", f"mlspine rollback {name}"),
    ]
    if not detail.status.url:  # somebody else's server answers
        moves = [("read what is new in its log", f"mlspine watch {name} --once")]
    return [
        ("judge the newest rows now", f"mlspine check {name}"),
        ("measured quality by week", f"mlspine quality {name} --by week"),
        ("add true outcomes", f"mlspine labels add {name} FILE"),
        ("what was answered last", f"mlspine log {name}"),
        ("take the alerts on", f"mlspine alerts ack {name}"),
        *moves,
        ("who changed what and why", f"mlspine ledger endpoint:{name}"),
    ]


# ---------------------------------------------------------------- figures


def milliseconds(seconds: float) -> str:
    """
    >>> milliseconds(0.00213), milliseconds(0.25), milliseconds(12.3)
    ('2.1 ms', '250 ms', '12.3 s')
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def latencies(speed: Speed) -> str:
    """P50, P95 and P99 in one unit.

    >>> latencies(Speed(p50_s=.0021, p95_s=.0114, p99_s=.14)), latencies(Speed(p50_s=.2, p95_s=1.1, p99_s=2))
    ('2.1 · 11.4 · 140.0 ms', '0.20 · 1.10 · 2.00 s')
    """
    marks = (speed.p50_s, speed.p95_s, speed.p99_s)
    if speed.p99_s >= 1:
        return " · ".join(f"{mark:.2f}" for mark in marks) + " s"
    return " · ".join(f"{mark * 1e3:.1f}" for mark in marks) + " ms"
