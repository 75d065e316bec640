"""Profiles and verdicts as people read them: in a terminal, and in a notebook. Pure."""

from __future__ import annotations

import datetime
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlspine.reporting.words import harmless
from mlspine.stats.bins import NumericPart, Reference

if TYPE_CHECKING:
    from mlspine.comparing.drifting import Drift
    from mlspine.comparing.profiles import Profile

COLUMNS_SHOWN = 100
LEVELS_SHOWN = 3
_HEAD = ("column", "kind", "missing", "values")


def profile_text(profile: Profile) -> str:
    """A line on the whole and a line per column."""
    lines = [_summary(profile), *_aligned([_HEAD, *_shown_columns(profile)])]
    return "\n".join([*lines, *_rest(profile)])


def profile_html(profile: Profile) -> str:
    """The same as a table."""
    head = "".join(f"<th style='text-align:left'>{each}</th>" for each in _HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _shown_columns(profile)
    )
    after = "".join(f"<p>{html.escape(line)}</p>" for line in _rest(profile))
    return f"<p>{html.escape(_summary(profile))}</p><table><tr>{head}</tr>{body}</table>{after}"


def drift_text(found: Drift) -> str:
    """The verdict in a sentence, and every column that changed."""
    document = found.to_dict()
    lines = [f"{found.severity}: {document['model']}, {found.report.rows:,} rows", f"  {document['verdict']}."]
    changed = [each for each in found.features if each.severity != "OK"]
    lines += [f"  {line}" for line in _aligned([(each.severity, _cut(each.name), each.why) for each in changed])]
    return "\n".join(str(harmless(line)) for line in lines)


def in_a_frame(page: str) -> str:
    """A whole page inside a notebook's cell, its style kept to itself."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox style="width:100%;height:36em;border:1px solid #ccc"></iframe>'
    )


def _summary(profile: Profile) -> str:
    span = ""
    if profile.to_at_ms:
        first, last = (
            datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M")
            for at in (profile.from_at_ms, profile.to_at_ms)
        )
        span = f", {first} to {last} UTC, {len(profile.days):,} days"
    return f"profile of {harmless(profile.source)}: {profile.rows:,} rows, {len(profile.columns)} columns{span}"


def _shown_columns(profile: Profile) -> list[tuple[str, ...]]:
    return [_column(profile.reference, name) for name in profile.columns[:COLUMNS_SHOWN]]


def _rest(profile: Profile) -> Iterator[str]:
    if len(profile.columns) > COLUMNS_SHOWN:
        yield f"and {len(profile.columns) - COLUMNS_SHOWN:,} columns more"
    if profile.skipped:
        yield "not counted: " + ", ".join(f"{harmless(name)} ({why})" for name, why in profile.skipped.items())


def _column(reference: Reference, name: str) -> tuple[str, ...]:
    place = reference.parts_of(name)[0]
    part, tally = reference.parts[place], reference.profile.parts[place]
    rows = int(tally.counts.sum())
    missing = 100 * int(tally.counts[part.bins]) / rows if rows else 0.0
    if isinstance(part, NumericPart):
        present = int(tally.counts[: part.bins].sum())
        spread = float(np.sqrt(tally.m2 / present)) if present else 0.0
        values = f"{tally.mean:.4g} ± {spread:.3g}, {tally.low:.4g} to {tally.high:.4g}" if present else "none"
        if part.name:
            values = f"{part.name} {values}"
    else:
        values = _levels([str(level) for level in part.levels], tally.counts, rows)
        if part.name:
            values = f"{part.name} {values}"
        elif reference.kinds[name] == "categorical":
            values = f"{len(part.levels):,} levels: {values}"
    return _cut(name), reference.kinds[name], f"{missing:.1f}%", str(harmless(values, 120))


def _levels(levels: Sequence[str], counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rows: int) -> str:
    most = np.argsort(-counts[: len(levels)], kind="stable")[:LEVELS_SHOWN]
    return ", ".join(f"{levels[i][:20]} {100 * counts[i] / max(1, rows):.0f}%" for i in most)


def _cut(name: str) -> str:
    return str(harmless(name if len(name) <= 40 else name[:39] + "…"))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
