"""Takes registered models to an MLflow server: versions under the numbers they have, stages, aliases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mlspine.core.errors import Conflict, Denied
from mlspine.interop.naming import said
from mlspine.interop.progress import Tally
from mlspine.interop.source import RegisteredModel, RegisteredVersion
from mlspine.interop.target import Target


def take_versions(
    target: Target,
    name: str,
    model: RegisteredModel,
    as_there: Callable[[RegisteredVersion], RegisteredVersion],
    tally: Tally,
    *,
    first: bool,
) -> None:
    """Create the versions that are not there yet, oldest first, so that each gets its own number.

    The server hands out numbers in order and never again: a number that is missing here is taken and deleted there.
    first: until all of the model was there once; later the stages and aliases of what is there are left alone.
    """
    there = {each.version for each in model.versions if target.has_version(name, each.version)}
    for version in model.versions:
        if version.version not in there:
            _create(target, name, as_there(version), tally)
    for version in model.versions:
        if version.stage != "None" and (first or version.version not in there):
            _unless_denied(tally, partial(target.set_stage, name, version.version, version.stage))
    if not first:
        return
    for alias, number in model.aliases.items():
        _unless_denied(tally, partial(target.set_alias, name, alias, number))
    if model.versions and model.newest > model.versions[-1].version:
        _use_up(target, name, as_there(model.versions[-1]), model.newest)


def _unless_denied(tally: Tally, move: Callable[[], None]) -> None:
    """Move a stage or alias; a server with a gate of its own may refuse, and says why."""
    try:
        move()
    except Denied as exc:
        tally.not_brought(said(exc))


def _create(target: Target, name: str, version: RegisteredVersion, tally: Tally) -> None:
    while (number := target.create_version(name, version)) < version.version:
        target.delete_version(name, number)
    if number > version.version:
        target.delete_version(name, number)
        raise Conflict(
            f"version {version.version} of {name} got number {number} at {target.name}: somebody else writes there",
            hint="wait until they are done, delete that model there, and run the same command again",
        )
    tally.add(versions=1)


def _use_up(target: Target, name: str, version: RegisteredVersion, newest: int) -> None:
    """See to it that the numbers up to `newest`, of versions deleted here, are given to nobody there."""
    number = 0
    while number < newest:
        number = target.create_version(name, version)
        target.delete_version(name, number)
