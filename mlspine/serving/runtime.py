"""A release loaded for answering: verified, warmed, and shown to reproduce what was recorded at ship."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import take, to_jsonable_rows
from mlspine.core.errors import Corrupt, Invalid, MlspineError
from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import PlannedRelease, Proof
from mlspine.core.types import Columns, Field, Release
from mlspine.registry.flavors import Outputs, Predictor
from mlspine.registry.release import load_predictor, read_recorded, read_release, release_hash
from mlspine.serving.rows import RowCodec

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()  # releases are loaded side by side, and must not slow each other's measurement

Form = Literal["frame", "matrix"]
RELATIVE_TOLERANCE = 1e-9
LOOP_LIMIT_S = 0.001  # a slower single row would hold up everybody else in the event loop
TIMED_CALLS = 100
TIMED_FOR_S = 0.3  # a slow model is not timed longer than this, once it has been tried LEAST_TIMED_CALLS times
LEAST_TIMED_CALLS = 20
CAPACITY_ROWS = 64
SHOWN_MISMATCHES = 5


class Speed(NamedTuple):
    """Seconds per single-row model call, and rows per second in batches of CAPACITY_ROWS."""

    p50_s: float
    p95_s: float
    p99_s: float
    capacity_rows_per_s: float


class Reproduced(NamedTuple):
    """How many of the recorded predictions a predictor gives again, and where it does not."""

    rows: int
    of: int
    mismatches: tuple[str, ...]

    @property
    def all(self) -> bool:
        return self.rows == self.of


class LoadedRelease:
    """One release in this process, ready to predict. Made by `load`, which is the only way to prove it."""

    def __init__(
        self,
        planned: PlannedRelease,
        release: Release,
        predictor: Predictor,
        form: Form,
        rows: Columns,
        expected: Outputs,
    ) -> None:
        self.planned = planned
        self.release = release
        self.predict = predictor
        self.form = form
        self.canned = take(rows, slice(0, 1)), first(expected)
        self.codec = codec_of(release)

    @property
    def release_hash(self) -> str:
        return self.planned.release_hash


def load(planned: PlannedRelease) -> tuple[LoadedRelease, Proof]:
    """Read, verify, load and exercise a release; nothing is answered by it yet.

    The proof sends the recorded rows through the same JSON decoding that requests take. Raises Corrupt when
    stored bytes do not match their digest, Invalid when recorded predictions are not reproduced.
    """
    began = time.perf_counter()
    path = Path(planned.path)
    release = read(planned)
    recorded = read_recorded(path, release)
    rows = through_json(recorded[0], release)
    form, predictor, reproduced = _choose_form(path, release, rows, recorded[1])
    load_s = time.perf_counter() - began
    said = version_warnings(release.environment)
    if not reproduced.all:
        raise Invalid(
            f"release {planned.release_hash[:SHORT_HASH]} reproduces {reproduced.rows} of {reproduced.of}"
            " recorded predictions in this environment",
            hint=f"install the library versions it was shipped with: pip install -r {path / 'requirements.txt'}",
            details=(*reproduced.mismatches, *said),
        )
    with _one_at_a_time:
        speed = measure(predictor, rows)
    loaded = LoadedRelease(planned, release, predictor, form, rows, recorded[1])
    proof = Proof(
        release_hash=planned.release_hash,
        recorded_rows=reproduced.of,
        reproduced_rows=reproduced.rows,
        placement="loop" if planned.placement == "loop" or fits_loop(planned, speed) else "worker",
        form=form,
        load_s=load_s,
        p50_s=speed.p50_s,
        p95_s=speed.p95_s,
        p99_s=speed.p99_s,
        capacity_rows_per_s=speed.capacity_rows_per_s,
        warnings=said,
    )
    return loaded, proof


def describe(planned: PlannedRelease) -> LoadedRelease:
    """What this process must know of a release that runs elsewhere: schema and a recorded row, no pickle."""
    path = Path(planned.path)
    release = read(planned)
    columns, expected = read_recorded(path, release)
    return LoadedRelease(planned, release, _elsewhere, "frame", through_json(columns, release), expected)


def _elsewhere(_: Columns) -> Outputs:
    raise AssertionError("this model runs in a process of its own")


def read(planned: PlannedRelease) -> Release:
    """The release a plan names, its digests verified; raises Corrupt when another lies at that path."""
    release = read_release(Path(planned.path))
    found = release_hash(release)
    if found != planned.release_hash:
        raise Corrupt(
            f"{planned.path} holds release {found[:SHORT_HASH]}, not {planned.release_hash[:SHORT_HASH]}",
            hint="restore the release directory from a copy, or ship the model again",
        )
    return release


def codec_of(release: Release) -> RowCodec:
    """How rows of this release are read; time and key columns named at ship may come along for the log."""
    time_column, key_column = logged_columns(release)
    also = []
    if time_column:
        also.append(Field(name=time_column, type="datetime", dtype="", nullable=True))
    if key_column and key_column != time_column:
        also.append(Field(name=key_column, type="category", dtype="", nullable=True, levels=("", 0, 0.0, False)))
    return RowCodec(release.signature.inputs, also=also)


def logged_columns(release: Release) -> tuple[str, str]:
    """The time and key columns named at ship, "" where none was."""
    named = (release.settings.get("time"), release.settings.get("key"))
    time_column, key_column = (name if isinstance(name, str) else "" for name in named)
    return time_column, key_column


def through_json(columns: Columns, release: Release) -> Columns:
    """Rows as a request would bring them: written as JSON and read back by the release's codec."""
    rows = to_jsonable_rows(columns, release.signature.inputs)
    if not rows:
        return columns
    codec = codec_of(release)
    table = codec.decode(msgspec.json.encode({"rows": rows}))
    return {name: codec.columns([table])[name] for name in release.signature.inputs.names}


