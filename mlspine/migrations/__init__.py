"""The schema of every room, as numbered SQL scripts that only ever go forward."""

from __future__ import annotations

from importlib import resources


def scripts() -> dict[str, str]:
    """The text of every migration by its name, in the order they apply.

    >>> next(iter(scripts()))
    '0001_governance'
    """
    files = [each for each in resources.files(__name__).iterdir() if each.name.endswith(".sql")]
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda file: file.name)
    }
