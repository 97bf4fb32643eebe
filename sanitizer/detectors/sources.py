"""Bad suppliers: labels that models which never saw the supplier would not have given, more often than the others' are.

Every row gets the probability of its label under models fitted on trusted rows and on other suppliers.  A supplier's statistic is the
likelihood ratio of "a share of its labels was drawn anew" against "none was", at the share that fits best.  What an honest
supplier shows is not modelled but dealt out: the surprises of all suppliers' rows are shuffled within strata, and the
statistic computed anew (an exact permutation test).  Two stratifications are asked, and the milder answer counts:

* rows of one *label*: exact for suppliers that differ in their mix of classes;
* rows of one *appearance* (likeliest class and how sure the models are): exact for suppliers that differ in their rows.

The worst supplier is accused first, then the others are judged without it (Westfall and Young 1993).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from sanitizer.detectors.base import Evidence, Kind, SourceFinding
from sanitizer.features import Features

_LEVEL = 0.02  # family-wise: an honest delivery accuses a supplier twice in a hundred
_LEAST_DEALS = 10_000
_MOST_DEALS = 1_000_000
_SCREEN = 200  # deals after which an ordinary supplier is let go
_AT_ONCE = 10_000  # deals held in memory
_SHARES = np.array([0.0, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6])  # of labels drawn anew
_SURPRISE = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # bounds between levels of probability
_SURENESS = 5  # strata of sureness per likeliest class
_FOLDS = 4
_MOST_BOOSTED = 10  # classes
_TAUGHT = 20_000  # rows that a model learns from

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class BadSource:
    """Accuses suppliers; their rows stay where they are."""

    name: ClassVar[str] = "source.labels"
    kind: ClassVar[Kind] = "delivery"

    def testify(self, features: Features) -> Evidence:
        """One finding per supplier of the delivery."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels to tell apart", kind=self.kind)
        judged = (features.source >= 0) & (features.y >= 0)
        if len(np.unique(features.source[judged])) < 2:
            return Evidence.none(self.name, "there are no two suppliers to compare", kind=self.kind)
        proba = supplier_blind(features)
        judged &= np.isfinite(proba).all(axis=1)
        if len(np.unique(features.source[judged])) < 2:
            return Evidence.none(self.name, "without one supplier, the others do not teach two classes", kind=self.kind)
        at = np.flatnonzero(judged)
        codes, source = np.unique(features.source[at], return_inverse=True)
        y = features.y[at]
        found = accused(source, y, proba[at], features.rng(self.name))
        suspicious = np.bincount(source, weights=proba[at].argmax(axis=1) != y, minlength=len(codes)).astype(int)
        findings = tuple(
            SourceFinding(features.sources[c], bool(p <= _LEVEL), int(suspicious[i]), float(p))
            for i, (c, p) in enumerate(zip(codes, found, strict=True))
        )
        return Evidence(self.name, self.kind, "source", sources=findings)


def supplier_blind(features: Features) -> Floats:
    """Class probabilities (n, K) of delivered rows from models that learnt from trusted rows and other suppliers only."""
    classes = len(features.labels)
    everything = np.concatenate([features.rows, features.trusted_rows])
    y = np.concatenate([features.y, features.trusted_y])
    suppliers = np.unique(features.source)
    rng = features.rng("source.folds")
    fold = rng.permutation(len(suppliers))[np.searchsorted(suppliers, features.source)] % _FOLDS
    teacher = np.concatenate([np.where(features.source >= 0, fold, -1), np.full(len(features.trusted_y), -1)])
    proba = np.full((len(features), classes), np.nan)
    for f in range(_FOLDS):
        judged = fold == f
        train = np.flatnonzero((teacher != f) & (y >= 0))
        if len(train) > _TAUGHT:
            train = np.sort(rng.choice(train, _TAUGHT, replace=False))
        if not judged.any() or len(np.unique(y[train])) < 2:
            continue
        proba[judged] = 0.0
        models = _models(classes, features.seed)
        for model in models:
            model.fit(everything[train], y[train])
            part = np.zeros((int(judged.sum()), classes))
            part[:, model.classes_] = model.predict_proba(features.rows[judged])
            proba[judged] += part / len(models)
    return proba


