"""Whose rows are behind a change: callers and levels whose change the rest does not share, and shifts of the mix. Pure.

Columns with few values are looked at, and the caller. The change is compared in two ways: of the output, and of
each suspect column's likeness to the window (`stats/onset.scores`). Whoever is named differs from all other rows
beyond chance, with one error of `mix.LEVEL` for everything looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from mlspine.core.types import Columns, Segment
from mlspine.monitoring.cause_rows import CALLER, Logged
from mlspine.stats import mix
from mlspine.stats.influence import widest_part
from mlspine.stats.onset import scores
from mlspine.stats.profile import Array, Floats, Profile, Reference
from mlspine.stats.transport import codes_of

MOST_SEGMENTS = 6
LEAST_SHARE = 0.2  # of the change of the output that a shift of the mix must carry to be told
FEW_VALUES = mix.MAX_GROUPS
PAIRED_COLUMNS = 6
MOST_COLUMNS = 40  # those with fewest values, after the caller
PAIR = " and "


class _Found(NamedTuple):
    p: float
    segment: Segment


def segments(
    before: Logged,
    now: Logged,
    *,
    output_before: Floats,
    output_now: Floats,
    likeness: Mapping[str, tuple[Floats, Floats]],
    output: str,
) -> tuple[Segment, ...]:
    """The groups to look at, clearest first; () without rows before.

    likeness: suspect column -> how much each row before and now looks like the window in it.
    """
    if min(before.rows, now.rows) < 2 * mix.LEAST_ROWS:
        return ()
    groups = _groupings(before, now)
    found: list[_Found] = []
    split_by = {
        column: mix.split(old, _known(output_before), new, _known(output_now)) for column, (old, new) in groups.items()
    }
    # Every group may be named for its answers and for each suspect: all of that is one look.
    looked_at = sum(mix.comparable(part) for parts in split_by.values() for part in parts) * (2 + len(likeness))
    for column, parts in split_by.items():
        found += [_Found(part.p, _answered(column, part, output)) for part in mix.named(parts, looked_at=looked_at)]
        found += _more_or_fewer(column, parts, before.rows, now.rows, looked_at, output)
    for suspect, (old, new) in likeness.items():
        for column, (old_group, new_group) in groups.items():
            if suspect not in column.split(PAIR):
                parts = mix.split(old_group, old, new_group, new)
                for part in mix.named(parts, looked_at=looked_at):
                    if part.change > 0:
                        found.append(_Found(part.p, _moved(column, part, suspect, split_by[column])))
    return _clearest(found)


def likeness_of(reference: Reference, window: Profile, name: str, rows: Columns, event_at_ms: Array) -> Floats | None:
    """How much each row looks like the window rather than the reference in one column; None if it is not there."""
    if name not in rows:
        return None
    position = widest_part(reference, window, name)
    code = codes_of(reference, position, rows, event_at_ms)
    if code is None:
        return None
    return scores(reference.profile.parts[position].counts, window.parts[position].counts)[code]


# ---------------------------------------------------------------- the groups


def _groupings(before: Logged, now: Logged) -> dict[str, tuple[Array, Array]]:
    """Columns of few values, the caller, and pairs of those with fewest values: (levels before, levels now)."""
    single: dict[str, tuple[Array, Array]] = {}
    if any(value is not None for value in now.caller.tolist()):
        single[CALLER] = (before.caller, now.caller)
    for name in now.inputs:
        if name in before.inputs and _few(before.inputs[name], now.inputs[name]):
            single[name] = (before.inputs[name].astype(object), now.inputs[name].astype(object))
    sizes = {name: size for name, pair in single.items() if (size := _levels(*pair)) > 1}
    few = sorted(sizes, key=lambda name: (name != CALLER, sizes[name]))[:MOST_COLUMNS]
    single = {name: single[name] for name in few}
    fewest = few[:PAIRED_COLUMNS]
    pairs = {}
    for i, a in enumerate(fewest):
        for b in fewest[i + 1 :]:
            if sizes[a] * sizes[b] <= FEW_VALUES:
                pairs[f"{a}{PAIR}{b}"] = (_both(single[a][0], single[b][0]), _both(single[a][1], single[b][1]))
    return single | pairs


def _few(before: Array, now: Array) -> bool:
    if before.ndim > 1 or before.dtype.kind == "M":
        return False
    return _levels(before, now) <= FEW_VALUES


def _levels(before: Array, now: Array) -> int:
    held: set[object] = set()
    for values in (before, now):
        for value in values.tolist():
            held.add(None if value is None or value != value else value)
            if len(held) > FEW_VALUES:
                return len(held)
    return len(held)


def _both(a: Array, b: Array) -> Array:
    out = np.empty(len(a), dtype=object)
    out[:] = [f"{x}{PAIR}{y}" for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return out


def _known(values: Floats) -> Floats:
    """Answers without gaps: a missing one counts as the mean of the others."""
    held = np.isfinite(values)
    return np.where(held, values, float(values[held].mean()) if held.any() else 0.0)


# ---------------------------------------------------------------- the words


def _answered(column: str, part: mix.Part, output: str) -> Segment:
    why = f"mean {output} {part.change:+.3g} here, {part.change_of_rest:+.3g} in all other rows"
    return _segment(column, part, part, why)


def _moved(column: str, part: mix.Part, suspect: str, answered: Sequence[mix.Part]) -> Segment:
    own = next(each for each in answered if each.level == part.level)
    return _segment(column, part, own, _only(part, suspect))


def _only(part: mix.Part, suspect: str) -> str:
    if part.change_of_rest < 0.1 * part.change:
        return f"{suspect} changed in these rows, not in the others"
    return f"{suspect} changed in these rows {part.change / part.change_of_rest:.1f} times as much as in the others"


def _more_or_fewer(
    column: str, parts: Sequence[mix.Part], rows_before: int, rows_now: int, looked_at: int, output: str
) -> list[_Found]:
    total = sum(part.mix + part.rate for part in parts)
    found = []
    for part in parts:
        p = mix.share_p(part, rows_before, rows_now)
        if p <= mix.LEVEL / max(1, looked_at) and abs(part.mix) >= LEAST_SHARE * abs(total) and part.mix * total > 0:
            kind = "more" if part.share_now > part.share_before else "fewer"
            why = f"{kind} of these rows: {part.mix:+.3g} of the {total:+.3g} that mean {output} changed"
            found.append(_Found(p, _segment(column, part, part, why)))
    return found


def _segment(column: str, part: mix.Part, answered: mix.Part, why: str) -> Segment:
    return Segment(
        column=column,
        level=str(part.level),
        share_before=part.share_before,
        share_now=part.share_now,
        mix=answered.mix,
        rate=answered.rate,
        why=why,
    )


def _clearest(found: Sequence[_Found]) -> tuple[Segment, ...]:
    """One line per group, with all that is said of it; a pair of columns only where neither of them says it."""
    told: dict[tuple[str, str], Segment] = {}
    for each in sorted(found, key=lambda each: (PAIR in each.segment.column, each.p)):
        segment = each.segment
        group = (segment.column, segment.level)
        if group in told:
            told[group] = msgspec.structs.replace(told[group], why=f"{told[group].why}; {segment.why}")
        elif PAIR not in segment.column or not _of_one(segment, told):
            told[group] = segment
    return tuple(told.values())[:MOST_SEGMENTS]


def _of_one(segment: Segment, told: Mapping[tuple[str, str], Segment]) -> bool:
    """Whether one of a pair's two groups is told already."""
    return bool(set(zip(segment.column.split(PAIR), segment.level.split(PAIR), strict=False)) & set(told))
