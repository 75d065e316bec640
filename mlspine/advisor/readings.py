"""How facts are read by the rules: a few words about them, and links to where they stand."""

from __future__ import annotations

from mlspine.advisor.facts import Facts, Link, ModelFacts, command

BLIND_DAYS = 1.0
SILENT_FEED_DAYS = 30.0


def most_critical(facts: Facts) -> ModelFacts | None:
    return next((model for model in facts.served if model.critical), None)


def is_blind(model: ModelFacts) -> bool:
    limit = SILENT_FEED_DAYS if model.labels.feed else BLIND_DAYS
    return bool(model.labels.first_answer_at_ms) and model.labels.blind_days >= limit


def unready_because(model: ModelFacts) -> str:
    """Why nothing should run by itself on this model's data, "" when it may."""
    broken = next((feed for feed in model.feeds if feed.problem), None)
    if broken is not None:
        return f"its {'source' if broken.role == 'source' else 'label feed'} is not well: {broken.problem}"
    missing = [feed.role for feed in model.feeds if not feed.text]
    return f"it has no declared {' and no declared '.join(missing)}" if missing else ""


def names(models: tuple[ModelFacts, ...]) -> str:
    shown = ", ".join(model.name for model in models[:3])
    return f"{shown} and {len(models) - 3} more" if len(models) > 3 else shown


def count(facts: Facts) -> str:
    served = len(facts.served)
    return f"{served} model{'' if served == 1 else 's'} in production"


def rate(facts: Facts) -> str:
    return f"{facts.peak_per_s:.3g} req/s"


def traffic_links(facts: Facts) -> tuple[Link, ...]:
    return tuple(model.traffic.read for model in facts.served if model.traffic.read) or (models_link(),)


def status_link(name: str = "") -> Link:
    return command(f"status of {name or 'everything'}", "mlspine", "status", *([name] if name else []), "--json")


def models_link() -> Link:
    return command("models", "mlspine", "models", "--json")


def model_link(model: ModelFacts) -> Link:
    return command(f"versions of {model.name}", "mlspine", "models", model.name, "--json")


def feed_link(model: ModelFacts) -> Link:
    return command(f"feeds of {model.name}", "mlspine", "feeds", model.name, "--json")


def settings_link() -> Link:
    return command("settings", "mlspine", "config", "--json")


def service_link() -> Link:
    return command("the service", "mlspine", "service", "show", "--json")


def machines_link() -> Link:
    return command("machines", "mlspine", "status", "--json")
