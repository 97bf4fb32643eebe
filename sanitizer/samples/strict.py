"""Strict casts: what verified bytes go through on their way to canonical columns.

A cast changes no value.  What two readers could take for different things is `AmbiguousData`, what is clear but does not fit
the pinned schema is `SchemaMismatch`; both name the file, the column and the first row (the first row of data is row 1).

Text (of CSV) counts as

    int64       0, or digits without a leading zero, with a minus sign at most, within 64 bits
    float64     decimal and exponent notation within the range of a double; NaN and infinities are not numbers
    bool        true, false, True, False, TRUE, FALSE
    timestamp   2026-01-31, 2026-01-31T23:59, 2026-01-31 23:59:59.999999, each with or without a zone (Z, +01:00), but not both
                kinds in one column; without one it is UTC
    string      everything else: "007" is no number, for no number keeps its zeros

and an empty cell without quotes is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sanitizer.errors import AmbiguousData, SchemaMismatch, UsageError
from sanitizer.samples.canonical import STRING, TIMES, canonical, vectors
from sanitizer.samples.schema import Column, Schema, listed, type_name

_INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})(\.0+)?$"  # what pandas makes of integers as soon as one is missing
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?$|^-?\.[0-9]+([eE][+-]?[0-9]{1,4})?$"
_ZEROS = r"^-?0[0-9]+$"  # a postcode, an account number
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_ZONE = r"(Z|[0-9][+-][0-9]{2}:?[0-9]{2})$"
_TRUE, _FALSE = (pa.array(v, STRING) for v in (["true", "True", "TRUE"], ["false", "False", "FALSE"]))
# what others write for a missing or infinite number, and some parsers read as one
_MARKS = r"(?i)^(|\s*[+-]?(nan|inf|infinity)|n/?a|#n/?a|<na>|null|nil|none|missing|unknown|-|\.|\?)\s*$"
_MOSTLY = 0.9  # a column with this share of numbers is one of numbers, and what else it holds is a mistake
_EXACT = 2**53  # integers beyond are not exact as float64


def infer(files: Sequence[tuple[str, pa.ChunkedArray]], name: str, *, mixed: str = "refuse") -> str:
    """The type of ours that a column of text holds in all files (name and values of each).

    Raises `AmbiguousData` where numbers and something else are mixed, unless such a column is to be taken as `mixed="text"`.
    """
    text = pa.chunked_array([chunk for _, values in files for chunk in values.chunks], STRING)
    present = text.drop_null()
    if len(present) == 0:
        return "float64"
    if _every(_matches(present, _INTEGER)):
        try:
            present.cast(pa.int64())
            return "int64"
        except pa.ArrowInvalid:  # nineteen digits beyond 2^63: an identifier
            return "string"
    numbers = _matches(text, _NUMBER)
    share = (pc.sum(numbers).as_py() or 0) / len(present)
    if share == 1:
        return "float64"
    if _every(pc.is_in(present, value_set=pa.concat_arrays([_TRUE, _FALSE]))):
        return "bool"
    if _every(_matches(present, _TIME)) and (times := _as_times(present)) is not None:
        return type_name(times.type)
    if mixed == "text":
        return "string"
    odd = text.filter(pc.invert(numbers))
    if share > 0 and (_every(_matches(odd, _MARKS)) or (share >= _MOSTLY and not pc.any(_matches(odd, _ZEROS)).as_py())):
        for where, values in files:
            if (row := _first(_matches(values, _NUMBER), False)) is not None:
                raise AmbiguousData(
                    f"{where}: row {row}: column {name!r} holds numbers, but here {_shown(values, row)}; "
                    "leave the cell empty if the value is missing, or name the type in schema.json",
                    subject=where,
                )
    return "string"


def parsed(text: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    """A column of text as the type of `column`."""
    if column.shape:
        raise SchemaMismatch(f"{where}: column {column.name!r} is {column.type}, which text cannot hold", subject=where)
    parse = _PARSERS.get(column.type)
    return _fitting(parse(text, column, where) if parse else text, column, where)


def converted(values: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    """Typed values as the type of `column`, without loss: 3.0 is an integer, 3.5 is none."""
    if values.null_count == len(values):  # nothing at all is nothing of any type
        return _fitting(pa.chunked_array([pa.nulls(len(values), column.arrow)]), column, where)
    if column.shape and _is_list(values.type):
        return _fitting(_as_vectors(values, column, where), column, where)
    held = canonical_exactly(values, column.name, where)
    kind, wanted = type_name(held.type), column.type
    if (kind, wanted) == ("int64", "float64"):
        _require(_within(held, -_EXACT, _EXACT), held, column, where)
        held = held.cast(pa.float64())
    elif (kind, wanted) == ("float64", "int64"):
        _require(pc.and_(pc.equal(pc.floor(held), held), _within(held, float(-_EXACT), float(_EXACT))), held, column, where)
        held = held.cast(pa.int64())
    elif (kind, wanted) == ("string", "timestamp"):
        held = _timestamps(held, column, where)
    elif kind != wanted:
        raise SchemaMismatch(f"{where}: column {column.name!r} holds {kind}, the schema says {wanted}", subject=where)
    return _fitting(held, column, where)


def canonical_exactly(values: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """`values` in the canonical type that suits its Arrow type, or `AmbiguousData` where that would change a value."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        raise AmbiguousData(f"{where}: column {name!r} is of the extension type {kind}, which only some readers know", subject=where)
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    decimal = pa.types.is_decimal(plain) and plain.precision <= 15  # fifteen digits survive the way to a double and back
    known = (
        decimal
        or any(
            test(plain)
            for test in (
                pa.types.is_null,
                pa.types.is_floating,
                pa.types.is_boolean,
                pa.types.is_integer,
                pa.types.is_timestamp,
                pa.types.is_date,
            )
        )
        or plain in (pa.string(), pa.large_string(), pa.string_view())
        or _is_list(plain)
    )
    if not known:
        raise AmbiguousData(
            f"{where}: column {name!r} is {kind}, which is none of numbers, text, booleans, times and vectors", subject=where
        )
    try:
        held = canonical(values, name)
        if pa.types.is_timestamp(plain) and plain.unit == "ns":
            plain_values = values.cast(plain)
            finer = pc.not_equal(held.cast(plain), plain_values)
            if (row := _first(finer, True)) is not None:
                raise AmbiguousData(f"{where}: row {row}: column {name!r} holds times finer than a microsecond", subject=where)
        if pa.types.is_uint64(plain) and held.type == pa.float64():
            row = _first(pc.greater_equal(values.cast(pa.uint64()), pa.scalar(2**63, pa.uint64())), True)
            raise AmbiguousData(f"{where}: row {row}: column {name!r} holds an integer beyond 64 signed bits", subject=where)
        return held
    except (UsageError, pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise AmbiguousData(f"{where}: {error}", subject=where) from error


def fit(table: pa.Table, schema: Schema, where: str, convert: Callable[[pa.ChunkedArray, Column, str], pa.ChunkedArray]) -> pa.Table:
    """The columns of `table` as `schema` says: same names in any order, each cast by `convert`."""
    absent = [n for n in schema.names if n not in table.column_names]
    extra = [n for n in table.column_names if n not in schema.names]
    if absent or extra:
        told = ([f"lacks {listed(absent)}"] if absent else []) + ([f"has {listed(extra)} that the schema does not know"] if extra else [])
        raise SchemaMismatch(f"{where}: {' and '.join(told)}", subject=where)
    return pa.Table.from_arrays([convert(table[c.name], c, where) for c in schema.columns], schema=schema.arrow)


def cast(table: pa.Table, schema: Schema, where: str = "table") -> pa.Table:
    """A table of any column order as `schema` says, or `SchemaMismatch` / `AmbiguousData` with column and row."""
    return fit(table, schema, where, converted)


def _integers(text: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    _require(_matches(text, _WHOLE), text, column, where)
    try:
        return pc.replace_substring_regex(text, r"\.0+$", "").cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(f"{where}: column {column.name!r} holds an integer beyond 64 bits", subject=where) from error


def _floats(text: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    _require(_matches(text, _NUMBER), text, column, where)
    numbers = text.cast(pa.float64())
    if (row := _first(pc.is_finite(numbers), False)) is not None:  # some parsers make it infinite, others stop
        raise AmbiguousData(
            f"{where}: row {row}: column {column.name!r} holds {_shown(text, row)}, which is beyond the range of a double", subject=where
        )
    return numbers


def _booleans(text: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    true = pc.is_in(text, value_set=_TRUE)
    _require(pc.or_(pc.or_(true, pc.is_in(text, value_set=_FALSE)), text.is_null()), text, column, where)
    return pc.if_else(text.is_valid(), true, None)


def _timestamps(text: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    _require(_matches(text, _TIME), text, column, where)
    times = _as_times(text)
    if times is None:
        raise SchemaMismatch(
            f"{where}: column {column.name!r} holds a day that no calendar has, or times with and without a zone", subject=where
        )
    return times


_PARSERS: dict[str, Callable[[pa.ChunkedArray, Column, str], pa.ChunkedArray]] = {
    "int64": _integers,
    "float64": _floats,
    "bool": _booleans,
    "timestamp": _timestamps,
}


def _as_times(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    zoned = _matches(text.drop_null(), _ZONE)
    try:
        if _every(zoned):
            return text.cast(TIMES)
        return None if pc.any(zoned).as_py() else text.cast(pa.timestamp("us")).cast(TIMES)
    except pa.ArrowInvalid:
        return None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_vectors(values: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    try:
        held = vectors(values, column.name, keep_bytes=column.type.startswith("image"))
    except (UsageError, pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise SchemaMismatch(f"{where}: {error}", subject=where) from error
    if held.type != column.arrow:
        raise SchemaMismatch(f"{where}: column {column.name!r} holds {values.type}, the schema says {column.type}", subject=where)
    if _infinities(held) != _infinities(values):
        raise SchemaMismatch(f"{where}: column {column.name!r} holds numbers beyond the range of float32", subject=where)
    return held


def _infinities(values: pa.ChunkedArray) -> int:
    if not pa.types.is_floating(values.type.value_type):
        return 0
    return sum(pc.sum(pc.is_inf(chunk.flatten())).as_py() or 0 for chunk in values.chunks)


def _fitting(values: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    """`values`, if they are null only where they may be and of the categories that are announced."""
    if values.null_count and not column.nullable:
        row = _first(values.is_null(), True)
        raise SchemaMismatch(f"{where}: row {row}: column {column.name!r} is empty, the schema asks for a value", subject=where)
    if column.categories is not None:
        known = pc.or_(pc.is_in(values, value_set=pa.array(column.categories, STRING)), values.is_null())
        if (row := _first(known, False)) is not None:
            raise SchemaMismatch(
                f"{where}: row {row}: column {column.name!r} holds {_shown(values, row)}, none of its {len(column.categories)} "
                "categories; add it to schema.json if it is right",
                subject=where,
            )
    return values


def _require(fits: pa.ChunkedArray, values: pa.ChunkedArray, column: Column, where: str) -> None:
    if (row := _first(fits, False)) is not None:
        raise SchemaMismatch(
            f"{where}: row {row}: column {column.name!r} holds {_shown(values, row)}, which is no {column.type}", subject=where
        )


def _matches(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.match_substring_regex(text, pattern)


def _within(values: pa.ChunkedArray, low: float, high: float) -> pa.ChunkedArray:
    return pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))


def _every(mask: pa.ChunkedArray) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


def _first(mask: pa.ChunkedArray, value: bool) -> int | None:
    """Number of the first row where `mask` is `value`, counted from 1."""
    at = pc.index(mask, value).as_py()
    return None if at < 0 else at + 1


def _shown(values: pa.ChunkedArray, row: int | None) -> str:
    shown: Any = repr(values[(row or 1) - 1].as_py())
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