def reproduce(predictor: Predictor, rows: Columns, expected: Outputs) -> Reproduced:
    """Predict the recorded rows again and compare: labels equal, floats within 1e-9 relative."""
    count = len(expected.prediction)
    if count == 0:
        return Reproduced(0, 0, ())
    return compare(predictor(rows), expected)


def compare(given: Outputs, expected: Outputs) -> Reproduced:
    """Row by row, whether two sets of outputs agree."""
    count = len(expected.prediction)
    if len(given.prediction) != count:
        return Reproduced(0, count, (f"{len(given.prediction)} predictions for {count} rows",))
    equal = _equal(given.prediction, expected.prediction)
    if expected.probabilities is not None:
        if given.probabilities is None or given.probabilities.shape != expected.probabilities.shape:
            return Reproduced(0, count, ("no probabilities, or of another shape",))
        equal &= _equal(given.probabilities, expected.probabilities).reshape(count, -1).all(axis=1)
    wrong = np.flatnonzero(~equal)
    said = tuple(f"row {i}: {_tell(given, i)} instead of {_tell(expected, i)}" for i in wrong[:SHOWN_MISMATCHES])
    return Reproduced(count - len(wrong), count, said)


def first(outputs: Outputs) -> Outputs:
    """The outputs of the first row alone."""
    probabilities = None if outputs.probabilities is None else outputs.probabilities[:1]
    return Outputs(prediction=outputs.prediction[:1], probabilities=probabilities)


def still_reproduces(loaded: LoadedRelease) -> bool:
    """A canned prediction: whether the first recorded row gives what it did at ship. True without any."""
    rows, expected = loaded.canned
    if len(expected.prediction) == 0:
        return True
    try:
        return reproduce(loaded.predict, rows, expected).all
    except Exception as exc:  # noqa: BLE001 (whatever it is, the release does not answer)
        log.error("a recorded row fails", extra={"release": loaded.release_hash[:SHORT_HASH], "why": str(exc)[:300]})
        return False


