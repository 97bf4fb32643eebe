"""A diff finds exactly what changed, in any order of the rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import SchemaMismatch, UsageError
from sanitizer.samples import Diff, UnverifiedSamples, diff, from_any, known
from sanitizer.samples.diff import _digest_codes, _mixed
from sanitizer.samples.schema import Schema

Row = tuple[int, int, int]  # content, label, key
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=12)


def samples(rows: list[Row], key: tuple[str, ...] = ()) -> UnverifiedSamples:
    columns = {name: pa.array([r[i] for r in rows], pa.int64()) for i, name in enumerate(("x", "y", "id"))}
    held = from_any(pa.table(columns), label="y")
    return UnverifiedSamples(held.table, Schema(held.schema.columns, "tabular", "y", key=key))


def shuffled(rows: list[Row], random: Any) -> list[Row]:
    order = list(rows)
    random.shuffle(order)
    return order


@given(ROWS, ROWS, st.booleans())
def test_every_row_of_either_side_is_in_exactly_one_part(before: list[Row], after: list[Row], keyed: bool) -> None:
    found = diff(samples(before), samples(after), key=("id",) if keyed else ())
    pairs = [found.changed, found.relabelled, found.same]
    assert sorted([*found.removed, *(p for part in pairs for p in part[:, 0])]) == list(range(len(before)))
    assert sorted([*found.added, *(p for part in pairs for p in part[:, 1])]) == list(range(len(after)))


@given(ROWS, ROWS)
def test_the_parts_are_what_counting_gives(before: list[Row], after: list[Row]) -> None:
    found = diff(samples(before), samples(after))
    rows, others = Counter(before), Counter(after)
    left, right = rows - others, others - rows
    contents, other_contents = (Counter((x, k) for x, _, k in side.elements()) for side in (left, right))
    relabelled = (contents & other_contents).total()
    assert found.counts == {
        "added": right.total() - relabelled,
        "removed": left.total() - relabelled,
        "changed": 0,
        "relabelled": relabelled,
        "same": (rows & others).total(),
    }
    assert all(before[a] == after[b] for a, b in found.same)
    assert all(before[a][0] == after[b][0] and before[a][1] != after[b][1] for a, b in found.relabelled)


@given(ROWS, ROWS, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_the_rows_does_not_matter(before: list[Row], after: list[Row], random: Any, keyed: bool) -> None:
    key = ("id",) if keyed else ()
    there = diff(samples(before, key), samples(after, key))
    mixed = diff(samples(shuffled(before, random), key), samples(shuffled(after, random), key))
    assert mixed.counts == there.counts


@given(ROWS, ROWS)
def test_the_way_back_swaps_added_and_removed(before: list[Row], after: list[Row]) -> None:
    there, back = diff(samples(before), samples(after)), diff(samples(after), samples(before))
    assert there.counts == back.counts | {"added": back.counts["removed"], "removed": back.counts["added"]}
    assert bool(there) == bool(back)


@given(ROWS)
def test_a_table_does_not_differ_from_itself(rows: list[Row]) -> None:
    found = diff(samples(rows), samples(rows))
    assert not found
    assert np.array_equal(found.same, np.column_stack([np.arange(len(rows))] * 2))


def test_a_known_key_with_other_content_is_changed() -> None:
    before, after = samples([(0, 0, 1), (1, 0, 2), (2, 0, 3)], key=("id",)), samples([(9, 1, 2), (0, 1, 1), (5, 0, 4)], key=("id",))
    found = diff(before, after)
    assert found.changed.tolist() == [[1, 0]]
    assert found.relabelled.tolist() == [[0, 1]]
    assert (found.removed.tolist(), found.added.tolist()) == ([2], [2])


def test_a_sample_from_another_source_is_changed_and_not_relabelled() -> None:
    before = from_any(pd.DataFrame({"x": [1], "y": [0], "who": ["a"]}), label="y", source="who")
    after = from_any(pd.DataFrame({"x": [1], "y": [0], "who": ["b"]}), label="y", source="who")
    found = diff(before, after)
    assert found.counts == {"added": 0, "removed": 0, "changed": 1, "relabelled": 0, "same": 0}


def test_source_and_label_together_are_told_apart() -> None:
    frame = pd.DataFrame({"x": [1, 1, 2], "y": [0, 1, 0], "who": ["a", "a", "a"]})
    after = pd.DataFrame({"x": [1, 1, 2], "y": [1, 0, 1], "who": ["b", "b", "b"]})
    found = diff(from_any(frame, label="y", source="who"), from_any(after, label="y", source="who"))
    assert found.changed.tolist() == [[0, 1], [1, 0]]
    assert found.relabelled.tolist() == [[2, 2]]


def test_digests_that_begin_alike_are_told_apart() -> None:
    alike = [b"same eight" + bytes([i]) * 22 for i in (0, 1, 0, 2)]
    codes = _digest_codes(*np.split(np.array(alike, "V32"), 2))
    assert (codes[0] == codes[2], len(set(codes.tolist()))) == (True, 3)


def test_codes_that_are_large_are_mixed_without_overflow() -> None:
    left, right = np.array([0, 2**40, 2**40, 0]), np.array([2**40, 0, 0, 0])
    mixed = _mixed(left, right)
    assert (mixed[1] == mixed[2], len(set(mixed.tolist()))) == (True, 3)


def test_unlabelled_data_has_no_relabelled_samples() -> None:
    before, after = (from_any(pd.DataFrame({"x": x}), label=None) for x in ([1, 2], [2, 3]))
    assert diff(before, after).counts == {"added": 1, "removed": 1, "changed": 0, "relabelled": 0, "same": 1}
    assert [mask.tolist() for mask in known(before, after)] == [[True, False], [False, False]]


def test_columns_in_another_order_and_wider_types_are_compared() -> None:
    before = from_any(pd.DataFrame({"x": [1.0, 2.5], "s": ["a", "b"], "y": ["u", "v"]}), label="y")
    after = from_any(pd.DataFrame({"y": ["w", "u"], "s": ["b", "a"], "x": [2.5, 1.0]}), label="y")
    assert diff(before, after).counts["relabelled"] == 1
    whole = from_any(pd.DataFrame({"y": ["u"], "s": ["a"], "x": [1]}), label="y")
    assert diff(before, whole).counts["same"] == 1


def test_tables_of_other_columns_or_roles_are_not_compared() -> None:
    before = from_any(pd.DataFrame({"x": [1], "y": [0]}), label="y")
    with pytest.raises(SchemaMismatch, match="the second: lacks x and has z"):
        diff(before, from_any(pd.DataFrame({"z": [1], "y": [0]}), label="y"))
    with pytest.raises(UsageError, match="other roles: label 'y'"):
        diff(before, from_any(pd.DataFrame({"x": [1], "y": [0]}), label="x"))
    with pytest.raises(UsageError, match="no column 'id' for the key"):
        diff(before, before, key=("id",))


def test_a_sample_that_comes_back_beside_its_relabelled_copy_counts_as_relabelled() -> None:
    trusted, delivered = samples([(0, 0, 0), (1, 1, 1)]), samples([(0, 0, 0), (0, 1, 0), (1, 1, 1), (7, 0, 7)])
    is_known, relabelled = known(trusted, delivered)
    assert is_known.tolist() == [True, True, True, False]
    assert relabelled.tolist() == [False, True, False, False]


def test_the_attack_of_the_threat_table_is_found_row_by_row() -> None:
    rng = np.random.default_rng(7)
    n = 20_000
    before = pd.DataFrame(
        {"id": np.arange(n), "a": rng.normal(size=n), "b": rng.choice(["x", "y", None], n), "y": rng.choice(["cat", "dog"], n)}
    )
    after = before.copy()
    flipped, moved, gone = np.split(rng.permutation(n)[:600], [300, 500])
    after.loc[flipped, "y"] = after.loc[flipped, "y"].map({"cat": "dog", "dog": "cat"})
    after.loc[moved, "a"] *= 1 + 1e-12
    new = before.iloc[:50].assign(id=np.arange(n, n + 50))
    after = pd.concat([after.drop(gone), new]).sample(frac=1, random_state=7)
    found: Diff = diff(from_any(before, label="y"), from_any(after, label="y"), key=("id",))
    assert set(found.relabelled[:, 0]) == set(flipped)
    assert set(found.changed[:, 0]) == set(moved)
    assert set(found.removed) == set(gone)
    assert found.counts == {"added": 50, "removed": 100, "changed": 200, "relabelled": 300, "same": n - 600}
