"""Which rows a model is refitted on and which it is then asked about. Positions in, positions out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Fold = tuple[Array, Array]  # positions to fit on, positions to predict


def forward(at_ms: Array, *, folds: int) -> Iterator[Fold]:
    """Contiguous blocks of time, each predicted from strictly earlier rows; the first is never predicted.

    >>> [(fit.tolist(), ask.tolist()) for fit, ask in forward(np.array([30, 10, 20]), folds=2)]
    [([1], [2]), ([1, 2], [0])]
    """
    order = np.argsort(at_ms, kind="stable")
    for block in np.array_split(order, folds + 1)[1:]:
        if len(block):
            earlier = order[at_ms[order] < at_ms[block].min()]
            if len(earlier):
                yield earlier, block


def grouped(keys: Array, *, folds: int, seed: int = 0) -> Iterator[Fold]:
    """Rows of one key stay together, so no row is predicted by a model that saw its key."""
    _, group = np.unique(keys.astype(str), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    yield from _by_number(shuffled[group] % folds, folds)


def stratified(labels: Array, *, folds: int, seed: int = 0) -> Iterator[Fold]:
    """Random folds with about equal shares of each class."""
    _, classes = np.unique(labels.astype(str), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    number = np.empty(len(labels), dtype=np.int64)
    number[by_class] = np.arange(len(labels)) % folds
    yield from _by_number(number, folds)


def shuffled(rows: int, *, folds: int, seed: int = 0) -> Iterator[Fold]:
    """Random folds of equal size."""
    number = np.empty(rows, dtype=np.int64)
    number[np.random.default_rng(seed).permutation(rows)] = np.arange(rows) % folds
    yield from _by_number(number, folds)


def _by_number(number: Array, folds: int) -> Iterator[Fold]:
    for each in range(folds):
        asked = number == each
        if asked.any() and not asked.all():
            yield np.flatnonzero(~asked), np.flatnonzero(asked)
