"""Attacks on samples: a canonical table in, the same table with poison planted and the truth about every judged unit out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.drills.base import Data, Poisoned, column_of
from sanitizer.drills.registry import ATTACKS, families
from sanitizer.errors import UsageError
from sanitizer.features import units
from sanitizer.samples import UnverifiedSamples

_SHAPED = ("image", "embedding")


@dataclass(frozen=True, eq=False)
class Planted:
    """Samples with planted poison.

    `masks` says per family which judged units (rows, or users of a ratings table, in the order of `features.units`) are its
    poison; the masks are disjoint.  Honest rows are those of the input, bit for bit, in their order.
    """

    samples: UnverifiedSamples
    masks: Mapping[str, NDArray[np.bool_]]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The poison of all families, per judged unit."""
        return np.asarray(np.any(list(self.masks.values()), axis=0))


def sensible(samples: UnverifiedSamples) -> tuple[str, ...]:
    """The families of attacks that make sense for these samples."""
    schema = samples.schema
    return families(schema.modality, label=schema.label is not None, source=schema.source is not None)


def plant(samples: UnverifiedSamples, family: str, *, rate: float | None = None, seed: int = 0, variant: str | None = None) -> Planted:
    """Plant one family in a copy; raises `UsageError` where the samples offer it no place."""
    made, mask = _planted(samples, family, rate, seed, variant)
    return Planted(made, MappingProxyType({family: mask}))


def plant_all(samples: UnverifiedSamples, chosen: Sequence[str] | None = None, *, poisoned: int | None = 20, seed: int = 0) -> Planted:
    """Plant several families in one copy, so that one judgement tells the recall of all.

    About `poisoned` units of each, or, with None, half of what is usual for the family.

    The rows are dealt out at random, an equal part to each family, so no row is attacked twice; a part is poisoned to at most a
    quarter.  Families that find no place in their part are left out.  `source` must be chosen by name: it turns one supplier
    bad, here only in its part of the rows, which is weaker than the whole attack.
    """
    names = tuple(f for f in sensible(samples) if f != "source") if chosen is None else tuple(chosen)
    index = units(samples)
    rng = np.random.default_rng([seed, len(names)])
    hand = rng.permutation(np.arange(len(index)) % max(1, len(names)))  # which family a unit is dealt to
    rows = hand if len(samples) == len(index) else hand[index.get_indexer(pd.Index(samples.table["user"].to_pylist()))]
    tables, places, truth = [], [], []
    for number, family in enumerate(names):
        mine = np.flatnonzero(rows == number)
        part = samples.take(mine)
        wanted = ATTACKS[family].rate / 2 * len(index) if poisoned is None else poisoned
        rate = ATTACKS[family].rate if family == "source" else min(0.25, wanted / max(1, int((hand == number).sum())))
        try:
            made, mask, origin = _poisoned_rows(part, family, rate, seed, None)
        except UsageError:
            made, mask, origin = part, np.zeros(len(mine), bool), np.arange(len(mine))
        # an added row stands right behind a random row of its part
        place = np.where(origin >= 0, mine[np.maximum(origin, 0)], rng.choice(mine, len(origin)) if len(mine) else 0)
        tables.append(made.table)
        places.append(place + np.where(origin >= 0, 0.0, rng.uniform(0.1, 0.9, len(origin))))
        truth.append(np.where(mask, number, -1))
    order = np.argsort(np.concatenate(places), kind="stable") if places else np.arange(0)
    table = pa.concat_tables(tables).take(pa.array(order)).combine_chunks() if tables else samples.table
    both = _with_table(samples, table)
    whose = np.concatenate(truth)[order] if truth else np.arange(0)
    masks = {family: _per_unit(both, whose == number) for number, family in enumerate(names)}
    return Planted(both, MappingProxyType({family: mask for family, mask in masks.items() if mask.any()}))


def _planted(
    samples: UnverifiedSamples, family: str, rate: float | None, seed: int, variant: str | None
) -> tuple[UnverifiedSamples, NDArray[np.bool_]]:
    made, mask, _ = _poisoned_rows(samples, family, rate, seed, variant)
    return made, _per_unit(made, mask)


def _poisoned_rows(
    samples: UnverifiedSamples, family: str, rate: float | None, seed: int, variant: str | None
) -> tuple[UnverifiedSamples, NDArray[np.bool_], NDArray[np.int64]]:
    """The samples after the attack, the mask per row, and the row of the input that each row was (-1: added)."""
    if family not in ATTACKS:
        raise UsageError(f"there is no attack named {family!r}; known: {', '.join(ATTACKS)}", subject=family)
    if family not in sensible(samples):
        raise UsageError(f"{family} makes no sense for these samples: {', '.join(sensible(samples))} would", subject=family)
    schema = samples.schema
    made = ATTACKS[family](_as_data(samples), rate=rate, seed=seed, variant=variant, label=schema.label, source=schema.source)
    poison = _as_table(made, samples)
    order = made.origin.copy()
    order[made.mask] = len(samples) + np.arange(int(made.mask.sum()))
    table = pa.concat_tables([samples.table, poison]).take(pa.array(order)).combine_chunks()
    return _with_table(samples, table), made.mask, made.origin


def _with_table(samples: UnverifiedSamples, table: pa.Table) -> UnverifiedSamples:
    """Samples that nobody verified, whatever they were made from: planted poison must never look like a delivery."""
    return UnverifiedSamples(table, samples.schema)


def _per_unit(samples: UnverifiedSamples, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    index = units(samples)
    if samples.schema.modality != "ratings":
        return rows
    guilty = set(np.asarray(samples.table["user"].to_pylist(), dtype=object)[rows])
    return np.array([user in guilty for user in index], bool)


def _shaped(samples: UnverifiedSamples) -> dict[str, str]:
    """Name of the column of pictures or embeddings -> the name by which attacks know it."""
    found = {c.name: c.type.partition("[")[0] for c in samples.schema.columns if c.type.startswith(tuple(f"{kind}[" for kind in _SHAPED))}
    return dict(list(found.items())[:1])


def _as_data(samples: UnverifiedSamples) -> Data:
    shaped = _shaped(samples)
    if shaped:
        return {
            shaped.get(c.name, c.name): samples.matrix(c.name) if c.name in shaped else samples.table[c.name].to_numpy()
            for c in samples.schema.columns
        }
    whole = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # a missing cell makes no float of its column
    frame: pd.DataFrame = samples.table.to_pandas(types_mapper=whole.get)
    return frame


def _as_table(made: Poisoned, samples: UnverifiedSamples) -> pa.Table:
    """The attacker's rows in canonical types."""
    shaped = _shaped(samples)
    rows = np.flatnonzero(made.mask)
    columns: list[Any] = []
    for column in samples.schema.columns:
        cells = column_of(made.data, shaped.get(column.name, column.name))
        if column.name in shaped:
            flat = np.ascontiguousarray(cells[rows]).reshape(-1)
            kind = column.arrow
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), kind.list_size).cast(kind))
        else:
            chosen = cells.iloc[rows] if isinstance(cells, pd.Series) else pd.Series(cells[rows])
            columns.append(pa.array(chosen, type=column.arrow, from_pandas=True))
    return pa.Table.from_arrays(columns, schema=samples.schema.arrow)
