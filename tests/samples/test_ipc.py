"""Samples survive their blob, and equal samples are the same blob."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import StorageFailed
from sanitizer.samples import Samples, from_any, load, save
from tests.samples.test_identity import ROW, SCHEMA, table


@dataclass
class Memory:
    """Blobs in a dict."""

    held: dict[str, bytes] = field(default_factory=dict)

    def put_bytes(self, data: bytes, /) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.held[digest] = data
        return digest

    def read(self, digest: str, /) -> bytes:
        return self.held[digest]


@given(st.lists(ROW, max_size=12))
def test_samples_survive_their_blob(rows: list[tuple[object, ...]]) -> None:
    blobs, samples = Memory(), Samples(table(rows), SCHEMA, "sha256:0")
    held = load(save(samples, blobs), blobs)
    assert (held.schema, held.origin) == (SCHEMA, "sha256:0")
    assert held.sample_ids == samples.sample_ids
    assert held.table.schema.equals(SCHEMA.arrow, check_metadata=True)


@given(st.lists(ROW, max_size=20), st.integers(0, 20), st.binary(min_size=1, max_size=8))
def test_the_bytes_depend_on_the_values_alone(rows: list[tuple[object, ...]], cut: int, noise: bytes) -> None:
    blobs, whole = Memory(), table(rows)
    cut = min(cut, len(rows))
    padded = pa.concat_tables([table(rows[:1]), whole, table(rows[:1])]).combine_chunks().slice(min(1, len(rows)), len(rows))
    littered = pa.Table.from_arrays([pa.chunked_array([_littered(c.combine_chunks(), noise)]) for c in padded.columns], schema=SCHEMA.arrow)
    variants = [whole, padded, littered, pa.concat_tables([padded.slice(0, cut), padded.slice(cut)])]
    assert len({save(Samples(t, SCHEMA), blobs) for t in variants}) == 1


def _littered(array: pa.Array, noise: bytes) -> pa.Array:
    """The same values with `noise` below the nulls of numbers."""
    if not (pa.types.is_int64(array.type) or pa.types.is_floating(array.type)) or len(array) == 0:
        return array
    values = array.fill_null(0).to_numpy(zero_copy_only=False).copy()
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values.view(np.uint8).reshape(len(array), 8)[missing] = np.resize(np.frombuffer(noise, np.uint8), 8)
    return pa.Array.from_buffers(array.type, len(array), [array.is_valid().buffers()[1], pa.py_buffer(values)])


def test_arrays_come_back_without_a_copy() -> None:
    blobs, vectors = Memory(), np.arange(12, dtype=np.float32).reshape(4, 3)
    samples = from_any({"embedding": vectors, "label": list("abab")}, label="label")
    digest = save(Samples(samples.table, samples.schema), blobs)
    held = load(digest, blobs).matrix("embedding")
    assert np.array_equal(held, vectors)
    assert np.shares_memory(held, np.frombuffer(blobs.read(digest), np.uint8))


def test_a_blob_of_something_else_is_one_clear_error() -> None:
    blobs = Memory()
    for data in (b"", b"nonsense"):
        with pytest.raises(StorageFailed, match="holds no samples"):
            load(blobs.put_bytes(data), blobs)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([])):
        pass
    with pytest.raises(StorageFailed, match="holds no samples"):
        load(blobs.put_bytes(sink.getvalue().to_pybytes()), blobs)
