"""What a user has at hand becomes samples: a path, a DataFrame, an Arrow table, a dict of arrays."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.errors import UsageError
from sanitizer.samples.canonical import STRING, TIMES, canonical, lenient, nulls
from sanitizer.samples.reading import read_path
from sanitizer.samples.schema import RATINGS, Column, Schema, listed
from sanitizer.samples.table import UnverifiedSamples

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = (int, float, Decimal, Fraction, np.number, np.bool_)


def from_any(
    data: Any,
    *,
    label: str | None,
    source: str | None = None,
    modality: str | None = None,
    schema: Schema | None = None,
) -> UnverifiedSamples:
    """`data` as unverified samples, in its own order.

    `data` is a path (CSV, JSON Lines, Parquet, Arrow or npz, or a folder of those), a pandas
    DataFrame of any dtypes, anything that speaks the Arrow C stream (pyarrow, polars, duckdb), or a dict of equally long
    arrays, where `image` is uint8 (n, h, w[, c]) and `embedding` is numeric (n, d); those two are not copied if they are
    contiguous uint8 and float32 already.  Dirty values are taken as they are: a mixed column becomes text,
    infinities stay, nothing is dropped.  With a `schema` the data are aligned to it.  What cannot be a table is one
    `UsageError`.
    """
    if isinstance(data, str | PathLike):
        data = read_path(Path(data), label=label, source=source, modality=modality, mixed="text")
    if isinstance(data, UnverifiedSamples):
        return data if schema is None else align(data, to=schema)[0]
    columns, shapes = _columns(data)
    _check_roles(list(columns), label=label, source=source, modality=modality)
    if modality == "text":
        columns["text"] = lenient(columns["text"], Column("text", "string"))[0]
    table = pa.table(columns)
    drafted = Schema.draft(table, label=label, source=source, modality=modality, shapes=shapes)
    samples = UnverifiedSamples(pa.Table.from_arrays(table.columns, schema=drafted.arrow), drafted)
    return samples if schema is None else align(samples, to=schema)[0]


def align(samples: UnverifiedSamples, *, to: Schema) -> tuple[UnverifiedSamples, tuple[str, ...]]:
    """`samples` with the columns of the schema `to`, in its order and types, and a note about each thing that did not fit.

    A column that `samples` lack is null throughout, one that only they have is left out, a value that cannot be read as the
    type that `to` asks for is null.  Vectors of another length cannot be aligned: `UsageError`.
    """
    notes = []
    columns = []
    for column in to.columns:
        if column.name not in samples.table.column_names:
            notes.append(f"column {column.name!r} is missing: taken as null in all {len(samples)} rows")
            columns.append(nulls(len(samples), column.arrow))
            continue
        values, lost = lenient(samples.table[column.name], column)
        columns.append(values)
        if lost:
            held = samples.schema[column.name].type
            notes.append(
                f"column {column.name!r} holds {held}: {lost} of {len(samples)} values cannot be read as {column.type}, taken as null"
            )
    extra = [name for name in samples.schema.names if name not in to.names]
    if extra:
        notes.append(f"columns left out, as the schema does not have them: {listed(extra)}")
    return UnverifiedSamples(pa.Table.from_arrays(columns, schema=to.arrow), to), tuple(notes)


def concat(parts: Iterable[UnverifiedSamples]) -> UnverifiedSamples:
    """The rows of all parts, in order; raises `UsageError` unless they share names and types."""
    parts = list(parts)
    if not parts:
        raise UsageError("nothing to concatenate")
    schema = parts[0].schema
    for part in parts[1:]:
        if part.schema.arrow != schema.arrow:
            raise UsageError(f"columns differ: {listed(schema.names)} against {listed(part.schema.names)}")
    return UnverifiedSamples(pa.concat_tables([p.table for p in parts]), schema)


def _columns(data: Any) -> tuple[dict[str, pa.ChunkedArray], dict[str, tuple[int, ...]]]:
    """Canonical columns by name, and the shapes of those that are images."""
    if isinstance(data, Mapping):
        return from_arrays(data)
    if type(data).__module__.startswith("pandas.") or any(t.__module__.startswith("pandas.") for t in type(data).__mro__):
        return _from_pandas(data), {}
    if not hasattr(data, "__arrow_c_stream__"):
        raise UsageError(f"cannot read samples from {type(data).__name__}: give a DataFrame, an Arrow table, a path or a dict of arrays")
    table = pa.table(data)
    shapes = {}
    for field in table.schema:
        if b"shape" in (field.metadata or {}):
            shapes[field.name] = tuple(int(part) for part in field.metadata[b"shape"].split(b","))
    _check_names(table.column_names)
    return {name: canonical(values, name) for name, values in zip(table.column_names, table.columns, strict=True)}, shapes


def _from_pandas(frame: Any) -> dict[str, pa.ChunkedArray]:
    if frame.ndim != 2:
        raise UsageError("a Series is one column: give a DataFrame")
    names = [str(name) for name in frame.columns]
    _check_names(names)
    return {name: _from_series(frame.iloc[:, i], name) for i, name in enumerate(names)}


def _from_series(series: pd.Series[Any], name: str) -> pa.ChunkedArray:
    """NaN, NaT, None and NA in pandas all mean missing, so all become null."""
    if series.dtype.name.startswith(("period", "interval")):
        series = series.astype(str).where(series.notna())
    if series.dtype != object:
        try:
            array = pa.array(series, from_pandas=True)
            return canonical(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]), name)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):  # categories of several types, sparse, complex
            series = series.astype(object)
    return _from_objects(series.where(series.notna(), None).tolist(), name)


def from_arrays(arrays: Mapping[Any, Any]) -> tuple[dict[str, pa.ChunkedArray], dict[str, tuple[int, ...]]]:
    """Canonical columns from equally long arrays, and the shapes of those that have one."""
    held = {str(name): _array(values, str(name)) for name, values in arrays.items()}
    _check_names([str(name) for name in arrays])
    if len({len(a) for a in held.values()}) > 1:
        raise UsageError("arrays differ in length: " + ", ".join(f"{name} {len(a)}" for name, a in held.items()))
    columns, shapes = {}, {}
    for name, array in held.items():
        if array.ndim == 1:
            columns[name] = _from_vector(array, name)
            continue
        shapes[name] = array.shape[1:]
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        columns[name] = pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, math.prod(array.shape[1:]))])
    return columns, shapes


def _array(values: Any, name: str) -> NDArray[Any]:
    """The array under `name` in the dtype that its meaning asks for."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UsageError(f"{name!r} is no array: {error}", subject=name) from error
    if array.ndim == 0 or (array.ndim == 1 and name in ("image", "embedding") and array.dtype != object):
        raise UsageError(f"{name!r} has shape {array.shape}; rows come first, then the shape of one sample", subject=name)
    if array.ndim == 1:
        return array
    if 0 in array.shape[1:] or array.dtype.kind not in "iufb" or math.prod(array.shape[1:]) >= 2**31:
        raise UsageError(f"{name!r} is {array.dtype} of shape {array.shape}; a sample needs at least one number", subject=name)
    if array.ndim == 2 and name != "image":
        return array.astype(np.float32, copy=False)
    if array.ndim not in (3, 4):
        raise UsageError(f"{name!r} has shape {array.shape}; images are (n, height, width) or (n, height, width, channels)", subject=name)
    if array.dtype != np.uint8 and (array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > 255))):
        raise UsageError(f"{name!r} is {array.dtype}; images are uint8, 0 to 255: convert them first", subject=name)
    return array.astype(np.uint8, copy=False)


