"""`scan` takes what people have at hand, however dirty, or says in one line why not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sanitizer.errors import UsageError
from sanitizer.samples import Column, Schema, UnverifiedSamples, align, concat, from_any

N = 4
DIRTY: dict[str, tuple[Any, str, list[Any]]] = {
    "floats": ([1.0, np.nan, np.inf, 1e300], "float64", [1.0, None, np.inf, 1e300]),
    "constant": ([7] * N, "int64", [7] * N),
    "all null": ([None] * N, "float64", [None] * N),
    "all null objects": (pd.Series([None, np.nan, pd.NA, pd.NaT], dtype=object), "float64", [None] * N),
    "text": (["a", "", None, "ü"], "string", ["a", "", None, "ü"]),
    "text as object": (pd.Series(["a", "", None, "ü"], dtype=object), "string", ["a", "", None, "ü"]),
    "lone surrogate": (pd.Series(["a", "\ud800", None, "b"], dtype=object), "string", ["a", "\\ud800", None, "b"]),
    "mixed": (pd.Series([1, "a", None, 2.5], dtype=object), "string", ["1", "a", None, "2.5"]),
    "mixed numbers": (pd.Series([1, 2.5, True, Decimal(3)], dtype=object), "float64", [1.0, 2.5, 1.0, 3.0]),
    "huge integers": (pd.Series([10**30, -(10**400), 1, None], dtype=object), "float64", [1e30, -np.inf, 1.0, None]),
    "unsigned": (np.array([2**64 - 1, 0, 1, 2], np.uint64), "float64", [2.0**64, 0.0, 1.0, 2.0]),
    "nullable integers": (pd.array([1, None, 3, 4], dtype="Int64"), "int64", [1, None, 3, 4]),
    "booleans": ([True, False, True, False], "bool", [True, False, True, False]),
    "booleans with holes": (pd.Series([True, None, False, True], dtype=object), "bool", [True, None, False, True]),
    "category": (pd.Categorical(["a", "b", None, "a"]), "string", ["a", "b", None, "a"]),
    "category of mixed": (pd.Categorical(["a", 1, None, "a"]), "string", ["a", "1", None, "a"]),
    "category of integers": (pd.Categorical([1, 2, 1, 2]), "int64", [1, 2, 1, 2]),
    "half floats": (np.array([1, 2, 3, 4], np.float16), "float64", [1.0, 2.0, 3.0, 4.0]),
    "complex": (np.array([1, 2, 3, 4j]), "string", ["(1+0j)", "(2+0j)", "(3+0j)", "4j"]),
    "bytes": (pd.Series([b"a", b"\xff", None, b""], dtype=object), "string", ["b'a'", "b'\\xff'", None, "b''"]),
    "sparse": (pd.arrays.SparseArray([0, 0, 1, 0]), "int64", [0, 0, 1, 0]),
    "periods": (pd.period_range("2020-01", periods=N, freq="M"), "string", ["2020-01", "2020-02", "2020-03", "2020-04"]),
    "durations": (pd.to_timedelta([1, 2, 3, 4], unit="s"), "int64", [10**6, 2 * 10**6, 3 * 10**6, 4 * 10**6]),
    "lists": (pd.Series([[1, 2], [3, 4], None, [5, 6]], dtype=object), "embedding[2]", [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]]),
    "Arrow-backed": (pd.array([1, None, 3, 4], dtype=pd.ArrowDtype(pa.int8())), "int64", [1, None, 3, 4]),
}


@pytest.mark.parametrize(("values", "kind", "expected"), DIRTY.values(), ids=DIRTY)
def test_a_column_of_any_kind_is_taken(values: Any, kind: str, expected: list[Any]) -> None:
    samples = from_any(pd.DataFrame({"x": values, "y": [0, 1, 0, 1]}), label="y")
    assert samples.schema["x"].type == kind
    assert samples.table["x"].to_pylist() == expected
    assert len(set(samples.sample_ids)) == N


UTC_DAY = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
TIMES = {
    "naive": pd.to_datetime(["2020-01-01"]),
    "with a zone": pd.to_datetime(["2020-01-01T02:00:00+02:00"]),
    "dates": pd.Series([dt.date(2020, 1, 1)], dtype=object),
    "objects": pd.Series([dt.datetime(2020, 1, 1)], dtype=object),  # noqa: DTZ001
    "nanoseconds": np.array(["2020-01-01T00:00:00.000000001"], "M8[ns]"),
}


@pytest.mark.parametrize("values", TIMES.values(), ids=TIMES)
def test_times_become_microseconds_of_utc(values: Any) -> None:
    samples = from_any(pd.DataFrame({"t": values}), label=None)
    assert samples.schema["t"].type == "timestamp"
    assert samples.table["t"].to_pylist() == [UTC_DAY]


def test_a_time_that_no_calendar_has_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="'t' holds times that no calendar has"):
        from_any(pa.table({"t": pa.array([2**62], pa.timestamp("s"))}), label=None)


@pytest.mark.parametrize("labels", [["a", "b", "a"], [True, False, True], [0.0, 1.5, 0.0], [3, 3, 3], [None, "a", "b"]])
def test_labels_may_be_of_any_kind(labels: list[Any]) -> None:
    samples = from_any(pd.DataFrame({"x": [1, 2, 3], "y": labels}), label="y")
    assert samples.column(samples.schema.label).to_pylist() == labels


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_rows_are_still_a_table(n: int) -> None:
    for data in (
        pd.DataFrame({"x": np.arange(n, dtype=float), "y": ["a"] * n}),
        pa.table({"x": pa.array([1.0] * n, pa.float64()), "y": pa.array(["a"] * n, pa.string())}),
        {"embedding": np.zeros((n, 3), np.float32), "y": np.zeros(n)},
        {"image": np.zeros((n, 2, 2), np.uint8), "y": np.zeros(n)},
    ):
        samples = from_any(data, label="y")
        assert len(samples) == n
        assert len(samples.sample_ids) == n


def test_ten_thousand_columns_are_a_table() -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 10_000)))
    samples = from_any(wide.assign(y=[0, 1, 0]), label="y")
    assert len(samples.schema.features) == 10_000
    assert len(set(samples.sample_ids)) == 3


def test_names_that_are_numbers_become_their_text() -> None:
    assert from_any(pd.DataFrame(np.zeros((2, 2))), label=None).schema.names == ("0", "1")


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no such label": (pd.DataFrame({"x": [1], "label": [1]}), {"label": "lable"}, "no label column 'lable'; did you mean 'label'"),
    "no such source": (pd.DataFrame({"x": [1], "y": [1]}), {"label": "y", "source": "who"}, "no source column 'who'; columns: x, y"),
    "column twice": (pd.DataFrame([[1, 2]], columns=["x", "x"]), {}, "'x' is there 2 times"),
    "column twice after naming": (pd.DataFrame([[1, 2]], columns=[1, "1"]), {}, "'1' is there 2 times"),
    "nothing": (pd.DataFrame(), {}, "no column is left"),
    "a list": ([1, 2], {}, "cannot read samples from list"),
    "a series": (pd.Series([1, 2]), {}, "give a DataFrame"),
    "arrays of two lengths": ({"a": [1, 2], "y": [1]}, {"label": "y"}, "differ in length: a 2, y 1"),
    "float images": ({"image": np.zeros((2, 4, 4))}, {}, "images are uint8"),
    "flat images": ({"image": np.zeros((2, 16), np.uint8)}, {}, r"images are \(n, height, width\)"),
    "empty vectors": ({"embedding": np.zeros((2, 0))}, {}, "at least one number"),
    "a number for a column": ({"a": 1}, {}, "rows come first"),
    "ragged vectors": (pd.DataFrame({"v": [[1, 2], [3]]}), {}, "lists of 2 lengths"),
    "lists of text": (pd.DataFrame({"v": [["a"], ["b"]]}), {}, "only lists of numbers"),
    "holes in vectors": (pa.table({"v": [[1.0, None]]}), {}, "nulls inside"),
    "text without text": (pd.DataFrame({"x": ["a"]}), {"modality": "text"}, "needs the column 'text'"),
    "ratings without item": (pd.DataFrame({"user": [1], "rating": [1]}), {"modality": "ratings"}, "needs the column 'item'"),
    "unknown modality": (pd.DataFrame({"x": [1]}), {"modality": "sound"}, "modality 'sound'"),
}


@pytest.mark.parametrize(("data", "arguments", "words"), BAD.values(), ids=BAD)
def test_what_is_no_table_is_one_clear_error(data: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_any(data, **({"label": None} | arguments))


def test_arrays_go_to_arrow_and_back_without_a_copy() -> None:
    vectors, images = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    samples = from_any({"embedding": vectors, "image": images, "label": list("aabba")}, label="label", modality="image")
    assert np.shares_memory(samples.matrix("embedding"), vectors)
    assert np.shares_memory(samples.matrix("image"), images)
    assert np.array_equal(samples.matrix("image"), images)
    assert samples.schema["image"].type == "image[2,2,3]"


def test_a_matrix_of_several_chunks_or_of_taken_rows_is_the_same_matrix() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    samples = from_any({"embedding": vectors}, label=None)
    assert np.array_equal(concat([samples, samples]).matrix("embedding"), np.vstack([vectors, vectors]))
    assert np.array_equal(samples.take([4, 1]).matrix("embedding"), vectors[[4, 1]])
    assert np.array_equal(samples.take(np.arange(6) > 3).matrix("embedding"), vectors[4:])
    assert samples.take([]).matrix("embedding").shape == (0, 2)
    assert concat([samples.take([]), samples.take([])]).matrix("embedding").shape == (0, 2)


def test_a_null_is_nan_in_a_matrix() -> None:
    table = pa.table({"e": pa.array([[1, 2], None], pa.list_(pa.float32(), 2)), "b": [True, None], "n": [1, None]})
    samples = from_any(table, label=None)
    for name in ("e", "b", "n"):
        assert np.isnan(samples.matrix(name)[1]).all()


def test_a_matrix_of_text_is_refused() -> None:
    with pytest.raises(UsageError, match="holds strings, which are no matrix"):
        from_any(pa.table({"s": ["a"]}), label=None).matrix("s")


def test_a_frame_and_its_arrow_table_hold_the_same_samples() -> None:
    frame = pd.DataFrame({"x": [1.5, None], "s": ["a", None], "y": [1, 0]})
    assert from_any(frame, label="y").sample_ids == from_any(pa.Table.from_pandas(frame), label="y").sample_ids


SCHEMA = Schema((Column("a", "int64"), Column("s", "string"), Column("y", "string")), "tabular", "y")


def test_trusted_rows_are_aligned_to_the_delivery() -> None:
    trusted = from_any(pd.DataFrame({"y": [0, 1], "extra": [1, 1], "a": [1.0, 2.5]}), label="y")
    aligned, notes = align(trusted, to=SCHEMA)
    assert aligned.schema is SCHEMA
    assert aligned.table.to_pylist() == [{"a": 1, "s": None, "y": "0"}, {"a": None, "s": None, "y": "1"}]
    assert notes == (
        "column 'a' holds float64: 1 of 2 values cannot be read as int64, taken as null",
        "column 's' is missing: taken as null in all 2 rows",
        "columns left out, as the schema does not have them: extra",
    )


def test_another_column_order_alone_needs_no_note() -> None:
    samples = from_any(pd.DataFrame({"y": ["a"], "s": ["b"], "a": [1]}), label="y")
    assert align(samples, to=SCHEMA)[1] == ()


CASTS: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {
    ("string", "int64"): (["1", "2.0", "x", "1e3", "9223372036854775808", None, "+3"], [1, 2, None, None, None, None, 3]),
    ("string", "float64"): (["1", ".5", "nan", "inf", "1e400", "0x10", " 1"], [1.0, 0.5, None, None, np.inf, None, None]),
    ("string", "bool"): (["True", "0", "yes", None], [True, False, None, None]),
    ("string", "timestamp"): (["2020-01-01", "x", "2020-01-01T02:00+02:00", None], [UTC_DAY, None, UTC_DAY, None]),
    ("float64", "int64"): ([1.0, 1.5, np.inf, 2.0**63], [1, None, None, None]),
    ("float64", "string"): ([1.0, 1.5], ["1", "1.5"]),
    ("float64", "bool"): ([1.0, 0.5], [True, None]),
    ("float64", "timestamp"): ([1.0], [None]),
    ("int64", "float64"): ([1], [1.0]),
    ("int64", "bool"): ([0, 1, 2], [False, True, None]),
    ("bool", "int64"): ([True, None], [1, None]),
    ("bool", "string"): ([True], ["true"]),
    ("timestamp", "string"): ([UTC_DAY], ["2020-01-01 00:00:00.000000Z"]),
    ("timestamp", "int64"): ([UTC_DAY], [None]),
}


@pytest.mark.parametrize(("kinds", "values"), CASTS.items(), ids=map("-".join, CASTS))
def test_values_are_read_as_the_other_type_or_lost_and_counted(kinds: tuple[str, str], values: tuple[list[Any], list[Any]]) -> None:
    before, after = Column("v", kinds[0]), Schema((Column("v", kinds[1]),), "tabular")
    held = UnverifiedSamples(pa.table({"v": pa.array(values[0], before.arrow)}), Schema((before,), "tabular"))
    aligned, notes = align(held, to=after)
    assert aligned.table["v"].to_pylist() == values[1]
    assert bool(notes) == (values[1].count(None) > values[0].count(None))


def test_vectors_of_another_length_cannot_be_aligned() -> None:
    short = from_any({"embedding": np.zeros((2, 3), np.float32)}, label=None)
    with pytest.raises(UsageError, match=r"not embedding\[4\]"):
        align(short, to=Schema((Column("embedding", "embedding[4]"),), "embedding"))


def test_samples_pass_through_and_may_be_aligned() -> None:
    samples = from_any(pd.DataFrame({"a": [1], "s": ["b"], "y": ["c"]}), label="y")
    assert from_any(samples, label="y") is samples
    assert from_any(samples, label="y", schema=SCHEMA).schema is SCHEMA


def test_parts_of_other_columns_cannot_be_joined() -> None:
    with pytest.raises(UsageError, match="columns differ"):
        concat([from_any(pd.DataFrame({"a": [1]}), label=None), from_any(pd.DataFrame({"b": [1]}), label=None)])


def test_a_table_must_fit_its_schema() -> None:
    with pytest.raises(UsageError, match="does not fit its schema"):
        UnverifiedSamples(pa.table({"a": [1]}), SCHEMA)
