"""From scores to promises: conformal p-values and a bound on false discoveries that holds in probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import nbinom, norm, poisson

Floats = NDArray[np.float64]

_LEAST_SHAPE = 1e-9
_ROUNDS = 100
_HONEST_PRIOR = 20.0  # honest rows reckoned with before any was looked at
_SHARPEST = 5.0  # a poisoned row of p-value exp(-5) is reckoned with too


def conformal_p(scores: Floats, reference: Floats) -> Floats:
    """`(1 + #{reference >= score}) / (1 + #reference)` per score; NaN stays NaN.

    Exact for exchangeable honest rows (Vovk et al. 2005; Bates et al. 2023, eq. 4).

    >>> conformal_p(np.array([9.0, 0.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 1.0]
    """
    known = np.sort(reference[~np.isnan(reference)])
    above = len(known) - np.searchsorted(known, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1.0 + above) / (1.0 + len(known)))


def smooth_p(scores: Floats, reference: Floats) -> Floats:
    """Conformal p-values without ties, for ordering and odds, not for promises: interpolated between honest rows.

    Beyond the farthest one they fall by a factor e per unit of score; NaN stays NaN.
    """
    known = np.unique(reference[~np.isnan(reference)])
    if not len(known):
        return np.where(np.isnan(scores), np.nan, 1.0)
    levels = np.log(conformal_p(known, reference))
    out: Floats = np.exp(np.interp(scores, known, levels) - np.maximum(scores - known[-1], 0.0))
    return np.where(np.isnan(scores), np.nan, out)


def discoveries(p_values: Floats, calibration: float | Floats, *, q: float, confidence: float) -> NDArray[np.bool_]:
    """The largest set {p <= t} whose share of honest rows is at most `q` with probability at least `confidence`.

    With r - 1 of m calibration rows beyond t, the number of honest delivered rows beyond it is negative binomial with r
    successes of probability m / (n + m): the bound pays for the noise of the delivery and of the calibration alike.  Where a
    model stands in for counting (`calibration` infinite) it is Poisson.  Each p-value may have its own `calibration` (n,).
    Bounding the quantile instead of the mean is what plain Benjamini-Hochberg lacks (it keeps the share below q in 6 to 7 of 10
    runs).
    """
    out = np.zeros(len(p_values), bool)
    spoken = np.flatnonzero(~np.isnan(p_values))
    n = len(spoken)
    order = spoken[np.argsort(p_values[spoken], kind="stable")]
    levels, first, counts = np.unique(p_values[order], return_index=True, return_counts=True)
    taken = first + counts  # rows at or below each level
    worth = levels * n <= q * taken  # the mean must fit before its quantile can
    if not worth.any():
        return out
    known = np.broadcast_to(np.asarray(calibration, np.float64), p_values.shape)[order][first][worth]
    levels, taken = levels[worth], taken[worth]
    counted = np.isfinite(known)
    worst = np.empty(len(levels))
    worst[~counted] = poisson.ppf(confidence, levels[~counted] * n)
    known, beyond = known[counted], np.maximum(levels[counted] * (known[counted] + 1.0), _LEAST_SHAPE)
    worst[counted] = nbinom.ppf(confidence, beyond, known / (known + n))
    fits = np.flatnonzero(worst <= q * taken)
    if len(fits):
        with np.errstate(invalid="ignore"):
            out = p_values <= levels[fits[-1]]
    return out


def searched(confidence: float) -> float:
    """The confidence that each edge needs where `discoveries` chooses among a continuum of them, as under a law.

    Neighbouring edges share most of their rows: the search is worth about two independent looks (checked by simulation).

    >>> searched(0.9)
    0.95
    """
    return 1.0 - (1.0 - confidence) / 2.0


def log_odds(p_values: Floats) -> Floats:
    """Logarithm of the odds that a row is no honest one, given all p-values of a delivery: local false-discovery odds.

    P-values of honest rows are uniform, those of others taken to have density `a * p ** (a - 1)`; `a` and the share of the
    others are the likeliest ones (expectation maximisation; the share has a beta(1, 20) prior).  Where nothing exceeds what honest rows
    show, all odds are low.  NaN stays NaN.

    >>> odds = log_odds(np.append(np.linspace(0.01, 1.0, 100), [1e-6] * 10))
    >>> bool(odds[-1] > 3), bool(odds[0] < 0)
    (True, True)
    """
    known = ~np.isnan(p_values)
    out = np.full(len(p_values), np.nan)
    logs = np.log(np.clip(p_values[known], 1e-300, 1.0))
    if not len(logs):
        return out
    share, a = 0.05, 0.1
    for _ in range(_ROUNDS):
        ratio = np.log(share / (1.0 - share)) + np.log(a) + (a - 1.0) * logs
        mine = expit(ratio)
        share = float(np.clip(mine.sum() / (len(logs) + _HONEST_PRIOR), 1e-9, 0.95))
        a = float(np.clip((mine.sum() + 1.0) / (_SHARPEST - (mine * logs).sum()), 1e-3, 0.5))
    out[known] = np.log(share / (1.0 - share)) + np.log(a) + (a - 1.0) * logs
    return out


def least_provable(n: int, calibration: float, *, q: float, confidence: float) -> int:
    """The least number of rows, of `n`, that `discoveries` can accuse where no honest calibration row is as strange.

    >>> least_provable(2500, 1250, q=0.1, confidence=0.9)
    50
    """
    worst = float(nbinom.ppf(confidence, 1.0, calibration / (calibration + n)))
    return max(1, int(np.ceil(max(worst, n / (calibration + 1.0)) / q)))


def fused(scores: list[Floats], references: list[Floats]) -> tuple[Floats, Floats]:
    """One score per row from several witnesses, on delivered and honest rows alike, to be calibrated afterwards.

    Each witness's score becomes the normal quantile of its rank among honest rows (an honest row's rank leaves itself in); the
    witnesses that spoke of a row are averaged.  Fusing before calibrating costs no power, correcting p-values does.
    """
    delivered, honest = [], []
    for score, reference in zip(scores, references, strict=True):
        known = np.sort(reference[~np.isnan(reference)])
        delivered.append(_quantile(score, known, itself=False))
        honest.append(_quantile(reference, known, itself=True))
    return _mean(delivered), _mean(honest)


def _quantile(score: Floats, known: Floats, *, itself: bool) -> Floats:
    below = 0.5 * (np.searchsorted(known, score, side="left") + np.searchsorted(known, score, side="right"))
    size = len(known) - itself
    below = below - 0.5 * itself
    beyond = np.where(score > known[-1], (score - known[-1]) / (known[-1] - known[0] + 1e-12), 0.0) if len(known) else 0.0
    out: Floats = norm.ppf((below + 0.5) / (size + 1.0)) + np.log1p(np.maximum(beyond, 0.0))
    return np.where(np.isnan(score), np.nan, out)


def _mean(parts: list[Floats]) -> Floats:
    stacked = np.array(parts)
    spoke = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(spoke.any(axis=0), np.where(spoke, stacked, 0.0).sum(axis=0) / spoke.sum(axis=0), np.nan)
