"""Identity of a sample: SHA-256 over a canonical encoding of its row.

The encoding of columns `c` of one row is a fixed header followed by payloads:

    domain     32 bytes   SHA-256 of the purpose and of the names and types of the columns, in order
    valid      c bytes    1 where the column has a value, 0 where it is null
    words      8c bytes   one little-endian word per column: the integer, the IEEE 754 bits of the float, the microseconds
                          of the timestamp, 0 or 1; for a string, an embedding or an image the length of its payload
    payloads              UTF-8, or the raw bytes of the array in C order, of the columns that have one, in order

So null, `""`, 0, NaN, 0.0 and -0.0 all differ, ("a", "bc") differs from ("ab", "c"), and the same row gives the same bytes
whatever its chunks, its file format or its dictionary encoding were.  All NaNs count as one value (0/0 has a sign bit that
depends on the processor).  Unicode is not normalised: other bytes are another sample.

    content id  = SHA-256(encoding of the features, with the purpose "content")
    row digest  = SHA-256(encoding of content id, label and source, with the purpose "row")

Names and types go into the domain, roles such as the key do not: a person may correct those without renaming every sample.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785
from numpy.typing import NDArray

from sanitizer.samples.canonical import flat
from sanitizer.samples.schema import Column, Schema

DIGEST = np.dtype("V32")  # not S32: numpy cuts trailing zero bytes from those
_ROWS = 16_384  # a batch whose encoding stays in the cache is 2.7 times as fast as one of a million rows
_BYTES = 8 << 20  # of wide rows (images) a batch holds fewer
_BINARY = pa.large_binary()
_NAN = np.float64(np.nan).view(np.int64)


def content_ids(table: pa.Table, schema: Schema) -> NDArray[np.void]:
    """SHA-256 of each row without its label and source, shape (n,), dtype `V32`.

    `table` has at least the columns of `schema`, in canonical types.
    """
    return digests([table[c.name] for c in schema.features], schema.features, "content")


def row_digests(table: pa.Table, schema: Schema, contents: NDArray[np.void] | None = None) -> NDArray[np.void]:
    """SHA-256 of each whole row, shape (n,), dtype `V32`; `contents` are its content ids, if they are known already."""
    contents = content_ids(table, schema) if contents is None else contents
    roles = [c for c in schema.columns if c.name in (schema.label, schema.source)]
    arrays = [pa.chunked_array([_slices(contents.view(np.uint8), 32)]), *(table[c.name] for c in roles)]
    return digests(arrays, [Column("content id", "digest"), *roles], "row")


def sample_ids(digests: NDArray[np.void]) -> list[str]:
    """`<hex digest>-<occurrence>` per row, in order: exact duplicates stay apart.

    >>> sample_ids(np.zeros(2, DIGEST))[1][-4:]
    '00-1'
    """
    hexed = digests.tobytes().hex()
    seen: Counter[str] = Counter()
    out = []
    for start in range(0, len(hexed), 64):
        digest = hexed[start : start + 64]
        out.append(f"{digest}-{seen[digest]}")
        seen[digest] += 1
    return out


def column_codes(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """Small numbers, shape (n,), equal where the digests of the values would be: null, NaN and -0.0 have one of their own."""
    array = pa.concat_arrays([*values.chunks, pa.array([], values.type)])
    if _has_payload(array.type):
        held = _payload(array)
        held = held if array.null_count == 0 else pc.if_else(array.is_valid(), held, pa.scalar(None, _BINARY))
    else:
        held = pa.array(_words(array), mask=array.is_null().to_numpy(zero_copy_only=False))
    return held.dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def encode(arrays: Sequence[pa.ChunkedArray], columns: Sequence[Column], purpose: str) -> Iterator[pa.LargeBinaryArray]:
    """The canonical encoding of the rows of `arrays` (one per column, in canonical types), in batches."""
    domain = hashlib.sha256(rfc8785.dumps(["sanitizer/row/1", purpose, [[c.name, c.type] for c in columns]])).digest()
    for batch in _batches(arrays):
        yield _encoded(batch, domain)


def digests(arrays: Sequence[pa.ChunkedArray], columns: Sequence[Column], purpose: str) -> NDArray[np.void]:
    """SHA-256 of the canonical encoding of each row of `arrays`, shape (n,), dtype `V32`."""
    out = []
    for rows in encode(arrays, columns, purpose):
        offsets = np.frombuffer(rows.buffers()[1], np.int64)[rows.offset :][: len(rows) + 1].tolist()
        data = rows.buffers()[2].to_pybytes()  # slices of bytes are cheaper than of a view
        out.append(b"".join([hashlib.sha256(data[a:b]).digest() for a, b in pairwise(offsets)]))
    return np.frombuffer(b"".join(out), DIGEST)


def _batches(arrays: Sequence[pa.ChunkedArray]) -> Iterable[pa.RecordBatch]:
    table = pa.Table.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])
    if max(a.num_chunks for a in arrays) > 1 + len(table) // 1000:  # crumbs: thousands of one-row chunks
        table = table.combine_chunks()
    width = max(1, table.nbytes // max(1, len(table)))
    return table.to_batches(max_chunksize=max(1, min(_ROWS, _BYTES // width)))  # type: ignore[no-any-return]


def _encoded(batch: pa.RecordBatch, domain: bytes) -> pa.LargeBinaryArray:
    n, c = len(batch), batch.num_columns
    header = np.zeros(n, [("domain", "V32"), ("valid", "u1", (c,)), ("words", "<i8", (c,))])
    header["domain"] = np.void(domain)
    header["valid"] = 1
    payloads = []
    for j, column in enumerate(batch.columns):
        valid = None if column.null_count == 0 else column.is_valid().to_numpy(zero_copy_only=False)
        if valid is not None:
            header["valid"][:, j] = valid
        if _has_payload(column.type):
            payload = _payload(column)
            payloads.append(payload)
            header["words"][:, j] = pc.binary_length(payload)
        else:
            header["words"][:, j] = _words(column) if valid is None else np.where(valid, _words(column), 0)
    fixed = _slices(header.view(np.uint8), header.itemsize)
    return pc.binary_join_element_wise(fixed, *payloads, pa.scalar(b"", _BINARY)) if payloads else fixed


def _has_payload(kind: pa.DataType) -> bool:
    return not (pa.types.is_primitive(kind) or pa.types.is_boolean(kind))


def _words(column: pa.Array) -> NDArray[np.int64]:
    """Booleans, integers, floats and times as one 64-bit word each; anything where the column is null."""
    if pa.types.is_boolean(column.type):
        return column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]
    bits = np.frombuffer(column.buffers()[1], np.int64)[column.offset :][: len(column)]
    if not pa.types.is_floating(column.type):
        return bits
    return np.where(np.isnan(bits.view(np.float64)), _NAN, bits)


def _payload(column: pa.Array) -> pa.LargeBinaryArray:
    """Strings, embeddings and images as bytes, empty where the column is null."""
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        numbers = flat(column)
        if numbers.dtype == np.float32 and np.isnan(numbers).any():
            numbers = np.where(np.isnan(numbers), np.float32(np.nan), numbers)
        payload = _slices(numbers.view(np.uint8), width * numbers.itemsize)
        return payload if column.null_count == 0 else pc.if_else(column.is_valid(), payload, pa.scalar(b"", _BINARY))
    payload = column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
    return payload.cast(_BINARY).fill_null(b"")


def _slices(data: NDArray[np.uint8], width: int) -> pa.LargeBinaryArray:
    """`data` cut into values of `width` bytes, without a copy."""
    offsets = np.arange(0, data.size + 1, width, dtype=np.int64)
    return pa.LargeBinaryArray.from_buffers(_BINARY, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
