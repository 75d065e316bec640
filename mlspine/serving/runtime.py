"""A release loaded for answering: verified, warmed, and shown to reproduce what was recorded at ship."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from mlspine.core.columns import take, to_jsonable_rows
from mlspine.core.errors import Corrupt, Invalid
from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import PlannedRelease, Proof
from mlspine.core.types import Columns, Field, Release
from mlspine.registry.flavors import Outputs, Predictor
from mlspine.registry.release import read_recorded, read_release, release_hash
from mlspine.serving.choosing import LOOP_LIMIT_S, Chosen, Recorded, choose, data_only
from mlspine.serving.measuring import Speed
from mlspine.serving.reproducing import Compare, compare, first
from mlspine.serving.rows import RowCodec

log = logging.getLogger(__name__)


class LoadedRelease:
    """One release in this process, ready to predict. Made by `load`, which is the only way to prove it."""

    def __init__(
        self,
        planned: PlannedRelease,
        release: Release,
        predictor: Predictor,
        form: str,
        rows: Columns,
        expected: Outputs,
        agrees: Compare = compare,
    ) -> None:
        self.planned = planned
        self.release = release
        self.predict = predictor
        self.form = form
        self.canned = take(rows, slice(0, 1)), first(expected)
        self.agrees = agrees
        self.codec = codec_of(release)

    @property
    def release_hash(self) -> str:
        return self.planned.release_hash


def load(planned: PlannedRelease) -> tuple[LoadedRelease, Proof]:
    """Read, verify, load and exercise a release; nothing is answered by it yet.

    The proof sends the recorded rows through the same JSON decoding that requests take. How the release runs here
    (its serving plan) is measured the first time and kept beside the workspace's releases. Raises Corrupt when
    stored bytes do not match their digest, Invalid when recorded predictions are not reproduced.
    """
    began = time.perf_counter()
    path = Path(planned.path)
    release = read(planned)
    columns, expected = read_recorded(path, release)
    recorded = Recorded(through_json(columns, release), expected)
    said = version_warnings(release.environment)
    try:
        chosen = choose(planned, release, recorded)
    except Invalid as exc:
        raise Invalid(exc.message, hint=exc.hint, details=(*exc.details, *said)) from exc
    if not chosen.reproduced.all:
        raise Invalid(
            f"release {planned.release_hash[:SHORT_HASH]} reproduces {chosen.reproduced.rows} of"
            f" {chosen.reproduced.of} recorded predictions in this environment",
            hint=f"install the library versions it was shipped with: pip install -r {path / 'requirements.txt'}",
            details=(*chosen.reproduced.mismatches, *said),
        )
    loaded = LoadedRelease(planned, release, chosen.predict, chosen.form, recorded.rows, expected, agrees=chosen.agrees)
    return loaded, _proof(planned, release, chosen, said, load_s=time.perf_counter() - began)


def _proof(planned: PlannedRelease, release: Release, chosen: Chosen, said: tuple[str, ...], *, load_s: float) -> Proof:
    return Proof(
        release_hash=planned.release_hash,
        recorded_rows=chosen.reproduced.of,
        reproduced_rows=chosen.reproduced.rows,
        placement=place(planned, release, chosen.speed),
        form=chosen.form,
        load_s=load_s,
        p50_s=chosen.speed.p50_s,
        p95_s=chosen.speed.p95_s,
        p99_s=chosen.speed.p99_s,
        capacity_rows_per_s=chosen.speed.capacity_rows_per_s,
        max_call_rows=chosen.max_call_rows,
        considered=chosen.considered,
        warnings=said,
    )


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


def still_reproduces(loaded: LoadedRelease) -> bool:
    """A canned prediction: whether the first recorded row gives what it did at ship. True without any."""
    rows, expected = loaded.canned
    if len(expected.prediction) == 0:
        return True
    try:
        return loaded.agrees(loaded.predict(rows), expected).all
    except Exception as exc:  # noqa: BLE001 (whatever it is, the release does not answer)
        log.error("a recorded row fails", extra={"release": loaded.release_hash[:SHORT_HASH], "why": str(exc)[:300]})
        return False


def place(planned: PlannedRelease, release: Release, speed: Speed) -> Literal["loop", "thread", "worker"]:
    """Where a release runs: where it was sent; else data in well-known libraries in the event loop while one row is
    quick, and in a thread of its own when it is not; somebody's Python code in a process of its own.

    Nothing is known of the speed of a release without recorded rows, so it stays out of the loop.
    """
    if planned.placement != "auto":
        return planned.placement
    if planned.own_env or not data_only(release):
        return "worker"
    return "loop" if 0.0 < speed.p50_s <= LOOP_LIMIT_S else "thread"


def belongs_elsewhere(planned: PlannedRelease) -> bool:
    """Whether a release is to run in a process of its own, which is known before anything of it is loaded."""
    if planned.placement != "auto":
        return planned.placement == "worker"
    return planned.own_env or not data_only(read(planned))


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
