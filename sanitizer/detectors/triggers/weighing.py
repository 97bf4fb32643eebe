"""What one combination of items under one label is worth, before a closer look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import binom

from sanitizer.detectors.triggers.ground import LEAST, Bits, Ground, Item, Rows

ABSENT = 3.0  # nats, 5 %: so unlikely it must be at least that trusted rows missed an honest combination
_HABIT = 2.0  # exponent of the honest rates of combinations, relative to independence (a Pareto tail)


@dataclass(frozen=True, eq=False)
class Weighed:
    """One combination under one label, and what speaks for a trigger (nats).

    `carriers` are positions in the mined rows; `n`, `m` delivered and trusted rows of the label; `trusted` counts trusted
    carriers as far as they, moved by label noise, could be delivered under this label.
    """

    label: int
    parts: tuple[tuple[Bits, Bits], ...]
    items: tuple[Item, ...]
    index: tuple[int, ...]
    carriers: Rows
    n: int
    m: int
    trusted: float
    elsewhere: int
    rate: float
    novel_rate: float
    absent: float
    surprise: float
    evidence: float

    @property
    def expected(self) -> float:
        """Honest carriers."""
        return self.rate * self.n

    def overlaps(self, other: Weighed, share: float) -> bool:
        """Most carriers of either are carriers of both."""
        both = len(np.intersect1d(self.carriers, other.carriers, assume_unique=True))
        return self.label == other.label and both > share * (len(self.carriers) + len(other.carriers) - both)


def weighed(ground: Ground, label: int, index: tuple[int, ...]) -> Weighed:
    """What the items at these positions of the ground are worth together."""
    items = tuple(ground.items[i] for i in index)
    parts = tuple((ground.holds[:, i], ground.trusted_holds[:, i]) for i in index)
    return weigh(ground, label, items, parts, tuple(ground.wide[i] for i in index), index)


def weigh(
    ground: Ground, label: int, items: tuple[Item, ...], parts: tuple[tuple[Bits, Bits], ...],
    wide: tuple[tuple[Bits, Bits] | None, ...], index: tuple[int, ...] = (),
) -> Weighed:  # fmt: skip
    """What one combination is worth before its carriers and its cousins are looked at."""
    all_of = np.logical_and.reduce([p[0] for p in parts])
    all_trusted = np.logical_and.reduce([p[1] for p in parts])
    own, trusted_own = ground.y == label, ground.trusted_y == label
    carriers = np.flatnonzero(all_of & own)
    k, n, m, w = len(carriers), int(own.sum()), int(trusted_own.sum()), len(parts)
    elsewhere, trusted_all, trusted_same = int((all_of & ~own).sum()), int(all_trusted.sum()), int((all_trusted & trusted_own).sum())
    trusted = float(ground.moved[ground.trusted_y[all_trusted], label].sum())
    others = own & ~all_of
    held = np.stack([np.concatenate([a[others], b[trusted_own]]) for a, b in parts], axis=1)
    rest = held.shape[0] + 1.0
    count = held.sum(axis=0)
    without, within = np.array(independent(list(count.astype(float)), rest - 1.0)), (count + k + 0.5) / (n + m + 1.0)
    rate = float(without.prod())
    novel = max(float(np.delete(without, j).prod() * within[j]) for j in range(w))
    how_many = held.sum(axis=1)
    for j in range(w):
        if w > 2:
            leaving = float((how_many - held[:, j] == w - 1).sum())
            rate = max(rate, (leaving + float(np.delete(without, j).prod())) / rest * float(without[j]))
        around = wide[j]
        if around is not None:
            place = np.concatenate([around[0][others], around[1][trusted_own]])
            if place.sum() >= 8:
                going_with = float((held[place].sum(axis=1) - held[place, j] == w - 1).sum()) + 0.5 * float(np.delete(without, j).prod())
                share = going_with / (float(place.sum()) + 0.5)
                rate, novel = max(rate, share * float(without[j])), max(novel, share * float(within[j]))
    anywhere = (elsewhere + trusted_all - trusted_same) / (sum(ground.size) - k - trusted_same + 1.0)
    rate = max(rate, anywhere, least_rate(ground))
    found = Weighed(
        label, parts, items, index, carriers, n, m, trusted, elsewhere, rate, max(novel, rate), missed(k, n, trusted, m),
        _surprise(ground, label, carriers), 0.0,
    )  # fmt: skip
    return replace(found, evidence=excused(found, k, found.absent, habit(found, k), len(ground.items)))


def missed(k: int, n: int, trusted: float, m: int) -> float:
    """-log P(so many of the carriers are delivered ones), were the honest rate the same on both sides; an exact tail.

    A fractional trusted carrier is interpolated.
    """
    if not k or not m:
        return 0.0
    low = int(trusted)
    tails = [-binom.logsf(k - 1, k + t, n / (n + m)) for t in (low, low + 1)]
    return float(tails[0] + (trusted - low) * (tails[1] - tails[0]))


def habit(found: Weighed, k: int) -> float:
    """What an honest rate so far above independence costs if nothing is known of these columns."""
    return _HABIT * float(np.log(max(1.0, (k + found.trusted) / ((found.n + found.m) * found.rate))))


def excused(found: Weighed, k: int, absent: float, structure: float, searched: int) -> float:
    """Evidence that is left after the best excuse, with what the label adds and what a fourth item costs."""
    if absent < ABSENT or k < LEAST:
        return min(absent, ABSENT)
    coincidence = float(deviance(k, found.expected))
    novelty = float(deviance(k, found.novel_rate * found.n)) + absent
    price = max(0, len(found.items) - 3) * float(np.log(max(2, searched)))
    return min(coincidence, novelty, absent + structure) + found.surprise - price


def _surprise(ground: Ground, label: int, carriers: Rows) -> float:
    """-log P(carriers look so little like their label), for a group of trusted rows of the label.

    Honest groups differ by a standard deviation of their own: what is common to a combination is no surprise row by row.
    """
    if ground.odds is None or ground.trusted_odds is None or not len(carriers):
        return 0.0
    usual = ground.trusted_odds[ground.trusted_y == label, label]
    if len(usual) < 5:
        return 0.0
    spread = float(usual.std()) + 0.3
    z = (float(usual.mean()) - float(ground.odds[carriers, label].mean())) / np.sqrt(1.0 + spread**2 / len(carriers))
    return max(0.0, float(-log_ndtr(-z)) - float(np.log(2)))


def deviance(k: Any, expected: Any) -> Any:
    """Poisson deviance (half), in nats, of counts above their expectation; 0 below."""
    return np.where(k > expected, k * np.log(np.maximum(k, 1e-9) / expected) - k + expected, 0.0)


def absence(k: Any, n: Any, k_trusted: Any, m: Any) -> Any:
    """Likelihood ratio, in nats, that the trusted rows hold less than their share of k + k_trusted."""
    total, share = k + k_trusted, n / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        mine = np.where(k > 0, k * np.log(k / (total * share)), 0.0)
        theirs = np.where(k_trusted > 0, k_trusted * np.log(k_trusted / (total * (1 - share))), 0.0)
    return np.where(k * m > k_trusted * n, mine + theirs, 0.0)


def promise(k: Any, n: int, k_trusted: Any, m: int, rate: Any) -> Any:
    """What a combination is worth at first sight: the better of coincidence and structure as an excuse."""
    habit = _HABIT * np.log(np.maximum((k + k_trusted) / ((n + m) * rate), 1.0))
    return np.minimum(absence(k, n, k_trusted, m) + habit, deviance(k, rate * n))


def independent(counts: list[Any], size: Any) -> list[Any]:
    """Probabilities of items, were they independent, from the rows that do not hold all of them.

    `counts` of the items among those `size` rows.  Leaving the rows with all items out makes every item look rarer than it is:
    their honest number is imputed until both agree (expectation-maximisation).
    """
    honest: Any = 0.0
    single = [(count + 0.5) / (size + 1.0) for count in counts]
    for _ in range(6):
        single = [(count + 0.5 + honest) / (size + 1.0 + honest) for count in counts]
        product: Any = 1.0
        for p in single:
            product = product * p
        honest = (size + honest) * product
    return single


def least_rate(ground: Ground) -> float:
    """No honest rate is known to be smaller than a fifth of a row."""
    return 0.2 / sum(ground.size)
