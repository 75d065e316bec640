"""A replay as the terminal shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH
from mlspine.replaying.found import Cell, Different, Replay, Reproduced, Right, Shift, Slice
from mlspine.replaying.words import bounds, share, where

ROWS_SHOWN = 8
SLICES_SHOWN = 6
CELLS_SHOWN = 9
VALUES_WIDTH = 60
CHOSEN = {"all": "all of them", "newest": "the newest", "sample": "an even sample by a hash of their ids"}


def text(found: Replay) -> str:
    """The verdict, then what it stands on: rows, reproduction, difference, slices, labels, the most different rows."""
    a, b = found.a, found.b
    lines = [
        render.bold(
            f"{found.endpoint}: {a.version} ({a.release_hash[:SHORT_HASH]})"
            f" against {b.version} ({b.release_hash[:SHORT_HASH]})"
        ),
        *(f"  {line}" for line in click.wrap_text(found.verdict, width=96).splitlines()),
        "",
        f"  {'rows':<12} {found.rows:,} of {found.held:,} logged, {CHOSEN[found.chosen]}{_span(found)}",
        *(f"  {'left out':<12} {each.rows:,} rows: {each.why}" for each in found.left_out),
    ]
    if found.withheld:
        lines.append(f"  {'withheld':<12} {', '.join(found.withheld)}: redacted, given to both as missing")
    lines += [_reproduced(each) for each in found.reproduced] or [
        f"  {'log':<12} neither release had answered any of these rows, so nothing shows that they answer as they did"
    ]
    lines += ["", f"  {'disagree':<12} {found.disagree:,} rows, {bounds(found.disagreement)}{_beyond(found)}"]
    lines += _shift(found.shift, found)
    if found.crossing is not None:
        each = found.crossing
        lines.append(
            f"  {'threshold':<12} {each.threshold:g}: {each.up:,} rows would rise to it, {each.down:,} fall below;"
            f" {bounds(each.share)}"
        )
    lines += _right(found.right, a.version, b.version)
    if found.matrix:
        lines += ["", *_matrix(found.matrix, a.version, b.version)]
    lines += ["", *_slices(found)]
    if found.different:
        lines += ["", *_different(found.different, a.version, b.version)]
    return "\n".join(lines)


def _span(found: Replay) -> str:
    if not found.from_at_ms and not found.to_at_ms:
        return ""
    ends = [f"from {render.when(found.from_at_ms)}"] if found.from_at_ms else []
    ends += [f"to {render.when(found.to_at_ms)}"] if found.to_at_ms else []
    return f", {' '.join(ends)} UTC"


def _beyond(found: Replay) -> str:
    return f", further apart than {found.tolerance:.3g}" if found.task == "regression" else ""


def _reproduced(each: Reproduced) -> str:
    mark = render.mark("green" if each.same == each.rows else "red")
    worst = f", largest difference {each.worst:.3g}" if each.worst is not None else ""
    example = f" ({each.example})" if each.example else ""
    return (
        f"  {'log':<12} {mark} release {each.version} gives {each.same:,} of its {each.rows:,} logged answers again"
        f"{worst}{example}"
    )


def _shift(shift: Shift | None, found: Replay) -> list[str]:
    if shift is None:
        return []
    what = "prediction" if found.task == "regression" else "score"
    mean = f"{shift.mean.value:+.4g} [{shift.mean.lo:+.4g}, {shift.mean.hi:+.4g}]"
    places = ", ".join(f"{float(at):.0%} {value:+.3g}" for at, value in shift.quantiles.items())
    return [
        f"  {what:<12} of {found.b.version} less that of {found.a.version}: {mean} on average;"
        f" {shift.up:,} higher, {shift.down:,} lower; largest {shift.largest:+.3g}",
        f"  {'':<12} {places}",
    ]


def _right(right: Right | None, a: int, b: int) -> list[str]:
    if right is None:
        return []
    lines = [
        f"  {'labels':<12} {right.rows:,} rows have one; on {right.differing:,} of them the two disagree: {a} right in"
        f" {right.a:,}, {b} in {right.b:,}, neither in {right.neither:,} (p {right.p:.2g})"
    ]
    gain = right.gain
    if gain.interval is None:
        return [*lines, f"  {'':<12} {gain.reason}"]
    unit = f" of {a}'s error" if gain.relative else ""
    return [
        *lines,
        f"  {gain.metric:<12} {gain.production:.4f} with {a}, {gain.candidate:.4f} with {b}; gain"
        f" {gain.interval.value:+.4f}{unit}, 90% interval [{gain.interval.lo:+.4f}, {gain.interval.hi:+.4f}]",
    ]


def _matrix(cells: Sequence[Cell], a: int, b: int) -> list[str]:
    shown = [
        (f"{each.a}", f"{each.b}", each.rows, "" if each.a == each.b else "differ") for each in cells[:CELLS_SHOWN]
    ]
    more = [f"  and {len(cells) - CELLS_SHOWN} more pairs"] if len(cells) > CELLS_SHOWN else []
    return [render.table(shown, head=(f"{a} says", f"{b} says", "rows", "")), *more]


def _slices(found: Replay) -> list[str]:
    named = [each for each in found.slices if each.named]
    if not named:
        held = f"{found.looked_at} slices looked at" if found.looked_at else "no slice has enough rows to be looked at"
        return [f"  {'slices':<12} none holds more disagreement than chance gives ({held})"]
    level = f"{found.looked_at} slices looked at, 1% error for all of them together"
    lines = [f"  Where they disagree more than elsewhere ({level})"]
    head = ("rows where", "rows", "disagree", "elsewhere", "difference", "p")
    lines.append(render.table([_slice_row(each) for each in named[:SLICES_SHOWN]], head=head))
    within = [each for each in found.slices if each.within]
    lines += [f"  {where(each)} stands out only through {each.within}" for each in within[:SLICES_SHOWN]]
    return lines


def _slice_row(each: Slice) -> tuple[Any, ...]:
    gap = each.difference
    difference = f"{100 * gap.value:+.3g} points [{100 * gap.lo:+.3g}, {100 * gap.hi:+.3g}]"
    return where(each), each.rows, share(each.share), share(each.rest), difference, f"{each.p:.1g}"


def _different(rows: Sequence[Different], a: int, b: int) -> list[str]:
    shown = [
        (
            each.id,
            _answer(each.a, each.a_score),
            _answer(each.b, each.b_score),
            each.label,
            _values(each.values),
        )
        for each in rows[:ROWS_SHOWN]
    ]
    return ["  The rows answered most differently", render.table(shown, head=("id", f"{a}", f"{b}", "label", "values"))]


def _answer(answer: object, score: float | None) -> str:
    if score is None or isinstance(answer, float):
        return f"{answer:.4g}" if isinstance(answer, float) else str(answer)
    return f"{answer} ({score:.3f})"


def _values(values: dict[str, Any]) -> str:
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    told = ", ".join(f"{name} {value}" for name, value in shown.items())
    return told if len(told) <= VALUES_WIDTH else f"{told[: VALUES_WIDTH - 1]}…"
