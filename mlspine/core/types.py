"""The structs that travel between rooms.

Frozen data without behaviour that touches the world. Times are milliseconds UTC (`_at_ms`), durations
seconds (`_s`), sizes bytes (`_bytes`), shares and probabilities 0..1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

if TYPE_CHECKING:
    import numpy as np

# A table in flight: named arrays with one equal first axis. Floats are float64 with NaN for null, integers
# int64, booleans bool, datetimes datetime64[us] with NaT; text and categories are object arrays of the values
# themselves with None for null; integers or booleans that may be null are float64 / object with None.
Columns = dict[str, "np.ndarray[Any, np.dtype[Any]]"]

Tier = Literal["low", "medium", "high"]
Role = Literal["viewer", "developer", "approver", "operator", "admin"]
Stage = Literal["None", "Staging", "Production", "Archived"]
Task = Literal["binary", "multiclass", "regression", "other"]
Severity = Literal["OK", "INFO", "WARNING", "CRITICAL"]
FieldType = Literal["float", "int", "bool", "category", "text", "datetime", "vector"]
Scalar = str | int | float | bool

# What callers over HTTP may ask for: rows of one answer, days back, an age. No store counts below nought or for ever.
Limit = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_525)]
AgeSeconds = Annotated[float, msgspec.Meta(ge=0, le=36_525 * 86_400)]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """Common ground: immutable, keyword-only, strict when decoded."""


# ---------------------------------------------------------------- governance


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks for a change: `kind` is a person at a terminal, a client with a token, or mlspine itself.

    Only a client's token narrows role and scope (models and endpoints by name; empty: all of them).
    """

    name: str
    kind: Literal["person", "client", "system"] = "person"
    role: Role = "admin"
    scope: tuple[str, ...] = ()


SYSTEM = Actor(name="mlspine", kind="system")  # whoever acts when mlspine does so by itself


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """One line of the hash chain. `entry_hash` covers every other field and so the whole past."""

    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    reason: str
    facts: dict[str, Any]
    previous_hash: str
    entry_hash: str


class Decision(Struct, frozen=True, kw_only=True):
    """What the gate says of a change: refusals stop it, warnings are printed and recorded."""

    allowed: bool
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Evidence(Struct, frozen=True, kw_only=True):
    """Something that was exercised or measured, and how it ended: a gate's verdict, a drill, a check of a feed.

    subject: "model:NAME", "release:HASH", "endpoint:NAME" or "workspace". document: the whole account as JSON.
    """

    id: str
    kind: str  # "gate", "drill:rollback", "drill:deploy", "card", ...
    subject: str
    passed: bool
    at_ms: int
    actor: str
    document: dict[str, Any] = {}


# ---------------------------------------------------------------- data


class Field(Struct, frozen=True, kw_only=True):
    """One column as it was at ship time; enough to check a value and to rebuild the caller's own dtype."""

    name: str
    type: FieldType
    dtype: str  # as the caller's library spells it: "float32", "category", "datetime64[ns, UTC]", ...
    nullable: bool = False  # a null was seen at ship, or the model answers without a value
    levels: tuple[Scalar, ...] = ()  # categories in order, for type == "category"
    ordered: bool = False
    time_zone: str = ""
    width: int = 0  # second axis, for type == "vector"


class Schema(Struct, frozen=True, kw_only=True):
    """Columns in order, and the container the model was fitted with."""

    fields: tuple[Field, ...]
    # "numpy": a matrix; "structured": a numpy record array; "records": a list of dict; "arrays": a dict of
    # arrays; "sequence": one value per row, such as a list of texts.
    container: Literal["pandas", "polars", "arrow", "numpy", "structured", "records", "arrays", "sequence"] = "pandas"
    integer_names: bool = False  # a pandas frame whose column labels are the integers these names spell

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)


class DatasetVersion(Struct, frozen=True, kw_only=True):
    """Rows named by the digest of their content; the rows themselves stay where they are."""

    digest: str
    rows: int
    columns: int
    source: str = ""
    created_at_ms: int = 0


# ---------------------------------------------------------------- statistics that travel


class Interval(Struct, frozen=True, kw_only=True):
    """An estimate with the interval around it; `level` is its coverage and `method` the name of the formula."""

    value: float
    lo: float
    hi: float
    level: float = 0.95
    method: str = ""


class Metric(Struct, frozen=True, kw_only=True):
    """A quality figure or the reason there is none. `rows_from` says which rows it stands on."""

    name: str
    status: Literal["ESTIMATED", "NOT_ESTIMABLE", "PROVISIONAL"]
    interval: Interval | None = None
    rows: int = 0
    rows_from: str = ""  # "holdout" | "out-of-fold" | "labels"
    reason: str = ""
    opens_with: str = ""  # the one line that would make it estimable
    higher_is_better: bool = True


# ---------------------------------------------------------------- registry


class Signature(Struct, frozen=True, kw_only=True):
    """What the model takes and gives."""

    inputs: Schema
    task: Task
    classes: tuple[Scalar, ...] = ()
    target: str = ""


