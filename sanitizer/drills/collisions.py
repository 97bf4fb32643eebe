"""Feature collisions: rows with their honest label that lie, for a network, where a victim of another class lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from sanitizer.drills.base import Data, Labels, Poisoned, Roles, count, draw, generator, marked, numeric_columns, replace, size, take
from sanitizer.errors import UsageError


def feature_collision(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str, outside: Data | None = None) -> Poisoned:
    """Move rows of one class, in feature space, onto a victim of another; no label changes.

    `collision` brings each poison onto the victim (Shafahi et al. 2018, forward-backward splitting, a box around each cell),
    `polytope` only the mean of all poisons, each keeping its own offset (bullseye polytope, Aghakhani et al. 2021).  The
    victim comes from `outside`, rows that are never delivered; without them, from the data.
    """
    rng = generator("feature_collision", seed)
    labels = Labels.of(data, roles.label, family="feature_collision")
    rows = _matrix(data, roles)
    if not rows.shape[1]:
        raise UsageError("feature_collision needs numeric columns, pictures or embeddings", subject="feature_collision")
    encoder = Encoder.fitted(rows, labels.codes, seed=int(rng.integers(2**31)))
    features = encoder(rows)
    means = np.stack([features[labels.rows(code)].mean(axis=0) for code in range(len(labels.classes))])
    cover = int(rng.choice(np.flatnonzero(labels.counts >= 4)))
    apart = np.linalg.norm(means - means[cover], axis=1)
    apart[cover] = np.inf
    victim_class = int(apart.argmin())
    chosen = draw(labels.rows(cover), min(count(rate, size(data)), int(labels.counts[cover]) // 2), rng)
    stock = data if outside is None else outside
    codes = pd.Index(labels.classes).get_indexer(pd.Index(np.asarray(stock[labels.column])))
    candidates = np.flatnonzero(codes == victim_class)
    if not len(candidates):
        raise UsageError("feature_collision: no victim of another class among the rows given as `outside`", subject="feature_collision")
    victims = encoder(_matrix(take(stock, candidates), roles))
    # an attacker picks a victim that is within reach, though not the nearest: that one is misread anyway
    reach = np.linalg.norm(victims - means[cover], axis=1)
    goal = np.tile(victims[np.argsort(reach)[len(reach) // 10]], (len(chosen), 1))
    if variant == "polytope":
        own = features[chosen]
        goal = goal + 0.5 * (own - own.mean(axis=0))
    moved = _collided(rows[chosen], goal, encoder, *_box(data, rows, chosen))
    poisoned = replace(data, chosen, _written(take(data, chosen), moved, roles))
    facts = {"label": str(labels.values(np.array([cover]))[0]), "victim": str(labels.values(np.array([victim_class]))[0])}
    return Poisoned(poisoned, marked(size(data), chosen), np.arange(size(data)), "feature_collision", variant, facts)


@dataclass(frozen=True)
class Encoder:
    """The hidden layer of a small network fitted on the attacker's copy: relu(standardised rows @ weights + bias)."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fitted(cls, rows: NDArray[np.float64], codes: NDArray[np.int64], *, seed: int, units: int = 32, epochs: int = 30) -> Encoder:
        """Train it; the number of epochs is fixed, so a data set that is hard to learn takes no longer."""
        scale = rows.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        standard = (rows - rows.mean(axis=0)) / scale
        network = MLPClassifier((units,), alpha=0.01, batch_size=min(200, len(rows)), random_state=seed)
        for _ in range(epochs):
            network.partial_fit(standard, codes, classes=np.unique(codes))
        return cls(rows.mean(axis=0), scale, network.coefs_[0], network.intercepts_[0])

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features, shape (n, units)."""
        return np.maximum((rows - self.mean) / self.scale @ self.weights + self.bias, 0.0)


def _collided(
    start: NDArray[np.float64],
    goal: NDArray[np.float64],
    encoder: Encoder,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    steps: int = 200,
    stay: float = 0.02,
) -> NDArray[np.float64]:
    """Forward-backward splitting in standardised units: a gradient step towards `goal`, a pull back to the start, the box."""
    rate = 1.0 / np.linalg.norm(encoder.weights, 2) ** 2
    rows = start
    for _ in range(steps):
        standard = (rows - encoder.mean) / encoder.scale
        drive = standard @ encoder.weights + encoder.bias
        slope = ((np.maximum(drive, 0.0) - goal) * np.where(drive > 0, 1.0, 0.1)) @ encoder.weights.T  # a leak, or a dead unit never wakes
        forward = (standard - rate * slope) * encoder.scale + encoder.mean
        rows = np.clip((forward + stay * start) / (1 + stay), low, high)
    return rows


def _box(data: Data, rows: NDArray[np.float64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a person does not see: 32 grey levels, or one standard deviation, and never outside the range of the column."""
    budget = np.full(rows.shape[1], 32.0) if "image" in data else rows.std(axis=0)
    least, most = (0.0, 255.0) if "image" in data else (rows.min(axis=0), rows.max(axis=0))
    return np.maximum(rows[chosen] - budget, least), np.minimum(rows[chosen] + budget, most)


def _matrix(data: Data, roles: Roles) -> NDArray[np.float64]:
    if isinstance(data, pd.DataFrame):
        cells = data[numeric_columns(data, without=roles.names)].astype("float64")
        return cells.fillna(cells.median()).to_numpy(np.float64)
    key = next((name for name in ("image", "embedding") if name in data), None)
    return np.empty((size(data), 0)) if key is None else data[key].reshape(size(data), -1).astype(np.float64)


def _written(data: Data, moved: NDArray[np.float64], roles: Roles) -> Data:
    """The moved numbers in the columns they came from, whole where the column is whole; missing cells stay missing."""
    if isinstance(data, pd.DataFrame):
        cells = {}
        for name, values in zip(numeric_columns(data, without=roles.names), moved.T, strict=True):
            whole = np.rint(values) if pd.api.types.is_integer_dtype(data[name].dtype) else values
            cells[name] = pd.Series(whole, index=data.index).where(data[name].notna()).astype(data[name].dtype)
        return data.assign(**cells)
    key = "image" if "image" in data else "embedding"
    values = np.clip(np.rint(moved), 0, 255) if key == "image" else moved
    return {**data, key: values.reshape(data[key].shape).astype(data[key].dtype)}
