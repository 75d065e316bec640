"""The spool: framed, checksummed records of what was answered, from the inference process to control.

A file is a sequence of frames, only ever appended to:

    magic (8 bytes) | payload length (u32) | CRC-32 of length and payload (u32) | payload

all little-endian; the payload is a MessagePack list of `Batch`. A frame cut short by a kill or a full disk is
never mistaken for data, and one that was damaged costs itself alone: reading goes on at the next magic.

This module is all of `predictions` that the inference process imports; keep heavy imports out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.ids import now_ms, uuid7
from mlspine.core.types import Columns

SUFFIX = ".spool"
ROTATE_BYTES = 16 * 1024 * 1024
# 0xff cannot stand in UTF-8, so no text of a caller looks like the start of a frame.
MAGIC = b"\xffMLSP\x01\r\n"
_SCRUB_BYTES = 1 << 20
_HEADER = struct.Struct("<8sII")
_LENGTH = struct.Struct("<I")
_MAX_PAYLOAD_BYTES = 2**32 - 1

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["f", "i", "b", "M", "O"]
_KINDS: dict[str, Kind] = {"f": "f", "i": "i", "u": "i", "b": "b", "M": "M"}  # numpy's letter to ours
_DTYPES: dict[Kind, str] = {"f": "<f8", "i": "<i8", "b": "|b1", "M": "<M8[us]"}


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column in transit. `data` is raw little-endian bytes for numbers, booleans and times
    (microseconds), the values themselves for kind "O"; `width` is the second axis of a matrix, else 0."""

    name: str
    kind: Kind
    data: bytes | list[Any]
    width: int = 0


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """The rows answered by one model call of one endpoint and release.

    Per request: request_ids, row_counts, received_at_ms, latency_s, callers (or empty). Per row, in the order
    of the requests: inputs, prediction, score (raw float64, or empty where the model gives none), event_at_ms
    (or empty: the time of receipt), keys (or empty). dropped_rows: answered before these and never written.
    first_rows: per request the number of its first row here (or empty: 0), where its rows are told in parts.
    path: which way the answers took: "live", "candidate", "fallback", by the declared "rule"; or "shadow", which was
    no answer to anybody.
    """

    endpoint: str
    release_hash: str
    version: int
    revision: int
    request_ids: list[str]
    row_counts: list[int]
    received_at_ms: list[int]
    latency_s: list[float]
    inputs: list[Column]
    prediction: Column
    score: bytes = b""
    event_at_ms: list[int] = []
    keys: list[str | None] = []
    callers: list[str] = []
    path: str = "live"
    dropped_rows: int = 0
    first_rows: list[int] = []

    @property
    def rows(self) -> int:
        return sum(self.row_counts)


class Frame(NamedTuple):
    """One frame read back, where the next begins, and how many damaged bytes were passed over before it."""

    batches: list[Batch]
    next_offset: int
    skipped_bytes: int


def encode_column(name: str, values: Array) -> Column:
    """A column of `Columns` (1-D, or 2-D for a vector) as it travels.

    >>> decode_column(encode_column("a", np.array([1.5, np.nan])))
    array([1.5, nan])
    """
    width = values.shape[1] if values.ndim == 2 else 0
    kind = _KINDS.get(values.dtype.kind, "O")
    if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        kind = "O"
    if kind == "O":
        return Column(name, kind, values.tolist(), width)
    return Column(name, kind, np.ascontiguousarray(values, dtype=_DTYPES[kind]).tobytes(), width)


def decode_column(column: Column) -> Array:
    """The array of a column; numeric ones are read-only views of the frame's bytes."""
    if isinstance(column.data, bytes):
        flat = np.frombuffer(column.data, dtype=_DTYPES[column.kind])
        return flat.reshape(-1, column.width) if column.width else flat
    values = np.empty(len(column.data), dtype=object)
    values[:] = column.data
    return values


def encode_columns(columns: Columns) -> list[Column]:
    """All columns of a table, in its order."""
    return [encode_column(name, values) for name, values in columns.items()]


def decode_columns(columns: Iterable[Column]) -> Columns:
    """The table back."""
    return {column.name: decode_column(column) for column in columns}


def encode_frame(batches: list[Batch]) -> bytes:
    """One frame, ready to be appended to a file."""
    try:
        payload = _encoder.encode(batches)
    except (OverflowError, UnicodeEncodeError):  # whole numbers beyond 64 bits, text that is no Unicode
        payload = _encoder.encode([_representable(batch) for batch in batches])
    if len(payload) > _MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes exceeds {_MAX_PAYLOAD_BYTES}")
    length = _LENGTH.pack(len(payload))
    return b"".join((MAGIC, length, _LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))), payload))


