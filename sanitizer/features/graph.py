"""One neighbour graph for all witnesses.

Built once per delivery and reused: everything that witnesses take from it costs less than a hundredth of building it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_FAR_BELOW = 0.05
NEIGHBOURS = 20  # enough for a vote; density and duplicates need fewer
_EXACT_WORK = 2e9  # queries x points x dimensions below which brute force is cheaper than training an index


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For q queries, the k nearest points, nearest first.

    `index` (q, k) int64, -1 where there are fewer than k points; `distance` (q, k) float32, Euclidean, infinite there.
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float32]


class NeighbourGraph:
    """Neighbours between delivered and trusted rows, each part computed when first asked for.

    Exact where that is cheap, otherwise by an inverted file of cells (faiss IVF), whose training is seeded.
    """

    def __init__(self, rows: NDArray[np.float32], trusted: NDArray[np.float32], seed: int = 0) -> None:
        self._rows = np.ascontiguousarray(rows, np.float32)
        self._trusted = np.ascontiguousarray(trusted, np.float32)
        self._seed = seed

    @cached_property
    def to_trusted(self) -> Neighbours:
        """Delivered rows -> trusted rows."""
        return nearest(self._rows, self._trusted, NEIGHBOURS, seed=self._seed)

    @cached_property
    def among_delivered(self) -> Neighbours:
        """Delivered rows -> other delivered rows (never the row itself)."""
        return nearest(self._rows, self._rows, NEIGHBOURS, same=True, seed=self._seed)

    @cached_property
    def among_trusted(self) -> Neighbours:
        """Trusted rows -> other trusted rows."""
        return nearest(self._trusted, self._trusted, NEIGHBOURS, same=True, seed=self._seed)

    @cached_property
    def radius(self) -> float:
        """Rows closer than this are near-copies: far below the typical distance to the tenth neighbour."""
        return _FAR_BELOW * typical_gap(self.among_trusted if len(self._trusted) else self.among_delivered)

    @cached_property
    def copies(self) -> NDArray[np.int32]:
        """A cluster number per delivered, then per trusted row: connected components of near-copies."""
        n, m = len(self._rows), len(self._trusted)
        links = []
        for near, first, second in ((self.among_delivered, 0, 0), (self.to_trusted, 0, n), (self.among_trusted, n, n)):
            row, slot = np.nonzero((near.distance <= self.radius) & (near.index >= 0))
            links.append(np.stack([row + first, near.index[row, slot] + second]))
        row, other = np.concatenate(links, axis=1)
        joined = coo_matrix((np.ones(len(row), np.int8), (row, other)), shape=(n + m, n + m))
        clusters: NDArray[np.int32] = connected_components(joined, directed=False)[1].astype(np.int32)
        return clusters


def typical_gap(near: Neighbours) -> float:
    """Median distance to the tenth neighbour (or the farthest known one): the scale of ordinary closeness."""
    distance = np.where(np.isfinite(near.distance), near.distance, -1.0)[:, :10]
    if not distance.size:
        return 0.0
    return float(np.median(np.maximum(distance.max(axis=1), 0.0)))


def nearest(queries: NDArray[np.float32], points: NDArray[np.float32], k: int, *, same: bool = False, seed: int = 0) -> Neighbours:
    """The `k` nearest `points` of each query; with `same`, queries are the points and no row is its own neighbour.

    Distances are computed anew from the differences: the expanded form that indexes use loses near-duplicates to rounding.
    """
    q, n = len(queries), len(points)
    wanted = min(k + same, n)
    found = np.full((q, k), -1, np.int64)
    if wanted <= same or not q:
        return Neighbours(found, np.full((q, k), np.inf, np.float32))
    _, ids = _index(points, q, seed).search(queries, wanted)
    if same:
        # with exact copies a row need not be its own first answer: drop it where it is, else the last one
        itself = ids == np.arange(q)[:, None]
        itself[~itself.any(axis=1), -1] = True
        ids = ids[~itself].reshape(q, wanted - 1)
    found[:, : ids.shape[1]] = ids
    distance = _distances(queries, points, found)
    order = np.argsort(distance, axis=1, kind="stable")
    return Neighbours(np.take_along_axis(found, order, 1), np.take_along_axis(distance, order, 1))


def _index(points: NDArray[np.float32], queries: int, seed: int) -> faiss.Index:
    n, d = points.shape
    if float(queries) * n * d <= _EXACT_WORK * 20 or n < 20_000:
        flat = faiss.IndexFlatL2(d)
        flat.add(points)
        return flat
    cells = int(4 * np.sqrt(n))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, cells)
    index.cp.seed = seed + 1
    index.cp.max_points_per_centroid = 64
    index.train(points)
    index.add(points)
    index.nprobe = max(8, cells // 64)
    return index


def _distances(queries: NDArray[np.float32], points: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.full(ids.shape, np.inf, np.float32)
    for column in range(ids.shape[1]):  # one neighbour at a time: memory stays at n x d
        known = ids[:, column] >= 0
        difference = queries[known] - points[ids[known, column]]
        out[known, column] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return out
