"""Arrow columns of any type become columns of a canonical type.

`canonical` chooses the type from the Arrow type; nothing is lost but sub-microsecond time, decimals beyond float64, and the
precision of unsigned integers beyond int64.  `lenient` casts to a given type and counts what could not be read.  Both serve
`scan`, which takes any table.  What verified bytes go through is `cast.strict`, which changes no value.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sanitizer.errors import UsageError
from sanitizer.samples.schema import Column, arrow_type

TIMES = pa.timestamp("us", tz="UTC")
STRING = pa.large_string()
INTEGER = r"^[+-]?[0-9]{1,19}(\.0*)?$"
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def canonical(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """`values` in the canonical type that suits its Arrow type; raises `UsageError` naming the column where none does."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return canonical(pa.chunked_array([c.storage for c in values.chunks], kind.storage_type), name)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return canonical(values.cast(kind.value_type), name)
    if pa.types.is_null(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_integer(kind):
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:  # unsigned beyond 2^63
            return values.cast(pa.float64(), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return values.cast(STRING)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _times(values, name)
    if pa.types.is_duration(kind):
        return values.cast(pa.duration("us"), safe=False).cast(pa.int64())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return vectors(values, name, keep_bytes=bool(pa.types.is_fixed_size_list(kind)))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _strings([None if v is None else v.hex() for v in values.to_pylist()])
    return _strings([None if v is None else str(v) for v in values.to_pylist()])


def lenient(values: pa.ChunkedArray, column: Column) -> tuple[pa.ChunkedArray, int]:
    """Canonical `values` as the type of `column`, null where that cannot be read, and how many values that lost."""
    if values.type.equals(column.arrow):
        return values, 0
    if column.shape or pa.types.is_fixed_size_list(values.type):
        raise UsageError(f"column {column.name!r} holds {values.type}, not {column.type}", subject=column.name)
    converted = _converted(values, column.type)
    return converted, converted.null_count - values.null_count


def flat(vectors: pa.FixedSizeListArray) -> NDArray[Any]:
    """All numbers of a canonical column of embeddings or images in one row, without a copy; anything where it is null."""
    inner, width = vectors.values, vectors.type.list_size
    numbers = np.frombuffer(inner.buffers()[1] or b"", inner.type.to_pandas_dtype())
    return numbers[inner.offset + vectors.offset * width :][: len(vectors) * width]


def nulls(length: int, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of nothing."""
    return pa.chunked_array([pa.nulls(length, kind)])


def _converted(values: pa.ChunkedArray, to: str) -> pa.ChunkedArray:
    kind = values.type
    if to == "string":
        return values.cast(STRING)
    if pa.types.is_large_string(kind):
        return _parsed(values, to)
    if pa.types.is_timestamp(kind) or to == "timestamp":
        return nulls(len(values), arrow_type(to))
    if to == "int64" and pa.types.is_floating(kind):
        whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**63))
        return pc.if_else(whole, values, None).cast(pa.int64(), safe=False)
    if to == "bool":
        number = values.cast(pa.float64(), safe=False)
        return pc.if_else(pc.or_(pc.equal(number, 0.0), pc.equal(number, 1.0)), pc.equal(number, 1.0), None)
    return values.cast(arrow_type(to), safe=False)


def _parsed(text: pa.ChunkedArray, to: str) -> pa.ChunkedArray:
    """Text as numbers, booleans or times, null where it is none."""
    if to == "bool":
        lower = pc.utf8_lower(text)
        yes, no = (pc.is_in(lower, value_set=pa.array(v, STRING)) for v in (["true", "1", "1.0"], ["false", "0", "0.0"]))
        return pc.if_else(pc.or_(yes, no), yes, None)
    if to == "timestamp":
        return pa.chunked_array([pa.array([_time(v) for v in text.to_pylist()], TIMES)])
    if to == "float64":
        return pc.if_else(pc.match_substring_regex(text, NUMBER), text, None).cast(pa.float64())
    digits = pc.if_else(pc.match_substring_regex(text, INTEGER), pc.replace_substring_regex(text, r"^\+|\.0*$", ""), None)
    try:
        return digits.cast(pa.int64())
    except pa.ArrowInvalid:  # nineteen digits, yet beyond 2^63
        numbers = [None if v is None else int(v) for v in digits.to_pylist()]
        return pa.chunked_array([pa.array([v if v is not None and -(2**63) <= v < 2**63 else None for v in numbers], pa.int64())])


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _times(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    # from nanoseconds down the cast floors and cannot overflow; from coarser units it can, and Arrow would wrap silently
    finer = pa.types.is_timestamp(values.type) and values.type.unit == "ns"
    try:
        return values.cast(TIMES, safe=not finer)
    except pa.ArrowInvalid as error:
        raise UsageError(f"column {name!r} holds times that no calendar has: {error}", subject=name) from error


def vectors(values: pa.ChunkedArray, name: str, *, keep_bytes: bool) -> pa.ChunkedArray:
    """Lists of numbers, all of one length, as an embedding, or as an image if they are bytes and shall stay so."""
    inner = values.type.value_type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner) or pa.types.is_decimal(inner)):
        raise UsageError(f"column {name!r} holds lists of {inner}; only lists of numbers can be embeddings", subject=name)
    lengths = pc.unique(pc.list_value_length(values).drop_null()).to_pylist()
    if pa.types.is_fixed_size_list(values.type):
        lengths = [values.type.list_size]
    if len(lengths) != 1 or lengths[0] == 0:
        raise UsageError(
            f"column {name!r} holds lists of {len(lengths)} lengths; an embedding has the same length in every row", subject=name
        )
    kind = pa.list_(pa.uint8() if keep_bytes and inner == pa.uint8() else pa.float32(), lengths[0])
    chunks = [_fixed(chunk, kind) for chunk in values.chunks]
    if any(chunk.flatten().null_count for chunk in chunks):
        raise UsageError(f"column {name!r} holds lists with nulls inside; write NaN, or leave the whole value out", subject=name)
    return pa.chunked_array(chunks, kind)


def _fixed(chunk: pa.Array, kind: pa.DataType) -> pa.FixedSizeListArray:
    if chunk.null_count:
        return pa.array(chunk.to_pylist(), kind)
    flat = chunk.flatten()
    return pa.FixedSizeListArray.from_arrays(
        flat if flat.type == kind.value_type else flat.cast(kind.value_type, safe=False), kind.list_size
    )


def _strings(values: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, STRING)])
