"""All rules, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlspine.advisor import additions, restraint
from mlspine.advisor.advice import Advice, ranked
from mlspine.advisor.facts import Facts, shared_features

NAMED_FIRST = ("feature store", "orchestrator", "cluster")  # what people ask for

Rule = Callable[[Facts], Advice | None]

RULES: tuple[Rule, ...] = (
    additions.something_must_answer,
    additions.supervision,
    additions.redundancy,
    additions.dead_man,
    additions.somebody_to_tell,
    additions.broken_feed,
    additions.label_feed,
    additions.open_checks,
    additions.owner,
    additions.second_person,
    additions.schedule,
    additions.shared_definition,
    additions.more_capacity,
    restraint.cluster,
    restraint.orchestrator,
    restraint.feature_store,
    restraint.serving_engine,
    restraint.automated_retraining,
    restraint.keep_serving,
    restraint.keep_practice,
    restraint.keep_monitoring,
    restraint.keep_feeds,
    restraint.keep_level,
    restraint.unused_part,
)


def advise(facts: Facts) -> tuple[Advice, ...]:
    """All advice, the most urgent first."""
    return ranked([advice for rule in RULES if (advice := rule(facts)) is not None])


def line(facts: Facts, advice: Sequence[Advice]) -> str:
    """The last line of `status`: the one next thing, and what is refused, with the numbers that refuse it."""
    first = advice[0] if advice else None
    if first is None or first.kind not in ("add", "remove"):
        said = "next: change nothing"
    else:
        verb = "remove " if first.kind == "remove" else ""
        said = f"next: {verb}{first.what}" + (f" ({first.brief})" if first.brief and first.brief != first.what else "")
    refused = [each.what for each in advice if each.kind == "not yet"]
    named = [what for what in NAMED_FIRST if what in refused]
    if not named:
        return f"{said}."
    shared = len(shared_features(facts.models))
    models = len(facts.served)
    numbers = (
        f"{models} model{'' if models == 1 else 's'}, {facts.peak_per_s:.3g} req/s,"
        f" {shared} shared feature{'' if shared == 1 else 's'}"
    )
    return f"{said}. Not yet: {', '.join(named)}, because {numbers}."
