"""Every figure the flights demo prints, in the shape that `--json FILE` writes and the report page draws.

Times suffixed `_at_ms` are event time (the year 2013) unless their name says otherwise.
"""

from __future__ import annotations

from typing import Literal

from mlspine.advisor.service import Advised
from mlspine.core.types import Interval, LedgerEntry, Severity, Struct

Kind = Literal[
    "ship", "serve", "alert", "labels", "quality", "retrain", "promote", "rollback", "canary", "return", "end"
]


class Moment(Struct, frozen=True, kw_only=True):
    """One line of the timeline: when in the year, what happened, and the figures that belong to it."""

    at_ms: int
    kind: Kind
    title: str
    detail: str = ""


class Shipped(Struct, frozen=True, kw_only=True):
    """A release as it was shipped: what it was fitted on, and what it was measured on."""

    version: int
    release_hash: str
    fitted_on: str  # "January to mid-March"
    fitted_rows: int
    holdout: str
    holdout_rows: int
    metric: str
    quality: Interval | None
    seconds: float


class Renewal(Struct, frozen=True, kw_only=True):
    """One `mlspine retrain` and what the gate said of it. gain: the 90% interval the gate decides by."""

    at_ms: int
    version: int
    release_hash: str
    fitted_rows: int
    verdict: str
    passed: bool
    metric: str
    candidate: float
    production: float
    gain: Interval | None
    judged_rows: int
    paragraph: str
    quality: Interval | None  # of the release, in the metric of the months, on the rows that judged it
    seconds: float


class MonthQuality(Struct, frozen=True, kw_only=True):
    """Measured quality of one release in one month of event time (UTC), from labels that arrived."""

    month: str  # "2013-04"
    version: int
    predicted_rows: int
    labelled_rows: int
    metric: str
    quality: Interval | None
    status: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What the first release and the renewed one score on the same labelled flights of one month, afterwards.

    gain: second minus first, paired. f1: of the answer "late" (first, second), which is what the gate judges.
    """

    month: str
    rows: int
    first: Interval
    second: Interval
    gain: Interval
    f1: tuple[float, float]
    f1_gain: Interval


class DriftCell(Struct, frozen=True, kw_only=True):
    """One feature in one month: judged windows, and those in which it was told as WARNING or worse."""

    month: str
    windows: int
    warned: int
    severity: Severity


class FeatureDrift(Struct, frozen=True, kw_only=True):
    """One feature over the year. `role` is "input", "score" or "prediction"."""

    name: str
    role: str
    importance: float
    cells: tuple[DriftCell, ...]


class Distribution(Struct, frozen=True, kw_only=True):
    """The feature told of most often, as it was at ship time and in its widest window."""

    name: str
    effect: str
    value: float
    noise: float
    limit: float
    from_at_ms: int
    to_at_ms: int
    rows: int
    bins: tuple[str, ...]
    reference_shares: tuple[float, ...]
    window_shares: tuple[float, ...]
    why: str


class AlertLine(Struct, frozen=True, kw_only=True):
    """Alerts of one kind: how often it opened, how many judged windows it lasted in all, and whether it is open."""

    severity: Severity
    title: str
    why: str
    times: int
    windows: int
    open: bool


class SwitchUnderLoad(Struct, frozen=True, kw_only=True):
    """A promote or rollback while callers kept sending single rows."""

    verb: Literal["promote", "rollback"]
    from_version: int
    to_version: int
    requests: int
    failed: int
    requests_per_s: float
    connections: int
    p50_s: float
    p99_s: float
    ready_s: float  # from the command's start to the commit: load, warm, parity
    effective_s: float  # from the commit to the last answer begun on the old release, over all processes
    seen_by_callers_s: float  # the same, by the clock of the callers
    reproduced_rows: int
    recorded_rows: int


class CanaryRun(Struct, frozen=True, kw_only=True):
    """A release brought forward step by step. state: how it ended, "promoted" when it answers everything; why: its
    sentence. seconds: from the start to that end; requests, failed: all that was sent meanwhile."""

    version: int
    against: int
    steps: tuple[int, ...]
    state: str
    why: str
    requests: int
    by_candidate: int
    failed: int
    seconds: float


class CameBack(Struct, frozen=True, kw_only=True):
    """A broken release that was promoted, and what the watch over the switch did. why: the sentence of the return.

    after_s: from the switch to the return. by_broken: requests it answered; failed: all without a good answer.
    answers_after: of the last 300 requests, those answered by the release before.
    """

    version: int
    back_to: int
    returned: bool
    why: str
    after_s: float
    requests: int
    by_broken: int
    failed: int
    answers_after: int


class MonthTraffic(Struct, frozen=True, kw_only=True):
    """Flights sent in one month of event time, and how many of them got a label."""

    month: str
    flights: int
    labelled: int
    late_share: float


class Traffic(Struct, frozen=True, kw_only=True):
    """All requests of the replay, and what the log holds of them."""

    flights_sent: int
    requests: int
    failed: int
    rows_logged: int
    labels_sent: int
    labels_matched: int
    one_by_one: bool  # every flight in a request of its own, instead of one request per departure hour
    replay_s: float
    answer_p50_s: float
    answer_p99_s: float
    months: tuple[MonthTraffic, ...]


class Machine(Struct, frozen=True, kw_only=True):
    """Where the figures were measured."""

    cpus: int
    system: str
    python: str
    mlspine: str
    libraries: dict[str, str]


class Story(Struct, frozen=True, kw_only=True):
    """A model's year in figures."""

    flights: int
    shipped: tuple[Shipped, ...]
    renewals: tuple[Renewal, ...]
    first_answer_s: float  # machine time from the start of ship to the first answered request
    moments: tuple[Moment, ...]
    quality: tuple[MonthQuality, ...]
    comparison: tuple[Comparison, ...]
    drift: tuple[FeatureDrift, ...]
    windows: int
    windows_warned: int
    top: Distribution | None
    alerts: tuple[AlertLine, ...]
    switches: tuple[SwitchUnderLoad, ...]
    canary: CanaryRun | None
    came_back: CameBack | None
    traffic: Traffic
    ledger: tuple[LedgerEntry, ...]
    ledger_intact: bool
    ledger_entries: int
    advised: Advised
    notes: tuple[str, ...]
    seconds: float
    seconds_by_step: dict[str, float]
    machine: Machine
    finished_at_ms: int  # wall clock
