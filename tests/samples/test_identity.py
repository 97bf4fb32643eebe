"""The identity of a sample depends on its values and on nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.samples import Column, Schema, UnverifiedSamples, concat
from sanitizer.samples.identity import DIGEST, content_ids, encode, row_digests, sample_ids

SCHEMA = Schema(
    (
        Column("n", "int64"),
        Column("x", "float64"),
        Column("s", "string"),
        Column("b", "bool"),
        Column("t", "timestamp"),
        Column("e", "embedding[2]"),
        Column("i", "image[1,2]"),
        Column("label", "string"),
        Column("source", "int64"),
    ),
    "tabular",
    label="label",
    source="source",
)
floats = st.floats(width=32)
ROW = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(),
    st.none() | st.text(max_size=5),
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**50), 2**50),
    st.none() | st.tuples(floats, floats),
    st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.none() | st.sampled_from(["cat", "dog"]),
    st.none() | st.integers(0, 3),
)


def table(rows: Sequence[Sequence[object]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA.columns)
    arrays = [pa.array(values, c.arrow) for values, c in zip(columns, SCHEMA.columns, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA.arrow)


def samples(rows: Sequence[Sequence[object]]) -> UnverifiedSamples:
    return UnverifiedSamples(table(rows), SCHEMA)


@given(st.lists(ROW, max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_digests_do_not_depend_on_chunks_or_offsets(rows: list[tuple[object, ...]], cuts: list[int]) -> None:
    whole = table(rows)
    edges = sorted({0, len(rows), *(c for c in cuts if c <= len(rows))})
    # the second half of a doubled table has other offsets, and null slots with other bytes below them
    doubled = pa.concat_tables([whole, whole]).combine_chunks().slice(len(rows))
    pieces = [doubled.slice(a, b - a) for a, b in pairwise(edges)] or [doubled]
    cut = pa.concat_tables(pieces)
    assert np.array_equal(row_digests(whole, SCHEMA), row_digests(cut, SCHEMA))
    assert np.array_equal(content_ids(whole, SCHEMA), content_ids(cut, SCHEMA))


@given(st.lists(ROW, max_size=8), st.randoms(use_true_random=False))
def test_moving_rows_moves_their_ids(rows: list[tuple[object, ...]], random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert sorted(samples(rows).sample_ids) == sorted(samples([rows[i] for i in order]).sample_ids)


@given(ROW, ROW)
def test_rows_share_a_digest_only_if_they_are_equal(a: tuple[object, ...], b: tuple[object, ...]) -> None:
    same = [
        repr(pa.scalar(x, c.arrow).as_py()) == repr(pa.scalar(y, c.arrow).as_py()) for x, y, c in zip(a, b, SCHEMA.columns, strict=True)
    ]
    ids = samples([a, b])
    assert (ids.row_digests[0] == ids.row_digests[1]) == all(same)
    assert (ids.content_ids[0] == ids.content_ids[1]) == all(same[:-2])


def one(value: object, kind: str = "string", name: str = "v") -> bytes:
    column = Column(name, kind)
    held = pa.table({name: pa.array([value], column.arrow)})
    return bytes(content_ids(held, Schema((column,), "tabular"))[0])


LOOKALIKES = {
    "empty string and null": (one(""), one(None)),
    "zero and null": (one(0, "int64"), one(None, "int64")),
    "NaN and null": (one(float("nan"), "float64"), one(None, "float64")),
    "zero and minus zero": (one(0.0, "float64"), one(-0.0, "float64")),
    "a trailing NUL": (one("a"), one("a\0")),
    "composed and decomposed": (one("\u00e9"), one("e\u0301")),
    "1 as integer and as float": (one(1, "int64"), one(1.0, "float64")),
    "the same value in another column": (one("a"), one("a", name="w")),
    "one image in two shapes": (one([1, 2, 3, 4], "image[2,2]"), one([1, 2, 3, 4], "image[1,4]")),
    "a black image and none": (one([0, 0], "image[1,2]"), one(None, "image[1,2]")),
    "false and null": (one(False, "bool"), one(None, "bool")),
}


@pytest.mark.parametrize("pair", LOOKALIKES.values(), ids=LOOKALIKES)
def test_values_that_look_alike_stay_apart(pair: tuple[bytes, bytes]) -> None:
    assert pair[0] != pair[1]


def test_text_cannot_move_between_columns() -> None:
    schema = Schema((Column("a", "string"), Column("b", "string")), "tabular")
    rows = pa.table({"a": pa.array(["a", "ab"], pa.large_string()), "b": pa.array(["bc", "c"], pa.large_string())})
    first, second = content_ids(rows, schema)
    assert first != second


def test_all_nans_are_one_value() -> None:
    quiet, negative, payload = 0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000123
    values = np.array([quiet, negative, payload], np.uint64).view(np.float64)
    ids = content_ids(pa.table({"x": values}), Schema((Column("x", "float64"),), "tabular"))
    assert len(set(map(bytes, ids))) == 1


def test_the_encoding_is_the_one_that_is_written_down() -> None:
    columns = (Column("n", "int64"), Column("s", "string"), Column("e", "embedding[1]"))
    arrays = [pa.chunked_array([pa.array([v], c.arrow)]) for v, c in zip([-2, None, [1.5]], columns, strict=True)]
    row = next(iter(encode(arrays, columns, "content")))[0].as_py()
    spelled = b'["sanitizer/row/1","content",[["n","int64"],["s","string"],["e","embedding[1]"]]]'
    words = [(-2).to_bytes(8, "little", signed=True), bytes(8), (4).to_bytes(8, "little")]
    assert row == hashlib.sha256(spelled).digest() + b"\1\0\1" + b"".join(words) + np.float32(1.5).tobytes()


def test_label_and_source_are_no_part_of_the_content() -> None:
    a = (1, 1.0, "s", True, 0, (1.0, 2.0), (1, 2), "cat", 1)
    ids = samples([a, (*a[:-2], "dog", 2)])
    assert ids.content_ids[0] == ids.content_ids[1]
    assert ids.row_digests[0] != ids.row_digests[1]


def test_roles_that_a_person_corrects_rename_no_sample() -> None:
    rows = table([(1, 1.0, "s", True, 0, (1.0, 2.0), (1, 2), "cat", 1)])
    keyed = Schema(SCHEMA.columns, "text", SCHEMA.label, SCHEMA.source, key=("n",))
    assert np.array_equal(row_digests(rows, SCHEMA), row_digests(rows, keyed))


def test_exact_duplicates_are_numbered_in_order() -> None:
    row = (1, 1.0, "s", True, 0, (1.0, 2.0), (1, 2), "cat", 1)
    first, second = samples([row, row]).sample_ids
    assert first[:-2] == second[:-2]
    assert (first[-2:], second[-2:]) == ("-0", "-1")


@pytest.mark.parametrize("n", [0, 1, 16_383, 16_384, 16_385])
def test_batches_meet_without_a_seam(n: int) -> None:
    schema = Schema((Column("n", "int64"), Column("s", "string")), "tabular")
    numbers = np.arange(n)
    rows = pa.table({"n": numbers, "s": pa.array(map(str, numbers), pa.large_string())})
    digests = row_digests(rows, schema)
    assert digests.shape == (n,)
    assert digests.dtype == DIGEST
    assert len(set(sample_ids(digests))) == n
    if n:
        assert digests[-1] == row_digests(rows.slice(n - 1), schema)[0]


def test_thousands_of_crumbs_are_swept_together() -> None:
    schema = Schema((Column("n", "int64"),), "tabular")
    crumbs = concat([UnverifiedSamples(pa.table({"n": pa.array([i])}), schema) for i in range(3000)])
    assert np.array_equal(crumbs.row_digests, row_digests(pa.table({"n": np.arange(3000)}), schema))


def test_digests_that_end_in_zero_bytes_keep_them() -> None:
    assert sample_ids(np.zeros(1, DIGEST)) == ["00" * 32 + "-0"]
