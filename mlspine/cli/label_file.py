"""A label file on its way to a server: read and checked here, sent as rows, in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlspine.control import RemoteWorkspace
from mlspine.core.ids import now_ms
from mlspine.core.types import LabelReceipt, Scalar
from mlspine.folder import this_actor
from mlspine.predictions import labels

ROWS_AT_ONCE = 100_000
Row = dict[str, Scalar | None]


def send_labels(workspace: RemoteWorkspace, endpoint: str, file: Path, *, all_matches: bool) -> LabelReceipt:
    """Add the labels of a file. After an interruption the same again is safe: what is known changes nothing."""
    table = labels.read_file(file)  # texts, numbers and flags only
    # All that is wrong with any row is said before the first part is sent.
    labels.to_segment(table, received_at_ms=now_ms(), source=file.name, all_matches=all_matches)
    return labels.total(
        endpoint,
        [
            workspace.predictions.add_labels(
                endpoint, rows=rows, source=file.name, all_matches=all_matches, actor=this_actor()
            )
            for rows in in_parts(table, ROWS_AT_ONCE)
        ],
    )


def in_parts(table: Mapping[str, Sequence[Any]], rows_at_once: int) -> Iterator[list[Row]]:
    """The rows of a table as JSON can carry them, some at a time.

    >>> list(in_parts({"key": ["a", "b", "c"], "label": [1, 0, 1]}, 2))[1]
    [{'key': 'c', 'label': 1}]
    """
    names = list(table)
    for start in range(0, len(table["label"]), rows_at_once):
        columns = [table[name][start : start + rows_at_once] for name in names]
        yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
