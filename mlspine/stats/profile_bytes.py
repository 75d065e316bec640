"""Profiles and references as bytes: counters as varints, so that 64 bins take about 200 bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from mlspine.core.errors import Conflict, Corrupt
from mlspine.stats.bins import Array, NumericPart, Part, Profile, Reference, Tally
from mlspine.stats.layout import check_reference

_MOMENTS = struct.Struct("<4d")
_MAGIC = b"\x01"


def encode(profile: Profile) -> bytes:
    """A profile as bytes: counters as varints, moments as four doubles; equal profiles, equal bytes."""
    out = bytearray(_MAGIC + bytes.fromhex(profile.reference_id))
    _put_varint(out, profile.rows)
    for tally in profile.parts:
        for count in tally.counts.tolist():
            _put_varint(out, count)
        out += _MOMENTS.pack(tally.mean, tally.m2, tally.low, tally.high) if tally.low <= tally.high else b""
        _put_varint(out, len(tally.names))
        for name, count in sorted(tally.names.items()):
            text = name.encode()
            _put_varint(out, len(text))
            out += text
            _put_varint(out, count)
    return bytes(out)


def decode(data: bytes, reference: Reference) -> Profile:
    """Read a profile back. Raises Conflict on another reference's profile, Corrupt on damaged bytes."""
    reader = _Reader(data)
    try:
        if reader.take(1) != _MAGIC:
            raise Corrupt("these bytes are not a profile")
        reference_id = reader.take(len(reference.id) // 2).hex()
        if reference_id != reference.id:
            raise Conflict(
                f"the profile counts on reference {reference_id}, not on {reference.id}",
                hint="read it with the baseline of the release it was recorded for",
            )
        rows = reader.varint()
        parts = tuple(_read_tally(reader, part) for part in reference.parts)
    except (IndexError, UnicodeDecodeError, OverflowError) as exc:
        raise Corrupt(f"the profile is damaged at byte {reader.at} of {len(data)}") from exc
    if reader.at != len(data):
        raise Corrupt(f"the profile has {len(data) - reader.at} bytes too many")
    return Profile(reference_id=reference.id, rows=rows, parts=parts)


def encode_reference(reference: Reference) -> bytes:
    """A reference as bytes, the same for the same reference."""
    return ENCODER.encode(reference)


def decode_reference(data: bytes) -> Reference:
    """Read a reference back; raises Corrupt when the bytes are damaged or the id does not match the bins."""
    try:
        reference = _REFERENCE_DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError) as exc:
        raise Corrupt(f"the reference cannot be read: {exc}") from exc
    check_reference(reference)
    return reference


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)


class _Reader:
    """A position in some bytes; IndexError past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise IndexError("past the end")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def _read_tally(reader: _Reader, part: Part) -> Tally:
    counts = np.array([reader.varint() for _ in range(part.counters)], dtype=np.int64)
    moments = (0.0, 0.0, math.inf, -math.inf)
    if isinstance(part, NumericPart) and counts[: part.bins].any():
        moments = _MOMENTS.unpack(reader.take(_MOMENTS.size))
    names: dict[str, int] = {}
    for _ in range(reader.varint()):
        name = reader.take(reader.varint()).decode()
        names[name] = reader.varint()
    mean, m2, low, high = moments
    return Tally(counts=counts, mean=mean, m2=m2, low=low, high=high, names=names)


def _array_out(value: object) -> list[object]:
    if isinstance(value, np.ndarray):
        return [value.dtype.newbyteorder("<").str, value.astype(value.dtype.newbyteorder("<")).tobytes()]
    raise TypeError(f"{type(value).__name__} is not part of a profile")


def _array_in(_: type, value: Any) -> Array:
    dtype, data = value
    return np.frombuffer(data, dtype=dtype).astype(np.dtype(dtype).newbyteorder("="))


ENCODER = msgspec.msgpack.Encoder(enc_hook=_array_out, order="deterministic")
DECODE_HOOK: Callable[[type, Any], Array] = _array_in
_REFERENCE_DECODER = msgspec.msgpack.Decoder(Reference, dec_hook=DECODE_HOOK)
