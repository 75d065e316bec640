"""Asking a PyTorch module: one float32 tensor of all columns, in inference mode, on the processor.

torch is imported only by a process that holds such a module already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid

Array = np.ndarray[Any, np.dtype[Any]]


def is_module(model: Any) -> bool:
    """Whether it is a `torch.nn.Module` without a `predict` of its own."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module) and not callable(getattr(model, "predict", None))


def asked(model: Any) -> Callable[[Any], Array]:
    """The call from rows (frame or matrix of numbers) to the module's numbers: float64, (n,) or (n, k).

    Raises Invalid for a module in training mode, whose answers depend on chance and on the batch.
    """
    if model.training:
        raise Invalid("the module is in training mode", hint="call model.eval() before it is shipped")
    import torch

    place = next(iter(model.parameters()), torch.empty(0)).device

    def answers(rows: Any) -> Array:
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(rows, dtype=np.float32)
        with torch.inference_mode():
            given = model(torch.from_numpy(matrix).to(place))
        if not isinstance(given, torch.Tensor):
            raise Invalid(
                f"the module gives a {type(given).__name__}, not a tensor",
                hint="wrap it in a module whose forward returns the probabilities or values alone",
            )
        values: Array = given.cpu().numpy().astype(np.float64)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

    return answers
