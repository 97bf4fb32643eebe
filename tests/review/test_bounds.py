"""The bound that a sample audit states, against its own distribution."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from sanitizer.errors import UsageError
from sanitizer.review.bounds import at_most, most_among_the_rest
from sanitizer.review.draws import offers


@st.composite
def audits(draw):
    population = draw(st.integers(1, 300))
    drawn = draw(st.integers(1, population))
    return population, drawn, draw(st.integers(0, drawn))


@given(audits())
def test_the_bound_is_the_largest_number_that_is_not_refuted(audit):
    population, drawn, odd = audit
    bound = most_among_the_rest(population, drawn, odd)
    possible = [m for m in range(odd, population - (drawn - odd) + 1) if at_most(odd, population, m, drawn) > Fraction(1, 20)]
    assert bound == max(possible, default=odd) - odd


@given(audits(), st.data())
def test_probabilities_are_those_of_the_hypergeometric_distribution(audit, data):
    population, drawn, odd = audit
    odd_in_all = data.draw(st.integers(0, population))
    assert float(at_most(odd, population, odd_in_all, drawn)) == pytest.approx(hypergeom.cdf(odd, population, odd_in_all, drawn), abs=1e-9)


@given(audits())
def test_drawing_more_without_finding_more_never_loosens_the_bound(audit):
    population, drawn, odd = audit
    if drawn < population:
        assert most_among_the_rest(population, drawn + 1, odd) <= most_among_the_rest(population, drawn, odd)


@pytest.mark.parametrize(("population", "odd_in_all", "drawn"), [(40, 4, 20), (100, 7, 15), (72, 1, 20), (500, 60, 59)])
def test_the_bound_holds_for_at_least_95_of_100_draws(population, odd_in_all, drawn):
    odd = np.arange(drawn + 1)
    weight = hypergeom.pmf(odd, population, odd_in_all, drawn)
    holds = [w > 0 and most_among_the_rest(population, drawn, int(k)) >= odd_in_all - k for k, w in zip(odd, weight, strict=True)]
    assert weight[holds].sum() >= 0.95


def test_large_cases_take_no_time():
    assert most_among_the_rest(100_000, 300, 0) == 992


def test_the_offer_tells_what_each_size_would_prove():
    assert [(o["draw"], o["at_most"]) for o in offers(40)] == [(5, 17), (10, 9), (20, 4), (30, 2)]
    assert offers(5) == []


@pytest.mark.parametrize("wrong", [(0, 0, 0), (5, 6, 0), (5, 3, 4), (5, 0, 0), (5, 3, -1)])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="cannot be"):
        most_among_the_rest(*wrong)
