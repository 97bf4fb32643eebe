"""A closer look at a combination: do its carriers resemble each other, do other combinations of its columns stray as far?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import poisson

from sanitizer.detectors.triggers.ground import Bits, Ground, Item, Rows
from sanitizer.detectors.triggers.weighing import ABSENT, Weighed, deviance, excused, habit, missed
from sanitizer.features import Cells

_NEAR = 10
_LOOKED_AT = 96  # carriers whose neighbours are searched
_COUSINS = 6  # other combinations of the same columns that are looked at closely
_MOST_STRUCTURE = 25.0


def examined(ground: Ground, found: Weighed) -> Weighed:
    """The same combination after a look at its carriers' other columns and at other combinations of its own columns."""
    if found.absent < ABSENT or not len(found.carriers):
        return replace(found, evidence=min(found.evidence, found.absent) / ground.strays - _searched(ground, len(found.items)))
    n = ground.size[0]
    columns = [item.column for item in found.items]
    carriers = found.carriers
    trusted_carriers = n + np.flatnonzero(np.logical_and.reduce([p[1] for p in found.parts]))
    alike, k = _alike(ground, np.concatenate([carriers, trusted_carriers]), carriers, columns, found.n + found.m)
    coincidence = float(deviance(k, found.expected))
    local = _local(ground, found, columns, coincidence)
    structure = max(0.0, 0.5 * (habit(found, k) + local) - alike)
    evidence = excused(found, k, missed(k, found.n, found.trusted, found.m), structure, len(ground.items))
    return replace(found, evidence=evidence / ground.strays - _searched(ground, len(found.items)))


def _searched(ground: Ground, width: int) -> float:
    """What the search has looked at, in nats (Bonferroni): every choice of so many columns, under every label."""
    d, w = len(ground.cells), min(width, 3)  # a fourth item is paid for where it is added
    return float(gammaln(d + 1) - gammaln(w + 1) - gammaln(max(d - w, 0) + 1) + np.log(max(1, ground.classes)))


def _alike(ground: Ground, group: Rows, carriers: Rows, columns: list[int], population: int) -> tuple[float, int]:
    """How much the carriers resemble each other outside of their combination, in nats; and how many of them are no copies.

    A trigger falls on rows at random: among a carrier's nearest rows, other carriers are as rare as among all rows of the label.
    """
    if len(carriers) > _LOOKED_AT:
        carriers = carriers[:: len(carriers) // _LOOKED_AT + 1]
    distance = _apart(ground, carriers, columns)
    if distance is None:
        return 0.0, len(carriers)
    member = np.zeros(distance.shape[1], bool)
    member[group] = True
    distance[np.arange(len(carriers)), carriers] = np.inf
    within = np.partition(distance, _NEAR - 1, axis=1)[:, _NEAR - 1 : _NEAR] + 1e-6 if distance.shape[1] > _NEAR else np.inf
    near = distance <= within  # rows as far as the tenth count all, or ties would pick at random
    hits = float((near[:, member].sum(axis=1) / near.sum(axis=1)).sum()) * _NEAR
    by_chance = 1.5 * _NEAR * len(carriers) * (len(group) - 1) / max(1, population)
    # who is near to me has me near, mostly: count each resemblance once
    cost = float(-poisson.logsf(hits / 2 - 1, by_chance / 2 + 0.5)) if hits > by_chance + 1 else 0.0
    closest_member = np.where(member, distance, np.inf).min(axis=1)
    copies = closest_member < 0.5 * np.where(member, np.inf, distance).min(axis=1) - 1e-9
    scale = len(group[group < ground.size[0]]) / len(carriers)
    return cost, round((len(carriers) - int(copies.sum()) + (int(copies.sum()) + 1) // 3) * scale)


def _apart(ground: Ground, rows: Rows, without: list[int]) -> NDArray[np.float32] | None:
    """Distances of rows to all rows over the other columns, numbers by rank: (len(rows), n + m)."""
    ranks, numbers = ground.ranks
    kept = [j for j in range(ranks.shape[1]) if j not in without]
    if not kept:
        return None
    if len(kept) > 100:
        kept = kept[:: len(kept) // 100 + 1]
    out = np.zeros((len(rows), len(ranks)), np.float32)
    for j in kept:
        if numbers[j]:
            out += np.abs(ranks[rows, j][:, None] - ranks[:, j])
        else:
            out += np.float32(0.5) * (ranks[rows, j][:, None] != ranks[:, j])
    return out


def _local(ground: Ground, found: Weighed, columns: list[int], coincidence: float) -> float:
    """What the deviance from independence is worth in these columns, by the scale that their other combinations set.

    The largest deviance of c independent cells is about log c; where it is larger, deviances are that much cheaper.  Cells
    whose rows resemble each other elsewhere are explained by that and do not count in full.
    """
    n, m = ground.size
    rest = np.ones(n + m, bool)
    rest[found.carriers] = False
    rows = np.flatnonzero(rest)
    label = np.concatenate([ground.y, ground.trusted_y])[rows].astype(np.int64)
    flat = label.copy()
    codes = []
    for item in found.items:
        code = _tiles(ground.cells[item.column], item, rest)[rows]
        codes.append(code)
        flat = flat * (int(code.max()) + 1) + code
    _, first, inverse, counts = np.unique(flat, return_index=True, return_inverse=True, return_counts=True)
    per_label = np.bincount(label, minlength=ground.classes).astype(float)
    expected = per_label[label[first]]
    for code in codes:
        table = np.bincount(code * ground.classes + label, minlength=(int(code.max()) + 1) * ground.classes)
        expected *= table[code[first] * ground.classes + label[first]] / per_label[label[first]]
    telling = counts >= 3
    deviances = np.where(telling, deviance(counts, expected), 0.0)
    largest = 0.0
    for cell in np.argsort(-deviances, kind="stable")[:_COUSINS].tolist():
        if deviances[cell] <= largest:
            break
        cousins = rows[inverse == cell]
        alike, _ = _alike(ground, cousins, cousins, columns, int(per_label[label[first[cell]]]))
        largest = max(largest, float(deviances[cell]) - alike)
    tried = float(np.log(telling.sum() + 2))
    scale = max(1.0, largest / tried)
    return float(np.clip(coincidence / scale - tried, 0.0, _MOST_STRUCTURE))


def _tiles(cell: Cells, item: Item, rest: Bits) -> NDArray[np.int64]:
    """The column cut into values, or into runs of values, about as frequent as the item is among the rows of `rest`."""
    both = np.concatenate([cell.delivered, cell.trusted])
    values, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    if cell.kind == "category" or (item.low == item.high and len(values) <= 60):
        codes: NDArray[np.int64] = inverse.astype(np.int64)
        return codes
    target = max(8, int((item.holds(both) & rest).sum()))
    tile, filled, at = 0, 0, np.zeros(len(values), np.int64)
    for i, count in enumerate(counts.tolist()):
        if filled and filled + count > 1.3 * target:
            tile, filled = tile + 1, 0
        at[i] = tile
        filled += count
    return at[inverse]
