"""Class probabilities of every row from models that never saw that row.

Three model families that err differently (boosted trees, extremely randomised trees, a linear model), each in folds.
*Crossed* models learn from trusted and delivered rows, *clean* ones from trusted rows only and are blind to whatever the
delivery teaches.  The mixture of all of them that best predicts labels decides their weights; where there are trusted
rows, only their labels judge: a model that has learnt the attacker's labels betrays itself there.

Crossed models believe a delivered row as far as first models do: the clean ones, or on a cold start models taught by the
other folds of the delivery itself.  The first models know as little of a judged row as the crossed ones: a row that helped
to silence who contradicts it would vouch for itself.  Trusted and delivered rows go through the same procedure, so honest
rows of both are exchangeable, which is what suspicion is calibrated on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from sanitizer.features.bins import binned

FOLDS = 4
_WIDEST = 2000  # columns a model looks at; wider tables keep those that separate the classes best
_MOST_SPLITS = 300  # columns and classes up to which boosted trees are worth their time: one tree per class and round
_MOST_BOOSTED = 10
_MOST_TAUGHT = 20_000  # rows one model learns from
_FEW_CLASSES = 4  # among few rows more classes make boosted trees cost more than they tell
_MANY = 30_000  # rows from which on time goes where it buys most: no randomised trees, fewer rows taught, one look by first models
_MOST_TAUGHT_OF_MANY = 8_000
_MOST_JUDGES = 20_000
_LEAST_JUDGES = 100  # labelled trusted rows from which on they alone weight the models
_PRIOR = 0.1  # share of wrong labels that is reckoned with before any row was looked at
_DISBELIEVED = 0.02  # a row that is right with less than this probability does not teach
_LEAST_BELIEF = 1e-6  # no model is believed to be surer than this of a label it did not see
_POWER_SPREAD = 0.5
Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Rows of class probabilities: `delivered` (n, K), `trusted` (m, K).

    `clean_delivered`, `clean_trusted` are those of the clean models alone; None where too little is trusted.  `first` (n, K)
    are those of the first models.  Rows are NaN where no model could learn two classes.  `weights` says how much each
    model counts.
    """

    delivered: Floats
    trusted: Floats
    first: Floats
    clean_delivered: Floats | None
    clean_trusted: Floats | None
    weights: dict[str, float]


def posteriors(
    wide: tuple[Rows, Rows], narrow: tuple[Rows, Rows], y: tuple[Codes, Codes], cluster: NDArray[np.integer[Any]], *,
    classes: int, seed: int,
) -> Posteriors:  # fmt: skip
    """Posteriors of all rows; each pair is (delivered, trusted), `cluster` numbers the near-duplicates of both.

    `wide` rows have one dimension per category (for the linear model), `narrow` ones a column per column (for trees).
    """
    n, m = len(y[0]), len(y[1])
    labels = np.concatenate(y)
    trusted = np.arange(n + m) >= n
    if _learnable(labels, classes) < 2:
        nothing = np.full((n + m, classes), np.nan)
        return Posteriors(nothing[:n], nothing[n:], nothing[:n], None, None, {})
    views = {name: _narrowed(np.concatenate(pair), labels, classes) for name, pair in (("wide", wide), ("narrow", narrow))}
    views["binned"] = binned(views["narrow"], views["narrow"])
    school = _School(views, labels, folds(labels, cluster, seed), classes, seed)
    has_clean = _learnable(y[1], classes) >= 2
    known = labels >= 0
    judges = np.flatnonzero(known & trusted if has_clean and (y[1] >= 0).sum() >= _LEAST_JUDGES else known)
    if len(judges) > _MOST_JUDGES:
        judges = np.sort(np.random.default_rng(seed).choice(judges, _MOST_JUDGES, replace=False))

    first, believers = school.clean(trusted) if has_clean else school.halves()
    first_mix = _Mixture.of(first, labels, judges)
    own = np.arange(n + m), np.maximum(labels, 0)
    teachings = []
    for f in range(FOLDS):
        believed = first_mix.apply(believers[f])
        teachings.append(np.where(trusted & has_clean, 1.0, credence(believed[own], classes)))
    crossed = school.crossed(teachings)
    clean = first if has_clean else {}
    everyone = {**{f"clean.{k}": p for k, p in clean.items()}, **{f"crossed.{k}": p for k, p in crossed.items()}}
    mixture = _Mixture.of(everyone, labels, judges)
    mixed, before = mixture.apply(everyone), first_mix.apply(first)
    return Posteriors(
        mixed[:n], mixed[n:], before[:n], before[:n] if has_clean else None, before[n:] if has_clean else None, mixture.weights
    )


