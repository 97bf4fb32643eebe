"""Floods: many near-copies of a few rows under one label, which outvote whatever the rest of the data says.

Rows of one label, delivered and trusted together, are joined nearest first (single linkage).  The clusters of that tree which
stand out furthest from their surroundings are the candidates; nothing so far knows which rows are trusted.  Three independent
questions are then put to each:

* *closeness*: do clusters of honest rows stand out so far at this size?
* *share*: if trusted and delivered rows came from one source, would so few of the members be trusted?
* *contradiction*: how seldom is an honest label so little supported by rows outside the cluster?

On a cold start there is no share to ask for; then only clusters whose label the outside does not favour are accused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import gammaincc
from scipy.stats import betabinom, binom
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.random_projection import SparseRandomProjection

from sanitizer.detectors.base import Evidence, Group, Kind
from sanitizer.features import Features, NeighbourGraph, Neighbours, nearest

_RESOLUTION = 0.01  # of the ordinary distance to the nearest row: closer rows are the same row
_LEAST = 3  # copies from which on one speaks of a flood
_VOTERS = 15
_LEVEL = 1e-3  # family-wise: an honest delivery shows a flood once in a thousand
_WORDS = 256  # dimensions of the projected bag of words

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Edges = tuple[Positions, Positions, Floats]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Rows of one label that lie closer together than to any other row of the label.

    `members` are positions in delivered, then trusted rows; `delivered` of them are delivered.  `contrast` is the logarithm
    of the distance to the next row over the largest gap within.
    """

    members: Positions
    label: int
    delivered: int
    contrast: float

    @property
    def size(self) -> int:
        """Rows, trusted ones included."""
        return len(self.members)

    @property
    def trusted(self) -> int:
        """Trusted rows."""
        return self.size - self.delivered


