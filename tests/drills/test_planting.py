"""Poison planted in canonical samples, and the power curves that come of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier

from sanitizer.drills import ATTACKS, floor, plant, plant_all, power_curve, sensible
from sanitizer.drills.power import interval
from sanitizer.errors import UsageError
from sanitizer.features import units
from sanitizer.samples import Samples, UnverifiedSamples, from_any
from tests.drills.test_attacks import embeddings, pictures, ratings, table, texts

SAMPLES = {
    "tabular": lambda: from_any(table(), label="label", source="source"),
    "text": lambda: from_any(texts(), label="label", source="source", modality="text"),
    "image": lambda: from_any(pictures(), label="label", source="source"),
    "embedding": lambda: from_any(embeddings(), label="label", source="source"),
    "ratings": lambda: from_any(ratings(), label=None, modality="ratings"),
}
CASES = [(modality, family) for modality in SAMPLES for family in ATTACKS if modality in ATTACKS[family].modalities]


@pytest.mark.parametrize(("modality", "family"), CASES)
def test_honest_rows_keep_their_digests_and_poisoned_ones_have_new_ones(modality, family):
    samples = SAMPLES[modality]()
    made = plant(samples, family, rate=0.06, seed=3)
    assert made.samples.schema == samples.schema
    assert len(made.mask) == len(units(made.samples))
    assert made.mask.any()
    before, after = (Counter(map(bytes, s.row_digests)) for s in (samples, made.samples))
    poisoned = made.mask.sum() if modality != "ratings" else sum(len_of(made.samples, user) for user in units(made.samples)[made.mask])
    assert (after - before).total() <= poisoned
    assert (before - after).total() <= poisoned, "no honest row is lost beyond those that were altered"


def len_of(samples, user):
    return samples.table["user"].to_pylist().count(user)


def test_planted_poison_never_looks_verified():
    rows = SAMPLES["tabular"]()
    verified = Samples(rows.table, rows.schema, origin="sha256:" + "ab" * 32)
    for made in (plant(verified, "random_flip"), plant_all(verified)):
        assert type(made.samples) is UnverifiedSamples


@pytest.mark.parametrize("modality", SAMPLES)
def test_all_families_can_share_one_copy_without_touching_the_same_row(modality):
    samples = SAMPLES[modality]()
    made = plant_all(samples, poisoned=6, seed=1)
    assert set(made.masks) == set(sensible(samples)) - {"source"}
    together = np.sum(list(made.masks.values()), axis=0)
    assert together.max() == 1
    np.testing.assert_array_equal(together == 1, made.mask)
    for family, mask in made.masks.items():
        assert 1 <= mask.sum() <= 8, family
    again = plant_all(samples, poisoned=6, seed=1)
    assert again.samples.table.equals(made.samples.table)
    honest = made.samples.take(~made.mask) if modality != "ratings" else None
    if honest is not None:
        assert not Counter(map(bytes, honest.row_digests)) - Counter(map(bytes, samples.row_digests))


def test_a_family_that_makes_no_sense_is_refused_with_those_that_would():
    with pytest.raises(UsageError, match="random_flip, targeted_flip"):
        plant(SAMPLES["text"](), "backdoor_image")
    with pytest.raises(UsageError, match="there is no attack named 'magic'"):
        plant(SAMPLES["text"](), "magic")


def test_missing_cells_stay_missing_and_whole_numbers_whole():
    samples = SAMPLES["tabular"]()
    made = plant(samples, "duplicate_flood", rate=0.1, seed=1).samples
    assert made.table.schema == samples.table.schema
    assert made.table["legs"].null_count >= samples.table["legs"].null_count > 0


# --- power --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def separated():
    """Two classes so far apart that a wrong label is plain to see."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300)
    return from_any(pd.DataFrame({"x": rng.normal(9 * label), "y": rng.normal(-9 * label), "label": label}), label="label")


def neighbours_disagree(samples):
    frame = samples.table.to_pandas()
    model = KNeighborsClassifier(9).fit(frame[["x", "y"]], frame["label"])
    return (model.predict(frame[["x", "y"]]) != frame["label"]).to_numpy()


def test_a_judge_that_sees_wrong_labels_has_full_power_and_a_floor(separated):
    curve = power_curve(separated, neighbours_disagree, "random_flip", rates=(0.05, 0.01), seeds=range(2))
    assert curve["rate"].tolist() == [0.01, 0.05]
    assert curve["planted"].tolist() == [6, 30]
    assert (curve["recall"] == 1).all()
    assert (curve["honest"] == 0).all()
    assert floor(curve) == 0.01


def test_a_judge_that_sees_nothing_has_no_floor(separated):
    curve = power_curve(separated, lambda samples: np.zeros(len(samples), bool), "anomaly", rates=(0.01, 0.1), seeds=[1])
    assert (curve["recall"] == 0).all()
    assert floor(curve) is None


def test_a_coin_has_the_power_of_a_coin(separated):
    coin = np.random.default_rng(5)
    curve = power_curve(separated, lambda samples: coin.random(len(samples)) < 0.3, "random_flip", rates=(0.1,), seeds=range(20))
    planted, caught = curve["planted"][0], curve["caught"][0]
    # an honest coin lands this far out once in a thousand runs
    assert binom.ppf(5e-4, planted, 0.3) <= caught <= binom.ppf(1 - 5e-4, planted, 0.3)


@pytest.mark.parametrize("recall", [0.05, 0.5, 0.93])
def test_the_interval_covers_the_true_recall_as_often_as_it_says(recall):
    n = 40
    covered = sum(binom.pmf(k, n, recall) for k in range(n + 1) if interval(k, n)[0] <= recall <= interval(k, n)[1])
    assert covered >= 0.9


def test_the_floor_is_the_least_rate_from_which_on_recall_holds():
    dip = pd.DataFrame({"rate": [0.01, 0.02, 0.03], "recall": [1.0, 0.5, 1.0]})
    assert floor(dip) == 0.03, "a lucky hit at a small rate is no floor"
