"""Laws of the spool: what goes in comes out, and damage costs only what it touches."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlspine.predictions.spool import (
    MAGIC,
    Batch,
    SpoolWriter,
    decode_column,
    decode_frames,
    encode_column,
    encode_frame,
    read_frames,
    spool_files,
)

TEXT = st.text(max_size=12)
VALUES = st.one_of(st.none(), TEXT, st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False))
AT_MS = st.integers(0, 2**45)


def column_of(rows: int) -> st.SearchStrategy[np.ndarray]:
    kinds = [np.dtype("<f8"), np.dtype("<i8"), np.dtype("?"), np.dtype("<M8[us]")]
    raw = st.sampled_from(kinds).flatmap(lambda dtype: arrays.arrays(dtype, rows))
    vectors = arrays.arrays(np.float64, (rows, 3))
    objects = st.lists(VALUES, min_size=rows, max_size=rows).map(as_objects)
    return st.one_of(raw, vectors, objects)


def as_objects(values: list) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    counts = draw(st.lists(st.integers(0, 3), min_size=0, max_size=4))
    rows, requests = sum(counts), len(counts)

    def per(n: int, of: st.SearchStrategy) -> list:
        return draw(st.lists(of, min_size=n, max_size=n))

    names = draw(st.lists(TEXT, unique=True, max_size=3))
    return Batch(
        endpoint=draw(TEXT),
        release_hash=draw(TEXT),
        version=draw(st.integers(0, 9)),
        revision=draw(st.integers(0, 9)),
        request_ids=per(requests, TEXT),
        row_counts=counts,
        received_at_ms=per(requests, AT_MS),
        latency_s=per(requests, st.floats(0, 10)),
        inputs=[encode_column(name, draw(column_of(rows))) for name in names],
        prediction=encode_column("prediction", draw(column_of(rows))),
        score=draw(st.one_of(st.just(b""), st.binary(min_size=8 * rows, max_size=8 * rows))),
        event_at_ms=draw(st.sampled_from([[], None])) or per(rows, AT_MS),
        keys=per(rows, st.one_of(st.none(), TEXT)) if draw(st.booleans()) else [],
        callers=per(requests, TEXT) if draw(st.booleans()) else [],
        dropped_rows=draw(st.integers(0, 5)),
    )


FRAMES = st.lists(st.lists(batches(), max_size=2), min_size=1, max_size=4)


@given(st.integers(0, 6).flatmap(column_of))
def test_a_column_comes_back_as_it_went_in(values: np.ndarray) -> None:
    back = decode_column(encode_column("x", values))
    assert back.dtype == values.dtype
    assert back.shape == values.shape
    assert back.tobytes() == values.tobytes() if values.dtype != object else back.tolist() == values.tolist()


@given(FRAMES)
def test_frames_come_back_as_they_went_in(frames: list[list[Batch]]) -> None:
    data = b"".join(map(encode_frame, frames))
    read = list(decode_frames(data))
    assert [frame.batches for frame in read] == frames
    assert [frame.skipped_bytes for frame in read] == [0] * len(frames)
    assert read[-1].next_offset == len(data)


@given(FRAMES, st.data())
def test_a_file_cut_at_any_byte_gives_the_frames_before_the_cut_and_goes_on_when_it_grows(
    frames: list[list[Batch]], data: st.DataObject
) -> None:
    whole = b"".join(map(encode_frame, frames))
    cut = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.spool"
        path.write_bytes(whole[:cut])
        before = list(read_frames(path))
        path.write_bytes(whole)
        after = list(read_frames(path, before[-1].next_offset if before else 0))
    ends = np.cumsum([len(encode_frame(frame)) for frame in frames])
    assert len(before) == int((ends <= cut).sum())
    assert [frame.batches for frame in before + after] == frames
    assert sum(frame.skipped_bytes for frame in before + after) == 0


@given(FRAMES, st.data())
def test_a_damaged_byte_costs_its_own_frame_and_no_other(frames: list[list[Batch]], data: st.DataObject) -> None:
    encoded = [encode_frame(frame) for frame in frames]
    hit = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(encoded[hit]) - 1))
    damaged = bytearray(encoded[hit])
    damaged[at] ^= data.draw(st.integers(1, 255))
    whole = b"".join([*encoded[:hit], bytes(damaged), *encoded[hit + 1 :]])
    read = list(decode_frames(whole))
    assert [frame.batches for frame in read] == frames[:hit] + frames[hit + 1 :]
    lost = len(damaged) if hit + 1 < len(frames) else 0  # at the end it may still be growing
    assert sum(frame.skipped_bytes for frame in read) == lost


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_without_an_error(data: bytes) -> None:
    assert list(decode_frames(MAGIC + data)) == []


@settings(max_examples=30)
@given(FRAMES, st.integers(1, 400))
def test_what_the_writer_appends_is_read_back_over_all_its_files(frames: list[list[Batch]], rotate_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(Path(folder), "inference-0", rotate_bytes=rotate_bytes)
        for frame in frames:
            writer.append(frame)
        writer.close()
        read = [frame.batches for path in spool_files(Path(folder)) for frame in read_frames(path)]
    assert read == frames


@pytest.mark.parametrize("value", [2**70, -(2**70), "half a \ud800 pair"])
def test_values_without_a_form_on_the_wire_travel_as_text(value: object) -> None:
    column = encode_column("x", as_objects([value, None, np.float64(1.5)]))
    batch = Batch("e", "r", 1, 1, ["id"], [3], [0], [0.0], [column], column)
    (frame,) = decode_frames(encode_frame([batch]))
    first, second, third = decode_column(frame.batches[0].inputs[0]).tolist()
    assert isinstance(first, str)
    assert (second, third) == (None, 1.5)


def test_a_batch_written_before_a_field_was_added_is_still_read() -> None:
    batch = Batch("e", "r", 1, 1, ["id"], [0], [0], [0.0], [], encode_column("p", np.empty(0)))
    (fields,) = msgspec.msgpack.decode(msgspec.msgpack.encode([batch]))
    older = msgspec.msgpack.encode([fields[:11]])
    assert msgspec.msgpack.decode(older, type=list[Batch]) == [batch]
