"""Revision arithmetic: what comes next, what a rollback brings back, where a release runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mlspine.core.plan import Revision

NATIVE_CRASHES_BEFORE_WORKER = 2
# These leave the live version as it is: no step forward, and nothing to go back to.
BESIDE: tuple[str, ...] = ("traffic", "guards")


def trail(revisions: Sequence[Revision]) -> list[Revision]:
    """The way back from the current revision: each step forward in order, each rollback undone.

    Moving forward pushes a release, rolling back pops one, so a second rollback goes further back and never
    returns to a release that was left behind on purpose. What is changed beside the live version (settings, the
    division of requests, guards) is that of the step it was changed at.

    revisions: all of one endpoint, oldest first. The last element is the live one; empty means "cannot answer".
    """
    stack: list[Revision] = []
    for revision in revisions:
        if revision.cause == "watch":
            continue  # somebody else's server answered: nothing here to go back to
        if revision.cause == "rollback":
            if stack:
                stack.pop()
            if stack:
                stack[-1] = revision
        elif stack and stack[-1].version == revision.version:
            stack[-1] = revision
        elif revision.cause not in BESIDE:  # guards may be declared while the endpoint cannot answer
            stack.append(revision)
    return stack


def rollback_target(revisions: Sequence[Revision]) -> Revision | None:
    """The revision a rollback would bring back, or None when only "cannot answer" is left."""
    steps = trail(revisions)
    return steps[-2] if len(steps) >= 2 else None


def live_since(revisions: Sequence[Revision]) -> Revision | None:
    """The revision that put live what is live now; later ones changed only what stands beside it."""
    first = None
    for revision in reversed(revisions):
        if first is not None and revision.version != first.version:
            break
        first = revision
    return first


def next_number(revisions: Sequence[Revision]) -> int:
    """Revisions of an endpoint count 1, 2, 3, ..."""
    return revisions[-1].number + 1 if revisions else 1


def placement_after(crashes: int) -> Literal["auto", "worker"]:
    """A release that twice took the serving process down with it runs in a process of its own."""
    return "worker" if crashes >= NATIVE_CRASHES_BEFORE_WORKER else "auto"
