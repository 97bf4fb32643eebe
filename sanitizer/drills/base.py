"""What every attack shares: the rows it works on, the truth it leaves behind, and the attacker's own view of the data."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import StandardScaler

from sanitizer.errors import UsageError

Data: TypeAlias = pd.DataFrame | dict[str, NDArray[Any]]
"""Rows: a data frame, or equally long arrays (`image`: uint8 (n, h, w[, c]), `embedding`: float32 (n, d), `label`, `source`)."""

Trigger: TypeAlias = Callable[[Data], Data]
"""Plants a backdoor's trigger on all rows and changes nothing else."""

Rng: TypeAlias = np.random.Generator


@dataclass(frozen=True, eq=False)
class Poisoned:
    """Rows after an attack, and the truth about each.

    Laws: `data` has the columns and dtypes of the input; the rows with `mask` False are the input's rows, in the input's
    order, bit for bit; `origin` names the input row that each row was (-1: the attacker added it), so every input row that
    is still there occurs once.
    """

    data: Data
    mask: NDArray[np.bool_]
    origin: NDArray[np.int64]
    family: str
    variant: str
    facts: dict[str, Any] = field(default_factory=dict)
    trigger: Trigger | None = None

    @property
    def rate(self) -> float:
        """The share of the delivered rows that is the attacker's."""
        return float(self.mask.mean())

    def units(self, column: str) -> pd.Series:
        """The truth per value of `column`, sorted by it (ratings are judged per user): True where any of its rows is the attacker's."""
        return pd.Series(self.mask).groupby(np.asarray(column_of(self.data, column))).any()


@dataclass(frozen=True)
class Roles:
    """Which columns are no features; a name that the data do not have plays no role."""

    label: str | None = "label"
    source: str | None = "source"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are given."""
        return tuple(name for name in (self.label, self.source) if name is not None)


class Plant(Protocol):
    """The shape of every attack function."""

    def __call__(self, data: Data, roles: Roles, /, *, rate: float, seed: int, variant: Any) -> Poisoned:
        """Poison `rate` of the rows of `data`."""


@dataclass(frozen=True)
class Attack:
    """One family of attacks, as it stands in the registry.

    `modalities` it makes sense for, `variants` (the first is the default), the columns that it `needs` (`label`, `source`),
    the `rate` that published attacks usually take, and where it was described (a paper, and its MITRE ATLAS technique).
    """

    family: str
    plant: Plant
    modalities: tuple[str, ...]
    variants: tuple[str, ...]
    needs: tuple[str, ...]
    rate: float
    reference: str

    def __call__(
        self,
        data: Data,
        *,
        rate: float | None = None,
        seed: int = 0,
        variant: str | None = None,
        label: str | None = "label",
        source: str | None = "source",
    ) -> Poisoned:
        """Plant the attack; the same arguments give the same rows.  Raises `UsageError` where the data offer it no place."""
        chosen = variant or self.variants[0]
        if chosen not in self.variants:
            raise UsageError(f"{self.family} has no variant {chosen!r}: choose one of {', '.join(self.variants)}", subject=self.family)
        for role in self.needs:
            name = {"label": label, "source": source}[role]
            if name is None or name not in data:
                raise UsageError(f"{self.family} needs a {role} column, and the data have none named {name!r}", subject=self.family)
        wanted = self.rate if rate is None else rate
        if not 0 < wanted < 1:
            raise UsageError(f"{self.family}: a rate is a share between 0 and 1, not {wanted}", subject=self.family)
        return self.plant(data, Roles(label, source), rate=wanted, seed=seed, variant=chosen)


# --- rows ---------------------------------------------------------------------------------------------------------------


def size(data: Data) -> int:
    """The number of rows."""
    return len(data) if isinstance(data, pd.DataFrame) else len(next(iter(data.values())))


def column_of(data: Data, name: str) -> Any:
    """One column, as a Series or an array."""
    return data[name]


def take(data: Data, rows: NDArray[np.int64]) -> Data:
    """The rows at these positions, in this order, renumbered from 0."""
    if isinstance(data, pd.DataFrame):
        return data.iloc[rows].reset_index(drop=True)
    return {name: cells[rows] for name, cells in data.items()}


def replace(data: Data, rows: NDArray[np.int64], new: Data) -> Data:
    """A copy of `data` whose `rows` are those of `new`; dtypes stay."""
    if isinstance(data, pd.DataFrame):
        assert isinstance(new, pd.DataFrame)
        order = np.arange(len(data))
        order[rows] = len(data) + np.arange(len(rows))
        return pd.concat([data, new], ignore_index=True).iloc[order].reset_index(drop=True)
    out = {name: cells.copy() for name, cells in data.items()}
    for name, cells in out.items():
        cells[rows] = column_of(new, name)
    return out


def assign(data: Data, name: str, rows: NDArray[np.int64], values: Any) -> Data:
    """A copy of `data` with `values` in the given rows of one column; its dtype stays."""
    if isinstance(data, pd.DataFrame):
        cells = data[name].copy()
        cells.iloc[rows] = values
        return data.assign(**{name: cells.astype(data[name].dtype)}).reset_index(drop=True)
    copied = data[name].copy()
    copied[rows] = values
    return {**data, name: copied}


def interleave(data: Data, added: Data, rng: Rng) -> tuple[Data, NDArray[np.bool_], NDArray[np.int64]]:
    """`added` at random places among the rows of `data`, which keep their order: a place betrays nobody."""
    n, m = size(data), size(added)
    mask = np.zeros(n + m, bool)
    mask[rng.choice(n + m, m, replace=False)] = True
    order = np.empty(n + m, np.int64)
    order[~mask] = np.arange(n)
    order[mask] = n + np.arange(m)
    if isinstance(data, pd.DataFrame):
        assert isinstance(added, pd.DataFrame)
        both: Data = pd.concat([data, added], ignore_index=True).iloc[order].reset_index(drop=True)
    else:
        both = {name: np.concatenate([cells, column_of(added, name)])[order] for name, cells in data.items()}
    return both, mask, np.where(order < n, order, -1)


# --- what attacks ask of the data ---------------------------------------------------------------------------------------


def generator(family: str, seed: int) -> Rng:
    """A stream of its own for each family, so that two attacks with one seed do not choose the same rows."""
    return np.random.default_rng([seed, zlib.crc32(family.encode())])


def count(rate: float, n: int) -> int:
    """How many rows a rate means: the nearest whole number, at least one."""
    return max(1, round(rate * n))


def draw(pool: NDArray[np.int64], wanted: int, rng: Rng) -> NDArray[np.int64]:
    """At most `wanted` members of the pool, sorted."""
    return np.sort(rng.choice(pool, min(wanted, len(pool)), replace=False))


def marked(n: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A mask of length n that is True at these rows."""
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


