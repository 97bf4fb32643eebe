"""Rows from elsewhere are found without labels; honest rows are exchangeable, so nothing fires on them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import sanitizer
from sanitizer.detectors.novelty import Novelty, quantile, rarity
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any


def honest(n, seed):
    """Numbers that hang together, and a category with rare values."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    numbers = hidden @ np.array([[1.0, 0.5, -1.0, 0.3], [0.2, 1.0, 0.4, -1.0]]) + 0.3 * rng.normal(size=(n, 4))
    return pd.DataFrame(numbers, columns=list("abcd")).assign(e=[f"v{int(v)}" for v in rng.geometric(0.3, n)])


def evidence(data, trusted):
    read = {"label": None, "source": None, "modality": "tabular"}
    return Novelty().testify(encode(from_any(data, **read), from_any(trusted, **read), Detect()))


def test_rows_that_break_the_relation_of_their_columns_are_quarantined_though_each_value_is_ordinary():
    data, strange = honest(300, 1), np.arange(300) < 60
    rng = np.random.default_rng(2)
    for name in "abcd":
        data.loc[strange, name] = rng.permutation(honest(300, 3)[name])[:60] * 2
    report = sanitizer.scan(data, trusted=honest(400, 4), label=None)
    held = (report.verdicts["action"] == "quarantine").to_numpy()
    assert held[strange].mean() > 0.3
    assert held[~strange].sum() <= 0.1 * held.sum() + 3
    reasons = report.verdicts["reason"][held]
    assert reasons.str.contains("nearest trusted row").all()


def test_an_honest_delivery_and_one_with_another_mix_lose_no_row():
    data = honest(300, 5)
    weight = np.exp(0.5 * data["a"].clip(-3, 3))
    for delivery in (data, data[np.random.default_rng(8).random(300) < weight / weight.max() * 2]):
        report = sanitizer.scan(delivery.reset_index(drop=True), trusted=honest(200, 7), label=None)
        assert not (report.verdicts["cause"] == "outlier").any()


@pytest.mark.slow
def test_p_values_of_honest_rows_are_as_rare_as_they_say():
    drawn = [evidence(honest(120, 10 + s), honest(120, 100 + s)).p_values for s in range(15)]
    for level in (0.02, 0.1, 0.3):
        # one p-value of each delivery: those of one delivery share their trusted rows
        hits = sum(int(p[0] <= level) for p in drawn) + sum(int(p[60] <= level) for p in drawn)
        assert binomtest(hits, 2 * len(drawn), level, alternative="greater").pvalue > 1e-3


def test_quantiles_order_rows_beyond_all_known_ones():
    known = np.linspace(0.0, 1.0, 50)
    found = quantile(np.array([0.5, 1.0, 2.0, 9.0]), known, itself=np.zeros(4, bool))
    assert (np.diff(found) > 0).all()
    assert abs(found[0]) < 0.1


def test_rarity_falls_with_the_score_and_never_claims_more_than_its_reach():
    rng = np.random.default_rng(0)
    known = rng.exponential(size=500)
    scores = np.linspace(0, 60, 400)
    p, behind, odds = rarity(scores, known)
    assert (np.diff(p) <= 0).all()
    assert (np.diff(odds) >= 0).all()
    assert (behind > 0).all()
    assert p.min() >= 0.1 / (20 * 500) * min(1.0, 2 / 400 * (1 + (scores < np.median(known)).sum()))


@pytest.mark.parametrize("shape", ["exponential", "normal", "uniform"])
def test_rows_beyond_all_trusted_ones_are_no_rarer_than_the_law_says(shape):
    rng = np.random.default_rng(1)
    far = expected = 0.0
    for _ in range(200):
        known, fresh = getattr(rng, shape)(size=300), getattr(rng, shape)(size=1000)
        p, _, _ = rarity(fresh, known)
        far += float((p <= 1e-3).sum())
        expected += 1e-3 * 1000
    assert far <= 1.5 * expected


def test_it_says_why_it_is_silent():
    assert "too few" in evidence(honest(10, 0), honest(100, 1)).silent
    read = {"label": None, "source": None, "modality": "text"}
    texts = pd.DataFrame({"text": ["a b", "c d"] * 30})
    assert "text" in Novelty().testify(encode(from_any(texts, **read), from_any(texts, **read), Detect())).silent
