"""Near-duplicates: sets of rows far closer to each other than rows of this data are, some under different labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sanitizer.detectors.base import Evidence, Kind
from sanitizer.features import Features, Neighbours

_FAR_BELOW = 0.05  # of the typical distance to the tenth neighbour


class DuplicateConflict:
    """Scores a row by how many near-copies of it, delivered or trusted, carry another label."""

    name: ClassVar[str] = "duplicate.conflict"
    kind: ClassVar[Kind] = "batch"

    def testify(self, features: Features) -> Evidence:
        """Scores in [0, 1]: the share of near-copies under another label; NaN for rows without a near-copy."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels that could conflict", kind=self.kind)
        radius = _FAR_BELOW * typical_gap(features.graph.among_delivered)
        own = _against(features.graph.among_delivered, radius, features.y, features.y)
        against, copies = own
        if not features.cold:
            more = _against(features.graph.to_trusted, radius, features.y, features.trusted_y)
            against, copies = against + more[0], copies + more[1]
        with np.errstate(invalid="ignore"):
            scores = np.where((copies > 0) & (features.y >= 0), against / copies, np.nan)
        return Evidence(self.name, self.kind, "duplicate-flood", scores=scores)


def typical_gap(near: Neighbours) -> float:
    """Median distance to the tenth neighbour (or the farthest known one): the scale of ordinary closeness."""
    distance = np.where(np.isfinite(near.distance), near.distance, np.nan)[:, :10]
    if not distance.size or np.isnan(distance).all():
        return 0.0
    last = np.nanmax(np.where(np.isnan(distance).all(axis=1, keepdims=True), 0.0, distance), axis=1)
    return float(np.median(last))


def duplicate_clusters(near: Neighbours, radius: float) -> NDArray[np.int32]:
    """A cluster number per row: connected components of rows at most `radius` apart."""
    n = len(near.index)
    close = (near.distance <= radius) & (near.index >= 0)
    row, slot = np.nonzero(close)
    links = coo_matrix((np.ones(len(row), np.int8), (row, near.index[row, slot])), shape=(n, n))
    clusters: NDArray[np.int32] = connected_components(links, directed=False)[1].astype(np.int32)
    return clusters


def _against(
    near: Neighbours, radius: float, y: NDArray[np.int32], other_y: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    close = (near.distance <= radius) & (near.index >= 0)
    theirs = np.where(close, other_y[near.index] if len(other_y) else -1, -1)
    copies = theirs >= 0
    return (copies & (theirs != y[:, None])).sum(axis=1).astype(np.float64), copies.sum(axis=1).astype(np.float64)
