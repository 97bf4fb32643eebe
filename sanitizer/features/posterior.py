"""Class probabilities of every row from models that never saw that row.

Two model families that err differently (boosted trees and a linear model) are averaged.  *Crossed* posteriors learn from
trusted and delivered rows, in folds; *clean* ones from trusted rows only, and are blind to whatever the delivery teaches.
Trusted rows get theirs by the same procedure, out of fold: they are what suspicion is calibrated on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

FOLDS = 4
_WIDEST = 2000  # encoded columns a label model looks at; wider tables keep those that separate the classes best
_MOST_SPLITS = 200  # encoded columns and classes up to which boosted trees are worth their time
_MOST_BOOSTED = 30
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Rows of class probabilities: `delivered` (n, K), `trusted` (m, K); `clean*` are None where too little is trusted.

    A row whose classes no model could learn is NaN.
    """

    delivered: Floats
    trusted: Floats
    clean_delivered: Floats | None
    clean_trusted: Floats | None


def posteriors(
    rows: tuple[NDArray[np.float32], NDArray[np.float32]], y: tuple[NDArray[np.int32], NDArray[np.int32]], *, classes: int, seed: int
) -> Posteriors:
    """Crossed and clean posteriors of all rows; `rows` and `y` are pairs (delivered, trusted)."""
    (n, m), trusted_y = map(len, rows), y[1]
    everything, labels = np.concatenate(rows), np.concatenate(y)
    everything = _narrowed(everything, labels, classes)
    crossed = _crossed(everything, labels, np.ones(n + m, bool), classes, seed)
    of_trusted = np.arange(n + m) >= n
    if (np.bincount(trusted_y[trusted_y >= 0], minlength=classes) >= FOLDS).sum() < 2:
        return Posteriors(crossed[:n], crossed[n:], None, None)
    clean = _crossed(everything, labels, of_trusted, classes, seed)
    return Posteriors(crossed[:n], crossed[n:], clean[:n], clean[n:])


def _narrowed(rows: NDArray[np.float32], y: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    if rows.shape[1] <= _WIDEST:
        return rows
    grand = rows.mean(axis=0)
    between = np.zeros(rows.shape[1])
    for c in range(classes):
        mine = rows[y == c]
        if len(mine):
            between += len(mine) * (mine.mean(axis=0) - grand) ** 2
    within = rows.var(axis=0) * len(rows) - between
    best = np.argsort(-between / np.maximum(within, 1e-9), kind="stable")[:_WIDEST]
    narrow: NDArray[np.float32] = np.ascontiguousarray(rows[:, np.sort(best)])
    return narrow


def _crossed(rows: NDArray[np.float32], y: NDArray[np.int32], teach: NDArray[np.bool_], classes: int, seed: int) -> Floats:
    """Out-of-fold probabilities of all rows from models taught by the rows of `teach`; other rows get the models' mean."""
    fold = folds(np.where(teach, y, -1), seed)
    taught = teach & (y >= 0)
    families = FAMILIES if rows.shape[1] <= _MOST_SPLITS and classes <= _MOST_BOOSTED else (_linear,)
    total = np.zeros((len(rows), classes))
    times = np.zeros(len(rows))
    for f in range(FOLDS):
        train = taught & (fold != f)
        seen = (fold == f) | ~taught
        if len(np.unique(y[train])) < 2:
            continue
        for family in families:
            model = family(seed).fit(rows[train], y[train])
            part = np.zeros((int(seen.sum()), classes))
            part[:, model.classes_] = model.predict_proba(rows[seen])
            total[seen] += part
        times[seen] += len(families)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / times[:, None]


def folds(y: NDArray[np.int32], seed: int) -> NDArray[np.int64]:
    """A fold per row, stratified by label: each class is dealt out in a random order."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(y)), y))
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % FOLDS
    return fold


def _boosted(seed: int) -> Any:
    return HistGradientBoostingClassifier(max_iter=40, early_stopping=False, random_state=seed)


def _linear(seed: int) -> Any:
    del seed  # the solver is deterministic
    return LogisticRegression(max_iter=100)


FAMILIES: tuple[Callable[[int], Any], ...] = (_boosted, _linear)