class DuplicateFlood:
    """Names clusters of near-copies under one label that honest rows would not form."""

    name: ClassVar[str] = "duplicate.flood"
    kind: ClassVar[Kind] = "group"

    def testify(self, features: Features) -> Evidence:
        """One group per flood; `scores` (n,) are -log10 of the significance of a row's cluster, 0 outside of all."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no labels that copies could push", kind=self.kind)
        view = _view(features)
        found = clusters(view, np.concatenate([features.y, features.trusted_y]), len(features))
        support = _Support(features, view, found)
        p_values = significance(found, support.p_value, len(features), len(features.trusted_rows), support.favours)
        scores = np.zeros(len(features))
        groups = []
        for cluster, p in zip(found, p_values, strict=True):
            mine = cluster.members[cluster.members < len(features)]
            scores[mine] = -np.log10(p)
            if p <= _LEVEL and (not features.cold or not support.favours(cluster)):
                groups.append(Group("duplicate-flood", mine, float(p), support.sentence(cluster)))
        groups.sort(key=lambda group: (group.significance, int(group.members[0])))
        return Evidence(self.name, self.kind, "duplicate-flood", scores=scores, groups=tuple(groups))


def _view(features: Features) -> tuple[NDArray[np.float32], NeighbourGraph]:
    """Rows (delivered, then trusted) in which copies coincide, and their neighbours: texts as bags of words, others as they are."""
    if features.modality != "text":
        return np.concatenate([features.rows, features.trusted_rows]), features.graph
    name = next(c.name for c in features.samples.schema.features if c.type == "string")
    texts = [str(t or "") for t in features.samples.table[name].to_pylist()]
    if features.trusted is not None:
        texts += [str(t or "") for t in features.trusted.table[name].to_pylist()]
    counts = HashingVectorizer(alternate_sign=False).transform(texts)
    rows = SparseRandomProjection(_WORDS, random_state=features.seed, dense_output=True).fit_transform(counts).astype(np.float32)
    n = len(features)
    return rows, NeighbourGraph(rows[:n], rows[n:], features.seed)


# --- the tree -------------------------------------------------------------------------------------------------------


def clusters(view: tuple[NDArray[np.float32], NeighbourGraph], y: NDArray[np.int32], n: int) -> list[Cluster]:
    """The clusters of at least `_LEAST` rows that stand out most; the first `n` rows are delivered, the others trusted."""
    rows, graph = view
    edges, ordinary = _edges(graph, y, n, len(rows) - n)
    if not len(edges[0]):
        return []
    tree = _Tree(edges, rows, y, _RESOLUTION * ordinary)
    found = []
    for node in tree.standing_out():
        members = tree.leaves(node)
        if len(members) >= _LEAST:
            delivered = int(np.searchsorted(members, n))
            found.append(Cluster(members, int(y[members[0]]), delivered, float(np.log(tree.outside[node] / tree.height[node]))))
    return found


def _edges(graph: NeighbourGraph, y: NDArray[np.int32], n: int, m: int) -> tuple[Edges, float]:
    """Neighbours that share a label, each pair once, and the median distance to the nearest row that is no exact copy."""
    parts: list[tuple[Neighbours, int, int]] = [(graph.among_delivered, 0, 0)]
    if m:
        parts += [(graph.to_trusted, 0, n), (graph.among_trusted, n, n)]
    one, other, distance, first = [], [], [], []
    for near, start, target in parts:
        row, slot = np.nonzero(near.index >= 0)
        a, b = row + start, near.index[row, slot] + target
        same = (y[a] == y[b]) & (y[a] >= 0)
        one.append(np.minimum(a, b)[same])
        other.append(np.maximum(a, b)[same])
        distance.append(near.distance[row, slot][same].astype(np.float64))
        first.append(np.where(near.distance > 0, near.distance, np.inf).min(axis=1, initial=np.inf))
    apart = np.concatenate(first)
    apart = apart[np.isfinite(apart)]
    a, b, d = np.concatenate(one), np.concatenate(other), np.concatenate(distance)
    order = np.lexsort((d, b, a))
    a, b, d = a[order], b[order], d[order]
    fresh = np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1]))[: len(a)]
    return (a[fresh], b[fresh], d[fresh]), float(np.median(apart)) if len(apart) else 1.0


class _Tree:
    """The single-linkage forest of rows with one label: leaves are rows, node i + rows is the i-th join."""

    def __init__(self, edges: Edges, rows: NDArray[np.float32], y: NDArray[np.int32], resolution: float) -> None:
        self.rows = len(rows)
        a, b, d = edges
        shape = (self.rows, self.rows)
        spanning = minimum_spanning_tree(coo_matrix((d + resolution, (a, b)), shape=shape).tocsr()).tocoo()
        order = np.lexsort((spanning.col, spanning.row, spanning.data))
        joins = len(order)
        self.children = np.full((joins, 2), -1, np.int64)
        self.height = np.concatenate([np.zeros(self.rows), spanning.data[order]])
        self.outside = np.full(self.rows + joins, np.inf)  # height at which a node is joined to others
        self.size = np.concatenate([np.ones(self.rows, np.int64), np.zeros(joins, np.int64)])
        self._join(spanning.row[order].tolist(), spanning.col[order].tolist())
        self.roots = np.flatnonzero(np.isinf(self.outside))
        self._look_around(rows, y, resolution)

    def _join(self, one: list[int], other: list[int]) -> None:
        top = list(range(self.rows + len(one)))

        def find(node: int) -> int:
            while top[node] != node:
                top[node] = top[top[node]]
                node = top[node]
            return node

        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            node, left, right = self.rows + i, find(a), find(b)
            top[left] = top[right] = node
            self.children[i] = left, right
            self.size[node] = self.size[left] + self.size[right]
            self.outside[left] = self.outside[right] = self.height[node]

    def _look_around(self, rows: NDArray[np.float32], y: NDArray[np.int32], resolution: float) -> None:
        """How far the next row of the label is from a whole tree: copies fill each other's lists of neighbours."""
        for root in self.roots.tolist():
            self.outside[root] = self.height[root] or resolution
            if self.size[root] < _LEAST:
                continue
            members = self.leaves(root)
            others = np.setdiff1d(np.flatnonzero(y == y[members[0]]), members, assume_unique=True)
            if len(others):
                few, many = sorted((members, others), key=len)
                gap = float(nearest(rows[few], rows[many], 1).distance.min())
                self.outside[root] = max(gap + resolution, self.height[root])

    def leaves(self, node: int) -> Positions:
        """The rows under a node, sorted."""
        found, stack = [], [node]
        while stack:
            node = stack.pop()
            if node < self.rows:
                found.append(node)
            else:
                stack.extend(self.children[node - self.rows].tolist())
        return np.sort(np.array(found, np.int64))

    def standing_out(self) -> list[int]:
        """The disjoint nodes with the largest log size x log contrast on each way from a row to its root."""
        best = np.zeros(len(self.height))
        chosen = np.zeros(len(self.height), bool)
        own = np.log(self.size[self.rows :]) * np.log(self.outside[self.rows :] / self.height[self.rows :])
        for i, (left, right) in enumerate(self.children.tolist()):
            below = max(best[left], best[right])
            chosen[self.rows + i] = own[i] >= below
            best[self.rows + i] = max(own[i], below)
        found, stack = [], self.roots.tolist()
        while stack:
            node = stack.pop()
            if chosen[node]:
                found.append(node)
            elif node >= self.rows:
                stack.extend(self.children[node - self.rows].tolist())
        return sorted(found)


# --- the three questions ----------------------------------------------------------------------------------------------


def significance(
    found: list[Cluster], contradiction: Callable[[Cluster], float], n: int, m: int, favours: Callable[[Cluster], bool]
) -> Floats:
    """Per cluster: how probable it is that `n` honest rows beside `m` trusted ones show any cluster at least so strange."""
    share = n / (n + m)
    spread = _overdispersion(found, share)
    honest = [c for c in found if (c.trusted > 0 if m else favours(c))]
    sizes, contrasts = np.array([c.size for c in honest], float), np.array([c.contrast for c in honest])
    out = np.ones(len(found))
    for i, cluster in enumerate(found):
        others = np.array([c is not cluster for c in honest], bool)
        parts = [closeness(cluster, sizes[others], contrasts[others]), contradiction(cluster)]
        if m:
            parts.append(_share(cluster, share, spread))
        out[i] = min(1.0, len(found) * product_p(parts))
    return np.maximum(out, np.finfo(float).tiny)


