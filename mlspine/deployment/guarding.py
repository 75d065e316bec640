"""What guards the answers of an endpoint: fallback, declared rule, deadline and output rules, as revisions."""

from __future__ import annotations

from pathlib import Path

from mlspine.core.errors import Invalid
from mlspine.core.plan import Endpoint, Guards, Revision
from mlspine.core.types import Actor, ModelVersion
from mlspine.deployment import guards as pure
from mlspine.deployment import store
from mlspine.deployment.endpoint import rollback_target, trail
from mlspine.deployment.guards import Answers
from mlspine.deployment.switching import Change, Switched, Switching
from mlspine.ports import Database
from mlspine.registry.release import flavor_of, read_release
from mlspine.registry.service import Registry


class Guarding:
    """Changes of an endpoint's guards: revisions with the cause "guards", the live version as it was."""

    def __init__(self, *, db: Database, registry: Registry, switching: Switching) -> None:
        self._db = db
        self._registry = registry
        self._switching = switching

    def guard(self, endpoint: Endpoint, guards: Guards, *, actor: Actor, reason: str) -> Switched:
        """As `Deployment.guard`."""
        if endpoint.current.cause == "watch":
            raise Invalid(
                f"{endpoint.name} is answered by somebody else's server: nothing can be guarded here",
                hint="guard it where it runs",
            )
        revisions = store.revisions(self._db, endpoint.name)
        current = revisions[-1]
        live = self._registry.get(endpoint.model, current.version) if current.version else None
        # An endpoint that cannot answer is guarded by what it answered with last, and will answer with again.
        shaped_by = live or self._registry.get(endpoint.model, max(each.version for each in revisions))
        answers = answers_of(shaped_by)
        guards = pure.typed(guards, answers.signature)
        check(guards, answers, endpoint.name)
        if guards == current.guards:
            return self._switching.unchanged(revisions)
        change = Change(
            live=live,
            cause="guards",
            action="guard",
            log=current.log,
            traffic=current.traffic,
            guards=guards,
            warnings=_untaken(guards, previous=rollback_target(revisions) is not None, steps=len(trail(revisions))),
        )
        return self._switching.apply(endpoint.name, change, revisions, actor=actor, reason=reason)


def guards_at(current: Revision | None, target: ModelVersion | None, *, back_to: Revision | None) -> Guards:
    """The guards that hold once `target` is live: those of now.

    Going forward raises Invalid when they do not fit it. A way back is barred by nothing: then those of the revision
    that returns come along with it.
    """
    now = current.guards if current else Guards()
    if target is None or now == Guards():
        return now
    try:
        check(now, answers_of(target), target.model)
    except Invalid:
        if back_to is None:
            raise
        return back_to.guards
    return now


def check(guards: Guards, answers: Answers, endpoint: str) -> None:
    """Raises Invalid with everything about these guards that does not fit what a release answers."""
    wrong = pure.misfits(guards, answers)
    if wrong:
        what = "one thing" if len(wrong) == 1 else f"{len(wrong)} things"
        raise Invalid(
            f"the guards of {endpoint} do not fit {answers.ref}: {what}",
            hint=f"give others: mlspine guards {endpoint} --help; those there are: mlspine guards {endpoint}",
            details=wrong,
        )


def answers_of(version: ModelVersion) -> Answers:
    """What guards look at of a version."""
    release = read_release(Path(version.path))
    task = release.signature.task
    scored = task == "regression" or (task in ("binary", "multiclass") and flavor_of(release).method != "predict")
    return Answers(ref=f"{version.model}:{version.version}", signature=release.signature, scored=scored)


def _untaken(guards: Guards, *, previous: bool, steps: int) -> tuple[str, ...]:
    """What is declared and has nothing to stand on yet."""
    said = []
    if guards.fallback == "previous" and not previous and guards != Guards():
        said.append("there is no release before this one yet" if steps else "nothing answers here now")
    falls = any(rule.action == "fallback" for rule in guards.rules)
    if falls and guards.answer is None and (guards.fallback == "none" or not previous):
        said.append('rules with "fallback" have nothing to fall back on: such requests get "cannot answer"')
    return tuple(said)
