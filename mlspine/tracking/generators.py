"""The states of random number generators: Python's, numpy's, torch's. What is not imported is left alone."""

from __future__ import annotations

import contextlib
import random
import sys
from base64 import b85decode, b85encode
from collections.abc import Mapping
from typing import Any

import msgspec

from mlspine.core.errors import Corrupt


def states() -> dict[str, str]:
    """The state of each generator by its library, as text that `restore` takes."""
    found = {"random": _text(random.getstate())}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
        found["numpy"] = _text([str(name), keys.tobytes(), int(position), int(has_gauss), float(gauss)])
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch"] = _text(torch.get_rng_state().numpy().tobytes())
        with contextlib.suppress(RuntimeError):
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                found["torch.cuda"] = _text([each.cpu().numpy().tobytes() for each in torch.cuda.get_rng_state_all()])
    return found


def restore(kept: Mapping[str, str]) -> tuple[str, ...]:
    """Put generators back; returns the libraries done. One that is not imported here is not there to be set.

    >>> before = states(); first = random.random(); "random" in restore(before), random.random() == first
    (True, True)
    """
    try:
        return tuple(
            library for library, text in kept.items() if _restored(library, msgspec.msgpack.decode(b85decode(text)))
        )
    except (ValueError, msgspec.DecodeError) as exc:
        raise Corrupt(f"the recorded random states cannot be read: {exc}", hint="run the script anew") from exc


def _restored(library: str, state: Any) -> bool:
    module: Any = sys.modules.get(library.partition(".")[0])
    if module is None:
        return False
    if library == "random":
        random.setstate((state[0], tuple(state[1]), state[2]))
    elif library == "numpy":
        name, keys, position, has_gauss, gauss = state
        module.random.set_state((name, module.frombuffer(keys, dtype=module.uint32), position, has_gauss, gauss))
    elif library == "torch":
        module.set_rng_state(_bytes_of(module, state))
    elif library == "torch.cuda" and module.cuda.is_available():
        module.cuda.set_rng_state_all([_bytes_of(module, each) for each in state])
    else:
        return False
    return True


def _bytes_of(torch: Any, state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _text(state: Any) -> str:
    return b85encode(msgspec.msgpack.encode(state)).decode()
