"""What the adviser knows of a workspace: measured, each fact with where it can be read again."""

from __future__ import annotations

import shlex
from typing import Literal

from mlspine.core.types import FeedState, Struct, Tier
from mlspine.monitoring.claims import Claim

DAY_MS = 86_400_000


class Link(Struct, frozen=True, kw_only=True):
    """Where something can be read: a command to type, a file, or an address. `says`: what stands there."""

    says: str
    kind: Literal["command", "file", "url"]
    at: str


def command(says: str, *words: str) -> Link:
    """A link that is a command, quoted so that it can be typed as it stands.

    >>> command("rows", "mlspine", "log", "churn", "select 1").at
    "mlspine log churn 'select 1'"
    """
    return Link(says=says, kind="command", at=shlex.join(words))


class Traffic(Struct, frozen=True, kw_only=True):
    """Requests of the last seven days. mean_per_s: over the minutes in which any came; peak_per_s: the busiest."""

    requests: int = 0
    minutes: int = 0
    mean_per_s: float = 0.0
    peak_per_s: float = 0.0
    p99_s: float = 0.0
    read: Link | None = None


class Labels(Struct, frozen=True, kw_only=True):
    """What is known of true outcomes. blind_days: since the last label came, or since the first answer."""

    feed: str = ""
    labels: int = 0
    first_answer_at_ms: int = 0
    newest_at_ms: int = 0
    blind_days: float = 0.0
    read: Link | None = None


class ModelFacts(Struct, frozen=True, kw_only=True):
    """One model. served: an endpoint answers with it. columns: name -> type of what callers send."""

    name: str
    version: int
    served: bool
    tier: Tier
    owner: str
    owner_assumed: bool
    shipped_by: tuple[str, ...]
    columns: dict[str, str]
    traffic: Traffic
    labels: Labels
    feeds: tuple[FeedState, ...]
    gaps: tuple[Claim, ...]  # of the eight checks, those not green
    retrains_by_hand: int  # in the last 60 days
    retrains_by_itself: int
    retrain_minutes: float  # of people, where the effort ledger knows
    capacity_rows_per_s: float
    rollback_exercised: bool
    critical: str = ""  # why a failure would hurt; "" when nothing says so


class Practice(Struct, frozen=True, kw_only=True):
    """What the repository of the code shows. Files are paths from its root."""

    root: str = ""
    authors: int = 0  # of commits in the last 90 days
    containers: tuple[str, ...] = ()
    ci: tuple[str, ...] = ()
    tests: int = 0
    read: Link | None = None


class Cluster(Struct, frozen=True, kw_only=True):
    """What a Prometheus says of a cluster over `days`. problem: why it says nothing."""

    url: str
    nodes: int = 0
    cpus: float = 0.0
    used_share: float = 0.0
    days: float = 0.0
    read: Link | None = None
    problem: str = ""


class Idle(Struct, frozen=True, kw_only=True):
    """A part that is configured and was not used for so long."""

    part: str  # "shared store", "token:NAME"
    days: float
    why: str
    undo: str
    remove: str
    read: Link


class Facts(Struct, frozen=True, kw_only=True):
    """Everything the rules see."""

    now_ms: int
    models: tuple[ModelFacts, ...]
    serving: bool
    supervised_by: str  # "" when nothing would start it again
    machines: int
    shared_store: bool
    sinks: int
    alert_delivered: bool  # a person's sink has taken one, at any time
    alerts_30_days: int
    alerts_untold: int
    deadman: bool
    scrapers: tuple[str, ...]
    people: tuple[str, ...]  # who shipped, served, promoted, ... in the last 90 days
    practice: Practice
    cluster: Cluster | None
    idle: tuple[Idle, ...]
    per_cpu_hour: float | None
    currency: str
    cpu_s_30_days: float

    @property
    def served(self) -> tuple[ModelFacts, ...]:
        return tuple(model for model in self.models if model.served)

    @property
    def peak_per_s(self) -> float:
        return sum(model.traffic.peak_per_s for model in self.served)

    @property
    def mean_per_s(self) -> float:
        return sum(model.traffic.mean_per_s for model in self.served)


def shared_features(models: tuple[ModelFacts, ...]) -> dict[str, tuple[str, ...]]:
    """Columns of the same name AND type in more than one model, and in which."""
    found: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for name, kind in model.columns.items():
            found.setdefault((name, kind), []).append(model.name)
    return {name: tuple(users) for (name, _), users in found.items() if len(users) > 1}
