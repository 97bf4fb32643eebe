"""A strict cast changes no value: it reads one meaning or says where there are two."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import AmbiguousData, SchemaMismatch
from sanitizer.samples import Column, Schema
from sanitizer.samples.canonical import STRING
from sanitizer.samples.strict import canonical_exactly, cast, converted, infer, parsed

DAY = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)


def text(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, STRING)])


INFERRED: dict[str, tuple[list[str | None], str]] = {
    "integers": (["1", "-2", "0", None], "int64"),
    "fractions": (["1", "2.5", "-.5", "1e-3", "3."], "float64"),
    "minus zero is a float": (["-0", "1"], "float64"),
    "nothing": ([None, None], "float64"),
    "booleans": (["true", "False", None], "bool"),
    "words": (["a", "b"], "string"),
    "postcodes": (["02139", "90210", "10001"], "string"),
    "identifiers of twenty digits": (["18446744073709551616", "1"], "float64"),
    "identifiers beyond 64 bits": (["9223372036854775808"], "string"),
    "plus signs": (["+1", "+2"], "string"),
    "hexadecimal": (["0x10", "0x11"], "string"),
    "underscores": (["1_000"], "string"),
    "codes": (["A1", "12", "B7"], "string"),
    "days": (["2026-01-31", None], "timestamp"),
    "times": (["2026-01-31 23:59", "2026-01-31T23:59:59.123456"], "timestamp"),
    "times with zones": (["2026-01-31T00:00Z", "2026-01-31T00:00+01:00"], "timestamp"),
    "times with and without a zone": (["2026-01-31T00:00Z", "2026-01-31T00:00"], "string"),
    "days that no calendar has": (["2026-02-30"], "string"),
    "only marks": (["NA", "NA"], "string"),
}


@pytest.mark.parametrize(("values", "kind"), INFERRED.values(), ids=INFERRED)
def test_the_type_of_text_is_read_off_its_values(values: list[str | None], kind: str) -> None:
    assert infer([("f", text(*values))], "x") == kind


MIXED = {
    "NaN": ["1", "NaN"],
    "infinity": ["1.5", "-inf"],
    "NA": ["1", "NA"],
    "question mark": ["1", "?"],
    "quoted nothing": ["1", ""],
    "a word": ["1"] * 19 + ["none of these"],
    "a number with a unit": ["1"] * 19 + ["3kg"],
}


@pytest.mark.parametrize("values", MIXED.values(), ids=MIXED)
def test_numbers_mixed_with_something_else_are_refused_with_the_row(values: list[str]) -> None:
    with pytest.raises(AmbiguousData, match=f"second: row {len(values)}: column 'x' holds numbers, but here '"):
        infer([("first", text("1")), ("second", text(*values))], "x")


PARSED: dict[str, tuple[str, list[str | None], list[Any]]] = {
    "integers": ("int64", ["1", "-2", None, "9223372036854775807"], [1, -2, None, 2**63 - 1]),
    "integers as pandas writes them beside a gap": ("int64", ["1.0", None, "-3.00"], [1, None, -3]),
    "floats": ("float64", ["1", ".5", "-0", "1e-3", None], [1.0, 0.5, -0.0, 0.001, None]),
    "booleans": ("bool", ["true", "FALSE", None], [True, False, None]),
    "times": ("timestamp", ["2026-01-31", "2026-01-31 00:00", None], [DAY, DAY, None]),
    "times with zones": ("timestamp", ["2026-01-31T00:00Z", "2026-01-31T01:00:00+01:00"], [DAY, DAY]),
    "text": ("string", ["007", "", None, "NaN"], ["007", "", None, "NaN"]),
}


@pytest.mark.parametrize(("kind", "values", "expected"), PARSED.values(), ids=PARSED)
def test_text_is_read_as_the_schema_says(kind: str, values: list[str | None], expected: list[Any]) -> None:
    held = parsed(text(*values), Column("x", kind), "f")
    assert held.type == Column("x", kind).arrow
    assert held.to_pylist() == expected


UNPARSED = [
    ("int64", "1.5"),
    ("int64", "007"),
    ("int64", "1e3"),
    ("int64", " 1"),
    ("int64", ""),
    ("int64", "9223372036854775808"),
    ("float64", "NaN"),
    ("float64", "inf"),
    ("float64", "1,5"),
    ("float64", "0x1"),
    ("float64", "00.5"),
    ("bool", "1"),
    ("bool", "yes"),
    ("timestamp", "31.01.2026"),
    ("timestamp", "2026-01-31T00:00:00.0000001"),
]


@pytest.mark.parametrize("value", ["1e999", "-1e999", "9" * 5000])
def test_a_number_that_only_some_parsers_can_hold_is_ambiguous(value: str) -> None:
    with pytest.raises(AmbiguousData, match=r"f: row 2: column 'x' holds .* beyond the range of a double"):
        parsed(text("1.5", value), Column("x", "float64"), "f")


@pytest.mark.parametrize(("kind", "value"), UNPARSED)
def test_text_that_is_no_such_value_is_refused_with_column_and_row(kind: str, value: str) -> None:
    good = next(v[0] for k, v, _ in PARSED.values() if k == kind)
    with pytest.raises(SchemaMismatch, match=r"f: (row 2: )?column 'x' holds"):
        parsed(text(good, value), Column("x", kind), "f")


def test_times_with_and_without_a_zone_are_not_mixed() -> None:
    with pytest.raises(SchemaMismatch, match="with and without a zone"):
        parsed(text("2026-01-31T00:00Z", "2026-01-31T00:00"), Column("x", "timestamp"), "f")


def test_text_holds_no_vectors() -> None:
    with pytest.raises(SchemaMismatch, match="which text cannot hold"):
        parsed(text("[1, 2]"), Column("x", "embedding[2]"), "f")


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_integers_survive_their_text(values: list[int | None]) -> None:
    assert parsed(text(*(None if v is None else str(v) for v in values)), Column("x", "int64"), "f").to_pylist() == values


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_survive_their_text(values: list[float | None]) -> None:
    held = parsed(text(*(None if v is None else repr(v) for v in values)), Column("x", "float64"), "f")
    assert list(map(repr, held.to_pylist())) == list(map(repr, values))


def test_an_empty_cell_where_a_value_must_be_is_refused_with_the_row() -> None:
    with pytest.raises(SchemaMismatch, match="row 2: column 'x' is empty"):
        parsed(text("a", None), Column("x", "string", nullable=False), "f")


def test_a_class_that_nobody_announced_is_refused_with_the_row() -> None:
    with pytest.raises(SchemaMismatch, match=r"row 3: column 'x' holds 'cow', none of its 2 categories; add it to schema.json"):
        parsed(text("cat", None, "cow"), Column("x", "string", categories=("cat", "dog")), "f")


CONVERTED: dict[str, tuple[pa.Array, str, list[Any]]] = {
    "small integers": (pa.array([1, None], pa.int8()), "int64", [1, None]),
    "unsigned": (pa.array([1], pa.uint64()), "int64", [1]),
    "whole floats": (pa.array([1.0, None]), "int64", [1, None]),
    "integers as floats": (pa.array([1, -(2**53)]), "float64", [1.0, -(2.0**53)]),
    "single floats": (pa.array([0.5, float("inf")], pa.float32()), "float64", [0.5, float("inf")]),
    "prices": (pa.array([Decimal("1.10")], pa.decimal128(15, 2)), "float64", [1.1]),
    "dictionary": (pa.array(["a", "b", None]).dictionary_encode(), "string", ["a", "b", None]),
    "days": (pa.array([DAY.date()]), "timestamp", [DAY]),
    "nanoseconds that are none": (pa.array([1_769_817_600 * 10**9], pa.timestamp("ns")), "timestamp", [DAY]),
    "text of times": (pa.array(["2026-01-31"]), "timestamp", [DAY]),
    "nothing as text": (pa.nulls(2), "string", [None, None]),
    "empty floats as text": (pa.array([None], pa.float64()), "string", [None]),
    "nothing as vectors": (pa.nulls(1), "embedding[2]", [None]),
    "lists": (pa.array([[1.0, 2.0]]), "embedding[2]", [[1.0, 2.0]]),
    "lists of integers": (pa.array([[1, 2]]), "embedding[2]", [[1.0, 2.0]]),
    "lists of bytes as images": (pa.array([[1, 2]], pa.list_(pa.uint8())), "image[1,2]", [[1, 2]]),
    "lists of nothing": (pa.array([None], pa.list_(pa.float64())), "embedding[2]", [None]),
}


@pytest.mark.parametrize(("values", "kind", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_values_become_the_type_of_the_schema_without_loss(values: pa.Array, kind: str, expected: list[Any]) -> None:
    held = converted(pa.chunked_array([values]), Column("x", kind), "f")
    assert held.type == Column("x", kind).arrow
    assert held.to_pylist() == expected


LOSSY: dict[str, tuple[pa.Array, str, str]] = {
    "fraction": (pa.array([1.0, 1.5]), "int64", "row 2: column 'x' holds 1.5, which is no int64"),
    "NaN": (pa.array([1.0, float("nan")]), "int64", "row 2: column 'x' holds nan"),
    "integer beyond a double": (pa.array([2**53 + 1]), "float64", "row 1: column 'x' holds 9007199254740993"),
    "text for numbers": (pa.array(["1"]), "int64", "holds string, the schema says int64"),
    "numbers for text": (pa.array([1]), "string", "holds int64, the schema says string"),
    "numbers for booleans": (pa.array([1]), "bool", "holds int64, the schema says bool"),
    "shorter vectors": (pa.array([[1.0]]), "embedding[2]", r"the schema says embedding\[2\]"),
    "ragged vectors": (pa.array([[1.0], [1.0, 2.0]]), "embedding[2]", "2 lengths"),
    "vectors with holes": (pa.array([[1.0, None]]), "embedding[2]", "nulls inside"),
    "vectors beyond float32": (pa.array([[1e300, 0.0]]), "embedding[2]", "beyond the range of float32"),
    "floats for images": (pa.array([[1.0, 2.0]]), "image[1,2]", r"the schema says image\[1,2\]"),
}


@pytest.mark.parametrize(("values", "kind", "words"), LOSSY.values(), ids=LOSSY)
def test_a_cast_that_would_lose_something_is_refused(values: pa.Array, kind: str, words: str) -> None:
    with pytest.raises(SchemaMismatch, match=f"f: .*{words}"):
        converted(pa.chunked_array([values]), Column("x", kind), "f")


UNCLEAR: dict[str, tuple[pa.Array, str]] = {
    "raw bytes": (pa.array([b"a"]), "is binary, which is none of"),
    "structures": (pa.array([{"a": 1}]), "is struct"),
    "maps": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "is map"),
    "times of day": (pa.array([dt.time(1)]), "is time64"),
    "durations": (pa.array([dt.timedelta(1)]), "is duration"),
    "long decimals": (pa.array([Decimal(1)], pa.decimal128(30, 2)), "is decimal128"),
    "unsigned beyond 64 bits": (pa.array([1, 2**63], pa.uint64()), "row 2: column 'x' holds an integer beyond 64 signed bits"),
    "nanoseconds": (pa.array([1000, 1001], pa.timestamp("ns")), "row 2: column 'x' holds times finer than a microsecond"),
    "years beyond the calendar": (pa.array([2**62], pa.timestamp("s")), "no calendar has"),
    "lists of lists": (pa.array([[[1]]]), "only lists of numbers"),
    "extension": (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))), "extension type"),
}


@pytest.mark.parametrize(("values", "words"), UNCLEAR.values(), ids=UNCLEAR)
def test_types_that_readers_treat_differently_are_refused(values: pa.Array, words: str) -> None:
    with pytest.raises(AmbiguousData, match=f"f: .*{words}"):
        canonical_exactly(pa.chunked_array([values]), "x", "f")


SCHEMA = Schema((Column("a", "int64"), Column("b", "string"), Column("y", "string", False, ("cat",))), "tabular", "y")


def test_columns_are_found_by_name_in_any_order() -> None:
    held = cast(pa.table({"y": ["cat"], "a": [1.0], "b": ["x"]}), SCHEMA)
    assert held.schema.equals(SCHEMA.arrow)
    assert held.to_pylist() == [{"a": 1, "b": "x", "y": "cat"}]


def test_other_columns_are_refused_by_name() -> None:
    with pytest.raises(SchemaMismatch, match="table: lacks b and has c that the schema does not know"):
        cast(pa.table({"a": [1], "c": [1], "y": ["cat"]}), SCHEMA)


@given(st.lists(st.floats() | st.none()))
def test_casting_twice_is_casting_once(values: list[float | None]) -> None:
    schema = Schema((Column("x", "float64"),), "tabular")
    once = cast(pa.table({"x": pa.array(values, pa.float64())}), schema)
    assert repr(cast(once, schema)["x"].to_pylist()) == repr(once["x"].to_pylist()) == repr(values)


def test_values_of_wide_numpy_types_are_kept() -> None:
    held = converted(pa.chunked_array([pa.array(np.array([1, 2], np.float16))]), Column("x", "float64"), "f")
    assert held.to_pylist() == [1.0, 2.0]
