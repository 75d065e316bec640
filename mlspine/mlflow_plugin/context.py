"""What an MLflow client adds to a run by itself when mlspine is installed, and the run is going to a store of ours.

Other people's servers are sent nothing. Called by MLflow where a fluent run begins.
"""

from __future__ import annotations

import functools
import logging

import mlflow

from mlspine.core.errors import MlspineError
from mlspine.mlflow_plugin.place import SCHEME
from mlspine.remote import ApiClient
from mlspine.tracking import capture

log = logging.getLogger(__name__)
_ASKING_S = 2.0


def is_ours() -> bool:
    """Whether MLflow's tracking URI leads to mlspine."""
    uri = mlflow.get_tracking_uri()
    return uri.startswith(f"{SCHEME}:") or (uri.startswith(("http://", "https://")) and _is_mlspine(uri))


def tags() -> dict[str, str]:
    """The circumstances of the run that begins now; a failure to find out costs the tags, never the run."""
    try:
        captured, patch = capture.take()
        return capture.short_tags(captured) | capture.to_tags(captured, patch) | capture.repetition(captured.ordinal)
    except (OSError, MlspineError) as exc:
        log.warning("the circumstances of the run were not captured", extra={"cause": str(exc)})
        return {}


@functools.cache
def _is_mlspine(uri: str) -> bool:
    """Asked once for each URI."""
    try:
        return ApiClient(uri, "").get("/health/live", timeout_s=_ASKING_S) == b'{"live":true}'
    except MlspineError:
        return False
