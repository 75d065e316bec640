"""Where files are, in the store's words and in those of a client without a server.

The store says `mlflow-artifacts:/...`, which an MLflow client takes to a tracking server over HTTP. A client with
an `mlspine:` URI is told `mlspine-artifacts:/...` instead; on its way in that is turned back, so that the store
reads the same whoever wrote to it.
"""

from __future__ import annotations

from typing import Any

STORED = "mlflow-artifacts:/"
SEEN = "mlspine-artifacts:/"
# The fields of MLflow's messages that say where files are, and those that may quote one.
_FIELDS = frozenset({"artifact_uri", "artifact_location", "source", "root_uri", "storage_location", "filter"})


def seen(message: Any) -> Any:
    """An answer of the store as this client understands it.

    >>> seen({"run": {"info": {"artifact_uri": "mlflow-artifacts:/1/a", "run_name": "mlflow-artifacts:/"}}})
    {'run': {'info': {'artifact_uri': 'mlspine-artifacts:/1/a', 'run_name': 'mlflow-artifacts:/'}}}
    """
    return _respelled(message, STORED, SEEN)


def stored(message: Any) -> Any:
    """What this client sends as the store keeps it.

    >>> stored({"name": "m", "source": "mlspine-artifacts:/1/a"})
    {'name': 'm', 'source': 'mlflow-artifacts:/1/a'}
    """
    return _respelled(message, SEEN, STORED)


def _respelled(value: Any, before: str, after: str, *, place: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _respelled(each, before, after, place=name in _FIELDS) for name, each in value.items()}
    if isinstance(value, list):
        return [_respelled(each, before, after) for each in value]
    return value.replace(before, after) if place and isinstance(value, str) else value
