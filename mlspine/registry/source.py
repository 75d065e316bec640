"""What a client may name as the source of a model version. Pure.

models:/m-1f...   models:/churn/3   models:/churn@champion   models:/churn/Production
runs:/<run>/model   mlflow-artifacts:/1/<run>/artifacts/model   s3://bucket/model
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Literal, NamedTuple

from mlspine.core.errors import Invalid
from mlspine.core.ids import check_model_name

ARTIFACTS = "mlflow-artifacts:/"
_LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}\Z")


class Source(NamedTuple):
    """kind "model": a logged model, its id in `name`; "version": of a registered model, `which` is its number,
    "@alias" or stage; "run": a path `which` below the run `name`; "artifacts": a URI of ours; "elsewhere".
    """

    kind: Literal["model", "version", "run", "artifacts", "elsewhere"]
    uri: str
    name: str = ""
    which: str = ""


def parse_source(text: str) -> Source:
    """What a source names. Raises Invalid for files of the server, and for paths that would leave their folder.

    >>> parse_source("models:/churn@champion")
    Source(kind='version', uri='models:/churn@champion', name='churn', which='@champion')
    """
    scheme = urllib.parse.urlsplit(text).scheme
    if scheme in ("", "file") or len(scheme) == 1:
        raise refused(text, "a path of the server is not taken; log the model, then register it")
    _refuse_leaving(text)
    if scheme in ("http", "https"):
        raise refused(text, f"an address of a server is not taken; name it as {ARTIFACTS}PATH or where it is stored")
    if scheme == "models":
        return _models(text)
    if scheme == "runs":
        run_id, _, path = _below(text, "runs").partition("/")
        if not run_id or not path:
            raise refused(text, "say it as runs:/RUN_ID/PATH")
        return Source("run", text, run_id, path)
    if scheme == "mlflow-artifacts" and not urllib.parse.urlsplit(text).netloc:
        return Source("artifacts", text)
    if scheme == "mlflow-artifacts":
        raise refused(text, f"name it by the run or logged model that holds it, or as {ARTIFACTS}PATH")
    return Source("elsewhere", text)


def lies_in(uri: str, root: str) -> bool:
    """Whether a URI is a root or below it.

    >>> lies_in("mlflow-artifacts:/1/a/model", "mlflow-artifacts:/1/a"), lies_in("x:/1/ab", "x:/1/a")
    (True, False)
    """
    inside, outside = uri.rstrip("/"), root.rstrip("/")
    return inside == outside or inside.startswith(f"{outside}/")


def artifact_path(uri: str) -> str:
    """The path of a URI among our artifacts, "" for one that lies elsewhere.

    >>> artifact_path("mlflow-artifacts:/1/a/model"), artifact_path("s3://bucket/model")
    ('1/a/model', '')
    """
    return uri.removeprefix(ARTIFACTS).strip("/") if uri.startswith(ARTIFACTS) else ""


def refused(source: str, why: str) -> Invalid:
    return Invalid(f"Invalid model version source: '{source}'. {why[:1].upper()}{why[1:]}.")


def _models(text: str) -> Source:
    path = _below(text, "models")
    if _LOGGED_MODEL.match(path):
        return Source("model", text, path)
    name, slash, which = path.partition("/")
    if not slash:
        name, at, alias = path.rpartition("@")
        which = f"@{alias}" if at and alias else ""
    if not which or "/" in which:
        raise refused(text, "say it as models:/NAME/VERSION, models:/NAME@ALIAS or models:/MODEL_ID")
    return Source("version", text, check_model_name(name), which)


def _below(text: str, scheme: str) -> str:
    rest = text.removeprefix(f"{scheme}:/")
    if rest == text or rest.startswith("/"):
        raise refused(text, f"write {scheme}:/ with one '/'")
    return rest


def _refuse_leaving(text: str) -> None:
    plain = text
    while (decoded := urllib.parse.unquote_plus(plain)) != plain:
        plain = decoded
    if "\0" in plain or "\\" in plain or ".." in plain.split("/"):
        raise refused(text, "an absolute path is needed, without '..'")
