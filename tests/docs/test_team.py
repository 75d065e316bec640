"""The matrix in docs/team.md is the one that is enforced. Write it anew: python -m tests.docs.test_team"""

from __future__ import annotations

from pathlib import Path

from mlspine.core.public import surface
from mlspine.governance import access
from mlspine.workspace import ROOMS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "team.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->"


def matrix() -> str:
    """One line per public method: what it asks for, which roles carry that, and how a scope applies."""
    lines = [
        f"| method | asks for | {' | '.join(access.ROLES)} | within |",
        f"|---|---|{'---|' * len(access.ROLES)}---|",
    ]
    for room, service in sorted(ROOMS.items()):
        for method in surface(service):
            path = f"{room}/{method.name}"
            marks = ["✓" if method.permission in permissions else "" for permissions in access.ROLES.values()]
            within = ", ".join(f"`{name}`" for name in method.parameters if name in access.SUBJECTS)
            within = "any" if path in access.UNSCOPED else within
            lines.append(f"| `{path}` | {method.permission} | {' | '.join(marks)} | {within} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def test_the_matrix_on_the_page_is_the_one_enforced() -> None:
    written = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert written == matrix(), "the methods have changed: python -m tests.docs.test_team"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + matrix() + END + rest.partition(END)[2])
