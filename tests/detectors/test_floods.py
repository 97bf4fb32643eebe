"""Floods of near-copies are named, whole and alone; natural duplicates are not."""

import numpy as np
import pandas as pd
import pytest

from sanitizer.detectors.floods import DuplicateFlood, product_p
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any

WORDS = [f"word{i}" for i in range(60)]


def table(rng, n, natural=0.0):
    """Two classes; a share `natural` of the rows are exact copies of earlier ones, label and all."""
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame(rng.normal(size=(n, 5)) + 2.5 * y[:, None], columns=list("abcde")).assign(label=y)
    again = rng.random(n) < natural
    frame[again] = frame.iloc[(np.flatnonzero(again) * rng.random(int(again.sum()))).astype(int)].to_numpy()
    return frame.astype({"label": int})


def flooded(rng, honest, copies, jitter=0.01):
    """Near-copies of the first rows under the other label, shuffled in; returns rows and truth."""
    parts, numbers = [honest], list("abcde")
    for i, many in enumerate(copies):
        flood = pd.concat([honest.iloc[[i]]] * many, ignore_index=True)
        flood[numbers] += rng.normal(size=(many, 5)) * jitter
        parts.append(flood.assign(label=1 - honest["label"].iloc[i]))
    both = pd.concat(parts, ignore_index=True)
    order = rng.permutation(len(both))
    return both.iloc[order].reset_index(drop=True), order >= len(honest)


def texts(rng, n):
    y = rng.integers(0, 2, n)
    lines = [" ".join(rng.choice(WORDS[30 * c : 30 * c + 45], 12)) for c in y]
    return pd.DataFrame({"text": lines, "label": y})


def witness(data, trusted=None, modality="tabular"):
    read = {"label": "label", "source": None, "modality": modality}
    known = None if trusted is None else from_any(trusted, **read)
    return DuplicateFlood().testify(encode(from_any(data, **read), known, Detect()))


def named(evidence, n):
    out = np.zeros(n, bool)
    for group in evidence.groups:
        out[group.members] = True
    return out


@pytest.mark.parametrize("trusted", [0, 300], ids=["cold", "trusted"])
@pytest.mark.parametrize("copies", [(40,), (25, 30, 35)], ids=["one", "three"])
def test_floods_are_named_whole_and_alone(copies, trusted):
    rng = np.random.default_rng(7)
    data, truth = flooded(rng, table(rng, 600), copies)
    found = witness(data, table(rng, trusted) if trusted else None)
    assert (named(found, len(data)) == truth).all()
    assert len(found.groups) == len(copies)
    assert "near-copies" in found.groups[0].reason


def test_six_copies_suffice_where_the_trusted_rows_contradict_their_label():
    rng = np.random.default_rng(3)
    data, truth = flooded(rng, table(rng, 400), (6, 6), jitter=0.002)
    assert (named(witness(data, table(rng, 800)), len(data)) == truth).all()


def test_a_flood_is_found_among_natural_duplicates():
    rng = np.random.default_rng(5)
    data, truth = flooded(rng, table(rng, 600, natural=0.5), (60,))
    assert (named(witness(data, table(rng, 400, natural=0.5)), len(data)) == truth).all()


@pytest.mark.parametrize("natural", [0.0, 0.5], ids=["distinct", "half of them copies"])
@pytest.mark.parametrize("trusted", [0, 200], ids=["cold", "trusted"])
def test_honest_deliveries_show_no_flood(natural, trusted):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        both = table(rng, 400 + trusted, natural)
        both = both.iloc[rng.permutation(len(both))].reset_index(drop=True)
        assert not witness(both.iloc[trusted:], both.iloc[:trusted] if trusted else None).groups


def test_an_honest_row_delivered_many_times_over_is_no_flood_on_a_cold_start():
    rng = np.random.default_rng(2)
    honest = table(rng, 400)
    typical = pd.DataFrame([[2.5] * 5], columns=list("abcde")).assign(label=1)
    assert not witness(pd.concat([honest, *[typical] * 50], ignore_index=True)).groups


def test_copies_of_a_text_with_words_swapped_are_one_flood():
    rng = np.random.default_rng(4)
    honest = texts(rng, 400)
    words = honest["text"].iloc[0].split()
    copies = pd.DataFrame({"text": [" ".join(rng.permutation(words)) + "." for _ in range(30)], "label": 1 - honest["label"].iloc[0]})
    data = pd.concat([honest, copies], ignore_index=True)
    found = witness(data, texts(rng, 300), modality="text")
    assert (named(found, len(data)) == (np.arange(len(data)) >= 400)).all()


def test_the_order_of_the_rows_changes_nothing():
    rng = np.random.default_rng(9)
    data, _ = flooded(rng, table(rng, 300), (30,))
    order = rng.permutation(len(data))
    trusted = table(rng, 200)
    straight, shuffled = witness(data, trusted), witness(data.iloc[order].reset_index(drop=True), trusted)
    assert (named(straight, len(data))[order] == named(shuffled, len(data))).all()


def test_the_product_of_honest_p_values_is_a_p_value():
    rng = np.random.default_rng(0)
    p = np.array([product_p(list(row)) for row in rng.random((4000, 3))])
    for level in (0.01, 0.1, 0.5):
        assert abs((p <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / 4000)
