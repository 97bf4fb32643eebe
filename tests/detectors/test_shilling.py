"""Made-up users are named by what they agree on; honest users, and honest hits, are not."""

import numpy as np
import pandas as pd
import pytest

from sanitizer.detectors.shilling import Shilling
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any

ITEMS = 300
RNG = np.random.default_rng(99)
TASTE = RNG.normal(size=(ITEMS, 3))
FAME = RNG.pareto(1.2, ITEMS) + 0.2
QUALITY = RNG.normal(3.4, 0.5, ITEMS)


def people(rng, n, name):
    """Users who choose by fame and taste, and rate by quality, taste and mood."""
    parts = []
    for i in range(n):
        taste = rng.normal(size=3)
        odds = FAME * np.exp(TASTE @ taste)
        items = rng.choice(ITEMS, int(rng.integers(15, 50)), replace=False, p=odds / odds.sum())
        marks = QUALITY[items] + 0.4 * TASTE[items] @ taste + rng.normal(0, 0.3) + rng.normal(0, 0.8, len(items))
        parts.append(pd.DataFrame({"user": f"{name}{i}", "item": items, "rating": np.clip(np.round(marks), 1, 5)}))
    return pd.concat(parts, ignore_index=True)


def bought(rng, n, item, mark, famous):
    """Profiles with random fillers, as famous as people's or not, who agree on one item."""
    parts = []
    for i in range(n):
        odds = FAME if famous else np.ones(ITEMS)
        items = np.setdiff1d(rng.choice(ITEMS, int(rng.integers(15, 50)), replace=False, p=odds / odds.sum()), [item])
        marks = np.clip(np.round(rng.normal(QUALITY[items], 0.6)), 1, 5)
        parts.append(pd.DataFrame({"user": f"z{i}", "item": [*items, item], "rating": [*marks, mark]}))
    return pd.concat(parts, ignore_index=True)


def witness(data, trusted=None):
    read = {"label": None, "source": None, "modality": "ratings"}
    features = encode(from_any(data, **read), None if trusted is None else from_any(trusted, **read), Detect())
    return Shilling().testify(features), features.index.astype(str)


@pytest.mark.parametrize("mark", [5.0, 1.0], ids=["push", "nuke"])
@pytest.mark.parametrize("famous", [False, True], ids=["random", "popular"])
def test_made_up_users_are_named(mark, famous):
    rng = np.random.default_rng(1)
    goal = int(np.argsort(FAME)[ITEMS // 3])
    data = pd.concat([people(rng, 150, "u"), bought(rng, 20, goal, mark, famous)])
    found, users = witness(data, people(rng, 120, "t"))
    assert not found.error
    named = {user for group in found.groups for user in users[group.members]}
    guilty = {user for user in users if user.startswith("z")}
    assert len(named & guilty) >= 16
    assert len(named - guilty) <= 2
    assert f"gave item {goal} the {'top' if mark == 5 else 'bottom'} mark" in found.groups[0].reason


@pytest.mark.parametrize("seed", range(1))
def test_honest_users_form_no_group(seed):
    rng = np.random.default_rng([2, seed])
    found, _ = witness(people(rng, 200, "u"), people(rng, 150, "t"))
    assert not found.error
    assert not found.groups
    assert 0.02 < (found.p_values <= 0.1).mean() < 0.2


def test_an_honest_hit_is_no_group():
    rng = np.random.default_rng(3)
    data, hit = people(rng, 200, "u"), int(np.argsort(FAME)[ITEMS // 2])
    fans = rng.choice(data["user"].unique(), 25, replace=False)
    data = data[~((data["item"] == hit) & data["user"].isin(fans))]
    data = pd.concat([data, pd.DataFrame({"user": fans, "item": hit, "rating": 5.0})])
    found, _ = witness(data, people(rng, 150, "t"))
    assert not found.groups


def test_without_trusted_users_it_says_why_it_is_silent():
    found, _ = witness(people(np.random.default_rng(4), 60, "u"))
    assert "trusted users" in found.silent


def test_users_of_one_rating_and_doubled_ratings_break_nothing():
    rng = np.random.default_rng(5)
    odd = pd.DataFrame({"user": ["a", "b", "b", "c"], "item": [1, 2, 2, 9999], "rating": [5.0, 1.0, 1.0, 50.0]})
    found, users = witness(pd.concat([people(rng, 40, "u"), odd]), people(rng, 60, "t"))
    assert not found.error
    assert found.scores.shape == (len(users),)
    assert np.isfinite(found.scores).all()
