"""What is served where: endpoints and their revisions, the plan that inference processes follow, what they say back."""

from __future__ import annotations

from typing import Any, Literal

from mlspine.core.types import Scalar, Struct

# watch: somebody else's server answers; traffic: the division of requests changed; guards: what guards answers did
Cause = Literal["serve", "promote", "rollback", "watch", "traffic", "guards"]


class LogSettings(Struct, frozen=True, kw_only=True):
    """What an endpoint records of its callers' data."""

    enabled: bool = True
    redact: tuple[str, ...] = ()


class Cohort(Struct, frozen=True, kw_only=True):
    """The requests whose `field` (a column of the rows) has one of `values`; of several rows the first decides."""

    field: str
    values: tuple[Scalar, ...]


class Traffic(Struct, frozen=True, kw_only=True):
    """How the requests of an endpoint are divided beside its live version; the default is: not at all.

    share: of the requests (0..1) that the candidate answers; with a cohort, of the cohort's requests alone.
    unit: the column whose value stays with its release; "": the request's key (header `Mlspine-Key`, else the key
    column named at ship), and where there is none each request for itself. salt: another one deals the units anew.
    shadow: a version whose answers are computed, compared and kept, and never sent.
    """

    candidate: int = 0
    share: float = 0.0
    unit: str = ""
    cohort: Cohort | None = None
    salt: str = ""
    shadow: int = 0
    shadow_share: float = 1.0


class OutputRule(Struct, frozen=True, kw_only=True):
    """What an answer may not be, and what happens to one that is.

    kind "range": the score (regression: the prediction) lies within lo..hi. "deny": the prediction is none of
    `values`. "abstain": a score within lo..hi is too close to call. "monotonic": within one request, a row with more
    of `field` and all else equal never scores less (direction "up") or more ("down").
    action: "clip" to the range, "abstain" (no prediction, said so), "fallback", or "count" only.
    """

    kind: Literal["range", "deny", "abstain", "monotonic"]
    action: Literal["clip", "abstain", "fallback", "count"]
    lo: float | None = None
    hi: float | None = None
    values: tuple[Scalar, ...] = ()
    field: str = ""
    direction: Literal["up", "down"] = "up"


class Guards(Struct, frozen=True, kw_only=True):
    """What an endpoint does when its release does not answer, or answers what it may not.

    fallback: whether the release before answers instead. answer, score: the declared rule, for when that does not
    either; None: "cannot answer". deadline_s None: that of the configuration.
    """

    fallback: Literal["previous", "none"] = "previous"
    answer: Scalar | None = None
    score: float | None = None
    deadline_s: float | None = None
    rules: tuple[OutputRule, ...] = ()


class Revision(Struct, frozen=True, kw_only=True):
    """One applied state of an endpoint. `version` 0 means it answers "cannot answer"."""

    endpoint: str
    number: int
    version: int
    release_hash: str
    cause: Cause
    log: LogSettings
    created_at_ms: int
    actor: str
    reason: str = ""
    rolled_back_from: int = 0  # version left behind by a rollback
    traffic: Traffic = Traffic()
    guards: Guards = Guards()
    own_env: bool = False  # the live release runs in the environment of its lock


class Endpoint(Struct, frozen=True, kw_only=True):
    """A served model as the store sees it."""

    name: str
    model: str
    current: Revision
    previous: Revision | None = None  # what a rollback would bring back
    created_at_ms: int = 0
    live_since_ms: int = 0  # when `current.version` went live; later revisions changed what stands beside it


# loop: in the event loop. thread: in this process, in a thread of its own. worker: in a process of its own.
Placement = Literal["loop", "thread", "worker", "auto"]
# auto: the fastest that agrees with the record. native: the model's own library. onnx: ONNX Runtime, if it agrees.
RuntimeChoice = Literal["auto", "native", "onnx"]


class PlannedRelease(Struct, frozen=True, kw_only=True):
    """A release the inference process holds ready: where it lies and where it runs."""

    release_hash: str
    version: int
    path: str
    placement: Placement = "auto"
    own_env: bool = False  # run in a worker with the environment of its lock
    runtime: RuntimeChoice = "native"
    worker_memory_bytes: int = 0  # a model process that holds more is started again; 0: no bound


