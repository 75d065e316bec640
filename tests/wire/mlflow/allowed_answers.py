"""Answers of another form, and of another content, each with its reason."""

from __future__ import annotations

from tests.wire.mlflow.allowance import BAD, FILES, NO_ROUTE, NOT_THERE, Allowed, each
from tests.wire.mlflow.compare import ABSENT

MODEL = "/api/2.0/mlflow/logged-models/{}"

FORM = (
    Allowed("*", "*", "* headers.content-type", "errors are JSON here, MLflow has pages for some", theirs="text/html"),
    Allowed("*", "*", "* answer", "errors are JSON here, MLflow has pages for some", theirs="<html>"),
    Allowed("*", "*", "* status", "errors are JSON here, with a code", "404", NO_ROUTE),
    Allowed("*", "*", "* status", "errors are JSON here, with a code", "405", "405 ENDPOINT_NOT_FOUND"),
    Allowed("*", "*", f"PUT {FILES}/{{}} headers.content-type", "MLflow names no type", theirs=ABSENT),
    Allowed("*", "*", f"PUT {FILES}/{{}} answer", "an empty object for an empty body", None, {}),
    Allowed("*", "*", f"GET {FILES}/{{}} headers.content-type", "the type is guessed finer", "text/plain"),
    Allowed("raw_forms", "version", "GET /version answer", "bare text, which MLflow sends as a page", theirs="<html>"),
    Allowed("*", "*", "* answer.run.outputs", "said of a new run as of any other", ABSENT, {}),
    *(
        Allowed(
            "*",
            "*",
            f"GET */3.0/mlflow/server-info answer.{field}",
            "a feature we do not have, and no client asks for",
            ours=ABSENT,
        )
        for field in (
            "trace_archival_enabled",
            "skill_content_max_size",
            "skill_content_max_files",
            "features_enabled",
            "tracking_auth",
            "presigned_upload_run_id_supported",
            "presigned_upload_model_id_supported",
            "artifacts_presigned_only",
            "model_artifact_presigned_downloads_supported",
        )
    ),
    Allowed(
        "*",
        "*",
        "* answer.registered_model*.latest_versions.*.aliases",
        "the aliases are said there too",
        theirs=ABSENT,
    ),
    Allowed("*", "*", "* answer.model_versions.*.aliases", "the aliases are said there too", theirs=ABSENT),
    Allowed(
        "raw_registry",
        "PATCH * without description",
        "* answer.*.description",
        "no description is an empty one",
        ABSENT,
        "",
    ),
    *each(
        "raw_forms",
        ("not JSON", "null", "JSON twice encoded", "not UTF-8"),
        "POST /api/2.0/mlflow/experiments/create answer.message",
        "MLflow reads it as an empty request; the code is the same",
    ),
    Allowed(
        "raw_tracking",
        "runs/outputs, models is empty text",
        "* answer.message",
        "a text is no list; the code is the same",
    ),
    Allowed(
        "raw_registry",
        "create a model named by blank",
        "* answer.message",
        "the name is there, and bad; the code is the same",
    ),
    Allowed("raw_forms", "HEAD", "* status", "only files have a HEAD", "400", "405"),
    Allowed("raw_forms", "unknown version", "* status", "below /api/1.0/ only our own calls are posted", "404", "405"),
)

ANOTHER = (
    Allowed(
        "metrics",
        "*",
        "GET */runs/get answer.run.data.metrics.*.value",
        "a number counts before NaN at one step and time",
        "NaN",
        -5.0,
    ),
    Allowed(
        "search_logged_models",
        "*",
        "POST */logged-models/search answer.models.*.data.metrics.*.value",
        "NaN is NaN, MLflow says zero",
        0.0,
        "NaN",
    ),
    Allowed(
        "search_logged_models",
        "filter: metrics.`auc` < 1",
        "POST */logged-models/search answer.models, whose",
        "NaN is less than no number",
        ["four", "one", "two"],
        ["one", "two"],
    ),
    Allowed(
        "search_logged_models",
        "order 2: *",
        "POST */logged-models/search answer.models, whose",
        "NaN comes behind the numbers, as among runs",
        ["four", "two", "one", "three"],
        ["two", "one", "four", "three"],
    ),
    *each(
        "search_logged_models",
        ("datasets 1: *", "datasets 4: *", "datasets 5: *"),
        "POST */logged-models/search answer.models",
        "a dataset without a digest is any of that name, as the client's documentation has it",
        ABSENT,
    ),
    *each(
        "raw_writing",
        ("the points",),
        "GET */runs/get answer.run.data.metrics.m06.value",
        "nan in small letters is NaN, MLflow takes zero instead",
        0.0,
        "NaN",
    ),
    Allowed(
        "raw_writing",
        "the points",
        "GET */runs/get answer.run.data.metrics.m06.timestamp",
        "nan in small letters is NaN, MLflow passes over the time too",
        0,
        1600000000000,
    ),
    Allowed(
        "raw_writing",
        "after models",
        "GET */runs/get answer.run.data.tags.*.value",
        "the model as it was sent, without a model_uuid of null",
    ),
    Allowed(
        "search_runs",
        "filter: params.p = 'it''s'",
        "POST */runs/search answer.runs",
        "a quote inside a text is written twice",
        ABSENT,
    ),
    Allowed(
        "registry",
        "download uri elsewhere",
        "* answer.artifact_uri",
        "where the files are, which every client can read",
        "runs:/<id of version>/model",
        "mlflow-artifacts:/<experiment of version>/<id of version>/artifacts/model",
    ),
    Allowed(
        "registry", "version of an absent model", "* status", "that the model is absent is said first", BAD, NOT_THERE
    ),
    *(
        Allowed(
            flow,
            "*",
            f"{where}.tags.*.value",
            "the list of registered versions has each once; clients read it, and MLflow keeps what they add twice",
        )
        for flow in ("logged_models", "sklearn_models")
        for where in (f"GET {MODEL} answer.model.info", f"PATCH {MODEL}/tags request")
    ),
    Allowed(
        "sklearn_models",
        "*",
        "POST */logged-models/search answer.models.*.info.tags.*.value",
        "the list of registered versions has each once",
    ),
)