def closeness(cluster: Cluster, sizes: Floats, contrasts: Floats) -> float:
    """Conformal p-value of a cluster among honest ones: the share that is at least as large and stands out as far.

    Beyond the honest ones the tail goes on as their contrasts do (exponentially) or as natural multiplicities do at most
    (Zipf: P(size >= s) ~ 1/s), whichever is stronger.
    """
    as_large, as_far = sizes >= cluster.size, contrasts >= cluster.contrast
    p = (1.0 + (as_large & as_far).sum()) / (1.0 + len(sizes))
    if not len(sizes) or (as_large & as_far).any():
        return float(p)
    reach = contrasts[as_large].max(initial=0.0)
    by_contrast = np.exp(-(cluster.contrast - reach) / max(contrasts.mean(), 1e-12))
    by_size = sizes[as_far].max(initial=1.0) / cluster.size
    return float(p * min(1.0, by_contrast, by_size))


def _share(cluster: Cluster, share: float, spread: float) -> float:
    if spread <= 0:
        return float(binom.sf(cluster.delivered - 1, cluster.size, share))
    weight = 1 / spread - 1
    # summed from the tail: one minus the distribution function loses what is smaller than its rounding
    so_many = np.arange(cluster.delivered, cluster.size + 1)
    return float(min(1.0, betabinom.pmf(so_many, cluster.size, share * weight, (1 - share) * weight).sum()))


def _overdispersion(found: list[Cluster], share: float) -> float:
    """Correlation of delivered against trusted within honest clusters: what drift adds to chance (0 where nothing drifted)."""
    known = [c for c in found if c.trusted > 0 and c.delivered > 0]
    size = np.array([c.size for c in known], float)
    if not len(size) or share >= 1:
        return 0.0
    delivered = np.array([c.delivered for c in known], float)
    excess = (delivered - size * share) ** 2 - size * share * (1 - share)
    return float(np.clip(excess.sum() / (size * (size - 1) * share * (1 - share)).sum(), 0.0, 0.5))


def product_p(parts: list[float]) -> float:
    """Fisher's p-value of independent p-values.

    >>> round(product_p([0.01, 0.01]), 5)
    0.00102
    """
    return float(gammaincc(len(parts), -np.log(np.maximum(parts, 1e-300)).sum()))


class _Support:
    """What rows outside a cluster say of its label."""

    def __init__(self, features: Features, view: tuple[NDArray[np.float32], NeighbourGraph], found: list[Cluster]) -> None:
        self.features = features
        y = np.concatenate([features.y, features.trusted_y])
        # one vote per cluster: copies do not vote for each other, nor one flood against another
        voters = np.ones(len(y), bool)
        for cluster in found:
            if cluster.contrast > 0 and not cluster.trusted:
                voters[cluster.members[1:]] = False
        voters &= y >= 0
        if not features.cold:
            voters[: len(features)] = False
        at = np.flatnonzero(voters)
        rows = view[0]
        self.votes = {}
        asked = [c for c in found if c.delivered]
        middle = [int(c.members[((rows[c.members] - rows[c.members].mean(axis=0)) ** 2).sum(axis=1).argmin()]) for c in asked]
        near = nearest(rows[middle], rows[at], _VOTERS + 1, seed=features.seed)
        for cluster, hits, i in zip(asked, near.index, middle, strict=True):
            seen = at[hits[hits >= 0]]
            self.votes[id(cluster)] = np.bincount(y[seen[seen != i][:_VOTERS]], minlength=len(features.labels))
        honest = nearest(rows[at], rows[at], _VOTERS, same=True, seed=features.seed).index
        cast = np.where(honest >= 0, y[at][honest], -1)
        self.reference = np.sort((cast == y[at][:, None]).sum(axis=1))

    def p_value(self, cluster: Cluster) -> float:
        """How often an honest label has at most so many votes."""
        if id(cluster) not in self.votes:
            return 1.0
        own = self.votes[id(cluster)][cluster.label]
        return float((1 + np.searchsorted(self.reference, own, side="right")) / (1 + len(self.reference)))

    def favours(self, cluster: Cluster) -> bool:
        """The outside gives the cluster's label more votes than any other."""
        votes = self.votes.get(id(cluster))
        return votes is None or int(votes.argmax()) == cluster.label

    def sentence(self, cluster: Cluster) -> str:
        """What a person reads."""
        labels, votes = self.features.labels, self.votes[id(cluster)]
        rival = int(votes.argmax())
        text = f"one of {cluster.delivered} near-copies of one another, all labelled {labels[cluster.label]}"
        if rival != cluster.label:
            kind = "rows outside" if self.features.cold else "trusted rows"
            text += f", while {votes[rival]} of the {votes.sum()} nearest {kind} are {labels[rival]}"
        if not self.features.cold:
            text += f"; trusted rows have {cluster.trusted} such copies"
        return text
