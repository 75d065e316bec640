"""The serving plan of a release on a machine: which runtime, how many rows per call, and what was measured for it.

    <workspace>/plans/RELEASE HASH/
      MACHINE.json      one per machine and set of library versions, so that a changed one is measured again
      float32-DIGEST.onnx  double-DIGEST.onnx    converted models; the digest is in the name and in the plan

It follows from the release and the machine, so it is outside the release's hash; deleting it costs a measurement.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlspine.core.ids import digest_bytes, digest_json, uuid7
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Struct
from mlspine.serving.measuring import Speed
from mlspine.serving.runtimes.odd_rows import Refused

log = logging.getLogger(__name__)

FOLDER = "plans"
LIBRARIES = (
    "lightgbm",
    "mlspine",
    "numpy",
    "onnxmltools",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "skl2onnx",
    "torch",
    "xgboost",
)


class ServingPlan(Struct, frozen=True, kw_only=True):
    """What was found out. `choice`: what was asked for. `file`, `digest`: of the converted model, "" without one."""

    machine: dict[str, str]
    choice: str
    form: str
    speed: Speed
    max_call_rows: int
    considered: tuple[str, ...] = ()
    file: str = ""
    digest: str = ""
    refused: Refused = "nothing"  # numbers, by the converted model as by the one it was made of


def folder_of(planned: PlannedRelease) -> Path:
    """Where the plans of a release lie: beside the workspace's releases."""
    return Path(planned.path).parent.parent / FOLDER / planned.release_hash


@functools.cache
def this_machine() -> Mapping[str, str]:
    """What a measurement holds for: processor, its number, Python, and the libraries that models run by."""
    machine = {
        "processor": _processor(),
        "cpus": str(os.cpu_count() or 0),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            machine[name] = importlib.metadata.version(name)
    return machine


def find(planned: PlannedRelease) -> ServingPlan | None:
    """The plan made on this machine for this choice of runtime; None when there is none or it cannot be read."""
    path = _path(planned)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=ServingPlan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        log.warning("a serving plan cannot be read and is made anew", extra={"path": str(path), "why": str(exc)})
        return None
    return kept if kept.machine == dict(this_machine()) and kept.choice == planned.runtime else None


def keep(planned: PlannedRelease, plan: ServingPlan) -> None:
    """Write a plan, whole or not at all. A folder that cannot be written costs the next start a measurement."""
    write_whole(_path(planned), msgspec.json.encode(plan))


def read_converted(planned: PlannedRelease, plan: ServingPlan) -> bytes:
    """The converted model of a plan; b"" when it is missing, or not what was written, and then it is removed."""
    file = folder_of(planned) / plan.file
    try:
        data = file.read_bytes()
        if digest_bytes(data) == plan.digest:
            return data
        file.unlink()
    except OSError:
        pass
    return b""


def keep_converted(planned: PlannedRelease, precision: str, data: bytes) -> tuple[str, str]:
    """Write a converted model; its file name and digest."""
    digest = digest_bytes(data)
    name = f"{precision}-{digest[:16]}.onnx"
    write_whole(folder_of(planned) / name, data)
    return name, digest


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in place in one step; a failure is logged and leaves what was there."""
    draft = path.parent / f".draft-{uuid7()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as exc:
        log.warning("a serving plan cannot be kept", extra={"path": str(path), "why": str(exc)})
        with contextlib.suppress(OSError):
            draft.unlink()


def _path(planned: PlannedRelease) -> Path:
    key = digest_json({"machine": dict(this_machine()), "choice": planned.runtime})
    return folder_of(planned) / f"{key[:16]}.json"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