def _from_vector(array: NDArray[Any], name: str) -> pa.ChunkedArray:
    if array.dtype != object:
        try:
            return canonical(pa.chunked_array([pa.array(array)]), name)
        except (pa.ArrowException, TypeError, ValueError, UnicodeError):
            array = array.astype(object)
    return _from_objects([None if _missing(v) else v for v in array.tolist()], name)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")


def _from_objects(values: list[Any], name: str) -> pa.ChunkedArray:
    """Python objects of any mixture, None for missing: booleans, numbers, times or vectors if all are, else their text."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, bool | np.bool_) for v in present) and present:
        return _chunked([None if v is None else bool(v) for v in values], pa.bool_())
    if all(isinstance(v, _NUMBERS) and not isinstance(v, np.complexfloating) for v in present):
        whole = present and all(isinstance(v, int | np.integer) and -(2**63) <= int(v) < 2**63 for v in present)
        return (
            _chunked([None if v is None else int(v) for v in values], pa.int64())
            if whole
            else _chunked(list(map(_number, values)), pa.float64())
        )
    if all(isinstance(v, date) for v in present):
        return _chunked([v if v is None or isinstance(v, datetime) else datetime(v.year, v.month, v.day) for v in values], TIMES)  # noqa: DTZ001 - a date has no zone
    if all(isinstance(v, list | tuple | np.ndarray) for v in present):
        try:
            return canonical(pa.chunked_array([pa.array([None if v is None else np.asarray(v) for v in values])]), name)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(f"column {name!r} holds lists that are no vectors of numbers: {error}", subject=name) from error
    return _chunked([None if v is None else _text(v) for v in values], STRING)


def _chunked(values: list[Any], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _text(value: Any) -> str:
    # lone surrogates are no Unicode: shown as escapes, so that the sample stays in the data and can be looked at
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _check_names(names: list[str]) -> None:
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UsageError(f"the column {name!r} is there {times} times; rename the others", subject=name)


def _check_roles(names: list[str], *, label: str | None, source: str | None, modality: str | None) -> None:
    for role, name in (("label", label), ("source", source)):
        if name is not None and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns: {listed(names)}"
            raise UsageError(f"there is no {role} column {name!r}; {hint}", subject=name)
    needed = {"text": ("text",), "image": ("image",), "embedding": ("embedding",), "ratings": RATINGS}.get(modality or "", ())
    absent = [name for name in needed if name not in names]
    if absent:
        raise UsageError(f"modality {modality!r} needs the column {absent[0]!r}; columns: {listed(names)}", subject=absent[0])