def measure(predictor: Predictor, rows: Columns, *, timer: Callable[[], float] = time.perf_counter) -> Speed:
    """Time single rows, each time another one, and batches; zeros when there are no rows to try.

    One repeated row would flatter tree models, whose branches the processor then predicts.
    """
    count = len(next(iter(rows.values()), ()))
    if count == 0:
        return Speed(0.0, 0.0, 0.0, 0.0)
    singles = [take(rows, slice(i, i + 1)) for i in range(count)]
    batch = take(rows, np.arange(CAPACITY_ROWS) % count)
    predictor(singles[0]), predictor(batch)
    times: list[float] = []
    while len(times) < TIMED_CALLS and (len(times) < LEAST_TIMED_CALLS or sum(times) < TIMED_FOR_S):
        times.append(_timed(predictor, singles[len(times) % count], timer))
    p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99]).tolist()
    best = min(_timed(predictor, batch, timer) for _ in range(5))
    return Speed(p50, p95, p99, CAPACITY_ROWS / max(best, 1e-9))


def fits_loop(planned: PlannedRelease, speed: Speed) -> bool:
    """Whether a model may run in the event loop: not sent elsewhere, and quick for one row."""
    return planned.placement != "worker" and 0.0 < speed.p50_s <= LOOP_LIMIT_S


def version_warnings(environment: dict[str, str]) -> tuple[str, ...]:
    """One line naming the packages whose versions differ from those at ship time; empty when none does."""
    differing = sorted(_differing(environment))
    if not differing:
        return ()
    return (f"served with other library versions than shipped: {', '.join(differing)}",)


def fingerprint(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a release's files: cheap to take, different after almost any tampering."""
    stats = ((file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
    return tuple((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file, stat in stats)


def _choose_form(path: Path, release: Release, rows: Columns, expected: Outputs) -> tuple[Form, Predictor, Reproduced]:
    """Hand the model a plain matrix, which is much cheaper, if that gives the recorded predictions."""
    if len(expected.prediction):
        try:
            predictor = load_predictor(path, release, form="matrix")
            reproduced = reproduce(predictor, rows, expected)
        except Corrupt:
            raise
        except Exception as exc:  # noqa: BLE001 (whatever the model dislikes, it gets its own container)
            log.info("release does not take a matrix", extra={"release": path.name, "why": str(exc)[:200]})
        else:
            if reproduced.all:
                return "matrix", predictor, reproduced
    predictor = load_predictor(path, release, form="frame")
    try:
        return "frame", predictor, reproduce(predictor, rows, expected)
    except MlspineError:
        raise
    except Exception as exc:
        raise Invalid(
            f"the model fails on its own recorded rows: {type(exc).__name__}: {exc}",
            hint="ship it from the environment it is served in, or install what its requirements.txt lists",
            details=version_warnings(release.environment),
        ) from exc


def _differing(environment: dict[str, str]) -> Iterator[str]:
    for name, shipped in environment.items():
        if name.lower() in ("python", "python_version"):
            here = platform.python_version()
            if here.split(".")[:2] != shipped.split(".")[:2]:
                yield f"Python {here} (shipped with {shipped})"
            continue
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} is not installed (shipped with {shipped})"
            continue
        if here != shipped:
            yield f"{name} {here} (shipped with {shipped})"


def _equal(given: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if given.dtype.kind in "fiub" and expected.dtype.kind in "fiub":
        close: np.ndarray[Any, Any] = np.isclose(
            given.astype(np.float64),
            expected.astype(np.float64),
            rtol=RELATIVE_TOLERANCE,
            atol=1e-15,
            equal_nan=True,
        )
        return close
    same = [a == b for a, b in zip(given.tolist(), expected.tolist(), strict=True)]
    return np.array(same, dtype=np.bool_)


def _tell(outputs: Outputs, row: int) -> str:
    told = repr(outputs.prediction[row : row + 1].tolist()[0])
    if outputs.probabilities is not None:
        told += f" with probabilities {outputs.probabilities[row].tolist()}"
    return told


def _timed(predictor: Predictor, rows: Columns, timer: Callable[[], float]) -> float:
    began = timer()
    predictor(rows)
    return timer() - began
