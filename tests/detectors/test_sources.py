"""A supplier of bad labels is named; honest ones are not, however they differ."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from sanitizer.detectors.sources import BadSource, accused
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any

SUPPLIERS = 10


def dealt(rng, n, mix=None):
    """Supplier, label and probabilities of a good model; `mix` (suppliers, 2): how often each supplier sees each class."""
    hard = rng.random(n) < 0.3
    p = np.where(hard, rng.uniform(0.2, 0.8, n), rng.choice([0.03, 0.97], n))
    y = (rng.random(n) < p).astype(np.int32)
    weights = np.ones((SUPPLIERS, 2)) if mix is None else mix
    source = np.array([rng.choice(SUPPLIERS, p=w / w.sum()) for w in weights.T[y]])
    return source, y, np.column_stack([1 - p, p])


def heard(features):
    with threadpool_limits(1):
        return BadSource().testify(features)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "least"), [(0.3, 20), (0.1, 16)])
def test_a_bad_supplier_is_named_and_no_other(rate, least):
    named, wrong = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        source, y, proba = dealt(rng, 2500)
        flipped = (source == 3) & (rng.random(len(y)) < rate)
        p = accused(source, np.where(flipped, 1 - y, y).astype(np.int32), proba, rng)
        named += p[3] <= 0.02
        wrong += (np.delete(p, 3) <= 0.02).sum()
    assert named >= least
    assert wrong <= 3


@pytest.mark.slow
def test_an_honest_delivery_accuses_anybody_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        mix = rng.dirichlet(np.full(SUPPLIERS, 1.0), size=2).T
        wrong += (accused(*dealt(rng, 800, mix), rng) <= 0.02).any()
    assert wrong <= 5  # of 60 at 2 %: more than 5 has a chance below 1 in 500


def test_where_the_models_contradict_nobody_nobody_is_accused():
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(5), 100)
    y = np.zeros(500, np.int32)
    own = np.where(source == 2, 0.75, rng.choice([0.75, 0.99], 500))
    assert (accused(source, y, np.column_stack([own, 1 - own]), rng) == 1.0).all()


def suppliers(rng, n, flip=None):
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame(rng.normal(size=(n, 4)) + 2.0 * y[:, None], columns=list("abcd"))
    source = rng.choice([f"s{i}" for i in range(5)], n)
    y = np.where((source == flip) & (rng.random(n) < 0.4), 1 - y, y)
    return frame.assign(label=y, source=source)


def features_of(rows, trusted=None, source="source"):
    read = {"label": "label", "source": source, "modality": "tabular"}
    return encode(from_any(rows, **read), None if trusted is None else from_any(trusted, **read), Detect())


def test_accusing_a_supplier_leaves_its_rows_alone_and_counts_the_suspicious_ones():
    rng = np.random.default_rng(1)
    found = heard(features_of(suppliers(rng, 600, "s2"), suppliers(rng, 200)))
    assert [f.source for f in found.sources if f.accused] == ["s2"]
    assert all(f.suspicious < 20 for f in found.sources if not f.accused)
    assert not found.groups
    assert found.scores is None


def test_it_names_a_bad_supplier_without_trusted_rows_too():
    found = heard(features_of(suppliers(np.random.default_rng(2), 800, "s4")))
    assert [f.source for f in found.sources if f.accused] == ["s4"]


def test_without_suppliers_it_says_why_it_is_silent():
    rows = suppliers(np.random.default_rng(0), 60)
    assert "suppliers" in heard(features_of(rows, source=None)).silent
    assert "suppliers" in heard(features_of(rows.assign(source="s1"))).silent
