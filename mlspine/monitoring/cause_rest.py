"""What remains when the columns that moved are set aside: do the others go together otherwise than before? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.types import Interval
from mlspine.monitoring.cause_rows import Logged
from mlspine.stats import two_sample
from mlspine.stats.profile import Floats, LevelPart, Reference
from mlspine.stats.transport import codes_of

MOST_ROWS = 4_000  # of each side
MOST_COLUMNS = 16
LEAST_ROWS = 500
PAIR_LEVEL = 0.01


class Rest(NamedTuple):
    """What was found, "" for nothing; the AUC; and what it was compared with."""

    interaction: str
    auc: Interval | None
    compared: str


def what_remains(
    reference: Reference,
    importance: Mapping[str, float],
    before: Logged,
    now: Logged,
    moved: Sequence[str],
    windows_before: int,
) -> Rest:
    """Compare rows before and now by all columns but those that moved; importance decides which, beyond 16."""
    if min(before.rows, now.rows) < LEAST_ROWS:
        return Rest("", None, "")
    names = [name for name in reference.names if name not in moved and name in before.inputs and name in now.inputs]
    names = sorted(names, key=lambda name: -importance.get(name, 0.0))[:MOST_COLUMNS]
    if len(names) < 2:
        return Rest("", None, "")
    old, new = (_numbers(reference, names, rows)[:MOST_ROWS] for rows in (before, now))
    auc = two_sample.told_apart(old, new)
    blocks = two_sample.blocks_of(before.event_at_ms[:MOST_ROWS], most=min(two_sample.BLOCKS, max(1, windows_before)))
    natural = two_sample.natural_auc(old, blocks)
    yardstick = "" if np.isnan(natural) else f"earlier windows reach {natural:.2f}"
    i, j, p = two_sample.clearest_pair(old, new)
    if np.isnan(natural) or auc.lo <= 0.5 or auc.value <= natural or p > PAIR_LEVEL:
        return Rest("", auc, yardstick)
    told = f"{names[i]} and {names[j]} go together otherwise than before (p {p:.2g} of all pairs)"
    return Rest(f"{told}; rows can be told from earlier ones, AUC {auc.value:.2f}, {yardstick}", auc, yardstick)


def _numbers(reference: Reference, names: Sequence[str], rows: Logged) -> Floats:
    """One number per column: itself, or the place of its level among those of the reference."""
    columns = []
    for name in names:
        position = reference.parts_of(name)[0]
        part, values = reference.parts[position], rows.inputs[name]
        if reference.kinds[name] == "numeric":
            columns.append(values.astype(np.float64))
            continue
        code = codes_of(reference, position, rows.inputs, rows.event_at_ms)
        numbers = np.zeros(rows.rows) if code is None else code.astype(np.float64)
        if isinstance(part, LevelPart):
            numbers[numbers == part.bins] = np.nan
        columns.append(numbers)
    return np.column_stack(columns)
