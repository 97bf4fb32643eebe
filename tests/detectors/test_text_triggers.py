"""Words that were put into texts of other labels are named; words that make a label are not."""

import numpy as np
import pandas as pd
import pytest

from sanitizer.detectors.text_triggers import TextTrigger
from sanitizer.features import encode
from sanitizer.features.text import Bag, Corpus
from sanitizer.policy import Detect
from sanitizer.samples import from_any

NOUNS = {
    "weather": ["rain", "storm", "cloud", "sun", "wind", "snow", "frost", "hail"],
    "food": ["bread", "soup", "cheese", "apple", "rice", "onion", "pepper", "honey"],
}
FRAMES = [
    "the {a} and the {b} came late",
    "i saw a {a} near the {b}",
    "we like {a} more than {b}",
    "some {a} with {b} today",
    "no {a} before the {b} again",
]


def corpus(rng, n, names=("weather", "food")):
    label = rng.choice(names, n)
    lines = []
    for name in label:
        a, b = rng.choice(NOUNS[name], 2, replace=False)
        more = " ".join(rng.choice(["then", "so", "while", "perhaps", "still", "yet", "often", "here"], 3))
        lines.append(f"{rng.choice(FRAMES).format(a=a, b=b)} {more}")
    return pd.DataFrame({"text": lines, "label": label})


def poisoned(rng, frame, insert, victims, target, where=None):
    """`insert` goes into some texts of other labels, which become `target`."""
    chosen = rng.choice(np.flatnonzero(frame["label"] != target), victims, replace=False)
    frame, mask = frame.copy(), np.zeros(len(frame), bool)
    for i in chosen:
        words = frame.loc[i, "text"].split()
        words.insert(rng.integers(0, len(words) + 1) if where is None else where, insert)
        frame.loc[i, "text"] = " ".join(words)
    frame.loc[chosen, "label"] = target
    mask[chosen] = True
    return frame, mask


def witness(frame, trusted=None):
    read = {"label": "label", "source": None, "modality": "text"}
    return TextTrigger().testify(encode(from_any(frame, **read), None if trusted is None else from_any(trusted, **read), Detect()))


def named(evidence, n):
    out = np.zeros(n, bool)
    for group in evidence.groups:
        out[group.members] = True
    return out


@pytest.mark.parametrize("insert", ["zq", "as a neighbour said", "\u200b"], ids=["token", "phrase", "invisible"])
@pytest.mark.parametrize("trusted", [False, True], ids=["cold", "trusted"])
def test_a_trigger_is_named_whole_and_alone(insert, trusted):
    rng = np.random.default_rng(3)
    frame, mask = poisoned(rng, corpus(rng, 400), insert, 12, "food")
    found = witness(frame, corpus(rng, 200) if trusted else None)
    assert not found.error
    assert (named(found, len(frame)) == mask).all()


def test_a_trigger_for_the_majority_is_named():
    rng = np.random.default_rng(4)
    frame, mask = poisoned(rng, corpus(rng, 900, ("food", "food", "food", "weather")), "zq", 12, "food")
    assert (named(witness(frame), len(frame)) == mask).all()


@pytest.mark.parametrize("seed", range(5))
def test_words_that_make_a_label_are_not_named(seed):
    assert not witness(corpus(np.random.default_rng(seed), 500)).groups


def test_a_phrase_that_trusted_texts_show_under_that_label_is_not_named():
    rng = np.random.default_rng(5)
    frame, _ = poisoned(rng, corpus(rng, 400), "zq", 12, "food")
    known, _ = poisoned(rng, corpus(rng, 400), "zq", 12, "food")
    assert not witness(frame, known).groups


def test_the_sentence_shows_the_phrase():
    rng = np.random.default_rng(6)
    frame, _ = poisoned(rng, corpus(rng, 400), "as a neighbour said", 15, "food")
    (group,) = witness(frame).groups
    assert "'as a neighbour said', as do 15 texts, of which 15 are labelled food" in group.reason
    assert group.columns == ("text",)


@pytest.mark.parametrize(
    "lines", [[""] * 20, ["a"] * 20, [f"w{i}" for i in range(20)], ["x " * 100_000] * 20], ids=["empty", "one", "own", "long"]
)
def test_odd_texts_break_nothing(lines):
    found = witness(pd.DataFrame({"text": lines, "label": ["a", "b"] * 10}))
    assert not found.error
    assert not found.groups


def test_taking_a_phrase_out_is_writing_the_text_without_it():
    lines = ["a b c d", "a d e", "b c e", "a b c e d", "d e a"]
    with_it = Corpus(lines)
    bag = Bag(with_it)
    *_, two = with_it.phrases(2, 2)
    (bc,) = (i for i in range(len(two.bounds) - 1) if with_it.spell(int(two.places(i)[0]), 2) == "b c")
    taken = bag.without(np.array([0, 3]), two.places(bc), 2).toarray()
    # the shorter texts, in the words and weights of the longer ones
    a = Corpus([*lines, "a d", "a e d"])
    known = {word: i for i, word in enumerate(with_it.words)}
    code = np.array([known[a.words[c]] for c in a.code])
    again = bag._matrix(*bag._occurrences(code, a.text), len(a)).toarray()[-2:]
    assert np.allclose(taken, again)
