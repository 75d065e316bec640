"""How commands speak: aligned tables, short times, JSON for machines."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import msgspec

COLOURS = {"green": "green", "amber": "yellow", "red": "red", "waiting": "blue"}
MARKS = {"green": "✓", "amber": "○", "red": "✗", "waiting": "…"}

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def emit(value: object, *, as_json: bool, text: Callable[[], str]) -> None:
    """Print a result in the form asked for."""
    click.echo(to_json(value) if as_json else text().rstrip("\n"))


def to_json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def table(
    rows: Iterable[Sequence[object]], *, head: Sequence[str] = (), indent: str = "  ", room: int | None = None
) -> str:
    """Columns aligned to their widest cell; numbers to the right. The last column is cut to the terminal.

    room: characters of a line, 0 for as many as it takes.

    >>> print(table([("a", 1), ("bb", 20)], head=("name", "n"), indent=""))
    name   n
    a      1
    bb    20
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if head:
        cells.insert(0, list(head))
    if not cells:
        return ""
    body = cells[1:] if head else cells
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(cells[0]))]
    right = [all(_numeric(row[i]) for row in body) and bool(body) for i in range(len(widths))]
    room = max(shutil.get_terminal_size((100, 24)).columns, 60) if room is None else room
    lines = []
    for row in cells:
        padded = [
            " " * (width - len(click.unstyle(cell))) + cell
            if to_right
            else cell + " " * (width - len(click.unstyle(cell)))
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append(indent + "  ".join(padded).rstrip())
    return "\n".join(line if not room or len(click.unstyle(line)) <= room else _cut(line, room) for line in lines)


def when(at_ms: int) -> str:
    """A moment in UTC, to the minute; "-" for none.

    >>> when(0), when(1_700_000_000_000)
    ('-', '2023-11-14 22:13')
    """
    if not at_ms:
        return "-"
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def seconds(value: float) -> str:
    """A duration in the unit people read.

    >>> seconds(0.00042), seconds(0.0123), seconds(1.5)
    ('0.42 ms', '12.3 ms', '1.50 s')
    """
    if value < 0.001:
        return f"{value * 1000:.2f} ms"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def mark(state: str) -> str:
    """The sign of a state, coloured on a terminal."""
    return click.style(MARKS.get(state, "?"), fg=COLOURS.get(state))


def bold(text: str) -> str:
    return click.style(text, bold=True)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value).replace("\n", " ")


def _numeric(text: str) -> bool:
    return text == "-" or (bool(text) and text.replace(",", "").replace(".", "").lstrip("-").isdigit())


def _cut(line: str, room: int) -> str:
    return line if "\x1b" in line else line[: room - 1] + "…"
