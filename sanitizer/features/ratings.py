"""Ratings as a matrix of users and items, and what a profile looks like beside those of trusted users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds

from sanitizer.samples import UnverifiedSamples

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TASTES = 10  # directions of what is rated together


@dataclass(frozen=True, eq=False)
class Log:
    """One entry per rating: codes of the user (0..users-1) and of the item (0..items-1), and the rating."""

    user: Ints
    item: Ints
    rating: Floats
    users: int
    items: int

    def of(self, users: Ints) -> Log:
        """The ratings of some users (sorted codes), who are numbered anew."""
        at = np.minimum(np.searchsorted(users, self.user), max(len(users) - 1, 0))
        kept = users[at] == self.user if len(users) else np.zeros(len(self.user), bool)
        return Log(at[kept], self.item[kept], self.rating[kept], len(users), self.items)


def logs(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> tuple[Log, Log, tuple[str, ...]]:
    """Delivered and trusted ratings over one vocabulary of items; users in sorted order, an item is counted once per user."""
    frames = [
        s.table.select(["user", "item", "rating"]).to_pandas().drop_duplicates(["user", "item"])
        for s in (samples, trusted)
        if s is not None
    ]
    names, both = np.unique(np.concatenate([f["item"].astype(str).to_numpy(dtype=object) for f in frames]).astype(str), return_inverse=True)
    out, start = [], 0
    for frame in frames:
        users, user = np.unique(frame["user"].to_numpy(), return_inverse=True)
        item = both[start : start + len(frame)]
        rating = np.nan_to_num(frame["rating"].to_numpy(float))
        out.append(Log(user.astype(np.int64), item.astype(np.int64), rating, len(users), len(names)))
        start += len(frame)
    if trusted is None:
        out.append(Log(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), 0, len(names)))
    return out[0], out[1], tuple(names.tolist())


class Habits:
    """What some trusted users rate, how, and together with what; `profiles` describes others by it."""

    def __init__(self, known: Log) -> None:
        self.low, self.high = (float(known.rating.min()), float(known.rating.max())) if len(known.rating) else (0.0, 1.0)
        self.middle = float(known.rating.mean()) if len(known.rating) else 0.0
        self.spread = float(known.rating.std()) or 1.0
        self.seen = np.bincount(known.item, minlength=known.items).astype(float)
        total = np.bincount(known.item, weights=known.rating, minlength=known.items)
        self.mean = (total + 2 * self.middle) / (self.seen + 2)
        # rare items weigh as much as common ones, so that taste, not fame, sets the directions
        self.weight = 1 / np.sqrt(self.seen + 5)
        matrix = csr_matrix((np.ones(len(known.item)), (known.user, known.item)), shape=(known.users, known.items)) @ diags(self.weight)
        wide = min(_TASTES, min(matrix.shape) - 1)
        start = np.ones(min(matrix.shape)) if min(matrix.shape) else np.ones(1)
        self.tastes = svds(matrix, wide, v0=start)[2].T if wide >= 1 and matrix.nnz else np.zeros((known.items, 1))

    def profiles(self, log: Log) -> Floats:
        """One row of figures per user."""
        u, r = log.user, log.rating
        count = np.maximum(np.bincount(u, minlength=log.users), 1.0)

        def mean(values: Floats) -> Floats:
            out: Floats = np.bincount(u, weights=values, minlength=log.users) / count
            return out

        bias = mean(r - self.mean[log.item])
        off = r - self.mean[log.item]
        fame = np.log1p(self.seen[log.item])
        level, average, fame_mean = mean(r), mean(self.mean[log.item]), mean(fame)
        spread = np.sqrt(np.maximum(mean(r**2) - level**2, 0))
        ordinary = np.sqrt(np.maximum(mean(self.mean[log.item] ** 2) - average**2, 0))
        along = mean((r - level[u]) * (self.mean[log.item] - average[u])) / (spread * ordinary + 1e-3)
        rarity = 1 / (1 + self.seen[log.item])
        matrix = csr_matrix((np.ones(len(u)), (u, log.item)), shape=(log.users, log.items)) @ diags(self.weight)
        power = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel() + 1e-12
        shared = np.asarray(matrix @ self.tastes) ** 2
        famous_top = mean(((r >= self.high) & (self.seen[log.item] >= np.quantile(self.seen, 0.98))).astype(float))
        columns = [
            np.log(count), level, spread, mean((r >= self.high).astype(float)), mean((r <= self.low).astype(float)), mean(np.abs(off)),
            np.sqrt(np.maximum(mean(off**2) - bias**2, 0)), bias, along, fame_mean,
            np.sqrt(np.maximum(mean(fame**2) - fame_mean**2, 0)), mean((self.seen[log.item] <= 2).astype(float)),
            mean(np.abs(off) * rarity), mean(off**2 * rarity), shared.sum(axis=1) / power, shared[:, :-1].sum(axis=1) / power, famous_top,
        ]  # fmt: skip
        return np.stack(columns, axis=1)
