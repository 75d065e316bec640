"""Asking an ONNX model, which is bytes: one thread, no spinning, and of its outputs only what is needed.

An ONNX file holds data and a graph of fixed operators, so it needs nobody's trust. onnxruntime (extra `onnx`) is
imported when the first one is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid, MissingExtra

Array = np.ndarray[Any, np.dtype[Any]]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
NUMPY_KINDS: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": np.dtype(object),
}
FLOATS = ("tensor(float)", "tensor(double)")


class OnnxSession:
    """One model at hand. inputs: name and numpy type of each; output: the one that is asked for."""

    def __init__(self, model: bytes, providers: Sequence[str] = (CPU,)) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as exc:
            raise MissingExtra("an ONNX model needs ONNX Runtime", hint="pip install 'mlspine[onnx]'") from exc
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=list(providers))
        except Exception as exc:
            said = str(exc).splitlines()[0][:300]
            raise Invalid(f"the ONNX model cannot be loaded: {said}", hint="check it with onnx.checker") from exc
        self._run = session.run
        self.inputs = {each.name: _numpy_kind(each) for each in session.get_inputs()}
        self.output = _wanted(session.get_outputs())

    def run(self, given: dict[str, Array]) -> Array:
        """The model's numbers, float64: shape (n,) or (n, k)."""
        values = np.asarray(self._run([self.output], given)[0], dtype=np.float64)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def onnx_bytes(model: Any) -> Any:
    """The bytes of an `onnx.ModelProto`, which is how such a model is kept; anything else as it is."""
    home = type(model).__module__.partition(".")[0]
    return model.SerializeToString() if home == "onnx" and type(model).__name__ == "ModelProto" else model


def asked(model: bytes) -> Callable[[Any], Array]:
    """The call from rows to the model's numbers: a matrix where it has one input, else a frame's columns by name."""
    return asked_by(OnnxSession(model))


def asked_by(session: OnnxSession) -> Callable[[Any], Array]:
    """The same for a session at hand."""
    if len(session.inputs) == 1:
        ((name, kind),) = session.inputs.items()

        def by_matrix(rows: Any) -> Array:
            with np.errstate(over="ignore"):  # beyond float32 is infinity there
                return session.run({name: np.ascontiguousarray(rows, dtype=kind)})

        return by_matrix
    inputs = session.inputs

    def by_name(rows: Any) -> Array:
        return session.run({name: column_of(rows[name], kind) for name, kind in inputs.items()})

    return by_name


def column_of(values: Any, kind: np.dtype[Any]) -> Array:
    """One column as a model with an input per column takes it, shape (n, 1)."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(kind, copy=False).reshape(-1, 1)


def _numpy_kind(given: Any) -> np.dtype[Any]:
    try:
        return NUMPY_KINDS[given.type]
    except KeyError:
        raise Invalid(
            f"input {given.name!r} of the ONNX model is a {given.type}",
            hint=f"supported: {', '.join(NUMPY_KINDS)}",
        ) from None


def _wanted(outputs: Sequence[Any]) -> str:
    """The output with the probabilities, else the only one with numbers."""
    numbers = [each.name for each in outputs if each.type in FLOATS]
    named = [name for name in numbers if "prob" in name.lower()]
    if len(named) == 1 or len(numbers) == 1:
        return str((named or numbers)[0])
    if any("map" in each.type for each in outputs):
        raise Invalid("the ONNX model gives its probabilities as maps", hint="convert it again with zipmap off")
    raise Invalid(
        f"the ONNX model has the outputs {', '.join(each.name for each in outputs)}",
        hint="leave one with numbers, or name one of them 'probabilities'",
    )
