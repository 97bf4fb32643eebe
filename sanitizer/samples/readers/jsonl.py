"""JSON Lines: one object per line, the keys are the columns; a key that is left out is null.

The standard library parses it, with everything refused that JSON parsers disagree on: a key twice (the last one wins here, the
first one there: a label flip for free), NaN and infinities, numbers beyond a double, integers beyond 64 bits, lone surrogates.
Arrow's own parser is faster, but 400 kB of nested brackets end its process.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO, NoReturn

import pyarrow as pa

from sanitizer.errors import AmbiguousData, ParserLimit
from sanitizer.samples.canonical import STRING
from sanitizer.samples.readers.limits import Budget, check_names

_LONGEST_LINE = 64 << 20
_CELL = 64  # bytes that one value costs this reader at least, present or not


class _Odd(ValueError):
    """What a line holds that parsers disagree on."""


def read(file: BinaryIO, where: str, budget: Budget) -> pa.Table:
    """The objects of a JSON Lines file as a table; raises `AmbiguousData` or `ParserLimit` that names the row."""
    columns: dict[str, list[Any]] = {}
    row = 0
    while line := file.readline(_LONGEST_LINE):
        row += 1
        if len(line) == _LONGEST_LINE:
            raise ParserLimit(f"{where}: row {row} is longer than {_LONGEST_LINE >> 20} MiB", subject=where)
        for name, value in _parsed(line, row, where).items():
            if name not in columns:
                columns[name] = [None] * (row - 1)
            columns[name].append(value)
        budget.spend(1, len(line) + _CELL * len(columns), where)
        for values in columns.values():
            if len(values) < row:
                values.append(None)
    check_names(list(columns), where)
    return pa.table({name: _column(values, name, where) for name, values in columns.items()})


def _parsed(line: bytes, row: int, where: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except RecursionError:
        raise ParserLimit(f"{where}: row {row} is nested deeper than any table", subject=where) from None
    except UnicodeDecodeError:
        raise AmbiguousData(f"{where}: row {row} is not UTF-8: deliver UTF-8 text", subject=where) from None
    except _Odd as odd:
        raise AmbiguousData(f"{where}: row {row} {odd}", subject=where) from None
    except ValueError as error:
        raise AmbiguousData(f"{where}: row {row} is not JSON: {error}", subject=where) from None
    if not isinstance(value, dict):
        raise AmbiguousData(f"{where}: row {row} is no object", subject=where)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Odd(f"has the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return body


def _no_constant(text: str) -> NoReturn:
    raise _Odd(f"holds {text}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Odd("holds a number beyond the range of a double")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise _Odd("holds an integer beyond 64 bits")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)


def _column(values: list[Any], name: str, where: str) -> pa.ChunkedArray:
    kinds = {_kind(v) for v in values if v is not None}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
        inexact = next((i for i, v in enumerate(values) if isinstance(v, int) and abs(v) > 2**53), None)
        if inexact is not None:
            raise AmbiguousData(
                f"{where}: row {inexact + 1}: column {name!r} holds an integer that no double holds, among fractions", subject=where
            )
    if len(kinds) > 1:
        first = _kind(next(v for v in values if v is not None))
        row = next(i for i, v in enumerate(values) if v is not None and _kind(v) != first) + 1
        raise AmbiguousData(f"{where}: row {row}: column {name!r} holds a {_kind(values[row - 1])}, but a {first} before", subject=where)
    kind = kinds.pop() if kinds else "number"
    if kind == "object":
        raise AmbiguousData(f"{where}: column {name!r} holds objects: one column per value, please", subject=where)
    try:
        return pa.chunked_array([pa.array(values, _ARROW.get(kind))])
    except UnicodeEncodeError:
        row = next(i for i, v in enumerate(values) if v is not None and not _is_unicode(v)) + 1
        raise AmbiguousData(
            f"{where}: row {row}: column {name!r} holds half a surrogate pair, which is no character", subject=where
        ) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise AmbiguousData(f"{where}: column {name!r} holds lists that are no vectors of numbers: {error}", subject=where) from error


_ARROW = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "string": STRING, "list": pa.list_(pa.float64())}
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list", dict: "object"}


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
