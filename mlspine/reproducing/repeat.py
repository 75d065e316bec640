"""One repetition: the recorded command in the rebuilt tree, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import msgspec

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.ids import uuid7
from mlspine.reproducing.record import Record
from mlspine.tracking.capture import ATTEMPT_TAG, REPETITION_VARIABLE, REPRODUCES_TAG, Repetition
from mlspine.web.mlflow.line import Line

_SHOWN_LINES = 8


def repeat(line: Line, record: Record, top: Path, *, token: str, timeout_s: float) -> str:
    """Run it again, logging to the same store; returns the id of the run that came of it.

    token: of the server the store is on, "" for a folder. Raises Invalid with the process's last words when it
    fails or logs no run that corresponds.
    """
    attempt = uuid7()
    order = Repetition(
        run_id=record.id, attempt=attempt, ordinal=record.captured.ordinal, random=record.captured.random
    )
    file = top.parent / f"{attempt}.json"
    file.write_bytes(msgspec.json.encode(order))
    output = top.parent / f"{attempt}.log"
    code = _run(record, top, output, _environment(line, record, file, token), timeout_s)
    if code:
        raise Invalid(
            f"the command ended with exit code {code}: {shown(record)}",
            details=output.read_text(errors="replace").splitlines()[-_SHOWN_LINES:],
            hint="files that are not in git are brought only where the command is typed inside the repository",
        )
    found = line.post(
        "runs/search",
        experiment_ids=[record.experiment_id],
        filter=f"tags.`{ATTEMPT_TAG}` = '{attempt}' AND tags.`{REPRODUCES_TAG}` = '{record.id}'",
    ).get("runs", ())
    if not found:
        raise Invalid(
            f"the command ran, but logged no run that corresponds: {shown(record)}",
            hint="does it log elsewhere? It should take MLFLOW_TRACKING_URI from the environment",
        )
    return str(found[0]["info"]["run_id"])


def _run(record: Record, top: Path, output: Path, env: dict[str, str], timeout_s: float) -> int:
    try:
        with output.open("wb") as log:
            return subprocess.run(
                [sys.executable, *record.captured.command],
                cwd=top / record.captured.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(
            f"the command did not end within {timeout_s:.0f} s: {shown(record)}",
            hint="give it more: --timeout SECONDS",
        ) from exc
    except OSError as exc:
        raise Invalid(f"the command could not be started: {exc}", hint="does its folder exist in the commit?") from exc


def _environment(line: Line, record: Record, order: Path, token: str) -> dict[str, str]:
    """This environment, turned to this store. Random states travel by `order`."""
    env = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME")}
    on_server = line.where.startswith(("http://", "https://"))
    return env | {
        REPETITION_VARIABLE: str(order),
        "MLSPINE_WORKSPACE": line.where,
        "MLFLOW_TRACKING_URI": line.where if on_server else f"mlspine://{urllib.parse.quote(line.where)}",
        "MLFLOW_EXPERIMENT_ID": record.experiment_id,
        **({"MLFLOW_TRACKING_TOKEN": token} if token else {}),
    }


def shown(record: Record) -> str:
    """The command of a run, as typed."""
    return " ".join(["python", *record.captured.command])
