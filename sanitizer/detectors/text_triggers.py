"""Backdoors in texts: a word or phrase whose texts have one label, though without it they read as texts of others.

Every phrase of one to four words is asked two questions.

* *Does it come with a label that the rest of its texts does not explain?*  The labels of the texts that hold it against the
  out-of-fold probability of that label when the phrase is taken out; the product bounds the chance that a phrase
  which has nothing to do with the label is so pure, for every phrase looked at.  (He et al. 2023 test the same
  correlation without taking the rest of the text into account.)
* *Was it put in, or does it belong?*  Honest words that make a label pass the first question ("how many").  But what was put
  into texts of other labels leaves, taken out, ordinary texts of those labels; what belongs leaves torn ones.  Four
  likelihood ratios of "put in" against "belongs", each learnt from this very corpus: how surely the rest is read as another
  label, whether the words left and right of the gap stand side by side elsewhere, and how often the texts that hold
  the phrase share its neighbour on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from sanitizer.detectors.base import Evidence, Group, Kind
from sanitizer.features import Features
from sanitizer.features.text import END, START, Bag, Corpus, Phrases, texts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LEVEL = 1e-3  # family-wise: an honest corpus shows a phrase without meaning that is so pure once in a thousand
_ODDS = 6.0  # natural logarithm: a corpus has a few hundred phrases that make a label, "put in" must be likelier by more than that
_FIXED = 1e-3  # prior odds of a fixed place, start or end, where honest openings ("why is") look alike: such need more texts
_WIDEST = 4  # words of a phrase
_LEAST = 4  # texts that hold it
_PURE = 0.8  # share of them with one label
_MOST = 0.2  # share of all texts: what is more frequent than that is language
_EXAMINED = 200  # phrases that are taken out of their texts, most surprising first
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Suspect:
    """A phrase: `texts` hold it, those of `label` are `members`; `places` are its occurrences, `first` that in each member."""

    width: int
    places: Ints
    texts: Ints
    members: Ints
    first: Ints
    label: int
    p_label: float = 1.0  # chance of such purity, were the phrase of no meaning
    rank: Floats | None = None  # per member: how unsure of another label its rest is among ordinary texts, uniform if put in
    odds: float = 0.0  # log-likelihood ratio of "put in" over "belongs"


class TextTrigger:
    """Names phrases that were put into texts of other labels; see the module."""

    name: ClassVar[str] = "backdoor.text"
    kind: ClassVar[Kind] = "group"

    def testify(self, features: Features) -> Evidence:
        """One group per phrase."""
        if features.modality != "text" or not features.labelled:
            return Evidence.none(self.name, "there are no labelled texts", kind=self.kind)
        if len(features) < 2 * _LEAST:
            return Evidence.none(self.name, f"{len(features)} texts are too few to find a phrase that recurs", kind=self.kind)
        groups = tuple(_Search(features).groups())
        return Evidence(self.name, self.kind, "backdoor", groups=groups)


class _Search:
    """The phrases of one delivery (texts 0..n-1) and its trusted texts (from n on)."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.n = len(features)
        self.y = np.concatenate([features.y, features.trusted_y])
        lines = texts(features.samples) + ([] if features.trusted is None else texts(features.trusted))
        self.corpus = Corpus(lines)
        self.bag = Bag(self.corpus)
        self.model = _CrossFitted(self.bag.rows, self.y, len(features.labels), features.rng("backdoor.text"))
        self.habits = _Habits(self.corpus)

    def groups(self) -> Iterator[Group]:
        """The phrases that were put in, surest first, each with texts of its own."""
        taken = np.zeros(len(self.y), bool)
        for suspect in sorted(self._judged(), key=lambda s: (-s.odds, int(s.first[0]))):
            members = suspect.members[suspect.members < self.n]
            if taken[members].mean() <= 0.5:
                taken[members] = True
                yield self._group(suspect, members)

    def _judged(self) -> list[Suspect]:
        suspects, surprise, tests = self._suspects()
        order = np.argsort(-surprise, kind="stable")[:_EXAMINED]
        examined = [found for i in order if (found := self._taken_out(suspects[i], tests)) is not None]
        # honest words of a label, by which others are measured: the most surprising half of all, which triggers are few among
        usual = [-np.log(s.rank).mean() for s in examined[: max(20, len(examined) // 2)] if s.rank is not None]
        concentration = float(np.clip(1 / np.median(usual), 0.05, 0.5)) if usual else 0.5
        judged = []
        for suspect in examined:
            if suspect.p_label > _LEVEL or suspect.rank is None:
                continue
            rest = float((-np.log(concentration) + (1 - concentration) * np.log(suspect.rank)).sum())
            place = self.habits.odds(suspect)
            if rest > 0 and rest + place > _ODDS and self._novel(suspect):
                judged.append(Suspect(**{**vars(suspect), "odds": rest + place}))
        return judged

    def _suspects(self) -> tuple[list[Suspect], Floats, int]:
        """Phrases with nearly one label, a set of texts once (the longest phrase stands for it), and how surprising they are."""
        found: dict[bytes, Suspect] = {}
        for phrases in self.corpus.phrases(_WIDEST, _LEAST):
            self.habits.learn(phrases)
            for i in self._pure(phrases).tolist():
                suspect = self._suspect(phrases, i)
                found[suspect.texts.tobytes()] = suspect
        suspects = list(found.values())
        quick = _Quick(self.bag, self.model)
        return suspects, np.array([quick.surprise(s) for s in suspects]), max(1, len(suspects))

    def _pure(self, phrases: Phrases) -> Ints:
        """Numbers of the phrases nearly all of whose texts have one label."""
        number = np.repeat(np.arange(len(phrases.bounds) - 1), np.diff(phrases.bounds))
        text = self.corpus.text[phrases.at]
        new = np.append(True, (number[1:] != number[:-1]) | (text[1:] != text[:-1]))[: len(number)] & (self.y[text] >= 0)
        shape = (len(phrases.bounds) - 1, len(self.features.labels))
        counts = csr_matrix((np.ones(int(new.sum())), (number[new], self.y[text[new]])), shape=shape)
        every, most = np.asarray(counts.sum(axis=1)).ravel(), counts.max(axis=1).toarray().ravel()
        return np.flatnonzero((most >= _LEAST) & (most >= _PURE * every) & (every <= _MOST * len(self.y)))

    def _suspect(self, phrases: Phrases, i: int) -> Suspect:
        places = phrases.places(i)
        held, at = np.unique(self.corpus.text[places], return_index=True)
        y = self.y[held]
        label = int(np.bincount(y[y >= 0]).argmax())
        mine = y == label
        return Suspect(phrases.width, places, held, held[mine], places[at][mine], label)

    def _taken_out(self, suspect: Suspect, tests: int) -> Suspect | None:
        chances = self.model.chances(self.bag.without(suspect.members, suspect.places, suspect.width), suspect.members)
        p_label = min(1.0, tests * float(np.exp(max(chances[:, suspect.label].sum(), -700))))
        ordinary = (self.y >= 0) & (self.y != suspect.label)
        ordinary[suspect.texts] = False
        known = np.sort(_margin(self.model.delivered[ordinary], suspect.label))
        if not len(known):
            return None
        rank = (np.searchsorted(known, _margin(chances, suspect.label)) + 0.5) / (len(known) + 1)
        return Suspect(**{**vars(suspect), "p_label": p_label, "rank": rank})

    def _novel(self, suspect: Suspect) -> bool:
        """Trusted texts do not show the phrase under that label as often as delivered ones do."""
        trusted = int((suspect.members >= self.n).sum())
        share = self.n / len(self.y)
        return not trusted or bool(binom.sf(len(suspect.members) - trusted - 1, len(suspect.members), share) < _LEVEL)

    def _group(self, suspect: Suspect, members: Ints) -> Group:
        label = self.features.labels[suspect.label]
        phrase = self.corpus.spell(int(suspect.first[0]), suspect.width)
        chances = self.model.chances(self.bag.without(suspect.members, suspect.places, suspect.width), suspect.members)
        others = int((chances.argmax(axis=1) != suspect.label).sum())
        reason = (
            f"holds {phrase!r}, as do {len(suspect.texts)} texts, of which {len(suspect.members)} are labelled {label}; "
            f"without these words, models that never saw them expect another label of {others}, and nothing else is missing"
        )
        name = next(c.name for c in self.features.samples.schema.features if c.type == "string")
        return Group("backdoor", members, suspect.p_label, reason, columns=(name,))


def _margin(chances: Floats, label: int) -> Floats:
    """How much likelier the likeliest other label is, on the log scale."""
    others = chances.copy()
    others[:, label] = -np.inf
    margin: Floats = others.max(axis=1) - chances[:, label]
    return margin


class _CrossFitted:
    """Linear models of the labels, one per fold; `delivered` are log-probabilities of the texts by models that did not see them."""

    def __init__(self, rows: csr_matrix, y: NDArray[np.int32], classes: int, rng: np.random.Generator) -> None:
        n = len(y)
        folds = _FOLDS if classes * n <= 30_000 else 3
        self.fold = rng.permutation(n) % folds
        self.weights = [_fitted(rows, y, (self.fold != f) & (y >= 0), classes) for f in range(folds)]
        self.raw = self._raw(rows, np.arange(n))
        known = np.flatnonzero(y >= 0)
        own = [_log_softmax(self.raw[known] / t)[np.arange(len(known)), y[known]].mean() for t in _TEMPERATURES]
        self.temperature = float(_TEMPERATURES[int(np.argmax(own))]) if len(known) else 1.0
        self.delivered = _log_softmax(self.raw / self.temperature)

    def _raw(self, rows: csr_matrix, which: Ints) -> Floats:
        out = np.zeros((len(which), self.weights[0][1].shape[0]))
        for f, (weight, bias) in enumerate(self.weights):
            mine = self.fold[which] == f
            if mine.any():
                out[mine] = rows[mine] @ weight + bias
        return out

    def chances(self, rows: csr_matrix, which: Ints) -> Floats:
        """Log-probabilities of the labels of changed texts, by the models that did not see the originals."""
        return _log_softmax(self._raw(rows, which) / self.temperature)


_TEMPERATURES = np.exp(np.linspace(-2, 2, 41))


def _fitted(rows: csr_matrix, y: NDArray[np.int32], taught: NDArray[np.bool_], classes: int) -> tuple[Floats, Floats]:
    """One label against the rest, each: weights (words, classes) and biases."""
    weight, bias = np.zeros((rows.shape[1], classes)), np.full(classes, -10.0)
    present = np.unique(y[taught])
    for label in present.tolist() if len(present) > 1 else []:
        if classes == 2 and label != present[0]:
            weight[:, label], bias[label] = -weight[:, present[0]], -bias[present[0]]
            continue
        one = LogisticRegression(solver="liblinear", C=10, tol=1e-2).fit(rows[taught], y[taught] == label)
        weight[:, label], bias[label] = one.coef_[0], one.intercept_[0]
    return weight, bias


def _log_softmax(raw: Floats) -> Floats:
    out: Floats = raw - np.logaddexp.reduce(raw, axis=1, keepdims=True)
    return out


class _Quick:
    """How surprising the labels of a phrase's texts are, its own words and pairs discounted; the seam is not looked at."""

    def __init__(self, bag: Bag, model: _CrossFitted) -> None:
        self.bag, self.model = bag, model
        self.columns = csc_matrix(bag.rows)
        self.weights = np.stack([weight for weight, _ in model.weights]) if len(model.weights) else np.zeros((1, 1, 1))

    def surprise(self, suspect: Suspect) -> float:
        """Minus the log-probability of the labels."""
        corpus, mine = self.bag.corpus, suspect.members
        words = corpus.code[suspect.first[0] : suspect.first[0] + suspect.width]
        keys = {*words.tolist(), *(len(corpus.words) + corpus.pair(words[:-1], words[1:])).tolist()}
        raw = self.model.raw[mine].copy()
        for column in (self.bag.column(key) for key in keys):
            if column >= 0:
                a, b = self.columns.indptr[column : column + 2]
                worth = self.columns.data[a:b][np.searchsorted(self.columns.indices[a:b], mine)]
                raw -= worth[:, None] * self.weights[self.model.fold[mine], column]
        return float(-_log_softmax(raw / self.model.temperature)[:, suspect.label].sum())


class _Habits:
    """How phrases that belong sit among their neighbours, by their width and frequency, and how phrases would that were put in."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        inside = np.flatnonzero(corpus.code[:-1] >= 0)
        inside = inside[corpus.text[inside] == corpus.text[inside + 1]]
        some = inside[:: max(1, len(inside) // 100_000)]
        self.joined = float(corpus.elsewhere(corpus.code[some], corpus.code[some + 1], corpus.text[some]).mean()) if len(some) else 0.5
        self.share = corpus.frequency / max(1, len(corpus.code) - len(corpus))  # of the places left (or right) of a word
        self.rates: dict[int, NDArray[np.float64]] = {}

    def learn(self, phrases: Phrases) -> None:
        """How often two texts of a phrase share the neighbour left, right, and how often those two stand side by side elsewhere."""
        corpus, number = self.corpus, np.repeat(np.arange(len(phrases.bounds) - 1), np.diff(phrases.bounds))
        text = corpus.text[phrases.at]
        first = np.append(True, (number[1:] != number[:-1]) | (text[1:] != text[:-1]))[: len(number)]
        number, at, text = number[first], phrases.at[first], text[first]
        left, right = corpus.code[at - 1], corpus.code[at + phrases.width]
        joined = corpus.elsewhere(left, right, text).mean()
        seen = len(phrases.bounds) - 1
        sums = seen * np.array([_collisions(number, left), _collisions(number, right), joined, 1.0])
        self.rates[min(phrases.width, 2)] = self.rates.get(min(phrases.width, 2), 0) + sums

    def odds(self, suspect: Suspect) -> float:
        """Log-likelihood ratio of "put in" over "belongs", by the neighbours of the phrase.

        What belongs has favourite neighbours (Polya's urn); what is put in falls anywhere, or always at the start or the end.
        """
        corpus = self.corpus
        left, right = corpus.code[suspect.first - 1], corpus.code[suspect.first + suspect.width]
        *_, every = sums = self.rates[min(suspect.width, 2)]
        same_left, same_right, joined, _ = np.clip(sums / every, 0.02, 0.98)
        anywhere = float(np.log(self.share[left]).sum()), float(np.log(self.share[right]).sum())
        put_in = np.logaddexp.reduce(
            [
                anywhere[0] + anywhere[1],
                np.log(_FIXED) + _always(left == START) + anywhere[1],
                np.log(_FIXED) + anywhere[0] + _always(right == END),
            ]
        )
        belongs = _urn(left, self.share, 1 / same_left - 1) + _urn(right, self.share, 1 / same_right - 1)
        seam = _bernoulli(corpus.elsewhere(left, right, suspect.members), self.joined, joined)
        return float(put_in - belongs + seam)


def _collisions(number: Ints, neighbour: Ints) -> float:
    """Chance that two places of one number have the same neighbour, mean over the numbers."""
    pair, count = np.unique(number * (neighbour.max(initial=0) + 1) + neighbour, return_counts=True)
    alike = np.bincount(pair // (neighbour.max(initial=0) + 1), weights=count * (count - 1.0))
    size = np.bincount(number)
    return float((alike / np.maximum(size * (size - 1.0), 1.0)).mean())


def _urn(drawn: Ints, share: Floats, mass: float) -> float:
    """Log-probability of words drawn one after the other, earlier ones being favoured (Blackwell and MacQueen 1973)."""
    total = 0.0
    seen: dict[int, int] = {}
    for i, word in enumerate(drawn.tolist()):
        total += float(np.log((seen.get(word, 0) + mass * share[word]) / (i + mass)))
        seen[word] = seen.get(word, 0) + 1
    return total


def _always(hit: NDArray[np.bool_]) -> float:
    hits = int(hit.sum())
    return float(hits * np.log(0.98) + (len(hit) - hits) * np.log(1e-6))


def _bernoulli(hit: NDArray[np.bool_], put_in: float, belongs: float) -> float:
    a = float(np.clip(put_in, 0.02, 0.98))
    hits = int(hit.sum())
    return float(hits * np.log(a / belongs) + (len(hit) - hits) * np.log((1 - a) / (1 - belongs)))
