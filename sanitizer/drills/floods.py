"""Duplicate floods: many near-copies of few rows, so that a model sees one wrong label again and again."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sanitizer.drills.base import Data, Labels, Poisoned, Rng, Roles, count, draw, generator, interleave, numeric_columns, size, take


def duplicate_flood(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str, originals: int = 3) -> Poisoned:
    """Add `rate` times the rows as copies of `originals` rows; all copies of a row carry the same wrong label."""
    rng = generator("duplicate_flood", seed)
    labels = Labels.of(data, roles.label, family="duplicate_flood")
    copied = draw(np.flatnonzero(labels.codes >= 0), originals, rng)
    wrong = labels.other(labels.codes[copied], rng)
    which = np.sort(np.arange(count(rate, size(data))) % len(copied))  # equal shares
    copies = take(data, copied[which])
    if variant == "near":
        copies = jittered(copies, data, rng, without=roles.names)
    copies = labels.relabelled(copies, np.arange(len(which)), wrong[which])
    poisoned, mask, origin = interleave(data, copies, rng)
    facts = {"copied": copied.tolist(), "label": [str(name) for name in labels.values(wrong)]}
    return Poisoned(poisoned, mask, origin, "duplicate_flood", variant, facts)


def jittered(copies: Data, data: Data, rng: Rng, *, without: tuple[str, ...]) -> Data:
    """Near-copies: numbers moved by 1 % of a spread to a value their column has, pixels by two grey levels, two words swapped."""
    if not isinstance(copies, pd.DataFrame):
        out = dict(copies)
        if "image" in out:
            out["image"] = np.clip(out["image"].astype(np.int16) + rng.integers(-2, 3, out["image"].shape), 0, 255).astype(np.uint8)
        if "embedding" in out:
            noise = 0.01 * np.asarray(data["embedding"]).std(axis=0) * rng.standard_normal(out["embedding"].shape)
            out["embedding"] = (out["embedding"] + noise).astype(out["embedding"].dtype)
        return out
    assert isinstance(data, pd.DataFrame)
    cells = {}
    for name in numeric_columns(copies, without=without):
        grid = np.unique(data[name].dropna().to_numpy(np.float64))
        moved = copies[name].to_numpy(np.float64, na_value=np.nan) + 0.01 * grid.std() * rng.standard_normal(len(copies))
        cells[name] = pd.Series(_nearest(moved, grid), index=copies.index).where(copies[name].notna()).astype(copies[name].dtype)
    if "text" in copies:
        swapped = [None if pd.isna(text) else _swapped(str(text), rng) for text in copies["text"]]
        cells["text"] = pd.Series(swapped, index=copies.index).astype(copies["text"].dtype)
    return copies.assign(**cells)


def _nearest(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest member of a sorted grid; an odd decimal would betray a copy."""
    if not len(grid):
        return values
    above = np.clip(np.searchsorted(grid, values), 0, len(grid) - 1)
    below = np.clip(above - 1, 0, None)
    return np.where(np.abs(grid[below] - values) <= np.abs(grid[above] - values), grid[below], grid[above])


def _swapped(text: str, rng: Rng) -> str:
    words = text.split(" ")
    if len(words) > 3:
        at = int(rng.integers(len(words) - 1))
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words) + "." * int(rng.integers(3))
