"""What may be logged: names, lengths, amounts. Pure. The figures are MLflow's, whose clients count on them."""

from __future__ import annotations

import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mlspine.core.errors import Invalid
from mlspine.tracking.run import DatasetInput, Point

log = logging.getLogger(__name__)

KEY_LENGTH = 250
PARAM_LENGTH = 6_000
TAG_LENGTH = 8_000
EXPERIMENT_NAME_LENGTH = 500
EXPERIMENT_TAG_LENGTH = 20_000
METRICS_PER_BATCH = 1_000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
ENTITIES_PER_BATCH = 1_000
DATASETS_PER_BATCH = 1_000
_DATASET_LENGTHS = {"name": 500, "digest": 36, "schema_text": 1_048_575, "source": 65_535, "profile": 16_777_215}
_KEY = re.compile(r"[/\w.\- :]*\Z")
MAX_INT64 = 2**63 - 1


def check_key(key: str, *, what: str) -> str:
    """The name of a metric, parameter or tag, or Invalid saying what is wrong with it.

    >>> check_key("loss/train", what="metric")
    'loss/train'
    """
    check_length(key, what=what)
    if not _KEY.match(key):
        raise Invalid(
            f"Invalid {what} name: {key!r}",
            hint="use letters, digits, '_', '-', '.', ' ', ':' and '/'",
        )
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        raise Invalid(f"Invalid {what} name: {key!r}", hint="it may become a file's name")
    return key


def check_length(key: str, *, what: str) -> None:
    if not 1 <= len(key) <= KEY_LENGTH:
        raise Invalid(f"{what} name of {len(key)} characters", hint=f"names have 1 to {KEY_LENGTH} characters")


def cut(value: str, limit: int, *, what: str) -> str:
    """The value, cut to `limit` characters with a warning: a long text is no reason to lose a run."""
    if len(value) <= limit:
        return value
    log.warning("a long value is cut", extra={"what": what, "characters": len(value), "kept": limit})
    return value[:limit]


def check_point(point: Point) -> Point:
    """The point, or Invalid for a bad name or numbers that are no 64-bit integers."""
    check_key(point.key, what="metric")
    if point.timestamp_ms < 0:
        raise Invalid(f"metric {point.key!r}: timestamp {point.timestamp_ms} is negative", hint="count ms since 1970")
    for name, number in (("timestamp", point.timestamp_ms), ("step", point.step)):
        if abs(number) > MAX_INT64:
            raise Invalid(f"metric {point.key!r}: {name} {number} is no 64-bit integer", hint=f"send a smaller {name}")
    return point


def checked_params(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; Invalid for a bad name or one that comes twice."""
    twice = [key for key, count in Counter(key for key, _ in params).items() if count > 1]
    if twice:
        raise Invalid(f"Duplicate parameter keys have been submitted: {twice}", hint="log each parameter once")
    return {
        check_key(key, what="parameter"): cut(value, PARAM_LENGTH, what=f"parameter {key}") for key, value in params
    }


def checked_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags by name, the last of a name counts."""
    return {check_key(key, what="tag"): cut(value, TAG_LENGTH, what=f"tag {key}") for key, value in tags}


def first_tags(tags: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Tags of a run that begins: MLflow takes any sign in their names, and only there."""
    for key, _ in tags:
        check_length(key, what="tag")
    return {key: cut(value, TAG_LENGTH, what=f"tag {key}") for key, value in tags}


def check_amounts(metrics: int, params: int, tags: int) -> None:
    """Raise Invalid when one batch holds more than a transaction should."""
    for what, count, limit in (
        ("metrics", metrics, METRICS_PER_BATCH),
        ("params", params, PARAMS_PER_BATCH),
        ("tags", tags, TAGS_PER_BATCH),
        ("entities", metrics + params + tags, ENTITIES_PER_BATCH),
    ):
        if count > limit:
            raise Invalid(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}.",
                hint=f"Please split up {what} across multiple requests and try again.",
            )


def check_experiment_name(name: str) -> str:
    if not name:
        raise Invalid("Invalid experiment name: ''", hint="give the experiment a name")
    if len(name) > EXPERIMENT_NAME_LENGTH:
        raise Invalid(
            f"an experiment name of {len(name)} characters", hint=f"at most {EXPERIMENT_NAME_LENGTH} are taken"
        )
    return name


def check_experiment_tag(key: str, value: str) -> None:
    check_key(key, what="tag")
    if len(value) > EXPERIMENT_TAG_LENGTH:
        raise Invalid(
            f"the value of tag {key!r} has {len(value)} characters", hint=f"at most {EXPERIMENT_TAG_LENGTH} are taken"
        )


def check_artifact_location(location: str) -> str:
    """A place for files that clients can reach; Invalid for one that would leave its own folder."""
    if ".." in location.split("/") or "?" in location or "#" in location:
        raise Invalid(f"Invalid artifact location: {location!r}", hint="no '..', query or fragment in it")
    return location


def check_datasets(datasets: Sequence[DatasetInput]) -> None:
    if len(datasets) > DATASETS_PER_BATCH:
        raise Invalid(f"{len(datasets)} datasets at once", hint=f"at most {DATASETS_PER_BATCH} are taken")
    for dataset in datasets:
        _check_dataset(dataset)


def _check_dataset(dataset: DatasetInput) -> None:
    texts: Mapping[str, str] = {name: getattr(dataset, name) for name in _DATASET_LENGTHS}
    for name, text in texts.items():
        if len(text) > _DATASET_LENGTHS[name]:
            raise Invalid(
                f"dataset {dataset.name[:60]!r}: its {name.removesuffix('_text')} has {len(text)} characters",
                hint=f"at most {_DATASET_LENGTHS[name]} are taken",
            )
