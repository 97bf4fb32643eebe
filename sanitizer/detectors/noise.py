"""The honest noise of labels, and what exceeds it.

Models err, and honest labels contradict them.  How often they do is estimated, never assumed.  The *law* of honest labels
sharpens the models' probabilities by one power and mixes in one share of labels that no model could foretell; both are fitted
to the labels of the trusted rows.  Without trusted rows they are fitted to the delivery itself: labels that contradict the
models equally often however sure these are cannot come from rows that are hard to tell, so that share counts as flips.

Given the law, *flows* say how often a row of one class was relabelled as another (expectation maximisation; a flow that the
rows say little of is drawn towards all flows being alike), and odds weigh "relabelled" against "honest" for any row and label.
The law also says how many honest rows reach any odds.  Trusted rows are counted there too, and correct it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]

_LEAST = 1e-12
_POWER_SPREAD = 0.5  # of the normal prior of the power's logarithm around 0
_MOST_FITTED = 20_000  # rows that law and flows are fitted on; more change nothing that matters
_ROUNDS = 40
_MOST_RELABELLED = 0.9
_RECKONED = 0.005  # share of changed labels that odds reckon with before any label was looked at
_WORTH = 1.0
_REACH = 5.0
_MOST_CELLS = 4_000_000  # odds that are sorted to count honest rows
_PAIR = 3.0  # expected flips that a flow must show before it leaves the common rate
_UNCHECKED = 0.02  # weight of unsharpened probabilities in the count of honest rows where no trusted row can check the law


@dataclass(frozen=True)
class HonestLaw:
    """Probability of an honest label: `(1 - floor) * proba ** power / sum + floor / classes`."""

    power: float = 1.0
    floor: float = 0.0

    @classmethod
    def of(cls, proba: Floats, y: Codes, *, seed: int = 0) -> HonestLaw:
        """The likeliest law for labels `y` (n,) of rows with class probabilities `proba` (n, K)."""
        if not len(y):
            return cls()
        at = _some(len(y), seed)
        logs, y, classes = np.log(np.clip(proba[at], _LEAST, None)), y[at], proba.shape[1]
        rows = np.arange(len(y))

        def loss(theta: NDArray[np.float64]) -> float:
            raised = np.exp(theta[0]) * logs
            own = np.exp(raised[rows, y] - logsumexp(raised, axis=1))
            floor = float(expit(theta[1]))
            return float(-np.log((1 - floor) * own + floor / classes).sum() + (theta[0] / _POWER_SPREAD) ** 2 / 2)

        tries = [minimize(loss, [0.0, start], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3}) for start in (-6.0, -2.5)]
        best = min(tries, key=lambda found: float(found.fun)).x
        return cls(float(np.exp(best[0])), float(expit(best[1])))

    def __call__(self, proba: Floats) -> Floats:
        """Probabilities (n, K) of honest labels."""
        raised = self.power * np.log(np.clip(proba, _LEAST, None))
        spread = np.exp(raised - raised.max(axis=1, keepdims=True))
        out: Floats = (1 - self.floor) * spread / spread.sum(axis=1, keepdims=True) + self.floor / proba.shape[1]
        return out


def flows(honest: Floats, y: Codes, *, rounds: int = _ROUNDS, seed: int = 0) -> Floats:
    """How often a row of class a was relabelled as b: (K, K), zero diagonal; `honest` (n, K) are law probabilities."""
    at = _some(len(y), seed)
    honest, y, classes = honest[at], y[at], honest.shape[1]
    other = 1.0 - np.eye(classes)
    rate: Floats = other * 0.05 / max(1, classes - 1)
    mass = honest.sum(axis=0)
    if not len(y) or classes < 2:
        return rate * 0.0
    given = np.zeros((len(y), classes))
    given[np.arange(len(y)), y] = 1.0
    for _ in range(rounds):
        moved: Floats = _moved(honest, y, rate).T @ given
        total = moved.sum()
        alike = total / len(y) / (classes - 1)
        rate = other * alike * (moved + _PAIR) / (mass[:, None] * alike + _PAIR)
        rate = _scaled(rate, total / max(float((rate * mass[:, None]).sum()), _LEAST))
    return rate


def _moved(honest: Floats, y: Codes, rate: Floats) -> Floats:
    """Chance that a row of each class was relabelled as what the row is: (n, K)."""
    came = honest * rate[:, y].T
    stayed = honest[np.arange(len(y)), y] * (1.0 - rate.sum(axis=1)[y])
    out: Floats = came / (came.sum(axis=1) + stayed + _LEAST)[:, None]
    return out


def _scaled(rate: Floats, factor: float) -> Floats:
    out: Floats = rate * min(factor, _MOST_RELABELLED / max(float(rate.sum(axis=1).max()), _LEAST))
    return out


def _at_scale_of(honest: Floats, y: Codes, rate: Floats) -> Floats:
    """The same flows, as frequent altogether as these rows show."""
    mass = honest.sum(axis=0)[:, None]
    for _ in range(_ROUNDS):
        rate = _scaled(rate, float(_moved(honest, y, rate).sum()) / max(float((rate * mass).sum()), _LEAST))
    return rate


def log_odds(honest: Floats, rate: Floats) -> Floats:
    """Logarithm of the odds that a row which carries label b was relabelled, for every row and label: (n, K)."""
    stayed = honest * (1.0 - rate.sum(axis=1))
    out: Floats = np.log(honest @ rate + _LEAST) - np.log(stayed + _LEAST)
    return out


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows weighed under the law: `odds` (n,) are logarithms, of delivered and of trusted rows.

    `expected` (n,) is the number of honest delivered rows with odds at least as high, `behind` (n,) the number of honest rows
    that this is worth having counted: the gamma shape of its error.
    """

    odds: Floats
    trusted_odds: Floats
    expected: Floats
    behind: Floats
    law: HonestLaw
    relabelled: float


