"""Tensors of the Open Inference Protocol: their datatypes, and their bytes in the binary extension.

Bytes are little endian, row major, without padding. BOOL is one byte each; each element of BYTES is its length in four
bytes, then itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.errors import Invalid

Array = np.ndarray[Any, np.dtype[Any]]
Buffer = bytes | memoryview

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("u1"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),  # the upper half of an FP32
}
HALVES = frozenset({"FP16", "BF16"})
FLOATS = frozenset({"FP32", "FP64"}) | HALVES
INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
DATATYPES = FLOATS | INTEGERS | {"BOOL", "BYTES"}
_OF_KIND = {"i": "INT64", "u": "UINT64", "f": "FP64", "b": "BOOL"}
_LENGTH = struct.Struct("<I")


class Tensor(NamedTuple):
    """A tensor whose element count matches its shape. values: flat, as an array of numbers or a list of anything."""

    datatype: str
    shape: tuple[int, ...]
    values: Array | list[Any]


def tensor_from_bytes(datatype: str, shape: Sequence[int], raw: Buffer) -> Tensor:
    """A tensor as it lies in a binary body; numbers share memory with `raw`. Raises Invalid.

    >>> tensor_from_bytes("FP16", [2], bytes.fromhex("003c0040")).values
    array([1., 2.], dtype=float16)
    >>> tensor_from_bytes("BYTES", [1], b"\\x02\\x00\\x00\\x00ab").values
    ['ab']
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(datatype, tuple(shape), _texts(raw, count))
    dtype = DTYPES[datatype]
    if count * dtype.itemsize != len(raw):
        raise Invalid(f"{len(raw)} bytes for {datatype} of shape {list(shape)}, which takes {count * dtype.itemsize}")
    values = np.frombuffer(raw, dtype=dtype)
    if datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif datatype == "BOOL":
        if count and values.max() > 1:
            raise Invalid(f"BOOL takes bytes of 0 and 1, got {values.max()}")
        values = values.astype(np.bool_)
    return Tensor(datatype, tuple(shape), values)


def tensor_to_bytes(values: Array) -> bytes:
    """The bytes of an array whose datatype is `datatype_of(values)`.

    >>> tensor_to_bytes(np.array(["ab"], dtype=object))
    b'\\x02\\x00\\x00\\x00ab'
    """
    datatype = datatype_of(values)
    if datatype != "BYTES":
        return values.astype(DTYPES[datatype], copy=False).tobytes()
    texts = [text.encode() for text in texts_of(values)]
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))


def datatype_of(values: Array) -> str:
    """The datatype in which an answer's array travels."""
    return _OF_KIND.get(values.dtype.kind, "BYTES")


def texts_of(values: Array) -> list[str]:
    """The elements as texts, flat."""
    return [value if isinstance(value, str) else str(value) for value in values.reshape(-1).tolist()]


def _texts(raw: Buffer, count: int) -> list[str]:
    texts: list[str] = []
    raw, at, end = bytes(raw), 0, len(raw)
    while at < end:
        if end - at < 4 or end - at - 4 < _LENGTH.unpack_from(raw, at)[0]:
            raise Invalid(f"BYTES end within element {len(texts)}")
        stop = at + 4 + _LENGTH.unpack_from(raw, at)[0]
        texts.append(text_of(raw[at + 4 : stop]))
        at = stop
    if len(texts) != count:
        raise Invalid(f"{len(texts)} elements of BYTES for a shape of {count}")
    return texts


def text_of(value: bytes) -> str:
    """An element of BYTES as text; raises Invalid for bytes that are none."""
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise Invalid(f"BYTES hold text in UTF-8 here, got {value[:20]!r}") from exc
