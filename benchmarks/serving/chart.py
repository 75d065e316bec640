"""The chart of docs/speed.md: requests per second of every server, on a logarithmic scale."""

from __future__ import annotations

import math

from benchmarks.serving.cases import Measured
from benchmarks.serving.ours import OURS, OURS_ASGI
from benchmarks.serving.rivals import RIVALS

WIDTH, LEFT, RIGHT, TOP, STEP = 760, 250, 80, 60, 26
CEILINGS = {each.name for each in RIVALS if each.ceiling}


def chart(measured: list[Measured]) -> str:
    """An SVG with one bar per server, fastest first."""
    rows = sorted(measured, key=lambda each: -each.median("per_s"))
    height = TOP + STEP * len(rows) + 30
    low = 10 ** math.floor(math.log10(rows[-1].median("per_s")))
    high = rows[0].median("per_s")

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="20" font-weight="bold">Requests per second, one row each, 64 clients, one machine</text>',
        '<text x="10" y="38" fill="#555">logarithmic; grey: what the machine and the library allow, without a',
        "server's work</text>",
    ]
    mark = low
    while mark <= high:
        lines.append(f'<line x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP - 8}" y2="{height - 24}" stroke="#ddd"/>')
        lines.append(f'<text x="{x(mark):.1f}" y="{height - 8}" text-anchor="middle" fill="#555">{mark:,}</text>')
        mark *= 10
    for place, each in enumerate(rows):
        y, value = TOP + STEP * place, each.median("per_s")
        colour = "#26c" if each.name in (OURS, OURS_ASGI) else "#bbb" if each.name in CEILINGS else "#e8a33d"
        lines.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{_label(each.name)}</text>')
        lines.append(f'<rect x="{LEFT}" y="{y}" width="{max(1.0, x(value) - LEFT):.1f}" height="18" fill="{colour}"/>')
        lines.append(f'<text class="figure" x="{x(value) + 6:.1f}" y="{y + 13}">{value:,.0f}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _label(name: str) -> str:
    return name.partition(":")[0] if name.startswith("echo") else name
