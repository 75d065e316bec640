"""The chart of docs/estimates.md: one model's months, estimated before and measured after their labels.

python benchmarks/monitoring/estimate_chart.py docs/images/estimates.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from estimate_streams import flights
from estimates import MINE, Window, estimated

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 60, 50, 260
MONTHS = ("Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def chart(title: str, windows: list[Window]) -> str:
    """An SVG: the interval as a bar, the estimate as a tick, what came out as a dot."""
    ends = [each.by[MINE] for each in windows]
    low = min(*(lo for _, lo, _ in ends), *(each.truth for each in windows)) - 0.01
    high = max(*(hi for _, _, hi in ends), *(each.truth for each in windows)) + 0.01

    def y(value: float) -> float:
        return BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)

    def x(place: int) -> float:
        return LEFT + (place + 0.5) * (WIDTH - LEFT - 10) / len(windows)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-weight="bold">{title}</text>',
        f'<text x="{LEFT}" y="38" fill="#555">bar: estimated before the labels, 90% interval;',
        "dot: measured once they came</text>",
    ]
    for step in range(int(low * 20) + 1, int(high * 20) + 1):
        mark = step / 20
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end" fill="#555">{mark:.2f}</text>')
    for place, each in enumerate(windows):
        value, lo, hi = each.by[MINE]
        at, colour = x(place), "#c33" if each.status == "BROKEN" else "#8ab4d8"
        lines.append(
            f'<rect x="{at - 9:.1f}" y="{y(hi):.1f}" width="18" height="{y(lo) - y(hi):.1f}" fill="{colour}"/>'
        )
        lines.append(
            f'<line x1="{at - 14:.1f}" x2="{at + 14:.1f}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#135"/>'
        )
        lines.append(f'<circle cx="{at:.1f}" cy="{y(each.truth):.1f}" r="5" fill="#111"/>')
        name = MONTHS[place] if len(windows) == len(MONTHS) else str(place + 1)
        lines.append(f'<text x="{at:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{name}</text>')
        if each.status != "ESTIMATED":
            word = each.status.lower()
            lines.append(f'<text x="{at:.1f}" y="{BOTTOM + 34}" text-anchor="middle" font-size="9">{word}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main(target: str) -> None:
    stream = next(flights(("JFK",)))
    Path(target).write_text(chart(f"AUC by month of 2013: {stream.name}", estimated(stream, "month")))


if __name__ == "__main__":
    main(sys.argv[1])
