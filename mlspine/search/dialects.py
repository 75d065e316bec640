"""The five dialects as data: what MLflow's searches may name and ask, and the tables of mlspine they fall on."""

from __future__ import annotations

from mlspine.search.fields import COMPARED, EQUAL, LIKE, LISTED, PRESENT, Column, Dialect, Keyed, Ops

NOTHING: Ops = frozenset()


def _time(sql: str, *, ops: Ops = COMPARED, nullable: bool = False) -> Column:
    return Column(sql=sql, type="number", ops=ops, nullable=nullable)


def _dataset(sql: str) -> Column:
    through = "run_input i join run_dataset d on d.no = i.dataset_no where i.run_no = r.no"
    return Column(sql=sql, ops=LIKE | LISTED, sortable=False, through=through)


_BY_RUN = (("run_no", "r.no"),)
RUNS = Dialect(
    entity="runs",
    table="run r",
    scope="r.experiment_id",
    columns={
        "run_id": Column(sql="r.id", ops=LIKE | LISTED),
        "run_name": Column(sql="r.name"),
        "status": Column(sql="r.status"),
        "user_id": Column(sql="r.user_id"),
        "artifact_uri": Column(sql="r.artifact_uri"),
        "start_time": _time("r.start_time_ms", nullable=True),
        "end_time": _time("r.end_time_ms", nullable=True),
    },
    keyed={
        "metric": Keyed(table="run_metric", link=_BY_RUN, type="number", ops=COMPARED, scope="experiment_id"),
        "param": Keyed(table="run_param", link=_BY_RUN, ops=LIKE | PRESENT),
        "tag": Keyed(table="run_tag", link=_BY_RUN, ops=LIKE | PRESENT),
    },
    linked={"name": _dataset("d.name"), "digest": _dataset("d.digest"), "context": _dataset("i.context")},
    aliases={
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
    ties=("start_time DESC", "run_id ASC"),
    default_results=1000,
)

EXPERIMENTS = Dialect(
    entity="experiments",
    table="experiment e",
    columns={
        "name": Column(sql="e.name"),
        "experiment_id": Column(sql="e.id", type="id", ops=EQUAL | LISTED),
        "creation_time": _time("e.created_at_ms"),
        "last_update_time": _time("e.updated_at_ms"),
    },
    keyed={
        "tag": Keyed(table="experiment_tag", link=(("experiment_id", "e.id"),), ops=LIKE | PRESENT, sortable=False),
    },
    default_order=("creation_time DESC", "experiment_id ASC"),
    ties=("experiment_id DESC",),
    default_results=1000,
)

REGISTERED_MODELS = Dialect(
    entity="registered models",
    table="model m",
    columns={
        "name": Column(sql="m.name", ops=LIKE | LISTED),
        "creation_timestamp": _time("m.created_at_ms", ops=NOTHING),
        "last_updated_timestamp": _time("m.updated_at_ms", ops=NOTHING),
    },
    keyed={"tag": Keyed(table="model_tag", link=(("model", "m.name"),), sortable=False)},
    aliases={"timestamp": "last_updated_timestamp"},
    ties=("name ASC",),
    default_results=100,
    most_results=1000,
    hidden="model_tag h where h.model = m.name",
)

MODEL_VERSIONS = Dialect(
    entity="model versions",
    table="model_version v",
    columns={
        "name": Column(sql="v.model", ops=LIKE | LISTED),
        "run_id": Column(sql="v.run_id", ops=LIKE | LISTED, sortable=False),
        "source_path": Column(sql="v.source", sortable=False),
        "version_number": Column(sql="v.version", type="number", ops=COMPARED, quotes="either"),
        "creation_timestamp": _time("v.created_at_ms"),
        "last_updated_timestamp": _time("v.updated_at_ms"),
    },
    keyed={
        "tag": Keyed(table="model_version_tag", link=(("model", "v.model"), ("version", "v.version")), sortable=False),
    },
    default_order=("last_updated_timestamp DESC", "name ASC", "version_number DESC"),
    ties=("name ASC", "version_number DESC"),
    default_results=10_000,
    most_results=200_000,
    # One version that is a prompt makes all of that name prompts.
    hidden="model_version_tag h where h.model = v.model",
)

_BY_MODEL = (("model_id", "l.id"),)


def _text(table: str) -> Keyed:
    return Keyed(table=table, link=_BY_MODEL, ops=LIKE | LISTED | PRESENT, sortable=False, quotes="either")


LOGGED_MODELS = Dialect(
    entity="logged models",
    table="logged_model l",
    scope="l.experiment_id",
    columns={
        "name": Column(sql="l.name", ops=LIKE | LISTED),
        "model_id": Column(sql="l.id", ops=LIKE | LISTED),
        "model_type": Column(sql="l.model_type", ops=LIKE | LISTED),
        "status": Column(sql="l.status", ops=EQUAL | LISTED, known=frozenset({"PENDING", "READY", "UPLOAD_FAILED"})),
        "source_run_id": Column(sql="l.source_run_id", ops=LIKE | LISTED),
        "experiment_id": Column(sql="l.experiment_id", type="id", ops=EQUAL | LISTED, sortable=False),
        "creation_timestamp": _time("l.created_at_ms"),
        "last_updated_timestamp": _time("l.updated_at_ms"),
    },
    keyed={
        "metric": Keyed(
            table="logged_model_metric",
            link=_BY_MODEL,
            type="number",
            ops=COMPARED,
            latest="{row}.step, {row}.timestamp_ms, -{row}.is_nan, {row}.value, {row}.dataset_name, "
            "{row}.dataset_digest",
        ),
        "param": _text("logged_model_param"),
        "tag": _text("logged_model_tag"),
    },
    aliases={
        "creation_time": "creation_timestamp",
        "creation_timestamp_ms": "creation_timestamp",
        "last_updated_time": "last_updated_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    ties=("creation_timestamp DESC", "model_id ASC"),
    default_results=100,
    clamps_results=True,
)
