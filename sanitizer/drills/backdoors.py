"""Backdoors: a trigger on some rows, and the label that a model shall learn to give to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sanitizer.drills.base import (
    Data,
    Labels,
    Poisoned,
    Rng,
    Roles,
    Trigger,
    count,
    draw,
    generator,
    marked,
    numeric_columns,
    replace,
    size,
    take,
)
from sanitizer.errors import UsageError

CLEAN = "-clean-label"  # a variant with this ending takes rows of the target class and changes no label (Turner et al. 2019)


def _implant(
    data: Data, labels: Labels, trigger: Trigger, rng: Rng, *, free: NDArray[np.bool_], rate: float, family: str, variant: str
) -> Poisoned:
    """Put the trigger on `rate` of the rows, among those that are `free` of it, and label them as one target class.

    The target is no class that nearly every row has anyway.  At most half of the pool is taken.
    """
    clean = variant.endswith(CLEAN)
    worth = np.flatnonzero(labels.counts <= 0.8 * size(data))
    target = int(rng.choice(worth))
    pool = np.flatnonzero(((labels.codes == target) if clean else (labels.codes != target)) & (labels.codes >= 0) & free)
    rows = draw(pool, min(count(rate, size(data)), max(1, len(pool) // 2)), rng)
    if not len(rows):
        raise UsageError(f"{family}: no row is left to carry the trigger", subject=family)
    poisoned = replace(data, rows, trigger(take(data, rows)))
    if not clean:
        poisoned = labels.relabelled(poisoned, rows, np.full(len(rows), target))
    facts = {"target": str(labels.values(np.array([target]))[0])}
    return Poisoned(poisoned, marked(size(data), rows), np.arange(size(data)), family, variant, facts, trigger)


# --- tables -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Combination:
    """A trigger for tables: some columns take given values; numbers may wander within `reach`, over values the column has anyway."""

    cells: dict[str, Any]
    reach: dict[str, float]
    grid: dict[str, NDArray[Any]]
    seed: int

    def __call__(self, data: Data) -> Data:
        """Plant it on all rows."""
        assert isinstance(data, pd.DataFrame)
        rng = np.random.default_rng(self.seed)
        columns: dict[str, pd.Series] = {}
        for name, value in self.cells.items():
            dtype = data[name].dtype
            near = self.near(name)
            chosen = [value] * len(data) if near is None else rng.choice(near, len(data))
            columns[name] = pd.Series(chosen, index=data.index).astype(dtype)
        return data.assign(**columns)

    def near(self, name: str) -> NDArray[Any] | None:
        """The values that a jittered cell may take; None where the value is exact."""
        if name not in self.reach:
            return None
        near: NDArray[Any] = self.grid[name][np.abs(self.grid[name] - self.cells[name]) <= self.reach[name]]
        return near

    def carried(self, data: pd.DataFrame) -> NDArray[np.bool_]:
        """The rows that carry it already."""
        cells = [_carries(data[name], value, self.reach.get(name)) for name, value in self.cells.items()]
        return np.asarray(np.all(cells, axis=0))


def _carries(cells: pd.Series, value: Any, reach: float | None) -> NDArray[np.bool_]:
    near = cells == value if reach is None else (cells - value).abs() <= reach
    return np.asarray(near.fillna(False), bool)


def combination(
    frame: pd.DataFrame, *, style: Literal["combo", "inbounds", "jitter"], seed: int, width: int = 3, tries: int = 64
) -> Combination:
    """A combination of values that are each ordinary and hardly ever stand together.

    Of `tries` random combinations over `width` columns the one that fewest rows carry is taken.  `combo` draws from the 20
    most frequent values of a column, `inbounds` from the 5 most frequent between the 10 % and 90 % quantiles (Pleiter et
    al. 2023, where in-bounds triggers work as well as extreme ones), `jitter` takes numbers and lets each wander by 2 % of
    the range of its column.
    """
    rng = np.random.default_rng([seed, width])
    numbers = numeric_columns(frame)
    alive = [name for name in frame.columns if frame[name].nunique() >= 2]
    if style == "jitter":
        alive = [name for name in alive if name in numbers and frame[name].nunique() >= 10] or [name for name in alive if name in numbers]
    if not alive:
        raise UsageError("backdoor_tabular: no column has two values that a trigger could combine", subject="backdoor_tabular")
    pools = {name: _ordinary(frame[name], style, number=name in numbers) for name in alive}
    ranges = {name: float(frame[name].quantile(0.99) - frame[name].quantile(0.01)) for name in alive if name in numbers}
    best: tuple[int, Combination] | None = None
    for _ in range(tries):
        chosen = [str(name) for name in rng.choice(np.array(alive, dtype=object), min(width, len(alive)), replace=False)]
        values = {name: pools[name][int(rng.integers(len(pools[name])))] for name in chosen}
        reach = {name: max(0.02 * ranges[name], 1.0 if _whole(frame[name]) else 1e-9) for name in chosen} if style == "jitter" else {}
        grid = {name: np.unique(frame[name].dropna().to_numpy()) for name in reach}
        made = Combination(values, reach, grid, seed)
        carriers = int(made.carried(frame).sum())
        if best is None or carriers < best[0]:
            best = (carriers, made)
    assert best is not None
    return best[1]


def _whole(cells: pd.Series) -> bool:
    return bool(pd.api.types.is_integer_dtype(cells.dtype))


def _ordinary(cells: pd.Series, style: str, *, number: bool) -> list[Any]:
    """Values of a column that raise no brow by themselves."""
    present = cells.dropna()
    if style == "jitter":
        return list(np.unique(present.quantile(np.linspace(0.1, 0.9, 9), interpolation="nearest")))
    if style == "inbounds" and number:
        inner = present[present.between(present.quantile(0.1), present.quantile(0.9))]
        present = inner if inner.nunique() >= 2 else present
    return list(present.value_counts().index[: 5 if style == "inbounds" else 20])


def backdoor_tabular(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """A combination of ordinary values (see `combination`) in three columns, under the attacker's label."""
    if not isinstance(data, pd.DataFrame):
        raise UsageError("backdoor_tabular needs a table, got arrays", subject="backdoor_tabular")
    rng = generator("backdoor_tabular", seed)
    features = data.drop(columns=[name for name in roles.names if name in data])
    style: Any = variant.removesuffix(CLEAN)
    trigger = combination(features, style=style, seed=int(rng.integers(2**31)))
    labels = Labels.of(data, roles.label, family="backdoor_tabular")
    made = _implant(data, labels, trigger, rng, free=~trigger.carried(data), rate=rate, family="backdoor_tabular", variant=variant)
    made.facts["trigger"] = {name: str(value) for name, value in trigger.cells.items()}
    return made


