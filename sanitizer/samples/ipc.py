"""Samples as one blob: an Arrow file whose bytes depend on the values alone.

Equal samples give equal bytes whatever their chunks, their offsets and the garbage below their nulls were, so the digest of
the blob can be passed between processes and compared.  Nothing is compressed: bytes would change with the compressor's
version, and an uncompressed file is opened without a copy.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import rfc8785

from sanitizer.errors import StorageFailed
from sanitizer.samples.canonical import flat
from sanitizer.samples.schema import Schema
from sanitizer.samples.table import Samples

_ROWS = 1 << 16  # of a record batch
_KEY = b"samples"


class Blobs(Protocol):
    """A store of bytes by their digest; `read` hashes what it returns."""

    def put_bytes(self, data: bytes, /) -> str:
        """Keep `data`, return its digest."""

    def read(self, digest: str, /) -> bytes:
        """The bytes of that digest."""


def save(samples: Samples, blobs: Blobs) -> str:
    """Keep `samples` in `blobs`; returns the digest that `load` takes."""
    about = rfc8785.dumps({"schema": samples.schema.to_json(), "origin": samples.origin})
    schema = samples.schema.arrow.with_metadata({_KEY: about})
    columns = [_canonical(column) for column in samples.table.columns]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), max_chunksize=_ROWS)
    return blobs.put_bytes(sink.getvalue().to_pybytes())


def load(digest: str, blobs: Blobs) -> Samples:
    """The samples that `save` kept under `digest`."""
    try:
        table = pa.ipc.open_file(pa.py_buffer(blobs.read(digest))).read_all()
        about: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
        schema = Schema.from_json(about["schema"])
        return Samples(pa.Table.from_arrays(table.columns, schema=schema.arrow), schema, about["origin"])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise StorageFailed(f"the blob {digest} holds no samples: {error}", subject=digest) from error


def _canonical(column: pa.ChunkedArray) -> pa.Array:
    """The values of `column` in fresh buffers of their exact size, with zeros below the nulls."""
    kind = column.type
    array = pa.concat_arrays([*column.chunks, pa.array([], kind)])  # of two or more arrays it always makes a fresh one
    if array.null_count == 0:
        return array
    valid = array.is_valid()
    bits = valid.buffers()[1]
    if pa.types.is_fixed_size_list(kind):
        numbers = np.where(np.repeat(valid.to_numpy(zero_copy_only=False), kind.list_size), flat(array), 0)
        inner = pa.array(numbers.astype(kind.value_type.to_pandas_dtype(), copy=False))
        return pa.FixedSizeListArray.from_buffers(kind, len(array), [bits], children=[inner])
    filled = array.fill_null("" if pa.types.is_large_string(kind) else pa.scalar(0, pa.int64()).cast(kind))
    return pa.Array.from_buffers(kind, len(array), [bits, *filled.buffers()[1:]])