def read_frames(path: Path, offset: int = 0) -> Iterator[Frame]:
    """The whole frames from `offset` on; ends without an error at a tail that is not (yet) a frame.

    Call it again later with the last `next_offset` to go on. Holds what is left of the file in memory: one
    rotation's worth.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = memoryview(file.read())
    yield from (frame._replace(next_offset=frame.next_offset + offset) for frame in decode_frames(data))


def decode_frames(data: bytes | memoryview) -> Iterator[Frame]:
    """The whole frames in some bytes, skipping damaged ones where a sound one follows."""
    whole = bytes(data)  # bytes.find has no equal for memoryviews
    position = 0
    while True:
        start = position
        found = _frame_at(whole, start)
        while found is None:
            start = whole.find(MAGIC, start + 1)
            if start < 0:
                return
            found = _frame_at(whole, start)
        batches, end = found
        yield Frame(batches, end, start - position)
        position = end


class SpoolWriter:
    """Appends batches to `directory/NAME-<uuid7>.spool`: one write per call and no fsync.

    What was appended survives the death of the process, not the loss of power. A new file is begun beyond
    `rotate_bytes`. The open file is held under a shared lock that ends with the process, so that the reader
    knows when nothing more can come.
    """

    def __init__(self, directory: Path, name: str, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._directory = directory
        self._name = name
        self._rotate_bytes = rotate_bytes
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._begun_at_ms = 0

    def append(self, batches: list[Batch]) -> int:
        """Write one frame; returns its bytes. Raises OSError (full disk, missing folder), nothing written.

        After an error the next call tries again; the caller decides what to keep and what to drop.
        """
        frame = encode_frame(batches)
        if self._descriptor is None or self._size_bytes >= self._rotate_bytes:
            self.close()
            # Ids of one millisecond have no order; the files of one writer must.
            self._begun_at_ms = max(now_ms(), self._begun_at_ms + 1)
            self._descriptor = _create(self._directory, f"{self._name}-{uuid7(self._begun_at_ms)}")
        try:
            _write_whole(self._descriptor, frame)
        except OSError:
            self._cut_back(self._descriptor)
            raise
        self._size_bytes += len(frame)
        return len(frame)

    def close(self) -> None:
        """Close the file; a later append begins another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._size_bytes = 0

    def _cut_back(self, descriptor: int) -> None:
        """Take a half-written frame off the end, or leave the file: nothing may follow half a frame."""
        try:
            os.ftruncate(descriptor, self._size_bytes)
        except OSError:
            self.close()


def spool_files(directory: Path) -> list[Path]:
    """The spool files of a folder, oldest first."""
    return sorted(directory.glob(f"*{SUFFIX}"), key=lambda path: path.name[-(36 + len(SUFFIX)) :])


def scrub(path: Path, end: int) -> None:
    """Overwrite the first `end` bytes of a spool file with zeros; what is appended meanwhile is not touched.

    For bytes that were read and committed: nothing reads them again.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        zeros = bytes(min(end, _SCRUB_BYTES))
        for position in range(0, end, _SCRUB_BYTES):
            os.pwrite(descriptor, memoryview(zeros)[: end - position], position)
    finally:
        os.close(descriptor)


def _create(directory: Path, stem: str) -> int:
    path = directory / f"{stem}{SUFFIX}"
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        # The reader took the empty, not yet locked file for a dead writer's and removed it.
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):  # a disk that fills up takes a part first and fails on the rest
        more = os.write(descriptor, memoryview(data)[written:])
        if not more:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def _frame_at(data: bytes, start: int) -> tuple[list[Batch], int] | None:
    """The frame that begins at `start` and its end, None when no sound one does."""
    if len(data) - start < _HEADER.size:
        return None
    magic, length, checksum = _HEADER.unpack_from(data, start)
    begin, end = start + _HEADER.size, start + _HEADER.size + length
    if magic != MAGIC or end > len(data):
        return None
    payload = memoryview(data)[begin:end]
    if zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) != checksum:
        return None
    try:
        return _decoder.decode(payload), end
    except msgspec.DecodeError:
        return None


def _representable(batch: Batch) -> Batch:
    """The batch with what MessagePack has no form for replaced by its nearest text."""

    def value(each: Any) -> Any:
        if isinstance(each, str):
            return each.encode("utf-8", "replace").decode("utf-8")
        return str(each) if isinstance(each, int) and not -(2**63) <= each < 2**64 else each

    def column(each: Column) -> Column:
        plain = each.data if isinstance(each.data, bytes) else [value(item) for item in each.data]
        return Column(each.name, each.kind, plain, each.width)

    return msgspec.structs.replace(
        batch,
        inputs=[column(each) for each in batch.inputs],
        prediction=column(batch.prediction),
        keys=[value(key) for key in batch.keys],
        callers=[value(caller) for caller in batch.callers],
    )


def _plain(value: Any) -> Any:
    """numpy scalars and other values in an object column, as what MessagePack can carry."""
    return value.item() if isinstance(value, np.generic) else str(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder = msgspec.msgpack.Decoder(list[Batch])