class CodeState(Struct, frozen=True, kw_only=True):
    """The commit the caller stood on, and the digest of what was not committed."""

    repository: str = ""
    commit: str = ""
    dirty_digest: str = ""


class Release(Struct, frozen=True, kw_only=True):
    """The declared inputs under one hash: everything that decides what an endpoint answers and how it is judged.

    Digests point into the release directory. Owner, message, origin and creation time are facts about a
    version and stay outside, as does every figure that depends on the machine.
    """

    model: str
    transform: str
    signature: Signature
    environment: dict[str, str]
    data: str
    code: CodeState
    settings: dict[str, Any]
    baseline: str
    recorded: str
    thresholds: dict[str, Any]
    format: int = 1


class ModelVersion(Struct, frozen=True, kw_only=True):
    """A release under a model's name and number, with the facts the hash does not cover.

    bare: it came by an MLflow client and lacks what ship adds; nothing serves it before `mlspine ship` fills it in.
    """

    model: str
    version: int
    release_hash: str  # "" for a bare one whose files are elsewhere
    stage: Stage
    path: str  # release directory; "" without a release
    created_at_ms: int
    updated_at_ms: int = 0  # stage, tags or description changed
    owner: str = ""
    owner_assumed: bool = False
    tier: Tier = "low"
    message: str = ""
    origin: str = ""  # "in-process", the file it came from, or "mlflow:RUN"
    description: str = ""
    source: str = ""  # what an MLflow client registered: a URI, or models:/... of another entry
    location: str = ""  # where those files are; "" when all of it is the release
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""  # the logged model it was made of
    trusted: bool = True
    bare: bool = False
    flavor: str = ""
    metric: Metric | None = None
    captured: dict[str, Any] = {}
    missing: tuple[str, ...] = ()


# ---------------------------------------------------------------- feeds


class FeedState(Struct, frozen=True, kw_only=True):
    """One of the ways rows or outcomes reach a model, and how it is doing."""

    model: str
    role: Literal["source", "labels", "predictions"]  # predictions: the log of somebody else's server
    text: str  # a path or glob, SQL, a Postgres URL or "caller"; "" when nobody said
    said: Literal["", "shipped", "declared"] = ""
    rows: int = 0  # read last
    last_read_at_ms: int = 0
    last_arrival_at_ms: int = 0  # when something new was there
    next_read_at_ms: int = 0  # 0: nothing to read
    problem: str = ""  # why it is not well; "" when it is, or was not looked at yet


# ---------------------------------------------------------------- predictions


class LogSummary(Struct, frozen=True, kw_only=True):
    """What the log of one endpoint holds."""

    endpoint: str
    rows: int
    first_event_at_ms: int
    last_event_at_ms: int
    last_received_at_ms: int
    segments: int
    size_bytes: int
    labelled_rows: int
    parked_labels: int
    dropped_rows: int
    rows_by_release: dict[str, int] = {}


class LabelReceipt(Struct, frozen=True, kw_only=True):
    """What became of a label file."""

    endpoint: str
    read: int
    matched: int
    parked: int
    duplicates: int
    examples_unmatched: tuple[str, ...] = ()


class SubWindow(Struct, frozen=True, kw_only=True):
    """The merged profiles of one endpoint, release and hour of event time.

    `outputs` is tied to `outputs_reference_id`, "" while the score baseline is still learning.
    """

    endpoint: str
    release_hash: str
    start_at_ms: int
    rows: int
    inputs: bytes
    outputs: bytes = b""
    inputs_reference_id: str = ""
    outputs_reference_id: str = ""


# ---------------------------------------------------------------- monitoring


class Effect(Struct, frozen=True, kw_only=True):
    """One effect size beside its noise level and the limit it is judged by (0: shown, never decides)."""

    name: str  # "js", "tv", "mean_sd", "missing_pp", "unseen_pp", "psi", "ks", "w1_sd"
    value: float
    noise: float = 0.0
    floor: float = 0.0
    limit: float = 0.0


class FeatureVerdict(Struct, frozen=True, kw_only=True):
    """One column of a drift report. `role` is "input", "score" or "prediction"."""

    name: str
    role: Literal["input", "score", "prediction"]
    type: str
    p: float
    significant: bool
    named: bool  # kept by Benjamini-Hochberg once the window is significant
    effects: tuple[Effect, ...]
    importance: float
    impact: float
    severity: Severity
    direction: str  # "up", "down", "missing", "unseen", "shape"
    why: str
    reference_shares: tuple[float, ...] = ()  # coarse bins, for drawing
    window_shares: tuple[float, ...] = ()
    bin_labels: tuple[str, ...] = ()


class DriftReport(Struct, frozen=True, kw_only=True):
    """One judged window."""

    endpoint: str
    release_hash: str
    version: int
    reference_id: str
    from_at_ms: int
    to_at_ms: int
    rows: int
    status: Literal["JUDGED", "INSUFFICIENT", "LEARNING"]
    severity: Severity
    alpha: float
    false_alarm_nominal: float
    false_alarm_measured: Interval | None
    seasonality: str  # "" or "not calibrated for seasonality"
    features: tuple[FeatureVerdict, ...]
    alerting_importance: float = 0.0
    judged_at_ms: int = 0
    threshold_p: float = 0.0  # p at or below which a column is significant; 0: alpha shared out over the columns
    warning_p: float = 0.0  # p at or below which a change can be a WARNING; 0: threshold_p
    reference_rows: int = 0  # rows of the reference; 0: not kept with this report


