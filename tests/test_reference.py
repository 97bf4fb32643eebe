"""The trusted side: nobody who is new is believed, nobody is most of it, and nobody can empty it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer import overview, pipeline, policy
from sanitizer.reference import ENOUGH, Reference, allowance, reference, select
from sanitizer.workspace import Workspace
from tests.line import found, place, signed, table

SIZES = st.dictionaries(st.sampled_from(["", "acme", "bolt", "cord", "dyne"]), st.integers(1, 3_000), min_size=1)


def owners(sizes: dict[str, int]) -> np.ndarray:
    return np.array([name for name, size in sizes.items() for _ in range(size)], object)


def shares(sizes: dict[str, int], *, young: tuple[str, ...] = (), share: float = 0.5, most: int = 100_000) -> dict[str, int]:
    rule = policy.Reference(max_source_share=share, max_rows=most)
    keep, _ = select(owners(sizes), dict.fromkeys(young, 1), rule, seed=0)
    return {name: int(keep[owners(sizes) == name].sum()) for name in sizes}


@given(SIZES, st.floats(0.05, 1))
def test_no_supplier_exceeds_its_share_beyond_what_everybody_may_add(sizes: dict[str, int], share: float) -> None:
    kept = shares(sizes, share=share)
    for name, size in kept.items():
        assert name == "" or size <= max(ENOUGH, share * sum(kept.values()))


@given(SIZES)
def test_what_a_person_vouched_for_is_never_cut(sizes: dict[str, int]) -> None:
    assert shares(sizes, share=0.1).get("", 0) == sizes.get("", 0)


@given(st.integers(1, 3_000), st.integers(1, 3_000), st.floats(0.05, 1))
def test_the_arrival_of_another_supplier_never_costs_one_its_first_thousand_rows(mine: int, other: int, share: float) -> None:
    assert shares({"acme": mine, "bolt": other}, share=share)["acme"] >= min(mine, ENOUGH)


@given(st.lists(st.integers(1, 5_000), max_size=6), st.integers(0, 5_000), st.floats(0, 1))
def test_the_allowance_is_the_largest_that_keeps_the_share(sizes: list[int], vouched: int, share: float) -> None:
    most = allowance(sizes, vouched=vouched, share=share, enough=0)

    def fits(c: int) -> bool:
        return c <= share * (vouched + sum(min(s, c) for s in sizes))

    assert fits(most)
    assert most == max(sizes, default=0) or not fits(most + 1)


def test_a_new_supplier_waits_unless_everybody_is_new() -> None:
    assert shares({"acme": 40, "bolt": 60}, young=("bolt",)) == {"acme": 40, "bolt": 0}
    assert shares({"acme": 40, "bolt": 60}, young=("acme", "bolt")) == {"acme": 40, "bolt": 60}


def test_many_rows_are_drawn_from_with_the_seed() -> None:
    kept = shares({"": 3_000, "acme": 3_000}, most=1_000)
    assert sum(kept.values()) == 1_000
    assert abs(kept["acme"] - 500) < 100


def test_every_cut_is_told() -> None:
    rule = policy.Reference(max_rows=1_000)
    _, notes = select(owners({"": 500, "acme": 5_000, "bolt": 9}), {"bolt": 1}, rule, seed=0)
    assert [note.split(":")[0] for note in notes] == [
        "only 1,000 of the 5,000 rows of acme are trusted",
        "the 9 rows of bolt are not trusted yet",
        "1,000 of 1,500 trusted rows were drawn to judge by",
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found(tmp_path / "w")
    return tmp_path / "w"


def of_release(root: Path, version: int) -> Reference:
    ws = Workspace.open(root)
    with ws.store() as store:
        known = reference(ws, store, version)
    assert known is not None
    return known


def test_rows_of_a_new_supplier_are_published_at_once_and_trusted_one_release_later(root: Path) -> None:
    signed(root, place(root, "first"))
    pipeline.run(root)
    assert set(of_release(root, 2).sources) == {""}
    assert "acme are not trusted yet" in of_release(root, 2).notes[0]
    signed(root, place(root, "first", table(120, seed=5), source="bolt"), source="bolt")
    pipeline.run(root)
    known = of_release(root, 3)
    assert set(known.sources) == {"", "acme"}
    assert len(known.samples) == sum(known.sources.values())
    assert set(of_release(root, 2).sources) == {""}


def test_the_report_of_an_earlier_release_is_not_written_again(root: Path) -> None:
    signed(root, place(root, "first"))
    pipeline.run(root)
    overview.write_reports(root)
    page = root / "reports" / "acme-first.html"
    before = page.read_bytes()
    signed(root, place(root, "second", table(120, seed=5)), sequence=2)
    pipeline.run(root)
    overview.write_reports(root)
    last = page.stat().st_mtime_ns
    overview.write_reports(root)
    assert page.stat().st_mtime_ns == last
    assert page.read_bytes() == before
    shutil.rmtree(root / "reports")
    overview.write_reports(root)
    assert page.exists()
