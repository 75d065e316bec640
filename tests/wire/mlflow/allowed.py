"""The differences that are meant, each with its reason. One that no longer occurs fails the suite."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tests.wire.mlflow.compare import ABSENT, Difference

ANY = object()


class Allowed(NamedTuple):
    """Patterns, as a shell's, of a difference's flow, step and place, and why it may stand.

    theirs, ours: what the difference must be, where that is part of the reason; by default anything.
    """

    flow: str
    step: str
    where: str
    reason: str
    theirs: Any = ANY
    ours: Any = ANY

    def covers(self, difference: Difference) -> bool:
        patterns = (difference.flow, self.flow), (difference.step, self.step), (difference.where, self.where)
        values = (difference.theirs, self.theirs), (difference.ours, self.ours)
        return all(fnmatchcase(*each) for each in patterns) and all(want in (ANY, is_) for is_, want in values)


ALLOWED: tuple[Allowed, ...] = (
    # The form of answers
    Allowed("*", "*", "* headers.content-type", "errors are JSON here, MLflow has pages for some", theirs="text/html"),
    Allowed("*", "*", "* answer", "errors are JSON here, MLflow has pages for some", theirs="<html>"),
    Allowed(
        "*",
        "*",
        "PUT /api/2.0/mlflow-artifacts/artifacts/{} headers.content-type",
        "MLflow names no type",
        theirs=ABSENT,
    ),
    Allowed(
        "*", "*", "PUT /api/2.0/mlflow-artifacts/artifacts/{} answer", "an empty object for an empty body", None, {}
    ),
    Allowed(
        "*",
        "*",
        "GET /api/2.0/mlflow-artifacts/artifacts/{} headers.content-type",
        "the type is guessed finer",
        "text/plain",
    ),
    Allowed("raw_forms", "version", "GET /version answer", "bare text, which MLflow sends as a page", theirs="<html>"),
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
    # Where a user's mistake is a failure of the server there
    *(
        Allowed("*", "*", "* status", "a user's mistake is refused, not answered with 500", theirs, ours)
        for theirs, ours in (
            ("500 INTERNAL_ERROR", "400 INVALID_PARAMETER_VALUE"),
            ("500", "400 INVALID_PARAMETER_VALUE"),
            ("500 INVALID_STATE", "400 INVALID_PARAMETER_VALUE"),
            ("500 INTERNAL_ERROR", "404 RESOURCE_DOES_NOT_EXIST"),
        )
    ),
    Allowed(
        "experiments",
        "rename to a taken name",
        "* status",
        "the code of a taken name, as for create",
        "400 BAD_REQUEST",
        "400 RESOURCE_ALREADY_EXISTS",
    ),
    Allowed(
        "logged_models",
        "* params",
        "* status",
        "a param is written once; the same again is no change",
        "400 BAD_REQUEST",
    ),
    Allowed(
        "logged_models",
        "output again",
        "* status",
        "an output that is sent twice is one output",
        "400 BAD_REQUEST",
        "200",
    ),
    Allowed(
        "logged_models",
        "of an absent model",
        "* status",
        "an absent model is said to be absent",
        "400 BAD_REQUEST",
        "404 RESOURCE_DOES_NOT_EXIST",
    ),
    # What MLflow takes for want of a check
    Allowed(
        "metrics",
        "*",
        "GET /api/2.0/mlflow/runs/get answer.run.data.metrics.*.value",
        "a number counts before NaN at one step and time",
        "NaN",
        -5.0,
    ),
    Allowed(
        "metrics",
        "history of an absent run",
        "* status",
        "an absent run is said to be absent",
        "200",
        "404 RESOURCE_DOES_NOT_EXIST",
    ),
    Allowed(
        "raw_writing",
        "more than a megabyte",
        "* status",
        "a body beyond a megabyte is refused unread",
        "404 RESOURCE_DOES_NOT_EXIST",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_writing",
        "status *",
        "POST /api/2.0/mlflow/runs/update status",
        "a status nobody knows is refused, not ignored",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed("raw_writing", "value: true", "* status", "true is no number", "200", "400 INVALID_PARAMETER_VALUE"),
    Allowed(
        "raw_writing",
        "step with a fraction",
        "* status",
        "a step is a whole number, not cut to one",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_writing",
        "step beyond 64 bits",
        "* status",
        "MLflow takes zero instead",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_writing",
        "a point that is a word",
        "* status",
        "a word is no number, MLflow takes zero instead",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_writing",
        "a param of a number",
        "* status",
        "MLflow stores an empty text instead",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_writing",
        "after batches",
        "GET /api/2.0/mlflow/runs/get answer.run.data.*.x",
        "what was refused is not stored",
        ours=ABSENT,
    ),
    Allowed(
        "raw_writing",
        "the points",
        "GET /api/2.0/mlflow/runs/get answer.run.data.metrics.m09",
        "what was refused is not stored",
        ours=ABSENT,
    ),
    Allowed(
        "raw_tracking",
        "*",
        "POST /api/2.0/mlflow/*/search status",
        "a view nobody knows is refused, not ignored",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed(
        "raw_tracking",
        "experiments/search*",
        "* status",
        "max_results has a default",
        "400 INVALID_PARAMETER_VALUE",
        "200",
    ),
    Allowed(
        "raw_tracking",
        "GET metrics/get-history*",
        "* status",
        "an absent run is said to be absent",
        "200",
        "404 RESOURCE_DOES_NOT_EXIST",
    ),
    Allowed(
        "raw_tracking",
        "history, * at once",
        "* status",
        "a page has a greatest size",
        "200",
        "400 INVALID_PARAMETER_VALUE",
    ),
    Allowed("raw_files", "* 5", "* status", "a backslash in a path is refused", ours="400 INVALID_PARAMETER_VALUE"),
    Allowed("raw_files", "* 6", "* status", "an empty part in a path is refused", ours="400 INVALID_PARAMETER_VALUE"),
    Allowed("raw_files", "* 8", "* status", "a NUL in a path is refused", ours="400 INVALID_PARAMETER_VALUE"),
    Allowed(
        "raw_files", "presigned", "* status", "a route we do not have", "501 NOT_IMPLEMENTED", "404 ENDPOINT_NOT_FOUND"
    ),
    # What we take and MLflow does not
    Allowed(
        "search_runs",
        "filter: params.Case = 'a'",
        "* status",
        "a key may be a word of SQL",
        "400 INVALID_PARAMETER_VALUE",
        "200",
    ),
)


def not_allowed(differences: list[Difference]) -> list[Difference]:
    return [each for each in differences if not any(entry.covers(each) for entry in ALLOWED)]


def unused(differences: list[Difference]) -> list[Allowed]:
    """The entries that nothing needs any more."""
    return [entry for entry in ALLOWED if not any(entry.covers(each) for each in differences)]
