"""Asking the model of a release what it would have answered, in a process of its own.

Control loads no models, and serving must not be disturbed: the release is loaded by the same process that serves
slow models (`serving/worker.py`), at low priority, asked about some hundred rows, and ended. Only trusted
releases, and only those that reproduce their recorded predictions here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from mlspine.core import messages
from mlspine.core.errors import Unavailable
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Columns, ModelVersion, Release
from mlspine.registry.release import is_watched
from mlspine.serving.worker import pack_columns, unpack_outputs
from mlspine.stats.influence import Ask
from mlspine.stats.profile import Floats

LOAD_TIMEOUT_S = 90.0
ASK_TIMEOUT_S = 20.0
NICENESS = 10


def why_not_asked(version: ModelVersion, release: Release) -> str:
    """Why the model of this version is not asked; "" when it can be."""
    if is_watched(release):
        return "somebody else's server answers"
    if version.bare:
        return "it came by an MLflow client and was not prepared for serving"
    if not version.trusted:
        return f"nobody has vouched for it: mlspine trust {version.model}:{version.version}"
    if not version.path:
        return "its files are not here"
    return ""


@contextlib.contextmanager
def asking(version: ModelVersion) -> Iterator[Ask]:
    """The call from columns to answers (n, k) of a release in a process of its own, which ends with the block.

    Answers are probabilities, or the value, or one column per predicted level. Raises Unavailable when the
    process does not answer in time or fails on rows, and whatever loading the release raises.
    """
    near, far = socket.socketpair()
    with near, far:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlspine.serving.worker", "--socket", str(far.fileno())],
            pass_fds=[far.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"MLSPINE_PARENT_PID": str(os.getpid())},
        )
        try:
            far.close()  # so that its end is seen here
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            planned = PlannedRelease(
                release_hash=version.release_hash, version=version.version, path=version.path, placement="worker"
            )
            _exchange(near, "load", LOAD_TIMEOUT_S, planned=msgspec.to_builtins(planned))
            levels: list[Any] = []
            yield lambda columns: _answers(near, columns, levels)
        finally:
            process.kill()
            process.wait()


def _answers(peer: socket.socket, columns: Columns, levels: list[Any]) -> Floats:
    outputs = unpack_outputs(_exchange(peer, "predict", ASK_TIMEOUT_S, columns=pack_columns(columns)))
    if outputs.probabilities is not None:
        return np.asarray(outputs.probabilities, dtype=np.float64)
    if outputs.prediction.dtype.kind in "fiu" and outputs.prediction.dtype != object:
        return outputs.prediction.astype(np.float64)[:, None]
    # The levels of the first answer stand for all: the same columns every time.
    if not levels:
        levels += sorted(set(outputs.prediction.tolist()), key=str)
    return np.column_stack([outputs.prediction == level for level in levels]).astype(np.float64)


def _exchange(peer: socket.socket, op: str, timeout_s: float, **arguments: Any) -> Any:
    try:
        peer.settimeout(timeout_s)
        messages.send(peer, {"op": op, **arguments})
        reply = messages.receive(peer)
    except TimeoutError as exc:
        raise Unavailable(f"the model did not answer within {timeout_s:g} s") from exc
    except (OSError, EOFError, msgspec.DecodeError) as exc:
        raise Unavailable(f"the process of the model ended: {exc}") from exc
    if "model_error" in reply:
        raise Unavailable(f"the model fails on changed rows: {str(reply['model_error'])[:200]}")
    return messages.unwrap(reply)
