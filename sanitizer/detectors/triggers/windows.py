"""The exact rows of a trigger: windows of numbers that fit its carriers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sanitizer.detectors.triggers.ground import LEAST, Bits, Floats, Ground, Item, surroundings
from sanitizer.detectors.triggers.weighing import Weighed, least_rate, promise, weigh

_HONEST = 0.25  # most of what leaving an item out brings in must not be honest rows


def sharpened(ground: Ground, found: Weighed) -> Weighed:
    """The same trigger with windows fitted to its carriers, and without items that only cut some of them off."""
    sharp = found
    for _ in range(2):
        for at, item in enumerate(sharp.items):
            if ground.cells[item.column].kind == "number" and not np.isnan(item.low):
                sharp = _fitted(ground, sharp, at)
        sharp = _widened(ground, sharp)
    return replace(sharp, evidence=found.evidence)


def _rest(found: Weighed, at: int) -> tuple[Bits, Bits]:
    mine = [p[0] for i, p in enumerate(found.parts) if i != at]
    theirs = [p[1] for i, p in enumerate(found.parts) if i != at]
    return np.logical_and.reduce(mine), np.logical_and.reduce(theirs)


def _fitted(ground: Ground, found: Weighed, at: int) -> Weighed:
    """The window of one column that promises most, among those between values of rows with all the other items."""
    item = found.items[at]
    cell = ground.cells[item.column]
    mine, theirs = _rest(found, at)
    own, trusted_own = ground.y == found.label, ground.trusted_y == found.label
    values = cell.delivered[mine & own]
    values = values[~np.isnan(values)]
    middle = np.median(cell.delivered[found.carriers])
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 60), method="nearest")) if len(values) > 60 else np.unique(values)
    lows, highs = edges[edges <= middle], edges[edges >= middle]
    if not len(lows) or not len(highs):
        return found
    low, high = (z.ravel() for z in np.meshgrid(lows, highs))

    def held(cells: Floats) -> Floats:
        known = np.sort(cells[~np.isnan(cells)])
        between: Floats = (np.searchsorted(known, high, "right") - np.searchsorted(known, low, "left")).astype(float)
        return between

    k, trusted = held(values), held(cell.trusted[theirs & trusted_own])
    elsewhere = held(cell.delivered[mine & ~own]) + held(cell.trusted[theirs & ~trusted_own])
    single = held(cell.delivered[own]) - k + held(cell.trusted[trusted_own])
    rest = found.n + found.m - k + 1.0
    others = (float((mine & own).sum()) - k + float((theirs & trusted_own).sum()) + 0.5) / rest
    rate = np.maximum.reduce([
        others * (single + 0.5) / rest, elsewhere / (sum(ground.size) - k), np.full(len(k), least_rate(ground)),
        (trusted + 0.1) / (found.m + 1.0) / 4,
    ])  # fmt: skip
    worth = np.where(k >= LEAST, promise(k, found.n, trusted, found.m, rate), 0.0)
    best = int(np.argmax(worth))
    fitted = Item(item.column, float(low[best]), float(high[best]))
    if fitted == item or worth[best] <= 0:
        return found
    return _replaced(ground, found, at, fitted)


def _replaced(ground: Ground, found: Weighed, at: int, item: Item | None) -> Weighed:
    items, parts = list(found.items), list(found.parts)
    if item is None:
        del items[at], parts[at]
    else:
        cell = ground.cells[item.column]
        items[at], parts[at] = item, (item.holds(cell.delivered), item.holds(cell.trusted))
    wide = tuple(surroundings(ground.cells[i.column], i) for i in items)
    return weigh(ground, found.label, tuple(items), tuple(parts), wide)


def _widened(ground: Ground, found: Weighed) -> Weighed:
    """Without an item whose leaving brings in carriers but hardly any row that is trusted or labelled otherwise."""
    while len(found.items) > 2:
        wider = [_replaced(ground, found, at, None) for at in range(len(found.items))]
        wider = [w for w in wider if w.trusted * w.n <= 0.03 * len(w.carriers) * w.m and w.elsewhere <= 0.05 * len(w.carriers)]
        wider = [w for w in wider if w.expected - found.expected <= _HONEST * (len(w.carriers) - len(found.carriers))]
        best = max(wider, key=lambda w: len(w.carriers), default=found)
        if len(best.carriers) <= len(found.carriers) or best.absent < found.absent:
            return found
        found = best
    return found