class PlannedTraffic(Struct, frozen=True, kw_only=True):
    """`Traffic` with its versions resolved to releases. slow_s: answers that take longer count as slow; 0: none do."""

    candidate: PlannedRelease | None = None
    share: float = 0.0
    unit: str = ""
    cohort: Cohort | None = None
    salt: str = ""
    shadow: PlannedRelease | None = None
    shadow_share: float = 1.0
    slow_s: float = 0.0


class PlannedEndpoint(Struct, frozen=True, kw_only=True):
    """What the inference process must answer for one endpoint, the warm release included."""

    name: str
    revision: int
    live: PlannedRelease | None
    warm: PlannedRelease | None = None
    log: LogSettings = LogSettings()
    log_first: bool = False  # tier medium or high: rather refuse a request than lose its record
    traffic: PlannedTraffic = PlannedTraffic()
    guards: Guards = Guards()


class Plan(Struct, frozen=True, kw_only=True):
    """The applied plan on disk: the whole of what inference processes need to serve, without any SQL."""

    number: int
    workspace: str
    host: str
    port: int
    endpoints: tuple[PlannedEndpoint, ...] = ()
    control_argv: tuple[str, ...] = ()  # how an inference process restarts control
    runtime: RuntimeChoice = "auto"  # of its releases; each names it again
    worker_memory_bytes: int = 0  # likewise
    processes: int = 1  # that answer on this port, each by the whole plan
    grpc_port: int | None = None


class Proof(Struct, frozen=True, kw_only=True):
    """What was exercised before traffic: recorded rows reproduced in the serving process, and how fast."""

    release_hash: str
    recorded_rows: int
    reproduced_rows: int
    placement: Literal["loop", "thread", "worker"]
    form: str  # what the model is handed or runs as: "frame", "matrix", and the runtimes of serving/runtimes
    load_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    capacity_rows_per_s: float
    max_call_rows: int = 0  # most rows per model call, by measurement; 0: the default
    considered: tuple[str, ...] = ()  # the other ways it could run here, one line each: how fast, or why not
    mismatches: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """One process's word that it answers by this plan, and when it began to."""

    process: str
    plan: int
    applied_at_ms: int
    last_old_begun_at_ms: int = 0


class Spent(Struct, frozen=True, kw_only=True):
    """What answering with one release at one endpoint has taken since the process started."""

    endpoint: str
    release_hash: str
    requests: int
    rows: int
    calls_s: float  # inside the model's calls, where they run in the process itself


class ArmTally(Struct, frozen=True, kw_only=True):
    """What one release did for one endpoint since the process started, one count per request.

    failures: requests this release did not answer though it was asked (whether or not something else then did).
    slow: answers above `slow_s` of the plan. broken: answers that an output rule caught.
    failed_again, slow_again: of those, the ones of a unit (column or key that is dealt by) that had failed or been
    slow at this release before, in this revision: what one customer meets ten times is one piece of evidence.
    Of a shadow: compared rows, `flips` (another label), and sum and sum of squares of the difference per row, which is
    |score - live score| for probabilities, |difference| / sd of the release's recorded scores capped at 1 for
    numbers, 0 or 1 for bare labels; dropped: rows it was too slow for.
    """

    endpoint: str
    release_hash: str
    role: Literal["live", "candidate", "fallback", "shadow"]
    revision: int  # counts begin anew with each revision of the endpoint
    requests: int = 0
    failures: int = 0
    slow: int = 0
    failed_again: int = 0
    slow_again: int = 0
    broken: int = 0
    compared: int = 0
    flips: int = 0
    difference: float = 0.0
    difference_squared: float = 0.0
    dropped: int = 0


class ProcessState(Struct, frozen=True, kw_only=True):
    """What an inference process says of itself."""

    process: str
    pid: int
    started_at_ms: int
    plan: int
    ready: bool
    endpoints: dict[str, Any]  # name -> counters and latency quantiles, see serving/meter.py
    spool_dropped_rows: int = 0
    workers: dict[str, int] = {}  # release hash -> pid
    rss_bytes: int = 0
    cpus: int = 0  # this process may use
    cpu_s: float = 0.0  # CPU time of the process since it started, without its workers
    worker_cpu_s: dict[str, float] = {}  # release hash -> CPU time of its worker since that started
    worker_rss_bytes: dict[str, int] = {}  # release hash -> resident memory of its worker
    spent: tuple[Spent, ...] = ()
    arms: tuple[ArmTally, ...] = ()
    scrapes: dict[str, int] = {}  # who read /metrics, by the product its user agent names