class PerformanceReport(Struct, frozen=True, kw_only=True):
    """Realised quality of one window, as known at `as_of_ms`."""

    endpoint: str
    release_hash: str
    from_at_ms: int
    to_at_ms: int
    as_of_ms: int
    predicted_rows: int
    labelled_rows: int
    coverage: float
    status: Literal["FINAL", "PROVISIONAL", "NO_LABELS"]
    metrics: tuple[Metric, ...]
    baseline: Metric | None = None
    severity: Severity = "OK"
    why: str = ""
    change: Interval | None = None  # of the baseline's metric, window less baseline; its method says for how many looks
    sample: str = ""  # how the rows with labels differ from all, where they do
    weighted: tuple[Metric, ...] = ()  # the figures as they would be if they did not; `metrics` are the plain ones
    expected_at_ms: int = 0  # when nearly all labels, or all that come, are expected; 0: the window goes on for ever


class Estimate(Struct, frozen=True, kw_only=True):
    """Quality of one window without its labels, as known at `as_of_ms`; one per window and metric.

    ESTIMATED: the interval holds its level in back-tests. UNVERIFIED: too few matured windows to know that.
    BROKEN: the last matured window lay outside its interval; what the model learned no longer holds.
    NOT_ESTIMABLE: there is no number, and `why` says what is missing.
    """

    endpoint: str
    release_hash: str
    from_at_ms: int
    to_at_ms: int
    as_of_ms: int
    metric: str
    status: Literal["ESTIMATED", "UNVERIFIED", "BROKEN", "NOT_ESTIMABLE"]
    rows: int
    interval: Interval | None = None
    realised: Interval | None = None  # once the window's labels are in
    backtest_rmse: float | None = None  # of estimate against realised, over the matured windows
    matured_windows: int = 0
    method: str = ""  # "CBPE", "M-CBPE", "DLE"
    why: str = ""


class Suspect(Struct, frozen=True, kw_only=True):
    """One feature as a cause: how much of the change of this model's output its change explains."""

    name: str
    influence: float  # share of the output's change, 0 to 1
    onset_at_ms: int = 0  # when it began; 0: cannot be told
    onset_lo_ms: int = 0
    onset_hi_ms: int = 0
    why: str = ""


class Segment(Struct, frozen=True, kw_only=True):
    """A part of the rows, e.g. a caller or a level: its share before and now, and what of the change is its."""

    column: str
    level: str
    share_before: float
    share_now: float
    mix: float = 0.0  # of the change of the mean output: because there are more or fewer such rows
    rate: float = 0.0  # because such rows are answered differently
    why: str = ""


class CauseReport(Struct, frozen=True, kw_only=True):
    """Where a change of one window comes from: features first, then when, then whose rows."""

    endpoint: str
    release_hash: str
    from_at_ms: int
    to_at_ms: int
    rows: int
    output: str  # "score" or "prediction"
    before: float  # its mean in the reference
    now: float
    suspects: tuple[Suspect, ...]
    segments: tuple[Segment, ...] = ()
    interaction: str = ""  # what the domain classifier found where no single column moved
    domain_auc: Interval | None = None
    skew: tuple[str, ...] = ()  # columns whose served values differ from what the training transform gives
    row_ids: tuple[str, ...] = ()  # rows to look at
    says: str = ""
    method: str = ""  # what was asked: "the model itself", a stand-in, or only importance; and why not the model
    compared_with: str = ""  # which earlier rows, and which source


class Alert(Struct, frozen=True, kw_only=True):
    """Something a person should know; one per (endpoint, cause) until it clears."""

    id: str
    endpoint: str
    cause: str  # "drift:temp:up", "quality:auc", "errors", "process:inference-0", "log"
    severity: Severity
    title: str
    why: str
    action: str  # the command to type next
    opened_at_ms: int
    updated_at_ms: int
    windows: int = 1
    cleared_at_ms: int = 0
    clear_windows: int = 0
    delivered: dict[str, str] = {}  # sink -> "ok" or the failure
    impact: float = 0.0  # what names the worst first when several are told together
    acknowledged_by: str = ""  # who has taken it on: sinks hear of it again only when it gets worse
    acknowledged_at_ms: int = 0
    from_at_ms: int = 0  # the window it was last seen in; 0: no window is behind it
    to_at_ms: int = 0
    owner: str = ""  # who answers for what it is about; filled in when it is told


class Silence(Struct, frozen=True, kw_only=True):
    """For this long alerts of an endpoint are recorded and not sent; "" as endpoint is the workspace itself.

    cause: "drift" covers "drift:temp:up" too; "" covers every cause.
    """

    id: str
    endpoint: str
    cause: str
    from_at_ms: int
    until_at_ms: int
    actor: str
