"""Of the circumstances in which a model was fitted: seeds and owner. Its code: `tracking/code.py`."""

from __future__ import annotations

import contextlib
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.ids import digest_bytes
from mlspine.tracking.code import git


def git_owner(folder: Path | None = None) -> str:
    """git's `user.email` as set for `folder`, "" where there is none."""
    return git(folder or Path.cwd(), "config", "--get", "user.email").strip()


def seeds(model: Any) -> dict[str, Any]:
    """Every random_state of the estimator and its parts, and digests of the generators' states now."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # get_params of foreign objects may do anything; a seed is a nicety
        parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
        found = {
            name: value if isinstance(value, int | None) else repr(value)[:100]
            for name, value in parameters.items()
            if name.endswith(("random_state", "seed"))
        }
    return {
        "parameters": found,
        "python_state": digest_bytes(repr(random.getstate()).encode()),
        "numpy_state": digest_bytes(pickle.dumps(np.random.get_state(legacy=True))),
    }
