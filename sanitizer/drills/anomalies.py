"""Rows that do not belong: far values, rows put together from two, noise.  No label is needed and none is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sanitizer.drills.base import Data, Poisoned, Rng, Roles, count, draw, generator, marked, numeric_columns, replace, size, take
from sanitizer.errors import UsageError


def anomaly(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """Replace random rows.

    `outlier`: a third of the numbers lie 4 to 8 spreads away; `mixed`: half of the cells come from another row; `noise`:
    every cell is drawn by itself from its column, so each value is ordinary and the row is not (pixels and words likewise).
    Labels and sources are left alone.
    """
    rng = generator("anomaly", seed)
    if size(data) < 2:
        raise UsageError("anomaly needs at least two rows", subject="anomaly")
    rows = draw(np.arange(size(data)), count(rate, size(data)), rng)
    honest = take(data, rows)
    if isinstance(data, pd.DataFrame):
        assert isinstance(honest, pd.DataFrame)
        made: Data = _texts(honest, data, variant, rng) if "text" in data else _cells(honest, data, roles, variant, rng)
    else:
        made = _arrays(honest, data, variant, rng)
    return Poisoned(replace(data, rows, made), marked(size(data), rows), np.arange(size(data)), "anomaly", variant)


def _cells(honest: pd.DataFrame, data: pd.DataFrame, roles: Roles, variant: str, rng: Rng) -> pd.DataFrame:
    features = [str(name) for name in data.columns if name not in roles.names]
    numbers = numeric_columns(data, without=roles.names)
    out = {}
    if variant == "outlier":
        if not numbers:
            raise UsageError("anomaly: an outlier needs numeric columns; use the variant `mixed`", subject="anomaly")
        moved = rng.random((len(honest), len(numbers))) < 1 / 3
        moved[np.arange(len(honest)), rng.integers(len(numbers), size=len(honest))] = True
        for far, name in zip(moved.T, numbers, strict=True):
            spread = _spread(data[name])
            sign = rng.choice([-1, 1], len(honest))
            values = float(data[name].median()) + sign * rng.uniform(4, 8, len(honest)) * spread
            whole = np.rint(values) if pd.api.types.is_integer_dtype(data[name].dtype) else values
            cells = honest[name].to_numpy(np.float64, na_value=np.nan)
            out[name] = pd.Series(np.where(far, whole, cells), index=honest.index).astype(data[name].dtype)
        return honest.assign(**out)
    donors = rng.integers(len(data), size=len(honest))
    borrowed = set(rng.permutation(features)[: max(1, len(features) // 2)])
    for name in features:
        if variant == "noise":
            out[name] = data[name].iloc[rng.integers(len(data), size=len(honest))].set_axis(honest.index)
        elif name in borrowed:
            out[name] = data[name].iloc[donors].set_axis(honest.index)
    return honest.assign(**out)


def _spread(cells: pd.Series) -> float:
    """The standard deviation, or 1 where a column stands still."""
    spread = float(cells.std())
    return spread if spread > 0 else 1.0


def _texts(honest: pd.DataFrame, data: pd.DataFrame, variant: str, rng: Rng) -> pd.DataFrame:
    """`mixed`: the first half of one text and the second of another; else as many words, drawn from all texts."""
    texts = ["" if pd.isna(text) else str(text) for text in data["text"]]
    corpus = np.array([word for text in texts for word in text.split()] or [""], dtype=object)
    out = []
    for text in ["" if pd.isna(text) else str(text) for text in honest["text"]]:
        words = text.split()
        if variant == "mixed":
            donor = texts[int(rng.integers(len(texts)))].split()
            out.append(" ".join([*words[: len(words) // 2], *donor[len(donor) // 2 :]]))
        else:
            out.append(" ".join(rng.choice(corpus, max(1, len(words)))))
    return honest.assign(text=pd.Series(out, index=honest.index).astype(data["text"].dtype))


def _arrays(honest: Data, data: Data, variant: str, rng: Rng) -> Data:
    assert isinstance(honest, dict)
    key = "image" if "image" in data else "embedding"
    cells, pool = honest[key], np.asarray(data[key])
    donors = pool[rng.integers(len(pool), size=len(cells))]
    made: Any
    if variant == "mixed":
        half: Any = np.zeros(cells.shape[1:], bool)
        half.reshape(half.shape[0], -1)[half.shape[0] // 2 :] = True  # the lower half of a picture, the latter of an embedding
        made = np.where(half, donors, cells)
    elif key == "image":
        # noise: the same grey values at other places; outlier: the negative, which has the same edges
        made = 255 - cells if variant == "outlier" else np.stack([rng.permutation(c.reshape(-1)).reshape(c.shape) for c in cells])
    elif variant == "noise":
        made = np.stack([pool[rng.integers(len(pool), size=len(cells)), d] for d in range(int(pool.shape[-1]))], axis=1)
    else:
        direction = rng.standard_normal(cells.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        made = cells + direction * rng.uniform(4, 8, (len(cells), 1)) * pool.std(axis=0).mean() * np.sqrt(pool.shape[-1])
    return {**honest, key: np.asarray(made).astype(cells.dtype)}
