"""What is mined: delivered rows beside trusted ones as items (a column with a value, or with a window of values)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanitizer.features import Cells

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Codes = NDArray[np.int32]
Rows = NDArray[np.int64]

LEAST = 6  # carriers below which no search can tell a trigger from a coincidence
_WINDOWS = (0.06, 0.12, 0.25, 0.5)  # shares of the rows that windows of numbers hold
_VALUES = 40  # single values of a column, most frequent first
_ITEMS = 1500
_BY_CHANCE = 1.35  # items hang together, so their median strays so far on honest halves of one table
_OWN_PLACE = 0.1  # share of the rows around a value that tell what usually goes with it


@dataclass(frozen=True, order=True)
class Item:
    """Cells of one column (its position) from `low` to `high`, both included; NaN for missing cells."""

    column: int
    low: float
    high: float

    def holds(self, values: NDArray[Any]) -> Bits:
        """Which of these cells are meant."""
        if np.isnan(self.low):
            missing: Bits = np.isnan(values)
            return missing
        with np.errstate(invalid="ignore"):
            held: Bits = (values >= self.low) & (values <= self.high)
        return held


@dataclass(frozen=True, eq=False)
class Ground:
    """Delivered rows (n) beside trusted ones (m): cells, labels, which items each row holds (n, I), and how odd its label is.

    `odds` are the log-odds of each class by models blind to the delivery, after the label noise of the delivery as a whole;
    `moved` (K, K) is that noise: from what a row looks like to what it is labelled.
    """

    cells: tuple[Cells, ...]
    items: tuple[Item, ...]
    wide: tuple[tuple[Bits, Bits] | None, ...]
    holds: Bits
    trusted_holds: Bits
    y: Codes
    trusted_y: Codes
    classes: int
    odds: Floats | None
    trusted_odds: Floats | None
    moved: Floats

    @classmethod
    def of(
        cls, cells: tuple[Cells, ...], rows: Rows, trusted_rows: Rows, y: Codes, trusted_y: Codes, classes: int,
        proba: Floats | None, trusted_proba: Floats | None,
    ) -> Ground:  # fmt: skip
        """The mined rows of both sides."""
        mined = tuple(replace(c, delivered=floats(c.delivered[rows], c), trusted=floats(c.trusted[trusted_rows], c)) for c in cells)
        mine_y, their_y = y[rows], trusted_y[trusted_rows]
        items = _telling(mined, [item for j, cell in enumerate(mined) for item in items_of(j, cell)], mine_y, their_y, classes)
        moved, odds, trusted_odds = np.eye(classes), None, None
        if proba is not None and trusted_proba is not None and len(items):
            proba, trusted_proba = _softened(proba), _softened(trusted_proba)
            moved = _noise(proba, mine_y)
            odds, trusted_odds = _log_odds(proba @ moved), _log_odds(trusted_proba)
        return cls(
            mined, tuple(items), tuple(surroundings(mined[i.column], i) for i in items),
            _held(mined, items, trusted=False), _held(mined, items, trusted=True), mine_y, their_y, classes, odds, trusted_odds, moved,
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """Delivered and trusted rows."""
        return len(self.y), len(self.trusted_y)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """The column of each item."""
        return np.array([item.column for item in self.items], np.int64)

    @cached_property
    def dense(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`holds` and `trusted_holds` as numbers, for products."""
        return self.holds.astype(np.float32), self.trusted_holds.astype(np.float32)

    @cached_property
    def together(self) -> NDArray[np.float32]:
        """How many rows, delivered and trusted, hold two items, (I, I)."""
        mine, theirs = self.dense
        both: NDArray[np.float32] = mine.T @ mine + theirs.T @ theirs
        return both

    @cached_property
    def ranks(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """All rows, delivered first: numbers as ranks in [0, 1], categories as codes; and which columns are numbers."""
        parts, numbers = [], []
        for cell in self.cells:
            both = np.concatenate([cell.delivered, cell.trusted])
            numbers.append(cell.kind == "number")
            if cell.kind == "number":
                known = np.sort(both[~np.isnan(both)])
                low, high = np.searchsorted(known, both, "left"), np.searchsorted(known, both, "right")
                both = np.where(np.isnan(both), -0.5, (low + high) / (2.0 * max(1, len(known))))
            parts.append(both.astype(np.float32))
        return np.column_stack(parts), np.array(numbers)

    @cached_property
    def strays(self) -> float:
        """How much more single items differ between delivered and trusted rows of a label than chance lets them, at least 1."""
        squares = []
        for label in range(self.classes):
            mine, theirs = self.holds[self.y == label], self.trusted_holds[self.trusted_y == label]
            n, m = len(mine), len(theirs)
            if min(n, m) < 20:
                continue
            a, b = mine.sum(axis=0), theirs.sum(axis=0)
            p = (a + b) / (n + m)
            telling = (p * m > 3) & (p < 0.97)
            squares.append((a / n - b / m)[telling] ** 2 / (p * (1 - p) * (1 / n + 1 / m))[telling])
        pooled = np.concatenate(squares) if squares else np.zeros(0)
        return max(1.0, float(np.median(pooled)) / 0.455 / _BY_CHANCE) if len(pooled) > 50 else 1.0


def floats(values: NDArray[Any], cell: Cells) -> Floats:
    """Cells as numbers, NaN where missing, none infinite."""
    out: Floats = np.clip(values.astype(np.float64), -1e300, 1e300)
    if cell.kind == "category":
        out[out < 0] = np.nan
    return out


def items_of(column: int, cell: Cells) -> Iterator[Item]:
    """Frequent values, windows of several widths over numbers that differ enough, and missing cells."""
    known = cell.delivered[~np.isnan(cell.delivered)]
    n = len(cell.delivered)
    if LEAST <= n - len(known) <= 0.98 * n:
        yield Item(column, np.nan, np.nan)
    values, counts = np.unique(known, return_counts=True)
    for at in np.argsort(-counts, kind="stable")[:_VALUES].tolist():
        if LEAST <= counts[at] <= 0.98 * n:
            yield Item(column, float(values[at]), float(values[at]))
    if cell.kind == "category" or len(values) < LEAST:
        return
    below = np.cumsum(counts) / len(known)
    seen = set()
    for width in _WINDOWS:
        for start in np.arange(0, 1 - width / 2, width / 2).tolist():
            low = int(np.searchsorted(below, start, "right"))
            high = min(int(np.searchsorted(below, min(start + width, 1 - 1e-9))), len(values) - 1)
            held = below[high] - (below[low - 1] if low else 0.0)
            if low < high and held <= 0.9 and (low, high) not in seen:
                seen.add((low, high))
                yield Item(column, float(values[low]), float(values[high]))


def _telling(cells: tuple[Cells, ...], items: list[Item], y: Codes, trusted_y: Codes, classes: int) -> list[Item]:
    """At most `_ITEMS`: of very wide tables those that grew most in some label."""
    if len(items) <= _ITEMS:
        return items
    grown = np.empty(len(items))
    n, m = np.bincount(y, minlength=classes) + 1.0, np.bincount(trusted_y, minlength=classes) + 1.0
    for i, item in enumerate(items):
        a = np.bincount(y[item.holds(cells[item.column].delivered)], minlength=classes)
        b = np.bincount(trusted_y[item.holds(cells[item.column].trusted)], minlength=classes)
        p = (a + b + 0.5) / (n + m)
        grown[i] = ((a / n - b / m) / np.sqrt(p * (1 / n + 1 / m))).max()
    best = np.argsort(-grown, kind="stable")[:_ITEMS]
    return [items[i] for i in sorted(int(i) for i in best)]


def _held(cells: tuple[Cells, ...], items: list[Item], *, trusted: bool) -> Bits:
    n = len(cells[0].trusted if trusted else cells[0].delivered)
    out = np.empty((n, len(items)), bool)
    for i, item in enumerate(items):
        cell = cells[item.column]
        out[:, i] = item.holds(cell.trusted if trusted else cell.delivered)
    return out


def surroundings(cell: Cells, item: Item) -> tuple[Bits, Bits] | None:
    """The rows around an item of numbers: what goes with a value that is new is read off its neighbours."""
    if cell.kind == "category" or np.isnan(item.low):
        return None
    both = np.concatenate([cell.delivered, cell.trusted])
    known: Floats = np.sort(both[~np.isnan(both)])
    first, last = int(np.searchsorted(known, item.low, "left")), int(np.searchsorted(known, item.high, "right"))
    half = int(len(known) * _OWN_PLACE / 2)
    if last - first >= 4 * half:
        return None
    place = Item(item.column, float(known[max(0, first - half)]), float(known[min(len(known) - 1, last - 1 + half)]))
    return place.holds(cell.delivered), place.holds(cell.trusted)


def _softened(proba: Floats) -> Floats:
    """No model is surer than fifty rows could make it."""
    known: Floats = np.where(np.isfinite(proba), proba, 1.0 / proba.shape[1])
    soft: Floats = (known * 50 + 0.5) / (50 + 0.5 * proba.shape[1])
    return soft


def _log_odds(proba: Floats) -> Floats:
    p: Floats = np.clip(proba, 1e-3, 1 - 1e-3)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


def _noise(proba: Floats, y: Codes) -> Floats:
    """P(labelled b | looks like a), by expectation-maximisation from the identity: what random flips explain is no backdoor."""
    classes = proba.shape[1]
    moved: Floats = np.full((classes, classes), 0.05 / classes) + 0.95 * np.eye(classes)
    given = np.eye(classes)[y]
    for _ in range(20):
        looks = proba * moved[:, y].T
        looks /= looks.sum(axis=1, keepdims=True)
        moved = looks.T @ given + 2.0 * np.eye(classes) + 1e-3
        moved /= moved.sum(axis=1, keepdims=True)
    return moved
