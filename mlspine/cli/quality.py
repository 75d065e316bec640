"""quality: measured and estimated quality of an endpoint, by window, by slice, as known now or then."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.cli.estimated import estimates_text
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.types import Metric, PerformanceReport
    from mlspine.monitoring.delays import LabelDelays
    from mlspine.monitoring.slicing import QualitySlice


@click.command()
@click.argument("name")
@click.option("--by", type=click.Choice(["all", "month", "week", "day"]), default="all", show_default=True)
@click.option("--as-of", "as_of", metavar="TIME", help="What was known then: a date (UTC, its beginning) or ISO 8601.")
@click.option("--slice", "column", metavar="COLUMN", help="Quality per level of a logged column, the worst first.")
@click.option(
    "--blocks", type=click.Choice(["day", "key"]), help="An interval for rows that depend within a day or a key."
)
@click.option("--estimated", is_flag=True, help="Only what is estimated without labels, of every metric.")
@render.json_option
def quality(
    name: str, by: str, as_of: str | None, column: str | None, blocks: str | None, estimated: bool, as_json: bool
) -> None:
    """Quality of endpoint NAME per release: measured against its labels, and estimated where there are none yet.

    \b
    Examples:
      mlspine quality churn --by month
      mlspine quality churn --by month --as-of 2013-05-01
      mlspine quality churn --slice country
      mlspine quality churn --blocks key
      mlspine quality churn --estimated
    """
    from mlspine.control import connect

    whole = column is not None or blocks is not None
    if sum((as_of is not None, column is not None, blocks is not None, estimated)) > 1 or (whole and by != "all"):
        raise click.UsageError(
            "--as-of, --slice, --blocks and --estimated answer different questions; --slice and --blocks take no --by"
        )
    as_of_ms = _moment_ms(as_of) if as_of is not None else 0
    workspace = connect()
    workspace.deployment.get(name)
    workspace.status.refresh()
    monitoring = workspace.monitoring
    if column is not None:
        found = monitoring.quality_slices(name, column)
        render.emit(found, as_json=as_json, text=lambda: _slices_text(name, column, found))
        return
    if blocks is not None:
        figures = monitoring.quality_by_blocks(name, blocks)  # type: ignore[arg-type]  # click has limited it
        render.emit(figures, as_json=as_json, text=lambda: _blocks_text(name, figures))
        return
    if as_of is not None:
        then = monitoring.quality_as_of(name, as_of_ms=as_of_ms, by=by)  # type: ignore[arg-type]  # click has limited it
        render.emit(then, as_json=as_json, text=lambda: _quality_text(name, then, as_of=as_of))
        return
    if estimated or not as_json:
        estimates = monitoring.estimates(name, by=by)  # type: ignore[arg-type]  # click has limited it
    if estimated:
        text = estimates_text(estimates, every_metric=True)
        render.emit(estimates, as_json=as_json, text=lambda: text or f"no rows yet\nNext: mlspine status {name}")
        return
    reports = monitoring.quality(name, by=by)  # type: ignore[arg-type]  # click has limited it
    delays = "" if as_json else _delays_text(monitoring.label_delays(name))
    render.emit(
        reports,
        as_json=as_json,
        text=lambda: "\n\n".join(filter(None, (_quality_text(name, reports), delays, estimates_text(estimates)))),
    )


def _moment_ms(text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} is no time: write 2013-05-01 or 2013-05-01T12:00", param_hint="--as-of"
        ) from exc
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _quality_text(name: str, reports: list[PerformanceReport], *, as_of: str = "") -> str:
    if not any(report.metrics for report in reports):
        if as_of:
            return f"nothing was known by {as_of}: no label was there\nNext: mlspine quality {name}"
        return f"no labelled rows yet\nNext: mlspine labels add {name} FILE"
    rows: list[tuple[str, ...]] = []
    for report in reports:
        metric = report.metrics[0] if report.metrics else None
        rows.append(
            (
                render.when(report.from_at_ms)[:10],
                report.release_hash[:SHORT_HASH],
                metric.name if metric else "-",
                _figure(metric),
                f"{report.labelled_rows:,}",
                f"{report.coverage:.0%}",
                _status(report),
                report.why,
            )
        )
        rows += [_weighted_row(each, report.sample) for each in report.weighted[:1]]
    head = ("from (UTC)", "release", "metric", "value [95%]", "labelled", "coverage", "status", "why")
    return render.table(rows, head=head, indent="")


def _weighted_row(metric: Metric, sample: str) -> tuple[str, ...]:
    return ("", "", f"{metric.name}, weighted", _figure(metric), metric.reason, "", "", sample)


def _status(report: PerformanceReport) -> str:
    if not report.expected_at_ms:
        return report.status.lower()
    return f"{report.status.lower()}, labels expected by {render.when(report.expected_at_ms)[:10]}"


def _figure(metric: Metric | None) -> str:
    interval = metric.interval if metric else None
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]" if interval else "-"


def _delays_text(delays: LabelDelays) -> str:
    if delays.half_ms is None or delays.nearly_all_ms is None:
        return ""
    return (
        f"Labels come for {delays.share:.0%} of the rows: half of them within {_span(delays.half_ms)},"
        f" 95% within {_span(delays.nearly_all_ms)} ({delays.labels:,} labels)"
    )


def _span(ms: float) -> str:
    hours = ms / 3_600_000
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{max(1.0, ms / 60_000):.0f} min"


def _blocks_text(name: str, figures: list[Metric]) -> str:
    if not figures:
        return f"no labelled rows yet\nNext: mlspine labels add {name} FILE"
    rows = [(each.name, _figure(each), f"{each.rows:,}", each.reason) for each in figures]
    return render.table(rows, head=("metric", "value [95%]", "labelled", "blocks"), indent="")


def _slices_text(name: str, column: str, found: list[QualitySlice]) -> str:
    if not found:
        return f"no labelled rows yet\nNext: mlspine labels add {name} FILE"
    rows = [
        (
            render.mark("red" if each.worse else "green" if each.difference else "waiting"),
            each.level,
            each.metric.name,
            _figure(each.metric),
            f"{each.rows:,}",
            each.why,
        )
        for each in found
    ]
    return render.table(rows, head=("", column, "metric", "value [95%]", "labelled", "why"), indent="")
