"""Every registered witness keeps the contract of `Evidence`, on any modality and at any size."""

import numpy as np
import pandas as pd
import pytest

import sanitizer
from sanitizer.detectors import DETECTORS
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return pd.DataFrame({"a": rng.normal(size=n) + 3 * y, "b": rng.normal(size=n), "c": rng.choice(["x", "y", "z"], n), "label": y})


def features_of(data, trusted):
    read = {"label": "label", "source": None, "modality": "tabular"}
    samples = from_any(data, **read)
    return encode(samples, None if trusted is None else from_any(trusted, **read), Detect())


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("size", [1, 2, 30, 120])
@pytest.mark.parametrize("trusted", [0, 80], ids=["cold", "trusted"])
def test_a_witness_speaks_of_every_row_or_says_why_not(name, size, trusted):
    features = features_of(table(size), table(trusted, 1) if trusted else None)
    found = DETECTORS[name]().testify(features)
    assert found.witness == name
    assert not found.error
    if found.silent:
        return
    if found.scores is not None:
        assert found.scores.shape == (size,)
        assert not np.isinf(found.scores).any()
    if found.reference is not None:
        assert found.reference.shape == (trusted,)
    if found.p_values is not None:
        known = found.p_values[~np.isnan(found.p_values)]
        assert ((known > 0) & (known <= 1)).all()
    for group in found.groups:
        assert (np.diff(group.members) > 0).all()
        assert 0 <= group.significance <= 1


def test_a_broken_witness_is_named_not_hidden():
    report = sanitizer.scan(table(50), label="label", policy=sanitizer.policy.Policy(detect=Detect(extra=(f"{__name__}:Broken",))))
    assert "boom" in report.failed[f"{__name__}:Broken"]


class Broken:
    name, kind = "broken", "row"

    def testify(self, features):
        raise ValueError("boom")


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_every_sample_has_one_verdict(n):
    report = sanitizer.scan(table(n), label="label", trusted=table(60, 2))
    assert report.verdicts.index.equals(pd.RangeIndex(n))
    assert set(report.verdicts["action"]) <= {"accept", "quarantine"}
    assert np.isfinite(report.verdicts["suspicion"]).all()


def test_without_rows_every_witness_is_silent_and_none_is_broken():
    report = sanitizer.scan(table(0), label="label", trusted=table(60, 2))
    assert report.failed == dict.fromkeys(DETECTORS, "the delivery has no rows")


def test_what_the_tables_do_not_share_is_told():
    strange = table(60).rename(columns={"a": "z"}).assign(label=lambda rows: rows["label"] + 1)
    report = sanitizer.scan(strange, label="label", trusted=table(60, 2))
    told = [note.rpartition(": ")[2] for note in report.notes]
    assert told == ["columns z", "columns a", f"2 ({(strange['label'] == 2).sum()} rows)"]
