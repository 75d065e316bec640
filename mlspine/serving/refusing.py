"""What a caller is told whose rows a model failed on, and whether the rows or the model are to blame."""

from __future__ import annotations

import logging

from mlspine.core.errors import Invalid, MlspineError, Unavailable

log = logging.getLogger(__name__)


class Late(Unavailable):
    """It waited for its turn for longer than its deadline: too much was asked, which is no fault of the model."""


class ModelError(Exception):
    """What a model raised in another process, as text."""


def refusal(exc: Exception, *, healthy: bool) -> MlspineError:
    """What to tell the caller whose rows the model failed on.

    healthy: whether the model still answers its recorded row. If so the values are to blame, else the model.
    """
    said = str(exc) if isinstance(exc, ModelError) else f"{type(exc).__name__}: {exc}"
    said = said.strip().replace("\n", " ")[:300]
    if healthy:
        return Invalid(
            f"the model could not score this row: {said}",
            hint="compare the values with those it was fitted on",
        )
    log.error("the model fails on its own recorded row", extra={"why": said})
    return Unavailable(f"the model fails: {said}", hint="bring back the release before it: mlspine rollback NAME")
