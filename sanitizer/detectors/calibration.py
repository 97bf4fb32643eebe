"""From scores to promises: conformal p-values and a bound on false discoveries that holds in probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom, norm, poisson

Floats = NDArray[np.float64]


def conformal_p(scores: Floats, reference: Floats) -> Floats:
    """`(1 + #{reference >= score}) / (1 + #reference)` per score; NaN stays NaN.

    Exact for exchangeable honest rows (Vovk et al. 2005; Bates et al. 2023, eq. 4).

    >>> conformal_p(np.array([9.0, 0.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 1.0]
    """
    known = np.sort(reference[~np.isnan(reference)])
    above = len(known) - np.searchsorted(known, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1.0 + above) / (1.0 + len(known)))


def discoveries(p_values: Floats, calibration: float, *, q: float, confidence: float) -> NDArray[np.bool_]:
    """The largest set {p <= t} whose share of honest rows is at most `q` with probability at least `confidence`.

    With r - 1 of m calibration rows beyond t, the number of honest delivered rows beyond it is negative binomial with r
    successes of probability m / (n + m): the bound pays for the noise of the delivery and of the calibration alike.  Where a
    model stands in for counting (`calibration` infinite) it is Poisson.  Bounding the quantile instead of the mean is what
    plain Benjamini-Hochberg lacks (it keeps the share below q in 6 to 7 of 10 runs).
    """
    out = np.zeros(len(p_values), bool)
    known = np.sort(p_values[~np.isnan(p_values)])
    n = len(known)
    levels, last = np.unique(known, return_index=True)
    taken = np.append(last[1:], n)  # rows at or below each level
    worth = levels * n <= q * taken  # the mean must fit before its quantile can
    if not worth.any():
        return out
    levels, taken = levels[worth], taken[worth]
    if np.isfinite(calibration):
        beyond = np.maximum(np.round(levels * (calibration + 1.0)), 1.0)
        worst = nbinom.ppf(confidence, beyond, calibration / (calibration + n))
    else:
        worst = poisson.ppf(confidence, levels * n)
    fits = np.flatnonzero(worst <= q * taken)
    if len(fits):
        with np.errstate(invalid="ignore"):
            out = p_values <= levels[fits[-1]]
    return out


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
