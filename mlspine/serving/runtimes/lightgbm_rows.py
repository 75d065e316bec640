"""LightGBM on a bare matrix, by its C interface: 7 us for one row where `Booster.predict` takes 60.

One row goes through a prepared call that parses no parameters; several through the ordinary one. Both use one
thread: a second one costs more than it brings for the few rows of a request, and serving has a process per core.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Schema
from mlspine.registry.flavors import (
    Array,
    Flavor,
    MatrixPredictor,
    booster_outputs,
    canonical,
    matrix_of,
    plain_booster,
    rounding_of,
)

_FLOAT64, _ROW_MAJOR, _NORMAL = 1, 1, 0
_PARAMETERS = b"num_threads=1"
_ADDRESS = ctypes.c_void_p


def lightgbm_predictor(model: Any, flavor: Flavor, schema: Schema) -> MatrixPredictor:
    """The predictor of a fitted LightGBM model or booster on numeric columns.

    Raises Invalid for an objective of one's own, and where this version of the library lacks the calls.
    """
    booster = model if flavor.method == "booster" else plain_booster(model)
    raw = _raw(booster, len(schema.fields))
    classes, task, rounded = canonical(flavor.classes), flavor.task, rounding_of(schema)
    return MatrixPredictor(matrix_of(schema), lambda rows: booster_outputs(raw(rounded(rows)), task, classes))


class _Calls:
    """The two C functions. The one for single rows keeps the GIL: letting it go takes longer than the call."""

    def __init__(self, library: str) -> None:
        quick = ctypes.PyDLL(library)
        self.row = quick.LGBM_BoosterPredictForMatSingleRowFast
        self.row.argtypes = [_ADDRESS] * 4
        self.prepare = quick.LGBM_BoosterPredictForMatSingleRowFastInit
        self.prepare.argtypes = [_ADDRESS, *[ctypes.c_int] * 4, ctypes.c_int32, ctypes.c_char_p, _ADDRESS]
        self.free = quick.LGBM_FastConfigFree
        self.free.argtypes = [_ADDRESS]
        self.rows = ctypes.CDLL(library).LGBM_BoosterPredictForMat
        self.rows.argtypes = [
            _ADDRESS,
            _ADDRESS,
            ctypes.c_int,
            *[ctypes.c_int32] * 2,
            *[ctypes.c_int] * 4,
            ctypes.c_char_p,
            _ADDRESS,
            _ADDRESS,
        ]
        self.last_error = quick.LGBM_GetLastError
        self.last_error.restype = ctypes.c_char_p


class _Raw:
    """The library's numbers for a float64 matrix: shape (n,), or (n, k) for k classes."""

    def __init__(self, booster: Any, columns: int) -> None:
        basic: Any = importlib.import_module("lightgbm.basic")
        self._calls = _Calls(basic._LIB._name)
        self._booster = booster  # whose handle is used
        self._handle = int(booster._handle.value)
        self._columns = columns
        self._width = int(booster.num_model_per_iteration())
        self._rounds = int(booster.best_iteration) if booster.best_iteration > 0 else -1
        self._written = ctypes.c_int64()
        self._written_at = ctypes.addressof(self._written)
        fast = ctypes.c_void_p()
        self._check(
            self._calls.prepare(
                self._handle, _NORMAL, 0, self._rounds, _FLOAT64, columns, _PARAMETERS, ctypes.addressof(fast)
            )
        )
        self._fast = fast.value
        weakref.finalize(self, self._calls.free, self._fast)

    def __call__(self, rows: Array) -> Array:
        count = len(rows)
        if rows.shape[1] != self._columns or not rows.flags.c_contiguous:
            raise ValueError(f"a contiguous matrix of {self._columns} columns is needed, not {rows.shape}")
        answers: Array = np.empty(count * self._width, dtype=np.float64)
        if count == 1:
            code = self._calls.row(self._fast, rows.ctypes.data, self._written_at, answers.ctypes.data)
        else:
            code = self._calls.rows(
                self._handle,
                rows.ctypes.data,
                _FLOAT64,
                count,
                self._columns,
                _ROW_MAJOR,
                _NORMAL,
                0,
                self._rounds,
                _PARAMETERS,
                self._written_at,
                answers.ctypes.data,
            )
        self._check(code)
        return answers if self._width == 1 else answers.reshape(count, self._width)

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(f"LightGBM: {(self._calls.last_error() or b'').decode(errors='replace')}")


def _raw(booster: Any, columns: int) -> _Raw:
    if int(booster.num_feature()) != columns:
        raise Invalid(f"the booster takes {booster.num_feature()} columns, the release has {columns}")
    try:
        return _Raw(booster, columns)
    except (AttributeError, ImportError, OSError, RuntimeError) as exc:
        raise Invalid(f"LightGBM's calls for single rows cannot be used: {exc}", hint='use form="matrix"') from exc
