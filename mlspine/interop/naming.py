"""What things of another store are called in ours: free names, ids, and the places that repeat them. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping

import msgspec

from mlspine.core.errors import MlspineError
from mlspine.core.ids import digest_json

PROXIED = "mlflow-artifacts:/"
MODELS = "models:/"
# Tags whose values name runs or models.
RUN_TAGS = ("mlflow.parentRunId", "mlflow.rootRunId", "mlflow.log-model.history")
VERSIONS_TAG = "mlflow.modelVersions"
_RUN_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_OWNER = re.compile(r"(?<![0-9a-f-])(?:m-)?[0-9a-f]{32}(?![0-9a-f])")
_OWN_LOCATIONS = ("", "file", "mlflow-artifacts", "models", "runs")


def free_name(name: str, taken: Callable[[str], bool], pattern: str) -> str:
    """The name, or the first numbered one that nobody has.

    >>> free_name("churn", {"churn", "churn (2)"}.__contains__, "{} ({})")
    'churn (3)'
    """
    number, found = 2, name
    while taken(found):
        found = pattern.format(name, number)
        number += 1
    return found


def derived_id(source: str, foreign_id: str) -> str:
    """An id of 32 hex digits for what cannot keep its own; the same whenever it is asked for.

    >>> derived_id("http://a", "m-1").startswith("m-"), len(derived_id("http://a", "f00"))
    (True, 32)
    """
    digits = digest_json([source, foreign_id])[:32]
    return f"m-{digits}" if foreign_id.startswith("m-") else digits


def is_elsewhere(location: str) -> bool:
    """Whether files lie in a store that clients reach by themselves, such as a bucket.

    >>> is_elsewhere("s3://bucket/1"), is_elsewhere("mlflow-artifacts:/1"), is_elsewhere("/srv/mlruns/1")
    (True, False, False)
    """
    return urllib.parse.urlsplit(location).scheme not in _OWN_LOCATIONS


def rebased(uri: str, owner: str, new: str) -> str:
    """A uri below the files of a run or logged model, as it is where these are now; otherwise unchanged.

    >>> rebased("mlflow-artifacts:/1/a/artifacts/model", "a", "mlflow-artifacts:/7/b/artifacts")
    'mlflow-artifacts:/7/b/artifacts/model'
    """
    _, found, rest = uri.partition(f"/{owner}/artifacts")
    return new.rstrip("/") + rest if found else uri


def with_ids(tags: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Tags of a run in which runs are called by their new ids."""
    changed = dict(tags)
    for tag in RUN_TAGS:
        for old, new in names.items():
            if tag in changed and old != new:
                changed[tag] = changed[tag].replace(old, new)
    return changed


def with_model_names(tags: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Tags of a logged model in which registered models are called by their new names.

    >>> with_model_names({"mlflow.modelVersions": '[{"name": "a", "version": 1}]'}, {"a": "a-2"})
    {'mlflow.modelVersions': '[{"name": "a-2", "version": 1}]'}
    """
    if VERSIONS_TAG not in tags or not any(old != new for old, new in names.items()):
        return dict(tags)
    try:
        listed = msgspec.json.decode(tags[VERSIONS_TAG], type=list[dict[str, str | int]])
    except msgspec.MsgspecError:
        return dict(tags)
    for each in listed:
        each["name"] = names.get(str(each.get("name")), str(each.get("name")))
    text = msgspec.json.encode(listed).decode().replace(":", ": ").replace(",", ", ")
    return {**tags, VERSIONS_TAG: text}


def said(error: MlspineError) -> str:
    """An error as one line of a report."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def run_ids(text: str) -> set[str]:
    """Everything in a text that may be the id of a run.

    >>> run_ids("runs:/" + "a" * 32 + "/model")
    {'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}
    """
    return set(_RUN_ID.findall(text))


def owners(uri: str) -> set[str]:
    """The runs and logged models that a model's source may name.

    >>> owners("models:/m-" + "a" * 32)
    {'m-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}
    """
    return set(_OWNER.findall(uri))


def model_of(source: str) -> str:
    """The id of the logged model that a version is, "" when it is none.

    >>> model_of("models:/m-1"), model_of("models:/m-1/3")
    ('m-1', '')
    """
    rest = source.removeprefix(MODELS)
    return rest if rest != source and rest.startswith("m-") and "/" not in rest and "@" not in rest else ""