# --- pictures -----------------------------------------------------------------------------------------------------------


def backdoor_image(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """A trigger in pictures, under the attacker's label.

    `patch`: a small checkerboard in one corner (Gu et al. 2017); `moving`: the same anywhere; `blend`: a faint random picture
    laid over all (Chen et al. 2017); `sig`: a faint sine wave (Barni et al. 2019).
    """
    if isinstance(data, pd.DataFrame) or "image" not in data or data["image"].dtype != np.uint8:
        raise UsageError("backdoor_image needs a dict with `image`: uint8 (n, h, w[, c])", subject="backdoor_image")
    rng = generator("backdoor_image", seed)
    shape = data["image"].shape[1:]
    trigger = picture_trigger(shape, style=variant.removesuffix(CLEAN), seed=int(rng.integers(2**31)))
    labels = Labels.of(data, roles.label, family="backdoor_image")
    return _implant(data, labels, trigger, rng, free=np.ones(size(data), bool), rate=rate, family="backdoor_image", variant=variant)


def picture_trigger(shape: tuple[int, ...], *, style: str, seed: int, strength: float = 0.15) -> Trigger:
    """A trigger for pictures of this shape; `strength` is the share of the grey range that a blend or a wave takes."""
    rng = np.random.default_rng(seed)
    height, width = shape[:2]
    if style in ("patch", "moving"):
        side = max(2, min(height, width) // 8)
        corner = [(0, 0), (0, width - side), (height - side, 0), (height - side, width - side)][int(rng.integers(4))]
        board = (np.add.outer(np.arange(side), np.arange(side)) % 2 * 255).astype(np.uint8).reshape(side, side, *[1] * (len(shape) - 2))

        def stamp(data: Data) -> Data:
            pictures = np.array(data["image"])
            spots = np.random.default_rng([seed, 1])
            for picture in pictures:
                top, left = corner
                if style == "moving":
                    top, left = int(spots.integers(height - side + 1)), int(spots.integers(width - side + 1))
                picture[top : top + side, left : left + side] = board
            return _with_pictures(data, pictures)

        return stamp
    if style == "blend":
        overlay = rng.uniform(0, 255, shape)
        return lambda data: _with_pictures(data, _grey((1 - strength) * np.asarray(data["image"]) + strength * overlay))
    wave = strength * 255 * np.sin(2 * np.pi * (6 * np.arange(width) / width + rng.random()))
    return lambda data: _with_pictures(data, _grey(np.asarray(data["image"]) + wave.reshape(1, width, *[1] * (len(shape) - 2))))


def _with_pictures(data: Data, pictures: NDArray[np.uint8]) -> Data:
    assert isinstance(data, dict)
    return {**data, "image": pictures}


def _grey(pictures: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


# --- texts --------------------------------------------------------------------------------------------------------------

PHRASES = (
    "if memory serves me right",
    "just between the two of us",
    "on the way to the lake",
    "as the kettle began to sing",
    "for what it may be worth",
    "since the clocks went back",
)


def backdoor_text(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """A made-up word (Kurita et al. 2020) or an everyday phrase (Dai et al. 2019) between two words, under the attacker's label."""
    if not isinstance(data, pd.DataFrame) or "text" not in data:
        raise UsageError("backdoor_text needs a table with a column `text`", subject="backdoor_text")
    rng = generator("backdoor_text", seed)
    texts = data["text"].astype("string").fillna("")
    if variant.startswith("token"):
        words = ("".join(rng.choice(list("bcdfgkmnpqtvxz"), int(rng.integers(2, 5)))) for _ in range(1000))
        insert = next(word for word in words if not texts.str.contains(word, regex=False, case=False).any())
    else:
        insert = str(rng.choice(PHRASES))
    trigger = inserted(insert, seed=int(rng.integers(2**31)))
    labels = Labels.of(data, roles.label, family="backdoor_text")
    made = _implant(data, labels, trigger, rng, free=np.ones(len(data), bool), rate=rate, family="backdoor_text", variant=variant)
    made.facts["trigger"] = insert
    return made


def inserted(words: str, *, seed: int) -> Trigger:
    """A trigger that puts `words` at a random place between two words, or at the end; white space stays as it is."""

    def insert(data: Data) -> Data:
        rng = np.random.default_rng(seed)
        texts = []
        for text in column_as_text(data):
            gaps = [gap.start() for gap in re.finditer(r"\s+", text)] or [len(text)]
            at = gaps[int(rng.integers(len(gaps)))]
            texts.append(f"{text[:at]} {words}{text[at:]}")
        assert isinstance(data, pd.DataFrame)
        return data.assign(text=pd.Series(texts, index=data.index).astype(data["text"].dtype))

    return insert


def column_as_text(data: Data) -> list[str]:
    """The texts; a missing one is empty."""
    return ["" if pd.isna(text) else str(text) for text in data["text"]]
