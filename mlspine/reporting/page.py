"""One HTML file for one window or comparison, out of its document and nothing else.

It needs no script, no network and no other file: the style is inline and its own policy refuses all else. What is
drawn are bins, so the size does not depend on rows.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from mlspine.core.late import jinja2
from mlspine.core.types import Alert, CauseReport, DriftReport, Effect, Estimate, Interval, PerformanceReport
from mlspine.monitoring.document import Document, document
from mlspine.monitoring.edge import NEAR
from mlspine.reporting import draw, words

HERE = Path(__file__).parent / "templates"
LOOK = HERE / "look.css"
EDGES_SHOWN = 10
POINTS_SHOWN = 60  # newest windows in the quality chart, of each kind
LONGEST_NAME = 120
LONGEST_TEXT = 2000  # a sentence that an alert told stands here in full
DECIDING = ("js", "tv", "mean_sd", "missing_pp", "unseen_pp")


def html(
    report: DriftReport,
    *,
    realised: Sequence[PerformanceReport] = (),
    estimated: Sequence[Estimate] = (),
    causes: CauseReport | None = None,
    alerts: Sequence[Alert] = (),
    model: str = "",
) -> str:
    """The page of a report: `page` of its document."""
    made = document(report, realised=realised, estimated=estimated, causes=causes, alerts=alerts, model=model)
    return page(made)


def page(found: Document, *, back: str = "") -> str:
    """A whole HTML file that shows a document as `monitoring.document` makes it.

    back: a link to where it belongs, for a page that is served; a file has none.
    """
    style = _style()
    template = _environment().get_template("report.html")
    shown = {
        "doc": found,
        "style": Markup(style),
        "style_digest": style_digest(),
        "version": version("mlspine"),
        "back": back,
    }
    return str(template.render(shown | _sorted(found)))


@functools.cache
def style_digest() -> str:
    """What a Content-Security-Policy must name in style-src for the page to have its looks."""
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()


@functools.cache
def _style() -> str:
    return "\n" + LOOK.read_text("utf-8") + (HERE / "report.css").read_text("utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=functools.partial(words.harmless, longest=LONGEST_TEXT),
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "moment": moment,
        "share": words.share,
        "percent": percent,
        "amount": words.amount,
        "brief": functools.partial(words.harmless, longest=LONGEST_NAME),
        "key": words.key,
    }
    made.globals |= {
        "draw": draw,
        "EFFECTS": words.EFFECTS,
        "CONVENTIONAL": draw.CONVENTIONAL,
        "SEVERITIES": words.SEVERITIES,
        "SEVERITY_MARKS": words.SEVERITY_MARKS,
        "effects": effects,
        "leading": leading,
        "loud": loud,
        "figure": figure,
    }
    return made


# ---------------------------------------------------------------- what goes where


class Quality(NamedTuple):
    """The chart of one measure, and its figures by window, newest first."""

    metric: str
    points: list[draw.Measured]
    at_ship: Document | None
    ship: Interval | None  # the same as an interval
    window: tuple[int, int] | None
    rows: list[tuple[str, Document | None, Document | None]]  # from, realised, estimated


def _sorted(found: Document) -> dict[str, Any]:
    judged = [each for each in found["features"] if each["noise"]]
    shown = [each for each in judged if each["severity"] != "OK"]
    edges = [each for each in judged if at_the_edge(each)]
    return {
        "judged": judged,
        "shown": shown,
        "fine": [each for each in judged if each["severity"] == "OK"],
        "unjudged": [each for each in found["features"] if not each["noise"]],
        "edges": edges[:EDGES_SHOWN],
        "more_edges": edges[EDGES_SHOWN:],
        "quality": quality(found),
    }


def loud(feature: Document) -> bool:
    """Whether a column warns."""
    return feature["severity"] in ("WARNING", "CRITICAL")


def at_the_edge(feature: Document) -> bool:
    """Whether little is missing for another verdict on a column: worth a line of its own."""
    change = feature["would_change"]
    if change is None:
        return False
    return loud(feature) or (change["factor"] is not None and 0 < change["factor"] <= NEAR)


def effects(feature: Document) -> list[Effect]:
    """The effects of a column, those that decide first."""
    sizes, noise, limits = feature["effect"], feature["noise"], feature["limit"]
    ordered = [*DECIDING, *(name for name in sizes if name not in DECIDING)]
    return [
        Effect(name=name, value=sizes[name], noise=noise.get(name) or 0.0, limit=limits.get(name) or 0.0)
        for name in ordered
        if sizes.get(name) is not None and name in noise
    ]


def leading(feature: Document) -> Effect | None:
    """The effect that went farthest along to its limit."""
    deciding = [effect for effect in effects(feature) if effect.limit]
    return max(deciding, key=lambda effect: effect.value / effect.limit, default=None)


def quality(found: Document, metric: str = "") -> Quality | None:
    """Quality over time of one measure, the first there is; None without any."""
    realised, estimated = found["performance"]["realised"], found["performance"]["estimated"]
    metric = metric or next((each["metric"] for each in (*realised, *estimated)), "")
    if not metric:
        return None
    realised = [each for each in realised if each["metric"] == metric][-POINTS_SHOWN:]
    estimated = [each for each in estimated if each["metric"] == metric][-POINTS_SHOWN:]
    points = [*_points(realised, found, _kind_of_measured), *_points(estimated, found, _kind_of_estimate)]
    window = found["window"]
    at_ship = next((each["baseline"] for each in reversed(realised) if each["baseline"]), None)
    return Quality(
        metric=metric,
        points=points,
        at_ship=at_ship,
        ship=_interval(at_ship) if at_ship else None,
        window=(_ms(window["from"]), _ms(window["to"])) if window["from"] and window["to"] else None,
        rows=_by_window(realised, estimated),
    )


def _points(
    parts: Iterable[Document], found: Document, kind_of: Callable[[Document], draw.Kind]
) -> list[draw.Measured]:
    points = []
    for each in parts:
        interval, kind = _interval(each), kind_of(each)
        if interval is None or not each["from"]:
            continue
        points.append(
            draw.Measured(
                from_at_ms=_ms(each["from"]),
                to_at_ms=_ms(each["to"] or each["from"]),
                interval=interval,
                current=each["release_hash"] == found["release_hash"],
                words=f"from {moment(each['from'])} {kind or 'measured'} {each['metric']} {figure(each)}",
                kind=kind,
            )
        )
    return points


def _interval(each: Document) -> Interval | None:
    value, lo, hi = each["value"], each["lo"], each["hi"]
    return None if None in (value, lo, hi) else Interval(value=value, lo=lo, hi=hi)


def _kind_of_measured(each: Document) -> draw.Kind:
    return "provisional" if each["status"] == "PROVISIONAL" else ""


def _kind_of_estimate(each: Document) -> draw.Kind:
    kinds: dict[str, draw.Kind] = {"UNVERIFIED": "unverified", "BROKEN": "broken"}
    return kinds.get(each["status"], "estimated")


def _by_window(
    realised: Sequence[Document], estimated: Sequence[Document]
) -> list[tuple[str, Document | None, Document | None]]:
    rows: dict[tuple[str, str], list[Document | None]] = {}
    for place, parts in enumerate((realised, estimated)):
        for each in parts:
            rows.setdefault((each["from"] or "", each["release_hash"]), [None, None])[place] = each
    return [(key[0], pair[0], pair[1]) for key, pair in sorted(rows.items(), reverse=True)]


# ---------------------------------------------------------------- figures


def moment(text: str | None) -> str:
    """A time as people read it, in UTC.

    >>> moment("2013-04-01T06:00:00Z"), moment(None)
    ('2013-04-01 06:00', '–')
    """
    return text[:16].replace("T", " ") if text else "–"


def figure(each: Document) -> str:
    """
    >>> figure({"value": .7142, "lo": .7, "hi": .73})
    '0.714 [0.700, 0.730]'
    """
    if each["value"] is None:
        return "–"
    bounds = [f"{bound:.3f}" if bound is not None else "–" for bound in (each["lo"], each["hi"])]
    return f"{each['value']:.3f} [{bounds[0]}, {bounds[1]}]"


def percent(part: float | None) -> str:
    """A small share that should not be rounded away.

    >>> percent(0.00138), percent(0.01), percent(None)
    ('0.14%', '1%', '–')
    """
    if part is None or not math.isfinite(part):
        return "–"
    return f"{100 * part:.2g}%"


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
