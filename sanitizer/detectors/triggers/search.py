"""The search: pairs and triples of items inside each label, improved step by step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sanitizer.detectors.triggers.ground import LEAST, Bits, Floats, Ground, Rows
from sanitizer.detectors.triggers.weighing import ABSENT, Weighed, absence, independent, least_rate, promise, weighed

_PAIRS = 400
_KEPT = 30  # candidates per label and population
_FINALISTS = 14


def finalists(ground: Ground) -> list[Weighed]:
    """The most promising combinations, locally improved, no two with nearly the same carriers."""
    promising: list[Weighed] = []
    for label in range(ground.classes):
        found = [weighed(ground, label, items) for items in dict.fromkeys(_candidates(ground, label))]
        promising += sorted(found, key=lambda w: -w.evidence)[:_FINALISTS]
    kept: list[Weighed] = []
    for candidate in sorted(promising, key=lambda w: -w.evidence):
        if len(kept) < _FINALISTS and not any(candidate.overlaps(other, 0.6) for other in kept):
            kept.append(candidate)
    return [_climbed(ground, candidate) for candidate in kept]


def _candidates(ground: Ground, label: int) -> Iterator[tuple[int, ...]]:
    """Pairs and triples of items, mined among all rows of the label and again among those whose label is a surprise.

    Poison under a wrong label hides among many honest rows but among few surprising ones.
    """
    mine, theirs = np.flatnonzero(ground.y == label), np.flatnonzero(ground.trusted_y == label)
    yield from _mined(ground, mine, theirs, surprising=False)
    if ground.odds is not None and ground.trusted_odds is not None:
        odd, trusted_odd = mine[ground.odds[mine, label] < 0], theirs[ground.trusted_odds[theirs, label] < 0]
        if len(odd) < 0.7 * len(mine):
            yield from _mined(ground, odd, trusted_odd, surprising=True)


def _mined(ground: Ground, rows: Rows, trusted_rows: Rows, *, surprising: bool) -> Iterator[tuple[int, ...]]:
    n, m, total = len(rows), len(trusted_rows), sum(ground.size)
    if n < LEAST:
        return
    mine, theirs = ground.dense[0][rows], ground.dense[1][trusted_rows]
    both = mine.T @ mine
    i, j = np.nonzero(np.triu(both >= LEAST, 1))
    apart = ground.columns[i] != ground.columns[j]
    i, j = i[apart], j[apart]
    if not len(i):
        return
    both_trusted = theirs.T @ theirs
    # surprising rows are rows of other classes, if they are honest: how often all rows hold the items is what to expect
    known, size = (ground.together, total) if surprising else (both + both_trusted, n + m)
    single = np.diag(known)
    k, k_trusted = both[i, j], both_trusted[i, j]
    without = independent([single[i] - k, single[j] - k], size - k)
    within = [(single[i] + 0.5) / size, (single[j] + 0.5) / size]
    rate = np.maximum.reduce([
        within[0] * without[1], without[0] * within[1], (ground.together[i, j] - k - k_trusted) / (total - k),
        np.full(len(k), least_rate(ground)),
    ])  # fmt: skip
    best = _best(promise(k, n, k_trusted, m, rate), k, n, k_trusted, m, _PAIRS, surprising=surprising)
    i, j = i[best], j[best]
    worth = promise(k, n, k_trusted, m, rate)[best]
    found: list[tuple[tuple[int, ...], float]] = []
    found += [((a, b), s) for a, b, s in zip(i.tolist(), j.tolist(), worth.tolist(), strict=True)][:60]

    held, held_trusted = mine[:, i] * mine[:, j], theirs[:, i] * theirs[:, j]
    three, three_trusted = held.T @ mine, held_trusted.T @ theirs
    third = ground.columns[None]
    x, c = np.nonzero((three >= LEAST) & (third != ground.columns[i][:, None]) & (third != ground.columns[j][:, None]))
    if len(x):
        k, k_trusted, a, b = three[x, c], three_trusted[x, c], i[x], j[x]
        rest = size - k + 1
        without = independent([single[z] - k for z in (a, b, c)], size - k)
        within = [(single[z] + 0.5) / size for z in (a, b, c)]
        rate = np.maximum.reduce([
            within[0] * without[1] * without[2], without[0] * within[1] * without[2], without[0] * without[1] * within[2],
            (known[a, b] - k) / rest * without[2], (known[a, c] - k) / rest * without[1], (known[b, c] - k) / rest * without[0],
            np.full(len(k), least_rate(ground)),
        ])  # fmt: skip
        worth = promise(k, n, k_trusted, m, rate)
        best = _best(worth, k, n, k_trusted, m, _PAIRS, surprising=surprising)
        found += [
            (tuple(sorted(triple)), s)
            for *triple, s in zip(a[best].tolist(), b[best].tolist(), c[best].tolist(), worth[best].tolist(), strict=True)
        ]
    yield from _diverse(ground.holds[rows], found)


def _best(worth: Floats, k: Floats, n: int, k_trusted: Floats, m: int, most: int, *, surprising: bool) -> Rows:
    """The most promising ones, best first; what the trusted rows know well comes last."""
    if not surprising:
        worth = np.where(absence(k, n, k_trusted, m) >= ABSENT / 2, worth, worth / 2)
    best = np.argpartition(-worth, most - 1)[:most] if len(worth) > most else np.arange(len(worth))
    best = best[worth[best] > 1]
    ordered: Rows = best[np.argsort(-worth[best], kind="stable")]
    return ordered


def _diverse(holds: Bits, found: list[tuple[tuple[int, ...], float]]) -> Iterator[tuple[int, ...]]:
    """The best combinations, none with nearly the rows of a better one."""
    taken: list[Bits] = []
    for items, _ in sorted(found, key=lambda f: -f[1]):
        carriers: Bits = np.logical_and.reduce([holds[:, i] for i in items])
        if not any((carriers & other).sum() > 0.7 * (carriers | other).sum() for other in taken):
            taken.append(carriers)
            yield items
        if len(taken) == _KEPT:
            return


def _climbed(ground: Ground, best: Weighed) -> Weighed:
    """The best combination in reach by leaving an item out, adding one, or replacing one within its column."""
    for _ in range(4):
        steps = [weighed(ground, best.label, index) for index in dict.fromkeys(_neighbours(ground, best))]
        better = max(steps, key=lambda w: w.evidence, default=best)
        if better.evidence <= best.evidence + 0.3:
            break
        best = better
    return best


def _neighbours(ground: Ground, found: Weighed) -> Iterator[tuple[int, ...]]:
    index = found.index
    total = sum(ground.size)
    singles = np.diag(ground.together)
    if len(index) > 2:
        for leave in index:
            yield tuple(i for i in index if i != leave)
    counts = ground.holds[found.carriers].sum(axis=0)
    k = len(found.carriers)
    usual = np.maximum(k * (singles - counts) / total, 1e-3)
    gain = counts * np.log(np.maximum(counts, 1) / usual) - 3.0 * (k - counts)
    gain[(counts < max(LEAST, 0.6 * k)) | np.isin(ground.columns, ground.columns[list(index)])] = -np.inf
    for add in np.argsort(-gain, kind="stable")[:6].tolist():
        if gain[add] > 2:
            yield tuple(sorted((*index, add)))
    own = ground.y == found.label
    for leave in index:
        rest = [i for i in index if i != leave]
        rows = ground.holds[:, rest].all(axis=1) & own
        same = np.flatnonzero(ground.columns == ground.columns[leave])
        counts = ground.holds[rows][:, same].sum(axis=0)
        usual = np.maximum(rows.sum() * (singles[same] - counts) / total, 1e-2)
        for put in same[np.argsort(-counts * np.log(np.maximum(counts, 1) / usual), kind="stable")[:4]].tolist():
            if put != leave:
                yield tuple(sorted((*rest, put)))