@dataclass(frozen=True)
class Labels:
    """One column as class numbers: `codes` (n,), -1 where a cell is missing, and the `classes` in sorted order."""

    column: str
    codes: NDArray[np.int64]
    classes: Any

    @classmethod
    def of(cls, data: Data, label: str | None, *, family: str) -> Labels:
        """Read them; raises `UsageError` where there are fewer than two classes, for then no label can be wrong."""
        if label is None or label not in data:
            raise UsageError(f"{family} needs a column of classes, and the data have none named {label!r}", subject=family)
        codes, classes = pd.factorize(column_of(data, label), sort=True)
        if len(classes) < 2:
            raise UsageError(f"{family} needs at least two classes in {label!r}, found {len(classes)}", subject=family)
        return cls(label, np.asarray(codes, np.int64), classes)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows per class."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.classes))

    def rows(self, code: int) -> NDArray[np.int64]:
        """The rows of one class."""
        return np.flatnonzero(self.codes == code)

    def other(self, codes: NDArray[np.int64], rng: Rng) -> NDArray[np.int64]:
        """For each class a different one, uniformly."""
        return (codes + rng.integers(1, len(self.classes), len(codes))) % len(self.classes)

    def values(self, codes: NDArray[np.int64]) -> NDArray[Any]:
        """The labels as the data write them."""
        return np.asarray(self.classes)[codes]

    def relabelled(self, data: Data, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> Data:
        """A copy of the data with these classes in these rows."""
        return assign(data, self.column, rows, self.values(codes))


def numeric_columns(frame: pd.DataFrame, *, without: tuple[str, ...] = ()) -> list[str]:
    """Names of the columns that hold numbers, booleans aside."""
    return [
        name
        for name in frame.columns
        if name not in without and pd.api.types.is_numeric_dtype(frame[name].dtype) and not pd.api.types.is_bool_dtype(frame[name].dtype)
    ]


def attacker_view(data: Data, *, without: tuple[str, ...] = ()) -> NDArray[np.float64]:
    """The rows as standardised numbers, shape (n, d), as an attacker sees them who knows nothing of our features.

    Numbers as they are (missing ones as the median), words hashed into 256 counts, up to 12 common values of every other column.
    """
    if not isinstance(data, pd.DataFrame):
        key = next(name for name in ("image", "embedding") if name in data)
        flat = data[key].reshape(size(data), -1).astype(np.float64)
        return np.asarray(StandardScaler().fit_transform(flat))
    blocks = []
    numbers = numeric_columns(data, without=without)
    if numbers:
        cells = data[numbers].astype("float64")
        blocks.append(cells.fillna(cells.median()).fillna(0.0).to_numpy())
    for name in data.columns:
        if name in numbers or name in without:
            continue
        cells_as_text = data[name].astype("string").fillna("")
        if name == "text":
            hashing = HashingVectorizer(n_features=256, alternate_sign=False, ngram_range=(1, 2))
            blocks.append(hashing.transform(cells_as_text.tolist()).toarray())
        else:
            common = cells_as_text.value_counts().index[:12]
            blocks.append((cells_as_text.to_numpy()[:, None] == common.to_numpy()[None, :]).astype(np.float64))
    if not blocks:
        raise UsageError("the data have no feature column")
    return np.asarray(StandardScaler().fit_transform(np.hstack(blocks)))
