"""A recording without what differs between any two stores: ids, times, names given by chance, addresses, users.

Every id becomes `<kind of step>` after the step that it first appears in, so that links between answers stay visible
and one thing more or less on one side does not rename all that follow.
Only lists whose order nobody promises are sorted: tags, params, the metrics of a run or logged model, aliases by name.
Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Answers of 3.18 carry these, no client of the three reads them.
UNREAD = {"sqlstate", "error_class", "workspace"}
OUR_TAGS = "mlspine."  # what we say of a version, in a field where anybody may say something
TIMES_FROM_MS = 1_700_000_000_000  # flows give times before this one, clocks after it
EXPERIMENT_FIELDS = {"experiment_id", "experiment_ids"}
BY_CHANCE = {
    "user_id": "<user>",
    "mlflow.user": "<user>",
    "mlflow.source.name": "<source>",
    "mlflow.source.git.commit": "<commit>",
}

ID = re.compile(
    r"(?<![0-9a-zA-Z])((?:m|d|tr|a)-)?([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9a-zA-Z])"
)
PREFIXES = {"m-": "model", "d-": "dataset", "tr-": "trace", "a-": "assessment", None: "id"}
EXPERIMENT_IN_PATH = re.compile(
    r"(mlflow-artifacts:/|mlflow-artifacts/artifacts/|mlflow-artifacts/artifacts\?path=)(\d+)\b"
)
EXPERIMENT_BEFORE_ID = re.compile(r"(?<!\w)()(\d+)(?=/(?:models/m-)?[0-9a-f]{32})")
EXPERIMENT_IN_TEXT = re.compile(r"(\b(?:experiment_id|ID|id)(?:=|: | )['\"]?)(\d+)\b")
SERVER = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+")
CLOCK = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?")
MADE_UP = re.compile(r"[a-z]+-[a-z]+-\d{1,3}")
SET_IN_TEXT = re.compile(r"\{['(][^{}]*\}")  # a Python set prints in another order every time
MESSAGE_CHARACTERS = 120
LONG_CHARACTERS = 2000
SIZE_IN_TEXT = re.compile(r"(model_size_bytes\"?: )\d+")


def normalise(steps: list[dict[str, Any]], *, salt: str) -> list[dict[str, Any]]:
    """The steps of one flow by one client, made comparable."""
    names = _Names(salt)
    return [names.step_of(step) for step in steps]


class _Names:
    """The stable names of one flow."""

    def __init__(self, salt: str) -> None:
        self.salt = salt
        self.step = ""
        self.ids: dict[tuple[str, str], str] = {}

    def step_of(self, step: dict[str, Any]) -> dict[str, Any]:
        self.step = str(step["step"]).replace(self.salt + "-", "")[:40]
        return {name: self.plain(value, name) for name, value in step.items()}

    def plain(self, value: Any, field: str = "", parent: str = "") -> Any:
        if isinstance(value, dict):
            return self._object(value, field)
        if isinstance(value, (list, tuple)):
            return _sorted([self.plain(each, field, parent) for each in value], field, parent)
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, int) and not isinstance(value, bool):
            if value >= TIMES_FROM_MS and value < 2**52:
                return "<time>"
            return self._experiment(str(value)) if field in EXPERIMENT_FIELDS else value
        return value

    def _object(self, value: dict[str, Any], field: str) -> dict[str, Any]:
        chosen = BY_CHANCE.get(str(value.get("key")))
        plain = {
            self._text(name, ""): self.plain(each, name, field)
            for name, each in value.items()
            if name not in UNREAD and not name.startswith(OUR_TAGS)
        }
        if plain.get("tags") == [] and value["tags"]:
            del plain["tags"]  # there were none but ours
        if chosen and "value" in value:
            plain["value"] = chosen
        if (
            str(value.get("path", "")).endswith(("MLmodel", "registered_model_meta", ".skops", ".pkl"))
            and "file_size" in value
        ):
            plain["file_size"] = "<size>"
        return plain

    def _text(self, text: str, field: str) -> str:
        if field in BY_CHANCE:
            return BY_CHANCE[field]
        if field == "message":
            text = SET_IN_TEXT.sub("{...}", text)[:MESSAGE_CHARACTERS]
        if field in ("page_token", "next_page_token"):
            return "<token>" if text else ""
        if field in EXPERIMENT_FIELDS and text.isdecimal():
            return self._experiment(text)
        if MADE_UP.fullmatch(text):
            return "<made-up name>"
        if text.isdecimal() and len(text) == 13 and int(text) >= TIMES_FROM_MS:
            return "<time>"
        text = text.replace(self.salt + "-", "").replace(self.salt, "")
        for place in (EXPERIMENT_IN_PATH, EXPERIMENT_BEFORE_ID, EXPERIMENT_IN_TEXT):
            text = place.sub(lambda found: found[1] + self._experiment(found[2]), text)
        text = ID.sub(lambda found: self._id(PREFIXES[found[1]], found[0]), text)
        text = SIZE_IN_TEXT.sub(r"\1<size>", CLOCK.sub("<clock>", SERVER.sub("<server>", text)))
        return text if len(text) <= LONG_CHARACTERS else f"{text[:40]}... {len(text)} characters"

    def _experiment(self, number: str) -> str:
        # Experiment 0 exists from the start, and ids beyond a thousand are the flows' own inventions.
        return number if number == "0" or int(number) > 1000 else self._id("experiment", number)

    def _id(self, kind: str, original: str) -> str:
        name = f"<{kind} of {self.step}>"
        taken = sum(each == name or each.startswith(f"{name[:-1]}, ") for each in self.ids.values())
        return self.ids.setdefault((kind, original), name if not taken else f"{name[:-1]}, {taken + 1}>")


def _sorted(items: list[Any], field: str, parent: str) -> list[Any]:
    items = [each for each in items if not (isinstance(each, dict) and str(each.get("key", "")).startswith(OUR_TAGS))]
    keyed = field in ("tags", "params") or (field == "metrics" and parent in ("data", "value"))
    if keyed and all(isinstance(each, dict) and "key" in each for each in items):
        return sorted(items, key=lambda each: (each["key"], str(each.get("timestamp")), str(each.get("step"))))
    if field == "aliases":
        return sorted(items, key=lambda each: json.dumps(each, sort_keys=True))
    return items
