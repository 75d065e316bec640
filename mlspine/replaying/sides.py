"""The two releases of a replay: loaded here, handed logged rows, answering the same question."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import Denied, Invalid, MlspineError
from mlspine.core.ids import SHORT_HASH
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Columns, ModelVersion, Release
from mlspine.registry.bare import require_whole
from mlspine.registry.flavors import score_of
from mlspine.registry.release import read_release
from mlspine.replaying import differences
from mlspine.replaying.differences import Answers
from mlspine.replaying.rows import Part, listed
from mlspine.serving import runtime
from mlspine.serving.runtime import LoadedRelease

CALL_ROWS = 1_024


def comparable(a: ModelVersion, b: ModelVersion) -> tuple[Release, Release]:
    """The two releases; Denied for one whose code may not run here, Invalid where they answer different questions."""
    if a.release_hash == b.release_hash:
        raise Invalid(
            f"{a.model}:{a.version} and {b.model}:{b.version} are the same release {a.release_hash[:SHORT_HASH]}",
            hint=f"name two that differ: mlspine models {a.model}",
        )
    one, other = (_opened(each) for each in (a, b))
    if one.signature.task != other.signature.task:
        raise Invalid(
            f"{a.model}:{a.version} is for {one.signature.task}, {b.model}:{b.version} for {other.signature.task}:"
            " their answers cannot be compared",
            hint=f"see what each gives: mlspine models {a.model}",
        )
    return one, other


def _opened(version: ModelVersion) -> Release:
    require_whole(version)
    if not version.trusted:
        ref = f"{version.model}:{version.version}"
        raise Denied(f"{ref} came from elsewhere and nobody has vouched for it", hint=f"mlspine trust {ref}")
    return read_release(Path(version.path))


def load(version: ModelVersion) -> LoadedRelease:
    """The release in this process, shown to reproduce what was recorded at ship."""
    planned = PlannedRelease(
        release_hash=version.release_hash, version=version.version, path=version.path, placement="auto"
    )
    return runtime.load(planned)[0]


def columns_of(part: Part, loaded: LoadedRelease, version: ModelVersion) -> Columns:
    """The rows as this release takes them."""
    try:
        return part.columns(loaded.release.signature.inputs)
    except Invalid as exc:
        raise Invalid(
            f"{version.model}:{version.version} cannot be asked what is in the log: {exc.message}",
            details=exc.details,
            hint="compare releases that take the same types of columns",
        ) from exc


def answers_of(loaded: LoadedRelease, columns: Columns, version: ModelVersion, *, withheld: tuple[str, ...]) -> Answers:
    """What this release answers now, CALL_ROWS rows at a time."""
    found = []
    task = loaded.release.signature.task
    for start in range(0, len(next(iter(columns.values()))), CALL_ROWS):
        some = take(columns, slice(start, start + CALL_ROWS))
        try:
            outputs = loaded.predict(some)
        except MlspineError:
            raise
        except Exception as exc:
            missing = f", which was given {listed(withheld)} as missing" if withheld else ""
            raise Invalid(
                f"{version.model}:{version.version}{missing} fails on logged rows:"
                f" {type(exc).__name__}: {str(exc)[:300]}",
                hint="take another span: --from, --to; or a release that can answer these rows",
            ) from exc
        score = score_of(outputs, task)
        prediction = np.empty(len(outputs.prediction), dtype=object)
        prediction[:] = outputs.prediction.tolist()
        unscored = np.full(len(prediction), np.nan)
        found.append(Answers(prediction, unscored if score is None else score.astype(np.float64)))
    return differences.joined(found)
