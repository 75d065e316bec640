"""`mlspine.log`: a run as a context, for whom MLflow's client is too much or not there.

    with mlspine.log("churn", params={"lr": 0.1}) as run:
        run.metric("loss", 0.3)

What is logged goes to the control process or server when there is one, else straight into the store.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from contextvars import Token
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from mlspine.core.columns import row_count, to_columns
from mlspine.core.errors import Invalid, MlspineError, NotFound
from mlspine.core.ids import now_ms
from mlspine.data.manifest import table_digest
from mlspine.data.schema import summarise
from mlspine.folder import this_actor
from mlspine.tracking import capture, surroundings
from mlspine.tracking.capture import Captured
from mlspine.tracking.current import current_run
from mlspine.tracking.limits import METRICS_PER_BATCH, PARAMS_PER_BATCH
from mlspine.tracking.run import NAME_TAG, PARENT_TAG, USER_TAG
from mlspine.web.mlflow.line import Line, open_line
from mlspine.web.mlflow.messages import number_out

HELD_POINTS = 500  # points that wait here at most
HELD_S = 1.0  # and for how long
ERROR_TAG = "mlspine.error"
_ERROR_CHARACTERS = 8_000
_DIGEST_CHARACTERS = 36  # of a dataset's digest on MLflow's wire

Status = Literal["FINISHED", "FAILED", "KILLED"]


def log(
    experiment: str = "Default",
    *,
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    workspace: str | Path | None = None,
) -> ActiveRun:
    """A new run of an experiment, which is made when it is not there. Ends with its `with` block, or by `end()`.

    name: of the run; a readable one is made up otherwise.
    params, tags: what is known from the start.
    workspace: another one than commands act on: a folder, or a server's URL.

    Recorded without asking: command, commit and uncommitted difference, random states, library versions, hardware,
    duration. A block that raises leaves a FAILED run with the error in tag `mlspine.error`. A run begun inside the
    block of another is its child. A version that is shipped inside names the run.
    """
    line = open_line(workspace)
    try:
        return ActiveRun(line, experiment, name=name, params=params or {}, tags=tags or {})
    except BaseException:
        line.close()
        raise


class ActiveRun:
    """A run that is being logged. Points wait up to a second, or until there are 500; everything else is stored at
    once. May be used from several threads."""

    def __init__(
        self, line: Line, experiment: str, *, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        self._line = line
        self._began_s = time.monotonic()
        self._captured, self._patch = capture.take()
        begun = line.post(
            "runs/create",
            experiment_id=_experiment_id(line, experiment),
            user_id=this_actor().name,
            start_time=now_ms(),
            tags=_pairs(self._first_tags(name, tags)),
        )["run"]["info"]
        self.id: str = begun["run_id"]
        self.name: str = begun["run_name"]
        self._files_uri: str = begun["artifact_uri"]
        self._points: list[dict[str, Any]] = []
        self._next_step: Counter[str] = Counter()
        self._turn = threading.RLock()
        self._timer: threading.Timer | None = None
        self._ended = False
        self._token: Token[str] | None = None
        atexit.register(self._end_with_process)
        self._keep_capture()
        self.params(params)

    # ------------------------------------------------------------ logging

    def param(self, key: str, value: Any) -> None:
        """Log one parameter; Invalid when it has another value already."""
        self.params({key: value})

    def params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; values are kept as text."""
        items = list(params.items())
        for at in range(0, len(items), PARAMS_PER_BATCH):
            self._send(params=_pairs(dict(items[at : at + PARAMS_PER_BATCH])))

    def metric(self, key: str, value: float, *, step: int | None = None) -> None:
        """Log one point. Without a step it is the one after the last point of that metric, from 0."""
        self.metrics({key: value}, step=step)

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Log a point of each metric; steps as in `metric`."""
        at_ms = now_ms()
        with self._turn:
            self._refuse_ended()
            for key, value in values.items():
                at = self._next_step[key] if step is None else int(step)
                self._next_step[key] = at + 1
                self._points.append({"key": key, "value": _number(key, value), "timestamp": at_ms, "step": at})
            if len(self._points) >= HELD_POINTS:
                self._flush()
            elif self._timer is None and self._points:
                self._timer = threading.Timer(HELD_S, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def tag(self, key: str, value: str) -> None:
        """Set a tag; the last value counts."""
        self._send(tags=_pairs({key: value}))

    def artifact(self, path: str | Path, *, to: str = "") -> None:
        """Keep a file, or a folder with all that is in it, in the run's folder `to`."""
        source = Path(path)
        if not source.exists():
            raise NotFound(f"no file {str(source)!r}", hint="write it before it is logged")
        self._refuse_ended()
        target = f"{to.strip('/')}/{source.name}".lstrip("/")
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file():
                below = file.relative_to(source).as_posix() if source.is_dir() else ""
                self._line.put_file(f"{self._files_uri}/{target}{'/' if below else ''}{below}", file)

    def data(self, frame: Any, *, name: str, source: str = "", context: str = "training") -> str:
        """Record which rows the run used: their digest, shape and a profile of each column, not the rows.

        frame: pandas, polars, Arrow, numpy or a list of records. source: where they came from.
        context: what for, e.g. "training" or "validation". Returns the digest.
        """
        columns, schema = to_columns(frame)
        digest = table_digest(columns)
        profile = {"rows": row_count(columns), "columns": msgspec.to_builtins(summarise(columns, schema))}
        fields = [{"name": field.name, "type": field.dtype} for field in schema.fields]
        dataset = {
            "name": name,
            "digest": digest[:_DIGEST_CHARACTERS],
            "source_type": "mlspine",
            "source": msgspec.json.encode({"source": source, "digest": digest}).decode(),
            "schema": msgspec.json.encode({"columns": fields}).decode(),
            "profile": msgspec.json.encode(profile).decode(),
        }
        self._refuse_ended()
        tags = [{"key": "mlflow.data.context", "value": context}]
        self._line.post("runs/log-inputs", run_id=self.id, datasets=[{"dataset": dataset, "tags": tags}])
        return digest

    def flush(self) -> None:
        """Store the points that wait now."""
        with self._turn:
            self._flush()

    # ------------------------------------------------------------ its end

    def end(self, status: Status = "FINISHED") -> None:
        """Store what waits and close the run; a second time does nothing."""
        with self._turn:
            if self._ended:
                return
            try:
                self._flush()
                self._keep_facts()
                self._line.post("runs/update", run_id=self.id, status=status, end_time=now_ms())
            finally:
                self._ended = True
                atexit.unregister(self._end_with_process)
                self._line.close()

    def __enter__(self) -> ActiveRun:
        self._token = current_run.set(self.id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_run.reset(self._token)
        if exc is None or (isinstance(exc, SystemExit) and not exc.code):
            self.end()
            return
        with contextlib.suppress(MlspineError):  # what the block failed with matters more
            self.tag(ERROR_TAG, "".join(traceback.format_exception(kind, exc, where))[-_ERROR_CHARACTERS:])
            self.end("KILLED" if isinstance(exc, KeyboardInterrupt) else "FAILED")

    def _end_with_process(self) -> None:
        """The end of a run that nobody ended: what waits is stored, and an error nobody caught is one."""
        with contextlib.suppress(MlspineError):
            self.end("FAILED" if hasattr(sys, "last_value") else "FINISHED")

    # ------------------------------------------------------------ inside

    def _first_tags(self, name: str, tags: Mapping[str, str]) -> dict[str, str]:
        parent = current_run.get()
        return {
            **capture.short_tags(self._captured),
            USER_TAG: this_actor().name,
            **({"mlflow.source.name": self._captured.script} if self._captured.script else {}),
            **({PARENT_TAG: parent} if parent else {}),
            **({NAME_TAG: name} if name else {}),
            **capture.repetition(self._captured.ordinal),
            **tags,
        }

    def _keep_capture(self) -> None:
        self._line.put_file(f"{self._files_uri}/{capture.FILE}", msgspec.json.encode(self._captured))
        if self._patch:
            self._line.put_file(f"{self._files_uri}/{capture.PATCH_FILE}", self._patch)
        if code := capture.snapshot(self._captured.code.commit):
            self._line.put_file(f"{self._files_uri}/{capture.CODE_FILE}", code)

    def _keep_facts(self) -> None:
        """The capture again, with what only the end knows."""
        facts: Captured = msgspec.structs.replace(
            self._captured,
            libraries=surroundings.libraries(),
            duration_s=round(time.monotonic() - self._began_s, 3),
            peak_memory_bytes=surroundings.peak_memory_bytes(),
        )
        self._line.put_file(f"{self._files_uri}/{capture.FILE}", msgspec.json.encode(facts))

    def _send(self, **what: Any) -> None:
        with self._turn:
            self._refuse_ended()
            if any(what.values()):
                self._line.post("runs/log-batch", run_id=self.id, **what)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._points:
            self._line.post("runs/log-batch", run_id=self.id, metrics=self._points[:METRICS_PER_BATCH])
            del self._points[:METRICS_PER_BATCH]

    def _flush_late(self) -> None:
        """By the timer, in its thread: points that could not be sent wait for the next call, which says why."""
        with self._turn, contextlib.suppress(MlspineError):
            if not self._ended:
                self._flush()

    def _refuse_ended(self) -> None:
        if self._ended:
            raise Invalid(f"run {self.id} has ended", hint="log inside its with block")


def _experiment_id(line: Line, name: str) -> str:
    try:
        found = line.get("experiments/get-by-name", experiment_name=name)["experiment"]
    except NotFound:
        with contextlib.suppress(MlspineError):  # somebody else may just have made it
            return str(line.post("experiments/create", name=name)["experiment_id"])
        found = line.get("experiments/get-by-name", experiment_name=name)["experiment"]
    if found["lifecycle_stage"] != "active":
        raise Invalid(f"experiment {name!r} is deleted", hint="restore it, or take another name")
    return str(found["experiment_id"])


def _pairs(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "value": str(value)} for key, value in values.items()]


def _number(key: str, value: Any) -> float | str:
    try:
        return number_out(float(value))
    except (TypeError, ValueError) as exc:
        raise Invalid(f"metric {key!r}: {value!r} is no number", hint="log numbers; texts are params or tags") from exc
