"""Texts as numbers: coded words, the phrases that recur, and word counts from which a phrase can be taken out again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from sanitizer.samples import UnverifiedSamples

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_WORD = re.compile(r"\w+|[^\w\s]")  # invisible characters are words of their own
_MOST_WORDS = 2000  # of one text
START, END = 0, 1


def texts(samples: UnverifiedSamples) -> list[str]:
    """The texts of a table; missing ones are empty."""
    name = next(column.name for column in samples.schema.features if column.type == "string")
    return [str(text or "") for text in samples.table[name].to_pylist()]


@dataclass(frozen=True, eq=False)
class Phrases:
    """All phrases of `width` words that occur in enough texts: phrase i has the places `at[bounds[i]:bounds[i + 1]]`, by text."""

    width: int
    at: Ints
    bounds: Ints

    def places(self, i: int) -> Ints:
        """Where phrase i begins, all its occurrences."""
        return self.at[self.bounds[i] : self.bounds[i + 1]]


class Corpus:
    """Coded words of texts, each between START and END: `code` and `text` (its number) of every place."""

    def __init__(self, lines: Sequence[str]) -> None:
        known = {"": START, "\n": END}
        code, ends = [], []
        for line in lines:
            code.append(START)
            code += [known.setdefault(word, len(known)) for word in _WORD.findall(line.lower())[:_MOST_WORDS]]
            code.append(END)
            ends.append(len(code))
        self.words = tuple(known)
        self.code = np.array(code, np.int64)
        self.ends = np.array(ends, np.int64)
        self.starts = np.append(0, self.ends[:-1]).astype(np.int64)
        self.text = np.repeat(np.arange(len(ends)), self.ends - self.starts)
        self.frequency = np.bincount(self.code, minlength=len(known))

    def __len__(self) -> int:
        return len(self.ends)

    def spell(self, place: int, width: int) -> str:
        """The words from a place on."""
        return " ".join(self.words[c] for c in self.code[place : place + width])

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints, Ints]:
        """Keys of adjacent words, in how many texts each occurs, and (text, pair) once each."""
        inside = self.code[:-1] != END
        pair = self.pair(self.code[:-1][inside], self.code[1:][inside])
        keys, number = np.unique(pair, return_inverse=True)
        once = np.unique(self.text[:-1][inside] * len(keys) + number)
        return keys, np.bincount(once % len(keys), minlength=len(keys)), once

    def pair(self, a: Ints, b: Ints) -> Ints:
        """One number for two words."""
        out: Ints = a * len(self.words) + b
        return out

    def elsewhere(self, a: Ints, b: Ints, text: Ints) -> Bools:
        """Whether some other text than `text` has the words `a b` side by side."""
        keys, count, once = self._pairs
        pair = self.pair(a, b)
        at = np.minimum(np.searchsorted(keys, pair), len(keys) - 1)
        seen = keys[at] == pair
        mine = text * len(keys) + at
        own = once[np.minimum(np.searchsorted(once, mine), len(once) - 1)] == mine
        out: Bools = seen & (count[at] - own > 0)
        return out

    def phrases(self, widest: int, least: int) -> Iterator[Phrases]:
        """The phrases of 1 to `widest` words that occur in at least `least` texts."""
        place = np.flatnonzero(self.code > END)
        number = np.full(len(self.code), -1, np.int64)
        number[place] = self.code[place]
        words = number.copy()
        for width in range(1, widest + 1):
            if width > 1:
                place = place[place + width - 1 < len(self.code)]
                place = place[(number[place] >= 0) & (number[place + 1] >= 0)]
                key = number[place] * len(self.words) + words[place + width - 1]
            else:
                key = words[place]
            if not len(place):
                return
            _, found = np.unique(key, return_inverse=True)
            order = np.argsort(found, kind="stable")
            found, place = found[order], place[order]
            new = np.append(True, (found[1:] != found[:-1]) | (self.text[place[1:]] != self.text[place[:-1]]))
            enough = np.bincount(found[new], minlength=found[-1] + 1) >= least
            place, found = place[enough[found]], found[enough[found]]
            if not len(place):
                return
            number = np.full(len(self.code), -1, np.int64)
            number[place] = found
            yield Phrases(width, place, np.append(np.flatnonzero(np.append(True, found[1:] != found[:-1])[: len(found)]), len(found)))


class Bag:
    """Words and pairs of words of texts, weighted by rarity, texts at length one (binary tf-idf)."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        text, key = self._occurrences(corpus.code, corpus.text)
        keys, count = np.unique(key, return_counts=True)
        self.keys = keys[count >= 2]
        self.weight = np.log(len(corpus) / count[count >= 2])
        self.rows = self._matrix(text, key, len(corpus))

    def _occurrences(self, code: Ints, text: Ints) -> tuple[Ints, Ints]:
        """(text, key) of every word and every pair, once each; keys of pairs follow those of words."""
        wide = len(self.corpus.words)
        word = code > END
        joined = np.flatnonzero((text[1:] == text[:-1]) & (code[:-1] != END))
        key = np.concatenate([code[word], wide + self.corpus.pair(code[joined], code[joined + 1])])
        whose = np.concatenate([text[word], text[joined]])
        order = np.lexsort((key, whose))
        key, whose = key[order], whose[order]
        first = np.append(True, (key[1:] != key[:-1]) | (whose[1:] != whose[:-1]))[: len(key)]
        return whose[first], key[first]

    def _matrix(self, text: Ints, key: Ints, n: int) -> csr_matrix:
        if not len(self.keys):
            return csr_matrix((n, 1))
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        known = self.keys[at] == key
        at, text = at[known], text[known]
        rows = csr_matrix((self.weight[at], (text, at)), shape=(n, len(self.keys)))
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        return csr_matrix(diags(1 / np.where(length > 0, length, 1)) @ rows)

    def column(self, key: int) -> int:
        """The column of a word or pair, -1 where it is not counted."""
        at = int(np.searchsorted(self.keys, key))
        return at if at < len(self.keys) and self.keys[at] == key else -1

    def without(self, which: Ints, places: Ints, width: int) -> csr_matrix:
        """The rows of some texts, the words of a phrase taken out wherever it begins at `places`."""
        corpus = self.corpus
        gone = np.zeros(len(corpus.code), bool)
        for i in range(width):
            gone[places + i] = True
        kept = np.concatenate([np.arange(corpus.starts[i], corpus.ends[i]) for i in which])
        number = np.repeat(np.arange(len(which)), corpus.ends[which] - corpus.starts[which])
        stays = ~gone[kept]
        return self._matrix(*self._occurrences(corpus.code[kept[stays]], number[stays]), len(which))
