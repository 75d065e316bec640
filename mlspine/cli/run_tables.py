"""Runs as text: a list with the columns that set its runs apart, a whole run, runs side by side."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.core.types import CodeState
    from mlspine.tracking.comparison import Comparison, Differing, Value
    from mlspine.tracking.reader import ExperimentLine
    from mlspine.tracking.sheet import RunLine, RunList, RunSheet

SHORT_ID = 8
BARS = "▁▂▃▄▅▆▇█"
CELL = 24  # characters of a value in a table


def list_text(page: RunList, *, first: Sequence[str] = ()) -> str:
    """A page of runs, one per line, with as many columns that set them apart as the terminal is wide.

    first: metrics that come before the others.
    """
    if not page.runs:
        return "no run fits"
    head, rows = _base(page.runs)
    columns = _columns(page.runs, first)
    room = max(shutil.get_terminal_size((100, 24)).columns, 60)
    shown = 0
    while shown < len(columns) and _width(head, rows, columns[: shown + 1]) <= room:
        shown += 1
    taken = columns[: max(shown, min(1, len(first)))]
    lines = [
        render.table(
            [[*row, *(cells[place] for _, cells in taken)] for place, row in enumerate(rows)],
            head=[*head, *(name for name, _ in taken)],
            indent="",
        )
    ]
    if left := len(columns) - len(taken):
        lines.append(f"and {left} more column{'s' if left > 1 else ''} in which they differ: --json")
    if page.next_page_token:
        lines.append(f"more: --page {page.next_page_token}")
    return "\n".join(lines)


def experiments_text(found: Sequence[ExperimentLine]) -> str:
    rows = [
        (
            each.experiment.id,
            each.experiment.name,
            each.runs,
            render.when(each.experiment.created_at_ms),
            "deleted" if each.experiment.lifecycle_stage == "deleted" else "",
        )
        for each in found
    ]
    head = ("number", "experiment", "runs", "made (UTC)", "")
    return render.table(rows, head=head, indent="") if rows else "no experiment"


def sheet_text(sheet: RunSheet) -> str:
    """Everything of one run, what it does not have left out."""
    run = sheet.run
    facts = [
        ("experiment", f"{run.experiment} ({run.experiment_id})"),
        ("begun (UTC)", render.when(run.started_at_ms)),
        ("duration", render.seconds(run.duration_s) if run.duration_s is not None else "-"),
        ("by", run.user or "-"),
        ("code", code_text(sheet.code)),
        ("command", sheet.command),
        ("parent", f"{sheet.parent.id[:SHORT_ID]}  {sheet.parent.name}" if sheet.parent else ""),
        ("children", ", ".join(f"{each.id[:SHORT_ID]} {each.name}" for each in sheet.children)),
        ("files at", sheet.artifact_uri),
    ]
    state = f"{run.status}{', deleted' if run.deleted else ''}"
    parts = [
        f"{render.bold(run.name)}  {run.id}  {state}",
        render.table([fact for fact in facts if fact[1]]),
        _part("metrics", _metric_rows(sheet)),
        _part("parameters", sorted(run.params.items())),
        _part("datasets", [(each.name, each.digest, each.context, each.source) for each in sheet.datasets]),
        _part("models", [(each.id, each.name, each.status, ", ".join(each.versions)) for each in sheet.models_made]),
        _part("models used", [(model_id,) for model_id in sheet.models_used]),
        _part(
            "files",
            [
                (f"{each.name}/" if each.is_dir else each.name, "" if each.is_dir else each.size_bytes)
                for each in sheet.files
            ],
        ),
        _part("tags", [(key, value) for key, value in sorted(run.tags.items()) if not key.startswith("mlspine.")]),
    ]
    return "\n".join(part for part in parts if part)


def comparison_text(comparison: Comparison) -> str:
    """A line per thing that differs; of metrics also how far each is from the first run."""
    rows = [[row.kind, row.name, *_compared(row)] for row in comparison.differing]
    head = ["", "", *(f"{run.name} {run.id[:SHORT_ID]}" for run in comparison.runs)]
    same = f"{comparison.same} parameters, metrics and tags are the same in all"
    return f"{render.table(rows, head=head, indent='')}\n{same}" if rows else f"nothing differs: {same}"


def code_text(code: CodeState) -> str:
    """The commit and whether it was all.

    >>> from mlspine.core.types import CodeState
    >>> code_text(CodeState(commit="4d3aa7a9" * 5, dirty_digest="ab"))
    '4d3aa7a94d3a, with uncommitted changes'
    """
    if not code.commit:
        return ""
    return code.commit[:12] + (", with uncommitted changes" if code.dirty_digest else "")


def sparkline(values: Sequence[float | None]) -> str:
    """The course of a history, a blank for NaN; "" for less than two values.

    >>> sparkline([0, 1, 2, None, 7])
    '▁▂▃ █'
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if value is None else BARS[round((value - low) / span * (len(BARS) - 1))] if span else BARS[0]
        for value in values
    )


# ---------------------------------------------------------------- inside


def _base(runs: Sequence[RunLine]) -> tuple[list[str], list[list[object]]]:
    several = len({run.experiment_id for run in runs}) > 1
    head = ["run", "name", *(["experiment"] if several else []), "status", "begun (UTC)", "took"]
    rows: list[list[object]] = [
        [
            run.id[:SHORT_ID],
            run.name,
            *([run.experiment] if several else []),
            "deleted" if run.deleted else run.status.lower(),
            render.when(run.started_at_ms),
            "-" if run.duration_s is None else render.seconds(run.duration_s),
        ]
        for run in runs
    ]
    return head, rows


def _columns(runs: Sequence[RunLine], first: Sequence[str]) -> list[tuple[str, list[object]]]:
    """Metrics and parameters that differ, in turn, each with its cells: those asked for, then as they come."""
    from mlspine.tracking.comparison import names_that_differ

    metrics = [*first, *(name for name in names_that_differ(runs, lambda run: run.metrics) if name not in first)]
    params = names_that_differ(runs, lambda run: run.params)
    found: list[tuple[str, list[object]]] = []
    for place in range(max(len(metrics), len(params))):
        if place < len(metrics):
            found.append((metrics[place], [run.metrics.get(metrics[place]) for run in runs]))
        if place < len(params):
            found.append((params[place], [_short(run.params.get(params[place], "-")) for run in runs]))
    return found


def _width(head: Sequence[str], rows: Sequence[Sequence[object]], columns: Sequence[tuple[str, list[object]]]) -> int:
    table = render.table(
        [[*row, *(cells[place] for _, cells in columns)] for place, row in enumerate(rows)],
        head=[*head, *(name for name, _ in columns)],
        indent="",
        room=0,
    )
    return max(map(len, table.splitlines()))


def _metric_rows(sheet: RunSheet) -> list[tuple[object, ...]]:
    charts = {each.metric: each for each in sheet.histories}
    return [
        (name, "NaN" if value is None else value, sparkline(charts[name].values) if name in charts else "")
        for name, value in sheet.run.metrics.items()
    ]


def _part(title: str, rows: Sequence[Sequence[object]]) -> str:
    return f"\n{title}\n{render.table(rows)}" if rows else ""


def _compared(row: Differing) -> list[str]:
    deltas = row.deltas or (None,) * len(row.values)
    return [
        _short(_text(value)) + (f" ({delta:+.4g})" if delta else "")
        for value, delta in zip(row.values, deltas, strict=True)
    ]


def _text(value: Value) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def _short(text: str) -> str:
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"
