"""What the app shows of samples: pages, details, panels of every modality."""

from __future__ import annotations

import base64
import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import update

from sanitizer.errors import DigestMismatch, UsageError
from sanitizer.quarantine import cases, content, context, show
from sanitizer.quarantine.content import Content
from sanitizer.review import demo, members, panels
from sanitizer.samples import Column, Schema
from sanitizer.store import Store
from sanitizer.store.tables import held, trusted_rows
from tests.review.build import copy_of

KINDS = {"signs": "image", "cells": "row", "reviews": "text", "voices": "vector", "films": "profile"}


@pytest.fixture(scope="module")
def view(filled):
    with Store.open("sqlite:///state.db", filled) as store, store.reading() as reader:
        yield reader


def all_of(view, wanted, limit=7):
    seen, after = [], None
    while True:
        found = members.page(view, wanted, after=after, limit=limit)
        seen += [sample.id for sample in found.samples]
        if (after := found.next) is None:
            return seen


# --- pages -----------------------------------------------------------------------------------------------------------


def test_the_demo_holds_500_samples_in_a_dozen_cases_and_again_changes_nothing(filled, tmp_path):
    with copy_of(filled, tmp_path) as store, store.reading() as view:
        before = members.case_rows(view)
        assert (len(before), sum(row["left"] for row in before)) == (12, 500)
    with copy_of(filled, tmp_path) as store:
        demo.fill(store)
        with store.reading() as view:
            assert members.case_rows(view) == before


@pytest.mark.parametrize("limit", [1, 7, 60, 72, 73])
def test_pages_show_every_sample_of_a_case_once(view, limit):
    seen = all_of(view, members.Wanted(case=1), limit)
    assert len(seen) == len(set(seen)) == members.total(view, members.Wanted(case=1)) == 72


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (members.Wanted(), 500),
        (members.Wanted(dataset="signs"), 172),
        (members.Wanted(cause="label-flip"), 124),
        (members.Wanted(source="clinic-c", cause="source"), 36),
        (members.Wanted(label="priority", dataset="signs"), 40),
        (members.Wanted(state="dropped"), 0),
        (members.Wanted(state="all"), 500),
        (members.Wanted(state="waiting"), 0),
    ],
)
def test_filters_narrow_and_the_count_is_exact(view, wanted, count):
    assert len(all_of(view, wanted, 60)) == members.total(view, wanted) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("copper clock", 60), ("COPPER Clock", 60), ("film-07", 50), ("clinic-c", 40), ("no such words", 0), ("yellow patch", 72)],
)
def test_a_search_reads_words_cells_labels_and_reasons(view, text, count):
    found = all_of(view, members.Wanted(text=text), 60)
    assert len(found) == len(set(found))
    assert len(found) >= count > 0 or len(found) == count == 0


def test_a_search_that_would_read_too_much_says_where_to_go_on(view, monkeypatch):
    monkeypatch.setattr(members, "_LOOKED_THROUGH", 400)
    found = members.page(view, members.Wanted(text="film-07"))
    assert found.looked_through == 400
    assert found.next is not None
    assert len(all_of(view, members.Wanted(text="film-07"))) >= 50


def test_a_forged_page_or_state_is_a_usage_error(view):
    with pytest.raises(UsageError, match="not a page"):
        members.page(view, members.Wanted(), after="1; DROP TABLE held")
    with pytest.raises(UsageError, match="no state"):
        members.Wanted(state="gone")


def test_cases_come_by_the_risk_that_is_left(view):
    rows = members.case_rows(view)
    assert [row["risk"] for row in rows] == sorted((row["risk"] for row in rows), reverse=True)
    assert all(row["left"] + row["waiting"] + row["dropped"] + row["released"] + row["relabelled"] == row["size"] for row in rows)


# --- details ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", KINDS)
def test_a_suspect_stands_beside_its_nearest_trusted_rows(view, dataset):
    found = members.page(view, members.Wanted(dataset=dataset), limit=20)
    told = members.details(view, [sample.id for sample in found.samples])
    for sample in told["samples"].values():
        assert sample["panel"]["kind"] == KINDS[dataset]
        near = sample["beside"]["rows"]
        assert len(near) == (0 if dataset == "films" else 5)
        assert all(told["trusted"][one["key"]]["kind"] == KINDS[dataset] for one in near)
    json.dumps(told, allow_nan=False)


def test_the_likeliest_labels_are_those_of_the_neighbours(view):
    (case,) = (c for c in cases(view, dataset="reviews") if c.cause == "label-flip")
    found = members.page(view, members.Wanted(case=case.id), limit=20)
    told = members.details(view, [s.id for s in found.samples])["samples"]
    assert sum(one["labels"][0]["label"] == "bad" for one in told.values()) >= 18
    assert all(one["labels"][0]["label"] != one["label"] for one in told.values())


