"""Shilling: made-up users whose ratings push or nuke one item (Lam & Riedl 2004; Mobasher et al. 2007)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sanitizer.drills.base import Data, Poisoned, Rng, Roles, count, generator, interleave
from sanitizer.errors import UsageError

STYLES = ("random", "average", "bandwagon", "love-hate", "popular")
VARIANTS = tuple(f"{style}-{aim}" for style in STYLES for aim in ("push", "nuke"))


def shilling(data: Data, _roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """Add attack profiles, `rate` of the number of users, to a table `user, item, rating[, timestamp]`.

    Besides its target each profile rates fillers: `random` around the mean of all ratings, `average` around each item's own
    mean, `bandwagon` also the best known items with the top mark, `love-hate` the fillers with the opposite mark, `popular` fillers
    that are chosen as often as honest users choose them.  The number of ratings, the time stamps and the scale are borrowed
    from honest users.  `mask` speaks of ratings; `units("user")` of users.
    """
    needed = ("user", "item", "rating")
    if not isinstance(data, pd.DataFrame) or any(name not in data for name in needed):
        raise UsageError(f"shilling needs a table with columns {', '.join(needed)}", subject="shilling")
    if data["item"].nunique() < 4 or data["user"].nunique() < 2:
        raise UsageError("shilling needs at least four items and two users", subject="shilling")
    rng = generator("shilling", seed)
    style, _, aim = variant.rpartition("-")
    items = data.groupby("item", observed=True)["rating"].agg(["mean", "size"]).sort_values("size", kind="stable")
    third = max(1, len(items) // 3)
    rare = items.index[third : 2 * third] if style == "popular" else items.index[:third]
    target = rare[int(rng.integers(len(rare)))]
    lengths = data.groupby("user", observed=True).size().to_numpy()
    users = _unused(data["user"], count(rate, len(lengths)), rng)
    profiles = [
        _profile(data, items, target, rng, style=style, aim=aim, length=int(rng.choice(lengths))).assign(user=user) for user in users
    ]
    added = pd.concat(profiles, ignore_index=True)[list(data.columns)]
    added = added.astype(data.dtypes.to_dict())
    poisoned, mask, origin = interleave(data, added, rng)
    return Poisoned(poisoned, mask, origin, "shilling", variant, {"item": str(target), "users": [str(user) for user in users]})


def _profile(data: pd.DataFrame, items: pd.DataFrame, target: Any, rng: Rng, *, style: str, aim: str, length: int) -> pd.DataFrame:
    scale = np.unique(data["rating"])
    top, bottom = scale[-1], scale[0]
    others = items.drop(index=target)
    weight = others["size"] / others["size"].sum() if style == "popular" else None
    fillers = rng.choice(np.arange(len(others)), min(max(length - 1, 1), len(others)), replace=False, p=weight)
    spread = float(data["rating"].std())
    if style == "love-hate":
        marks = np.full(len(fillers), bottom if aim == "push" else top, np.float64)
    elif style in ("average", "popular"):
        marks = rng.normal(others["mean"].to_numpy()[fillers], spread / 2)
    else:
        marks = rng.normal(float(data["rating"].mean()), spread, len(fillers))
    if style == "bandwagon":
        known = np.arange(len(others))[-max(2, len(others) // 100) :]
        marks = np.r_[marks[~np.isin(fillers, known)], np.full(len(known), top)]
        fillers = np.r_[fillers[~np.isin(fillers, known)], known]
    rated = others.index[fillers].append(pd.Index([target]))
    marks = np.r_[marks, top if aim == "push" else bottom]
    order = rng.permutation(len(rated))
    nearest = scale[np.abs(marks[:, None] - scale).argmin(axis=1)]
    profile = pd.DataFrame({"item": rated[order], "rating": nearest[order]})
    for name in data.columns:
        if name not in ("user", "item", "rating"):
            profile[name] = _session(data, str(name), len(profile), rng)
    return profile


def _session(data: pd.DataFrame, name: str, length: int, rng: Rng) -> NDArray[Any]:
    """Time stamps (or any further column) as one honest user has them, stretched to `length`."""
    users = data["user"].unique()
    honest = data.loc[data["user"] == users[int(rng.integers(len(users)))], name].to_numpy()
    return np.sort(honest[rng.integers(len(honest), size=length)])


def _unused(users: pd.Series, wanted: int, rng: Rng) -> list[Any]:
    """New user names that look like the old ones: numbers of the same range, or old names with two characters of other names."""
    taken = set(users)
    fresh: list[Any] = []
    numbers = pd.api.types.is_integer_dtype(users.dtype)
    low, high = (int(users.min()), int(users.max())) if numbers else (0, 0)
    names = sorted(map(str, taken))
    while len(fresh) < wanted:
        if numbers:
            name: Any = int(rng.integers(low, max(high, low + len(taken)) + 2 * wanted + 1))
        else:
            stem, donor = (names[int(rng.integers(len(names)))] for _ in range(2))
            at = int(rng.integers(len(stem) + 1))
            name = stem[:at] + donor[at:] + str(rng.integers(10))
        if name not in taken:
            taken.add(name)
            fresh.append(name)
    return fresh