def judge(delivered: tuple[Floats, Codes], trusted: tuple[Floats, Codes] | None, *, seed: int = 0) -> Judged:
    """Weigh delivered rows, each given as class probabilities (n, K) and labels (n,), against what honest rows would show.

    The law stands for `_WORTH` counted rows wherever trusted rows are counted beside it.  Beyond the farthest honest trusted
    row it is believed `_REACH` times further than counting reaches, not without end.
    """
    proba, y = delivered
    law = HonestLaw.of(*(trusted or delivered), seed=seed)
    if trusted is None:
        law = HonestLaw(law.power, 0.0)
    honest = law(proba)
    if trusted is None:
        rate = flows(honest, y, seed=seed)
    else:
        # flows are learnt from both sides alike: what honest rows of the delivery show, those of the trusted side show too
        rate = flows(np.concatenate([honest, law(trusted[0])]), np.concatenate([y, trusted[1]]), seed=seed)
        rate = _at_scale_of(honest, y, rate)
    rare = max(1.0, _RECKONED / max(float((honest @ rate).sum() / max(1, len(y))), _LEAST))
    odds = log_odds(honest, _scaled(rate, rare))
    own = odds[np.arange(len(y)), y]
    kept = 1.0 - rate.sum(axis=1)
    likely = honest if trusted is not None else (1 - _UNCHECKED) * honest + _UNCHECKED * proba
    expected = _beyond(odds, likely * kept, own)
    relabelled = float((honest @ rate).sum() / max(1, len(y)) if len(y) else 0.0)
    if trusted is None:
        reach = np.ones(len(y))
        return Judged(own, np.zeros(0), np.maximum(expected, reach), np.full(len(y), _WORTH), law, relabelled)
    known, known_y = trusted
    known_honest = law(known)
    known_odds = log_odds(known_honest, _scaled(rate, rare))
    known_own = known_odds[np.arange(len(known_y)), known_y]
    seen = len(known_own) - np.searchsorted(np.sort(known_own), own, side="left")
    behind = _WORTH + seen
    expected = expected * behind / (_WORTH + _beyond(known_odds, known_honest, own))
    least = len(y) / max(1, len(known_y)) / _REACH
    return Judged(own, known_own, np.maximum(expected, least), behind.astype(np.float64), law, relabelled)


def _beyond(odds: Floats, weight: Floats, levels: Floats) -> Floats:
    """Weight of all cells with odds at least as high as each of `levels`."""
    step = max(1, odds.size // _MOST_CELLS)  # every so manieth row stands for the rows around it
    steps = np.unique(levels)
    at = np.searchsorted(steps, odds[::step].ravel(), side="right")
    mass = np.bincount(at, weights=weight[::step].ravel(), minlength=len(steps) + 1)[1:]
    tail = np.cumsum(mass[::-1])[::-1] * (len(odds) / max(1, len(odds[::step])))
    out: Floats = tail[np.searchsorted(steps, levels)].astype(np.float64)
    return out


def _some(n: int, seed: int) -> NDArray[np.int64]:
    if n <= _MOST_FITTED:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, _MOST_FITTED, replace=False))