def test_the_trigger_of_a_case_of_pictures_lights_up(view):
    heat = members.case_heat(view, 1)
    grey = np.frombuffer(base64.b64decode(heat["data"]), np.uint8).reshape(heat["height"], heat["width"])
    assert grey[24:29, 23:28].mean() > 8 * np.delete(grey, np.s_[24:29], 0).mean()
    for case in cases(view, dataset="reviews"):
        assert members.case_heat(view, case.id) is None


def test_honest_pictures_have_no_trigger():
    rng = np.random.default_rng(0)
    schema = Schema((Column("image", "image[8,8]"), Column("label", "int64")), "image", "label")

    def some(n):
        pixels = rng.integers(90, 160, (n, 64)).astype(np.uint8)
        return [
            Content(pa.record_batch({"image": pa.FixedSizeListArray.from_arrays(pa.array(p), 64), "label": pa.array([1])}), ("x",), schema)
            for p in pixels
        ]

    assert panels.heat(some(40), some(40), {}) is None
    assert panels.heat(some(2), some(40), {}) is None


def test_evidence_that_changes_by_one_word_has_another_digest(filled, tmp_path):
    with copy_of(filled, tmp_path) as store:
        with store.reading() as view:
            before = members.evidence(view, [1, 2])
        with store.transaction() as tx:
            tx.execute(update(held).where(held.c.id == 1).values(reason="another one"))
        with store.reading() as view:
            after = members.evidence(view, [1, 2])
    assert before[1] != after[1]
    assert before[2] == after[2]


def test_trusted_rows_that_were_changed_are_not_shown(filled, tmp_path):
    with copy_of(filled, tmp_path) as store:
        with store.transaction() as tx:
            tx.execute(update(trusted_rows).values(content=b"other"))
        with store.reading() as view, pytest.raises(DigestMismatch, match=r"trusted row .* was changed"):
            members.details(view, [1])


def test_unknown_samples_are_named(view):
    with pytest.raises(UsageError, match="no held sample 9999"):
        members.details(view, [1, 9999])


# --- panels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (300, 200), (64, 64, 3), (200, 90, 4), (33, 65, 1), (40, 40, 5)])
@pytest.mark.parametrize("side", [16, 96])
def test_a_picture_leaves_as_numbers_of_a_bounded_size(shape, side):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    shown = panels.painted(pixels, side)
    raw = base64.b64decode(shown["data"])
    assert len(raw) == shown["height"] * shown["width"] * shown["channels"]
    assert max(shown["height"], shown["width"]) <= side
    assert shown["of"] == list(shape[:2])
    assert shown["channels"] in (1, 3, 4)
    if max(shape[:2]) <= side and shape[-1] != 5:
        assert raw == pixels.tobytes()


def test_a_long_text_is_cut_and_says_so(view):
    kept = content.read(view, [next(c for c in cases(view, dataset="reviews")).id])
    schema = Schema((Column("text", "string"), Column("mood", "string")), "text", "mood")
    batch = pa.record_batch({"text": pa.array(["x" * 30_000], pa.large_string()), "mood": pa.array(["good"], pa.large_string())})
    shown = panels.panel(Content(batch, ("x",), schema), (), {})
    assert (len(shown["text"]), shown["cut"]) == (20_000, 10_000)
    assert kept


def test_missing_values_are_no_zero():
    schema = Schema((Column("x", "float64"), Column("n", "int64"), Column("label", "string")), "tabular", "label")
    batch = pa.record_batch({"x": pa.array([None], pa.float64()), "n": pa.array([2**60 + 1]), "label": pa.array([None], pa.large_string())})
    shown = panels.panel(Content(batch, ("x",), schema), ("n",), {})
    assert shown["label"] is None
    assert [(c["name"], c["value"], c["weighty"]) for c in shown["cells"]] == [("n", "1152921504606846977", True), ("x", None, False)]


def test_what_a_delivery_was_judged_against_is_kept(view):
    facts = context(view, show(view, 1).held.delivery)
    assert (facts["judged"], facts["trusted"], facts["unproven"]) == (452, 320, False)
    assert set(facts["typical"]) == {"limit", "priority", "stop", "turn", "yield"}
    assert len(facts["witnesses"]["outlier.knn"]) == 41
    assert facts["sources"]["vendor-b"]["suspicious"] > 60


@pytest.mark.slow
def test_the_demo_is_the_same_everywhere():
    first, second = (demo.scenes()[0] for _ in range(2))
    assert first.samples.sample_ids == second.samples.sample_ids
    assert (
        hashlib.sha256(demo.judged(first).to_arrow()["stream"][0].as_py()).digest()
        == hashlib.sha256(demo.judged(second).to_arrow()["stream"][0].as_py()).digest()
    )
