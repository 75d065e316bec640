"""What aliases, stages and tags may be. Pure. The figures are MLflow's, whose clients count on them."""

from __future__ import annotations

import re
from typing import get_args

from mlspine.core.errors import Denied, Invalid
from mlspine.core.types import Stage

ALIAS_LENGTH = 255
TAG_KEY_LENGTH = 250
TAG_VALUE_LENGTH = 100_000
RESERVED_TAGS = "mlspine."  # what the registry says of a version by itself
STAGES: tuple[Stage, ...] = get_args(Stage)
_ALIAS = re.compile(r"[\w-]+\Z")
_VERSION_LIKE = re.compile(r"[vV]\d+\Z")
_TAG_KEY = re.compile(r"[/\w.\- :]+\Z")


def check_alias(alias: str) -> str:
    """The alias itself, or Invalid: it must not read like a version.

    >>> check_alias("champion")
    'champion'
    """
    if not _ALIAS.match(alias) or len(alias) > ALIAS_LENGTH:
        raise Invalid(
            f"Invalid alias name: {alias[:ALIAS_LENGTH]!r}",
            hint=f"use 1 to {ALIAS_LENGTH} letters, digits, '_' and '-'; e.g. champion",
        )
    if alias.lower() == "latest" or _VERSION_LIKE.match(alias):
        raise Invalid(f"Invalid alias name: {alias!r} is kept for versions", hint="choose another, e.g. champion")
    return alias


def check_stage(text: str) -> Stage:
    """The stage in its own spelling; raises Invalid with the stages there are.

    >>> check_stage("production")
    'Production'
    """
    for stage in STAGES:
        if stage.lower() == text.strip().lower():
            return stage
    raise Invalid(f"Invalid Model Version stage: {text!r}", hint=f"one of {', '.join(STAGES)}")


def check_tag(key: str, value: str) -> None:
    """Raise Invalid for a tag that cannot be kept, Denied for one that the registry computes."""
    if not _TAG_KEY.match(key) or len(key) > TAG_KEY_LENGTH:
        raise Invalid(
            f"Invalid tag name: {key[:TAG_KEY_LENGTH]!r}",
            hint=f"use 1 to {TAG_KEY_LENGTH} letters, digits, '_', '-', '.', ' ', ':' and '/'",
        )
    if len(value) > TAG_VALUE_LENGTH:
        raise Invalid(f"the value of tag {key!r} has {len(value)} characters", hint=f"at most {TAG_VALUE_LENGTH}")
    if key.startswith(RESERVED_TAGS):
        raise Denied(f"tag {key!r} is said by the registry itself", hint=f"choose a name without {RESERVED_TAGS!r}")
