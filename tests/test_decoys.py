"""What a run could see, said in its report."""

import numpy as np
import pandas as pd
import pytest

import sanitizer
from sanitizer import decoys
from sanitizer.detectors.calibration import discoveries, least_provable
from sanitizer.drills import sensible
from sanitizer.policy import Detect, Policy
from sanitizer.samples import from_any


def table(n, seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    return pd.DataFrame(rng.normal(size=(n, 4)) + 3 * label[:, None], columns=list("abcd")).assign(label=label)


def test_decoys_tell_the_recall_of_every_family_that_makes_sense():
    report = sanitizer.scan(table(300, 0), label="label", trusted=table(200, 1))
    assert set(report.expected_recall) <= set(sensible(from_any(table(5, 0), label="label")))
    assert {"random_flip", "duplicate_flood", "anomaly"} <= set(report.expected_recall)
    assert all(0 <= recall <= 1 for recall in report.expected_recall.values())
    assert report.expected_recall["random_flip"] > 0.5, "classes lie far apart: a wrong label is plain to see"
    assert 0 < report.judged.power["outlier"] < 1


def test_without_decoys_or_room_for_them_nothing_is_promised():
    off = Policy(detect=Detect(decoys=False))
    assert sanitizer.scan(table(300, 0), label="label", policy=off).expected_recall == {}
    assert decoys.expected_recall(from_any(table(100, 0), label="label"), None, Policy()) == {}


def test_a_copy_is_bounded_and_keeps_whole_users():
    rng = np.random.default_rng(0)
    many = from_any(table(6000, 0), label="label")
    assert len(decoys._some(many, rng)) == 2500
    ratings = pd.DataFrame({"user": np.repeat(np.arange(3000), 3), "item": np.tile(np.arange(3), 3000), "rating": 3.0})
    part = decoys._some(from_any(ratings, label=None, modality="ratings"), rng)
    assert len(part) == 3 * 2500
    assert set(pd.Series(part.table["user"].to_pylist()).value_counts()) == {3}


@pytest.mark.parametrize(("n", "m"), [(2500, 1250), (400, 4000), (10_000, 100)])
def test_what_is_called_provable_is_and_one_row_less_is_not(n, m):
    least = least_provable(n, m, q=0.1, confidence=0.9)
    for strange, provable in ((least, True), (least - 1, False)):
        p = np.append(np.full(strange, 1 / (m + 1)), np.linspace(0.5, 1, n - strange)) if strange < n else np.full(n, 1 / (m + 1))
        assert discoveries(p, m, q=0.1, confidence=0.9).any() == (provable and least <= n)
