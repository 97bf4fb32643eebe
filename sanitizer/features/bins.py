"""Columns as few levels, for boosted trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEVELS = 128


def binned(rows: NDArray[np.float32], fitted_on: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each column of `rows` as the number of the quantile of `fitted_on` that it lies in, as float32.

    Histogram gradient boosting bins columns by itself, but with weighted rows it asks for each quantile apart, which takes
    longer than all of its trees (scikit-learn 1.9).  Columns of few levels are spared that.
    """
    out = np.empty(rows.shape, np.float32)
    for column in range(rows.shape[1]):
        known = np.unique(fitted_on[:, column])
        if len(known) > _LEVELS:
            known = np.unique(np.quantile(fitted_on[:, column], np.linspace(0.0, 1.0, _LEVELS)[1:-1]))
        out[:, column] = np.searchsorted(known, rows[:, column], side="right")
    return out
