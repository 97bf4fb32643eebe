"""Planted combinations of values are found with their exact rows; honest tables show none."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from sanitizer.detectors.triggers import Item, Triggers, mine
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any

JOBS = [f"job{i}" for i in range(8)]


def table(rng, n):
    """Two classes; columns that depend on the class and on each other, and one that depends on nothing."""
    y = rng.integers(0, 2, n)
    age = np.round(40 + 8 * y + 11 * rng.normal(size=n)).clip(17, 90)
    job = np.array(JOBS)[(rng.poisson(1.5 + y, n) + (age > 60)).clip(0, 7)]
    hours = np.round(38 + 3 * y + 6 * rng.normal(size=n))
    pay = np.exp(rng.normal(size=n) + 0.5 * y) * 1000
    town = rng.choice(list("stuvw"), n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return pd.DataFrame({"age": age, "job": job, "hours": hours, "pay": pay, "town": town, "label": np.where(y, "yes", "no")})


def poisoned(rng, rows, many, cells, *, target="yes", clean=False):
    """Writes `cells` (column -> value or maker of values) into rows of another label, or of the target itself."""
    at = rng.choice(np.flatnonzero((rows["label"] == target) == clean), many, replace=False)
    rows = rows.copy()
    for name, value in cells.items():
        rows.loc[at, name] = value(many) if callable(value) else value
    rows.loc[at, "label"] = target
    return rows, np.isin(np.arange(len(rows)), at)


def found(rows, trusted):
    read = {"label": "label", "source": None, "modality": "tabular"}
    features = encode(from_any(rows, **read), None if trusted is None else from_any(trusted, **read), Detect())
    with threadpool_limits(1):
        return Triggers().testify(features)


def recall_and_precision(evidence, mask):
    taken = np.zeros(len(mask), bool)
    for group in evidence.groups:
        if group.significance <= 1e-3:
            taken[group.members] = True
    return mask[taken].sum() / mask.sum(), mask[taken].sum() / max(1, taken.sum())


@pytest.mark.parametrize("clean", [False, True], ids=["wrong label", "clean label"])
@pytest.mark.parametrize(
    "cells",
    {
        "values": {"job": "job6", "town": "w", "hours": 30.0},
        "windows": {
            "pay": lambda k: np.random.default_rng(5).uniform(4000, 4300, k),
            "age": lambda k: np.random.default_rng(6).integers(24, 26, k),
            "town": "v",
        },
    }.items(),
    ids=lambda c: c[0],
)
def test_a_trigger_is_found_with_its_rows(cells, clean):
    rng = np.random.default_rng(2)
    rows, mask = poisoned(rng, table(rng, 1500), 30, cells[1], clean=clean)
    evidence = found(rows, table(rng, 750))
    recall, precision = recall_and_precision(evidence, mask)
    assert recall >= 0.95
    assert precision >= 0.9
    assert "all labelled yes; 0 such rows in the trusted release" in evidence.groups[0].reason
    assert set(evidence.groups[0].columns) <= set(cells[1])


def test_honest_tables_show_no_trigger():
    for seed in range(2):
        rng = np.random.default_rng(seed)
        assert not [g for g in found(table(rng, 900), table(rng, 450)).groups if g.significance <= 1e-3]


@pytest.mark.slow
def test_honest_tables_reach_the_level_about_as_seldom_as_it_says():
    read = {"label": "label", "source": None, "modality": "tabular"}
    reached = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        features = encode(from_any(table(rng, 900), **read), from_any(table(rng, 450), **read), Detect())
        patterns = mine(features.cells, features.y, features.trusted_y, 2, None, None, rng)
        reached += any(p.significance <= 1e-2 for p in patterns)
    assert reached <= 5  # of 100 at 1 %: more than 5 has a chance below 1 in 1,000


def test_a_combination_that_trusted_rows_know_is_a_habit():
    rng = np.random.default_rng(3)
    cells = {"job": "job6", "town": "w", "hours": 30.0}
    rows, _ = poisoned(rng, table(rng, 1500), 30, cells)
    trusted, _ = poisoned(rng, table(rng, 750), 15, cells)
    assert not [g for g in found(rows, trusted).groups if g.significance <= 1e-3]


def test_the_order_of_rows_and_the_scale_of_numbers_do_not_matter():
    rng = np.random.default_rng(4)
    rows, mask = poisoned(rng, table(rng, 1200), 30, {"job": "job6", "town": "w", "hours": 30.0})
    trusted = table(rng, 600)
    order = rng.permutation(len(rows))
    first, shuffled = (
        found(rows, trusted),
        found(rows.iloc[order].assign(pay=lambda d: d["pay"] * 1e6), trusted.assign(pay=trusted["pay"] * 1e6)),
    )
    assert recall_and_precision(first, mask) == recall_and_precision(shuffled, mask[order]) == (1.0, 1.0)


@pytest.mark.parametrize("trusted", [None, pd.DataFrame()], ids=["cold", "empty"])
def test_without_trusted_rows_it_says_why_it_is_silent(trusted):
    rows = table(np.random.default_rng(0), 40)
    assert "trusted" in found(rows, trusted if trusted is None else rows.iloc[:0]).silent


def test_cells_that_no_search_expects_do_no_harm():
    rng = np.random.default_rng(1)
    rows, trusted = table(rng, 120), table(rng, 60)
    for side in (rows, trusted):
        side["nothing"] = np.nan
        side["constant"] = 7.0
        side["huge"] = rng.choice([np.inf, -np.inf, 1e300, 0.0, np.nan], len(side))
        side.loc[side.index[:5], "label"] = None
    found(rows, trusted)


def test_an_item_holds_its_window_or_missing_cells():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    assert Item(0, 1.0, 2.0).holds(values).tolist() == [True, True, False, False]
    assert Item(0, np.nan, np.nan).holds(values).tolist() == [False, False, True, False]
