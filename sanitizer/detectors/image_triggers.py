"""Backdoors in pictures: one mark on different pictures of one label, which no trusted picture carries.

A trigger that a model shall learn is, whatever it looks like, a pattern that many pictures share: in the residuals to the
mean of the label it is a direction along which some pictures stand apart, at one place.  Residuals are whitened by the
trusted residuals of all labels (cold: by the delivered ones), in the pixel basis and in the cosine basis; the leading
directions of each label are cut in two; the pictures beyond the cut are the suspects (Tran et al. 2018 project on the
leading direction of the *features of a trained model*; here no model is needed, and covariance is that of honest rows, as in
SPECTRE, Hayase et al. 2021).

Honest data have such directions too: near-copies of one object, and sorts of objects within a class.  So a mark must be worn
by pictures that are *otherwise different* (their nearest neighbours, the mark taken off, do not wear it) and must be
surprising as a sort of honest object: trusted pictures of that label do not show it, or its wearers look like other labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve, solve_triangular
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaincc
from scipy.stats import hypergeom

from sanitizer.detectors.base import Evidence, Group, Kind
from sanitizer.features import Features
from sanitizer.features.images import flat, frequencies, pictures, planes, reduced

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

_RIDGE = 0.1  # of the average residual variance: directions quieter than that tell nothing
_DIRECTIONS = 6  # leading directions of a label that are looked at
_APART = 3.0
_NOVEL = 0.2
_LEAST = 4  # wearers of a mark: fewer cannot be told from chance
_KNOWN = 4000  # trusted rows that covariances are estimated from
_MOST = 20_000  # delivered rows, on a cold start: a row that took part is whitened otherwise than one that did not
_CONTENT = 48  # dimensions in which pictures are compared apart from the mark
_NOISE = 0.29 / 255  # rounding of a pixel to a grey level


@dataclass(frozen=True, eq=False)
class _Pictures:
    """n delivered pictures, then m trusted ones: codes `y` of their labels and coordinates of their content."""

    parts: list[Floats]
    content: Floats
    y: NDArray[np.int32]
    n: int
    classes: int

    @cached_property
    def usual_gap(self) -> float:
        """Median distance of a delivered picture to the one that is most alike."""
        content = self.content[: self.n]
        some = np.arange(0, self.n, max(1, self.n // 400))
        gaps = _gaps(content[some], content)
        gaps[np.arange(len(some)), some] = np.inf
        return float(np.sqrt(np.maximum(np.median(gaps.min(axis=1)), 0)))

    def delivered(self, label: int) -> Rows:
        return np.flatnonzero(self.y[: self.n] == label)

    def trusted(self, label: int) -> Rows:
        return self.n + np.flatnonzero(self.y[self.n :] == label)


class ImageTrigger:
    """Names pictures that share a mark; see the module."""

    name: ClassVar[str] = "backdoor.image"
    kind: ClassVar[Kind] = "group"

    def testify(self, features: Features) -> Evidence:
        """One group per mark."""
        if features.modality != "image" or not features.labelled:
            return Evidence.none(self.name, "there are no labelled pictures", kind=self.kind)
        marks = found(features)
        return Evidence(self.name, self.kind, "backdoor", groups=tuple(mark.group(features) for mark in marks if mark.p < 1))


@dataclass(frozen=True, eq=False)
class Mark:
    """Delivered pictures of one label that stand apart along one direction."""

    label: int
    members: Rows
    free: NDArray[np.bool_]
    apart: float
    others: int
    known: int
    p_novel: float
    p_label: float
    tests: int = 1
    view: str = ""
    cut: float = 0.0

    @property
    def p(self) -> float:
        """Honest pictures show such a mark by chance: neither novelty nor the labels alone need to convince (Fisher)."""
        if not self.p_novel:
            return min(1.0, self.tests * self.p_label)
        if self.p_novel > _NOVEL:
            return min(1.0, self.tests * self.p_novel)
        product = max(self.p_novel * self.p_label, 1e-300)
        return float(min(1.0, 2 * self.tests * min(self.p_novel, product * (1 - np.log(product)))))

    def group(self, features: Features) -> Group:
        """The case that a person reads."""
        label, others = features.labels[self.label], int(self.free.sum())
        reason = f"one of {len(self.members)} pictures labelled {label} that share one mark; without it, {others} differ as pictures do"
        if not features.cold:
            reason += f"; {self.known} trusted pictures of that label show it"
        name = next(c.name for c in features.samples.schema.features if c.type.startswith("image["))
        return Group("backdoor", self.members, max(self.p, 1e-300), reason, columns=(name,))


def found(features: Features) -> list[Mark]:
    """All marks, in the order they were found."""
    these = _read(features)
    marks: list[Mark] = []
    for whitened in _views(these, features.rng("backdoor.image")):
        for _, label, members in _candidates(these, whitened):
            if not _known(members, marks):
                mark = _refined(these, whitened, label, members)
                if mark is not None and not _known(mark.members, marks):
                    marks.append(mark)
    # a mark with few wearers that differ could not convince whatever else is true of it: it costs no test
    tests = max(1, sum(int(mark.free.sum()) >= _LEAST for mark in marks))
    if features.cold:
        # directions lean towards odd pictures, and here no trusted ones show that they are: any picture could have been the seed
        tests *= max(1, these.n)
    return [replace(mark, tests=tests) for mark in marks]


def _read(features: Features) -> _Pictures:
    both = [features.samples] if features.trusted is None else [features.samples, features.trusted]
    parts = planes(np.concatenate([reduced(pictures(part)) for part in both]))
    y = np.concatenate([features.y, features.trusted_y])
    rows = flat(parts)
    known = rows[np.sort(features.rng("content").permutation(len(rows))[:1000])]
    middle = known.mean(axis=0)
    wide = int(min(_CONTENT, max(8, rows.shape[1] // 4), len(known) - 1))
    _, axes = _spectrum(known - middle, wide)
    return _Pictures(parts, (rows - middle) @ axes, y, len(features), len(features.labels))


def _spectrum(rows: Floats, wide: int) -> tuple[Floats, Floats]:
    """The `wide` largest variances of centred rows and their directions (d, wide)."""
    n, d = rows.shape
    small = rows.T @ rows if d <= n else rows @ rows.T
    wide = min(wide, len(small))
    variance, axes = eigh(small / n, subset_by_index=[len(small) - wide, len(small) - 1], driver="evr")
    variance = np.maximum(variance, 0)
    if d > n:
        axes = rows.T @ (axes / np.sqrt(np.maximum(variance * n, 1e-12)))
    return variance.astype(np.float32), np.ascontiguousarray(axes, dtype=np.float32)


def _views(these: _Pictures, rng: np.random.Generator) -> Iterator[_Whitened]:
    for parts in (frequencies(these.parts), these.parts):
        whitened = _Whitened.of(these, flat(parts), rng)
        yield whitened
        yield whitened.spherical()


@dataclass(frozen=True, eq=False)
class _Whitened:
    """Residuals to the mean of the label, in which honest residuals vary alike in all directions.

    `inside` are the delivered rows among the `learnt_from` rows that the whitening was learnt from.
    """

    rows: Floats
    inside: NDArray[np.bool_]
    learnt_from: int

    @classmethod
    def of(cls, these: _Pictures, rows: Floats, rng: np.random.Generator) -> _Whitened:
        n, cold = these.n, these.n == len(rows)
        honest = np.arange(n) if cold else np.arange(n, len(rows))
        means = np.zeros((these.classes, rows.shape[1]), np.float32)
        for label in range(these.classes):
            mine = honest[these.y[honest] == label]
            mine = mine if len(mine) >= 2 else these.delivered(label)
            if len(mine):
                means[label] = rows[mine].mean(axis=0)
        residuals = rows - means[these.y]
        learnt = np.sort(rng.permutation(honest)[: _MOST if cold else _KNOWN])
        residuals /= np.sqrt((residuals[learnt] ** 2).mean(axis=0) + np.float32(_NOISE) ** 2)
        shape = residuals[learnt].T @ residuals[learnt] / len(learnt)
        shape[np.diag_indices_from(shape)] += _RIDGE
        white = solve_triangular(cholesky(shape, lower=True), residuals.T, lower=True).T
        inside = np.zeros(len(rows), bool)
        inside[learnt[learnt < n]] = True
        return cls(np.ascontiguousarray(white), inside, len(learnt))

    def spherical(self) -> _Whitened:
        """Every row at one distance: a few rows that are strange in themselves no longer set the directions (Locantore et al. 1999)."""
        length = np.linalg.norm(self.rows, axis=1)
        rows = self.rows * (np.median(length) / np.maximum(length, 1e-9))[:, None].astype(np.float32)
        return _Whitened(rows, np.zeros_like(self.inside), self.learnt_from)


def _candidates(these: _Pictures, whitened: _Whitened) -> list[tuple[float, int, Rows]]:
    """Rows beyond the best cut of each leading direction of each label, clearest first."""
    out = []
    for label in range(these.classes):
        mine, known = these.delivered(label), these.trusted(label)
        if len(mine) < 2 * _LEAST:
            continue
        rows = whitened.rows[mine]
        for direction in _leading(rows):
            along, honest = rows @ direction, whitened.rows[known] @ direction
            for sign in (1, -1):
                apart, cut = _best_cut(sign * along, float(np.max(sign * honest, initial=-np.inf)))
                if apart > _APART:
                    out.append((apart, label, mine[sign * along > cut]))
    return sorted(out, key=lambda c: -c[0])


def _leading(rows: Floats) -> Floats:
    return _spectrum(rows, min(_DIRECTIONS, len(rows) - 1))[1].T[::-1]


def _best_cut(along: NDArray[np.float64], least: float) -> tuple[float, float]:
    """The cut that sets both parts farthest apart in units of their spread (Ashman et al. 1994), above `least`."""
    q = np.sort(along).astype(np.float64)
    n = len(q)
    low = np.arange(1, n)
    high = n - low
    sums, squares = np.cumsum(q)[:-1], np.cumsum(q * q)[:-1]
    mean_low, mean_high = sums / low, (q.sum() - sums) / high
    var_low = np.maximum(squares / low - mean_low**2, 0)
    var_high = np.maximum(((q * q).sum() - squares) / high - mean_high**2, 0)
    apart = (mean_high - mean_low) / np.sqrt(var_low + var_high + 1e-9)
    fits = (high >= _LEAST) & (low >= n // 4) & (q[1:] > least)
    if not fits.any():
        return 0.0, np.inf
    best = int(np.argmax(np.where(fits, apart, -1.0)))
    return float(apart[best]), float((q[best] + q[best + 1]) / 2)


def _known(members: Rows, marks: list[Mark]) -> bool:
    return any(len(np.intersect1d(members, mark.members)) > 0.5 * min(len(members), len(mark.members)) for mark in marks)


def _refined(these: _Pictures, whitened: _Whitened, label: int, members: Rows) -> Mark | None:
    mine, known = these.delivered(label), these.trusted(label)
    for _ in range(5):
        rest = np.setdiff1d(mine, members, assume_unique=True)
        if min(len(members), len(rest)) < _LEAST:
            return None
        direction = _Direction.of(whitened, members, rest)
        worn, unworn = direction.worn, np.concatenate([direction.unworn, direction(known)])
        if _apart(worn, unworn) < 2:
            return None
        cut = (worn.mean() * unworn.std() + unworn.mean() * worn.std()) / (worn.std() + unworn.std() + 1e-9)
        again = np.sort(np.concatenate([members[worn > cut], rest[direction.unworn > cut]]))
        if np.array_equal(again, members):
            break
        members = again
    if min(len(members), len(rest)) < _LEAST or len(worn) != len(members):
        return None
    along = direction(np.arange(len(these.y)))
    along[members], along[rest] = worn, direction.unworn
    apart = _apart(worn, np.delete(along, members))
    return None if apart < _APART else _judged(these, label, members, along, float(cut), apart)


def _apart(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    return float((high.mean() - low.mean()) / np.sqrt(high.var() + low.var() + 1e-12))


@dataclass(frozen=True, eq=False)
class _Direction:
    """From the rest of a label to some of its members; calling it projects rows on it.

    `worn` and `unworn` are the projections of members and rest, each without what the row itself added to the direction.
    """

    rows: Floats
    direction: Floats
    worn: NDArray[np.float64]
    unworn: NDArray[np.float64]

    @classmethod
    def of(cls, whitened: _Whitened, members: Rows, rest: Rows) -> _Direction:
        z, k = whitened.rows, len(members)
        high, low = z[members], z[rest]
        middle = low.mean(axis=0)
        direction = high.mean(axis=0) - middle
        own, base = np.einsum("ij,ij->i", high, high), high @ middle
        inside = members[whitened.inside[members]]
        if len(inside):
            # the whitening was learnt from members too, and hides part of what they share: take them out of it (Woodbury)
            power, axes = eigh(z[inside] @ z[inside].T)
            gain = 1 / (whitened.learnt_from - np.minimum(power, 0.95 * whitened.learnt_from))
            turned = axes.T @ z[inside]
            seen = high @ turned.T
            own = own + np.einsum("ij,ij->i", seen * gain, seen)
            base = base + (seen * gain) @ (turned @ middle)
            direction = direction + ((turned @ direction) * gain) @ turned
        length = np.linalg.norm(direction) + 1e-12
        worn = ((high @ direction + base) * k - own) / (k - 1) - base
        unworn = low @ direction + np.einsum("ij,ij->i", low, low) / len(rest)
        return cls(z, direction / length, (worn / length).astype(np.float64), (unworn / length).astype(np.float64))

    def __call__(self, which: Rows) -> NDArray[np.float64]:
        projected: NDArray[np.float64] = (self.rows[which] @ self.direction).astype(np.float64)
        return projected


def _judged(these: _Pictures, label: int, members: Rows, along: NDArray[np.float64], cut: float, apart: float) -> Mark:
    n, y = these.n, these.y
    wearing = np.zeros(len(y), bool)
    wearing[members] = True
    chances = _by_content(these.content, y, ~wearing, these.classes)
    expected = chances.argmax(axis=1)
    margin = _margin(chances, y)
    honest = np.sort(margin[~wearing & (y == label)])
    surprise = (1 + np.searchsorted(honest, margin[members], side="right")) / (1 + len(honest))
    free = _otherwise_different(these, members, expected, ~wearing, np.random.default_rng(members))
    worth = int(min(len(members), free.sum() / 0.75))
    k, known = int(free.sum()), int((along[these.trusted(label)] > cut).sum())
    mine, theirs = len(these.delivered(label)), len(these.trusted(label))
    p_novel = float(hypergeom.sf(worth - 1, mine + theirs, worth + known, mine)) if theirs and worth else (1.0 if theirs else 0.0)
    p_label = float(gammaincc(k, -np.log(surprise[free]).sum())) if k else 1.0
    others = int((along[:n] > cut).sum()) - int((along[these.delivered(label)] > cut).sum())
    return Mark(label, members, free, apart, others, known, p_novel, p_label, cut=cut)


def _by_content(content: Floats, y: NDArray[np.int32], taught: NDArray[np.bool_], classes: int) -> NDArray[np.float64]:
    """Log-probabilities of the labels by what a picture shows, out of fold, by linear discriminants."""
    n, d = content.shape
    fold = np.arange(n) % 4
    out = np.empty((n, classes))
    for f in range(4):
        train, seen = taught & (fold != f) & (y >= 0), fold == f
        of = np.eye(classes, dtype=np.float32)[y[train]]
        counts = of.sum(axis=0)
        means = (of.T @ content[train]) / np.maximum(counts, 1)[:, None]
        residuals = content[train] - means[y[train]]
        within = residuals.T @ residuals / max(len(residuals) - classes, 1)
        within += np.eye(d) * (1e-3 * np.trace(within) / d + 1e-12)
        weights = solve(within, means.T, assume_a="pos")
        logits = content[seen] @ weights - 0.5 * np.einsum("kd,dk->k", means, weights)
        logits += np.log(np.maximum(counts, 1e-9) / max(counts.sum(), 1))
        logits[:, counts == 0] = -1e9
        out[seen] = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return out


def _margin(chances: NDArray[np.float64], y: NDArray[np.int32]) -> NDArray[np.float64]:
    each = np.arange(len(y))
    own = chances[each, y]
    rivals = chances.copy()
    rivals[each, y] = -np.inf
    margin: NDArray[np.float64] = own - rivals.max(axis=1)
    return margin


def _otherwise_different(
    these: _Pictures, members: Rows, expected: NDArray[np.int64], honest: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which members differ from each other as much as pictures of what they show do, the mark taken off; near-copies count once.

    A member differs when its nearest neighbour is no member, or is no nearer than most neighbours in a draw of as many honest
    pictures of the same sorts.
    """
    content, n, y = these.content, these.n, these.y
    usual = np.array(
        [content[mine].mean(axis=0) if (mine := honest & (y == c)).any() else content.mean(axis=0) for c in range(these.classes)]
    )
    mark = (content[members] - usual[expected[members]]).mean(axis=0)
    mark /= np.linalg.norm(mark) + 1e-12
    bare = content - (content @ mark)[:, None] * mark
    gap = _gaps(bare[members], bare[:n])
    gap[np.arange(len(members)), members] = np.inf
    wearing = np.zeros(n, bool)
    wearing[members] = True
    alone = ~wearing[gap.argmin(axis=1)]
    to_member = gap[:, members]
    alike = np.bincount(expected[members], minlength=these.classes)
    draws = []
    for _ in range(3):
        pools = [rng.permutation(np.flatnonzero(honest & (y == c) & (expected == c)))[: alike[c]] for c in np.flatnonzero(alike)]
        drawn = np.concatenate(pools)
        if len(drawn) > 1:
            apart = _gaps(bare[drawn], bare[drawn])
            np.fill_diagonal(apart, np.inf)
            draws.append(apart.min(axis=1))
    if draws:
        alone |= to_member.min(axis=1) >= np.quantile(np.concatenate(draws), 0.25)
    number = connected_components(to_member < these.usual_gap**2, directed=False)[1]
    first = np.zeros(len(members), bool)
    first[np.unique(number, return_index=True)[1]] = True
    out: NDArray[np.bool_] = alone & first
    return out


def _gaps(a: Floats, b: Floats) -> Floats:
    """Squared distances, (len(a), len(b))."""
    gaps: Floats = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return gaps
