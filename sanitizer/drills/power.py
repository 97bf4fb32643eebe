"""What a judge would catch: recall on planted attacks, over rates and seeds, and the least share of poison that it sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta

from sanitizer.drills.planting import plant
from sanitizer.samples import UnverifiedSamples


class Judge(Protocol):
    """Anything that says which units it would quarantine, in the order of the verdicts; it may hold trusted data, not the truth."""

    def __call__(self, samples: UnverifiedSamples, /) -> NDArray[np.bool_]:
        """True = quarantined."""


def power_curve(
    samples: UnverifiedSamples,
    judge: Judge,
    family: str,
    *,
    rates: Sequence[float] = (0.002, 0.005, 0.01, 0.02, 0.05),
    seeds: Iterable[int] = range(3),
    variant: str | None = None,
) -> pd.DataFrame:
    """How much of one attack is caught at each rate.

    One row per rate: `planted` and `caught` units over all seeds, `recall` with its 90 % interval `low`, `high` (Clopper and
    Pearson 1934, exact), and `honest`, the share of honest units that were quarantined beside them.
    """
    seeds = tuple(seeds)
    rows = []
    for rate in sorted(rates):
        planted = caught = honest = accused = 0
        for seed in seeds:
            made = plant(samples, family, rate=rate, seed=seed, variant=variant)
            out = judge(made.samples)
            planted += int(made.mask.sum())
            caught += int((out & made.mask).sum())
            honest += int((~made.mask).sum())
            accused += int((out & ~made.mask).sum())
        low, high = interval(caught, planted)
        rows.append(
            {
                "family": family,
                "rate": rate,
                "planted": planted,
                "caught": caught,
                "recall": caught / planted,
                "low": low,
                "high": high,
                "honest": accused / max(1, honest),
            }
        )
    return pd.DataFrame(rows)


def interval(caught: int, planted: int, *, confidence: float = 0.9) -> tuple[float, float]:
    """The exact two-sided interval of a recall (Clopper and Pearson 1934).

    >>> [round(end, 3) for end in interval(20, 20)]
    [0.861, 1.0]
    """
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, caught, planted - caught + 1)) if caught else 0.0
    high = float(beta.ppf(1 - tail, caught + 1, planted - caught)) if caught < planted else 1.0
    return low, high


def floor(curve: pd.DataFrame, *, power: float = 0.9) -> float | None:
    """The least rate from which on recall never falls below `power`; None where even the largest rate is missed.

    >>> floor(pd.DataFrame({"rate": [0.01, 0.02, 0.05], "recall": [0.2, 0.95, 1.0]}))
    0.02
    """
    least = None
    for rate, recall in sorted(zip(curve["rate"], curve["recall"], strict=True), reverse=True):
        if recall < power:
            break
        least = float(rate)
    return least
