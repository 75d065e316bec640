"""Recordings kept as text: one file per flow, one line per step and per exchange, so that a change shows as lines.

A run, model, version or experiment that an answer repeats just as it was before is kept once and named afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded"
AGAIN = "as in number"


def write(flow: str, steps: list[dict[str, Any]], *, of: str, folder: Path = FOLDER) -> None:
    """Keep the normalised steps of one flow. of: the versions that answered and asked, the client's as last word."""
    folder.mkdir(exist_ok=True)
    lines, seen = [json.dumps({"answers of": of})], dict[str, int]()
    for step in steps:
        outcome = {name: value for name, value in step.items() if name != "exchanges"}
        lines.append(json.dumps(outcome, ensure_ascii=False))
        lines.extend("  " + json.dumps(fold(each, seen), ensure_ascii=False) for each in step["exchanges"])
    (folder / f"{flow}.txt").write_text("\n".join(lines) + "\n")


def read(flow: str, *, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The steps of one flow as they were written."""
    steps: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for line in (folder / f"{flow}.txt").read_text().splitlines()[1:]:
        if line.startswith("  "):
            steps[-1]["exchanges"].append(unfold(json.loads(line), seen))
        else:
            steps.append({**json.loads(line), "exchanges": []})
    return steps


def client_version(*, folder: Path = FOLDER) -> str:
    """The version of the client that asked."""
    with (folder / "runs.txt").open() as file:
        return str(json.loads(file.readline())["answers of"]).rpartition(" ")[2]


def fold(value: Any, seen: dict[str, int]) -> Any:
    """The same with every repeated entity named by its number. seen: the entities so far; it grows.

    >>> seen = {}
    >>> run = {"info": {"run_id": "<id-1>"}}
    >>> fold([run, run], seen)
    [{'info': {'run_id': '<id-1>'}}, {'as in number': 0}]
    """
    if isinstance(value, list):
        return [fold(each, seen) for each in value]
    if not isinstance(value, dict):
        return value
    if _is_entity(value):
        text = json.dumps(value, sort_keys=True)
        if text in seen:
            return {AGAIN: seen[text]}
        seen[text] = len(seen)
        return value
    return {field: fold(each, seen) for field, each in value.items()}


def unfold(value: Any, seen: list[dict[str, Any]]) -> Any:
    """The way back; `seen` grows as it did in `fold`."""
    if isinstance(value, list):
        return [unfold(each, seen) for each in value]
    if not isinstance(value, dict):
        return value
    if AGAIN in value:
        return seen[value[AGAIN]]
    if _is_entity(value):
        seen.append(value)
        return value
    return {field: unfold(each, seen) for field, each in value.items()}


def _is_entity(value: dict[str, Any]) -> bool:
    return "info" in value or "last_updated_timestamp" in value or "lifecycle_stage" in value