def _models(classes: int, seed: int) -> list[Any]:
    found: list[Any] = [ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed)]
    if classes <= _MOST_BOOSTED:
        found.append(
            HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, early_stopping=False, random_state=seed)
        )
    return found


def accused(source: Codes, y: NDArray[np.int32], proba: Floats, rng: np.random.Generator) -> Floats:
    """p-values per supplier (codes 0, 1, ...), corrected for their number."""
    own = proba[np.arange(len(y)), y]
    level = np.searchsorted(_SURPRISE, own)
    ratio = _ratios(proba.shape[1])
    strata = [np.unique(y, return_inverse=True)[1], _appearance(proba)]
    out = np.ones(int(source.max()) + 1)
    left = np.ones(len(y), bool)
    floor = 0.0
    while True:  # every round lets one supplier go or ends
        names = np.unique(source[left])
        if len(names) < 2:
            return out
        # the smallest p-value within reach must pay for all suppliers and still convict
        most = int(min(max(_LEAST_DEALS, 5 * len(names) / _LEVEL), _MOST_DEALS))
        p = np.array([
            max(_dealt(source[left] == s, stratum[left], level[left], ratio, most, rng) for stratum in strata) for s in names.tolist()
        ])  # fmt: skip
        out[names] = np.maximum(np.minimum(p * len(names), 1.0), floor)
        worst = int(names[p.argmin()])
        if out[worst] > _LEVEL:
            return out
        floor = float(out[worst])
        left &= source != worst


def _ratios(classes: int) -> Floats:
    """Log likelihood ratio per level of probability and share of labels drawn anew, (levels, shares)."""
    edges = np.concatenate([[_SURPRISE[0] / 3], _SURPRISE, [1.0]])
    p = np.sqrt(edges[:-1] * edges[1:])[:, None]
    logs: Floats = np.log1p(_SHARES * ((1 - p) / ((classes - 1) * p) - 1))
    return logs


def _appearance(proba: Floats) -> Codes:
    """A stratum per row: likeliest class, and which fifth of that class's rows by how sure the models are."""
    looks, sure = proba.argmax(axis=1), proba.max(axis=1)
    stratum = np.zeros(len(looks), np.int64)
    for c in np.unique(looks).tolist():
        mine = np.flatnonzero(looks == c)
        stratum[mine] = c * _SURENESS + np.argsort(np.argsort(sure[mine], kind="stable")) * _SURENESS // len(mine)
    return np.unique(stratum, return_inverse=True)[1]


def _dealt(mine: NDArray[np.bool_], stratum: Codes, level: Codes, ratio: Floats, most: int, rng: np.random.Generator) -> float:
    """How often a supplier that is dealt as many rows of each stratum shows at least this likelihood ratio."""
    shape = (int(stratum.max()) + 1, len(ratio))
    pool, hand = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(pool, (stratum, level), 1)
    np.add.at(hand, (stratum[mine], level[mine]), 1)
    seen = (hand.sum(axis=0) @ ratio).max() - 1e-9
    if seen <= 0:  # no share of bad labels fits better than none
        return 1.0
    deals, as_bad = 0, 0
    while deals < most and as_bad < _SCREEN // 20:
        now = _SCREEN if not deals else min(_AT_ONCE, most - deals)
        dealt = np.zeros((now, len(ratio)), np.int64)
        for colours, size in zip(pool, hand.sum(axis=1).tolist(), strict=True):
            dealt += rng.multivariate_hypergeometric(colours, size, size=now, method="marginals")
        as_bad += int(((dealt @ ratio).max(axis=1) >= seen).sum())
        deals += now
    return (1 + as_bad) / (1 + deals)
