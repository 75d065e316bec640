"""Candidate and Production on the same rows that neither was fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.columns import row_count, take
from mlspine.core.errors import Denied
from mlspine.core.types import Columns, ModelVersion, Release, Scalar
from mlspine.governance.promotion import SLICE_ROWS, Comparison, Mode, Slice
from mlspine.registry.bare import require_whole
from mlspine.registry.fitted_rows import input_digests, seen_rows
from mlspine.registry.flavors import Predictor
from mlspine.registry.prepare import differing
from mlspine.registry.recipe import Recipe
from mlspine.registry.release import load_predictor, read_fitted_rows, read_recorded, read_release
from mlspine.retraining.slices import slices
from mlspine.stats.paired import Gain, paired_gain

Array = np.ndarray[Any, np.dtype[Any]]
SLICE_RESAMPLES = 500  # enough for a standard error, which is all a slice is judged by


class Side(NamedTuple):
    """One of the two: a version, its release, its recipe."""

    version: ModelVersion
    release: Release
    recipe: Recipe


class Rows(NamedTuple):
    """Rows for both with their labels. columns: every input that either takes."""

    columns: Columns
    labels: Array
    said: str


class Unseen(NamedTuple):
    """Which rows neither was fitted on, how many were left out, and why that is not certain ("" when it is)."""

    kept: Array
    excluded: int
    unproven: str


def open_release(version: ModelVersion) -> Release:
    """The release of a version whose code may run here; Denied for one that nobody has vouched for."""
    require_whole(version)
    if not version.trusted:
        raise Denied(
            f"{version.model}:{version.version} came as a file whose code is not trusted yet; it was not loaded",
            hint=f"when its origin is right: mlspine trust {version.model}:{version.version}",
        )
    return read_release(Path(version.path))


def mode_of(candidate: Side, production: Side) -> Mode:
    """A refresh has Production's recipe and other rows; everything else is a new recipe."""
    same = candidate.recipe.identity != "" and candidate.recipe.identity == production.recipe.identity
    return "refresh" if same and candidate.release.data != production.release.data else "new recipe"


def unseen(columns: Columns, *sides: tuple[ModelVersion, Release]) -> Unseen:
    """Rows that none of these releases was fitted on, by the digests each carries."""
    seen = np.zeros(row_count(columns), dtype=np.bool_)
    doubts = []
    for version, release in sides:
        fitted_on = read_fitted_rows(Path(version.path))
        if fitted_on is None:
            doubts.append(f"{version.model}:{version.version} was shipped before digests of its rows were kept")
            continue
        seen |= seen_rows(input_digests(columns, release.signature.inputs), fitted_on)
    return Unseen(np.flatnonzero(~seen), int(seen.sum()), "; ".join(doubts))


def compare(candidate: Side, production: Side, rows: Rows, *, excluded: int = 0, unproven: str = "") -> Comparison:
    """The measured comparison on rows already known to be unseen."""
    reproduced, recorded = _sentinels(candidate)
    same = candidate.version.release_hash == production.version.release_hash
    gain, parts = _gains(candidate, production, rows)
    return Comparison(
        model=candidate.version.model,
        candidate=candidate.version.version,
        production=production.version.version,
        gain=gain,
        slices=parts,
        rows_from=rows.said,
        excluded=excluded,
        unproven=unproven,
        same_release=same,
        recorded=recorded,
        reproduced=reproduced,
    )


def _gains(candidate: Side, production: Side, rows: Rows) -> tuple[Gain, tuple[Slice, ...]]:
    task = production.release.signature.task
    if candidate.release.signature.task != task:
        reason = f"one is for {task}, the other for {candidate.release.signature.task}"
        return Gain(metric="quality", relative=False, rows=len(rows.labels), reason=reason), ()
    classes = _classes(production.release, candidate.release)
    before, after = _answers(production, rows.columns), _answers(candidate, rows.columns)
    gain = paired_gain(task, rows.labels, before, after, classes)
    parts = tuple(
        Slice(
            name=name,
            gain=paired_gain(task, rows.labels[at], before[at], after[at], classes, resamples=SLICE_RESAMPLES),
        )
        for name, at in slices(rows.columns, production.release.signature.inputs, least_rows=SLICE_ROWS)
    )
    return gain, parts if gain.interval is not None else ()


def _classes(production: Release, candidate: Release) -> tuple[Scalar, ...]:
    """Production's first, so that the class F1 is about stays the same."""
    return tuple(dict.fromkeys([*production.signature.classes, *candidate.signature.classes]))


def _answers(side: Side, columns: Columns) -> Array:
    return _predictor(side)(columns).prediction if row_count(columns) else np.zeros(0)


def _predictor(side: Side) -> Predictor:
    return load_predictor(Path(side.version.path), side.release)


def _sentinels(side: Side) -> tuple[int, int]:
    """Recorded rows that the release answers as it did at ship, of all that were recorded."""
    columns, expected = read_recorded(Path(side.version.path), side.release)
    recorded = len(expected.prediction)
    return recorded - differing(_predictor(side)(columns), expected), recorded


def restrict(rows: Rows, at: Array) -> Rows:
    """Only the rows at these positions."""
    return Rows(take(rows.columns, at), rows.labels[at], rows.said)