def credence(own: Floats, classes: int) -> Floats:
    """Probability that a label is right to which the models give `own`, where a wrong one is any other label alike."""
    wrong = _PRIOR * (1.0 - own) / max(classes - 1, 1)
    right = (1.0 - _PRIOR) * own
    return right / (right + wrong)


def _learnable(y: Codes, classes: int) -> int:
    return int((np.bincount(y[y >= 0], minlength=classes) >= FOLDS).sum())


def folds(y: Codes, cluster: NDArray[np.integer[Any]], seed: int) -> NDArray[np.int64]:
    """A fold per row, stratified by label; rows of one cluster share a fold, so that copies do not vouch for each other."""
    _, first, member = np.unique(cluster, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), y[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[member]


@dataclass(frozen=True, eq=False)
class _School:
    """Who learns from whom.  A proba is (rows, K) per family, NaN where nothing was said."""

    views: dict[str, Rows]
    y: Codes
    fold: NDArray[np.int64]
    classes: int
    seed: int

    def clean(self, trusted: Flags) -> tuple[dict[str, Floats], list[dict[str, Floats]]]:
        """Out-of-fold proba of all rows by models of trusted rows, and per fold what its model thinks of delivered rows too."""
        out, believers = self._blank(), []
        for f in range(FOLDS):
            mine = self.fold == f
            said = self._taught(trusted & ~mine, mine | ~trusted, np.ones(len(self.y)))
            for name, proba in said.items():
                out[name][mine] = proba[mine]
            believers.append(said)
        return out, believers

    def halves(self) -> tuple[dict[str, Floats], list[dict[str, Floats]]]:
        """Cold: models of two of the four folds speak of the other two; fold f's judge hears only those that left f out.

        Among many rows one is too few to silence anybody: there each fold is judged once, by models of the other three.
        """
        if self.many:
            once = self.crossed([np.ones(len(self.y))] * FOLDS)
            return once, [once] * FOLDS
        out, heard = self._blank(), [self._blank() for _ in range(FOLDS)]
        total, times = {name: np.zeros_like(p) for name, p in out.items()}, np.zeros(len(self.y))
        for f, g in combinations(range(FOLDS), 2):
            in_f, in_g = self.fold == f, self.fold == g
            said = self._taught(~(in_f | in_g), in_f | in_g, np.ones(len(self.y)))
            for name, proba in said.items():
                heard[f][name][in_g], heard[g][name][in_f] = proba[in_g], proba[in_f]
                total[name][in_f | in_g] += proba[in_f | in_g]
            times[in_f | in_g] += 1
        return {name: sums / times[:, None] for name, sums in total.items()}, heard

    def crossed(self, teachings: list[Floats]) -> dict[str, Floats]:
        """Out-of-fold proba by models of all rows, weighted by how far they are believed in each fold."""
        out = self._blank()
        for f, believed in enumerate(teachings):
            mine = self.fold == f
            # a weight alone does not silence a leaf in which all rows are wrong: what is hardly believed must not teach at all
            said = self._taught(~mine & (believed >= _DISBELIEVED), mine, believed)
            for name, proba in said.items():
                out[name][mine] = proba[mine]
        return out

    def _taught(self, teach: Flags, judged: Flags, believed: Floats) -> dict[str, Floats]:
        out = self._blank()
        train = np.flatnonzero(teach & (self.y >= 0))
        if len(np.unique(self.y[train])) < 2 or not judged.any():
            return out
        most = _MOST_TAUGHT_OF_MANY if self.many else _MOST_TAUGHT
        if len(train) > most:
            train = np.sort(np.random.default_rng(self.seed).choice(train, most, replace=False))
        for name, (family, view) in self._families().items():
            rows = self.views[view]
            model = family(self.seed).fit(rows[train], self.y[train], sample_weight=believed[train])
            part = np.zeros((int(judged.sum()), self.classes))
            part[:, model.classes_] = model.predict_proba(rows[judged])
            out[name][judged] = part
        return out

    def _blank(self) -> dict[str, Floats]:
        return {name: np.full((len(self.y), self.classes), np.nan) for name in self._families()}

    def _families(self) -> dict[str, tuple[Callable[[int], Any], str]]:
        """Name -> model and the view it learns from."""
        boosts = self.views["narrow"].shape[1] <= _MOST_SPLITS and self.classes <= _MOST_BOOSTED
        if self.many and boosts:
            return {"linear": (_linear, "wide"), "boosted": (_briefly_boosted, "binned")}
        found: dict[str, tuple[Callable[[int], Any], str]] = {"trees": (_randomised, "narrow"), "linear": (_linear, "wide")}
        if boosts and self.classes <= _FEW_CLASSES:
            found["boosted"] = (_boosted, "binned")
        return found

    @property
    def many(self) -> bool:
        """There are so many rows that models must be sparing."""
        return len(self.y) > _MANY


@dataclass(frozen=True)
class _Mixture:
    """The mixture of calibrated models under which the judges' labels are most probable (expectation maximisation).

    Each model is calibrated by a power of its probabilities (temperature scaling, Guo et al. 2017), and so is the mixture.
    """

    powers: dict[str, float]
    weights: dict[str, float]
    power: float

    @classmethod
    def of(cls, models: dict[str, Floats], y: Codes, judges: NDArray[np.int64]) -> _Mixture:
        """Learn powers and weights from the rows `judges`."""
        heard = judges[np.isfinite([p[judges].sum(axis=1) for p in models.values()]).all(axis=0)]
        powers = {name: _power(p[heard], y[heard]) for name, p in models.items()}
        calibrated = np.array([_raised(p[heard], powers[name]) for name, p in models.items()])
        weight = np.full(len(models), 1.0 / len(models))
        if len(heard):
            likelihood = calibrated[:, np.arange(len(heard)), y[heard]]
            for _ in range(100):
                share = weight[:, None] * likelihood
                weight = (share / share.sum(axis=0)).mean(axis=1)
        power = _power(np.tensordot(weight, calibrated, axes=1), y[heard])
        return cls(powers, {name: float(w) for name, w in zip(models, weight, strict=True)}, power)

    def apply(self, models: dict[str, Floats]) -> Floats:
        """The mixed probabilities; NaN where a model said nothing."""
        parts = [self.weights[name] * _raised(proba, self.powers[name]) for name, proba in models.items()]
        return _raised(np.sum(parts, axis=0), self.power)


def _power(proba: Floats, y: Codes) -> float:
    """The power under which the labels are most probable.

    Its logarithm has a normal prior around 0: a model that never erred among few judges is not made infinitely sure.
    """
    if not len(y):
        return 1.0
    logs, at = np.log(np.clip(proba, _LEAST_BELIEF, None)), np.arange(len(y))

    def loss(log_power: float) -> float:
        scaled = np.exp(log_power) * logs
        return float(np.sum(logsumexp(scaled, axis=1) - scaled[at, y]) + (log_power / _POWER_SPREAD) ** 2 / 2)

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 2.5), method="bounded", options={"xatol": 1e-3}).x))


def _raised(proba: Floats, power: float) -> Floats:
    logs = power * np.log(np.clip(proba, _LEAST_BELIEF, None))
    spread: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
    out: Floats = np.clip(spread / spread.sum(axis=1, keepdims=True), _LEAST_BELIEF, None)
    return out


def _narrowed(rows: Rows, y: Codes, classes: int) -> Rows:
    """The `_WIDEST` columns with the largest ratio of variance between and within classes."""
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
    narrow: Rows = np.ascontiguousarray(rows[:, np.sort(best)])
    return narrow


def _boosted(seed: int) -> Any:
    return HistGradientBoostingClassifier(max_iter=60, learning_rate=0.07, max_leaf_nodes=15, early_stopping=False, random_state=seed)


def _briefly_boosted(seed: int) -> Any:
    return HistGradientBoostingClassifier(max_iter=25, learning_rate=0.15, max_leaf_nodes=15, early_stopping=False, random_state=seed)


def _randomised(seed: int) -> Any:
    # leaves of three rows: a tree must not learn a single wrong label by heart
    return ExtraTreesClassifier(60, min_samples_leaf=3, random_state=seed)


def _linear(seed: int) -> Any:
    del seed  # the solver is deterministic
    return LogisticRegression(max_iter=100)
