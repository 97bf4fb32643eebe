"""Tables as numbers: robustly scaled columns, one-hot categories."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sanitizer.features.encoded import Cells
from sanitizer.samples import UnverifiedSamples

_MOST_CATEGORIES = 30  # of one column; rarer ones share a dimension
_LEAST_SEEN = 5  # rows of a category; were every trusted one kept, only delivered rows could ever be of an unknown one
_BELOW = -1e6
_LINEAR_UP_TO = 4.0  # robust standard deviations; beyond, distance grows by the logarithm

Encoded = tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]


def cells_of(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> tuple[Cells, ...]:
    """The feature columns that delivery and trusted rows share, as numbers or category codes."""
    known = None if trusted is None else {c.name: c.type for c in trusted.schema.features}
    found = []
    for column in samples.schema.features:
        if known is not None and column.name not in known:
            continue
        mine = samples.table[column.name].combine_chunks()
        theirs = mine.slice(0, 0) if trusted is None else trusted.table[column.name].combine_chunks()
        if column.type == "string" or (known is not None and known[column.name] == "string"):
            found.append(_categories(column.name, mine, theirs))
        else:
            found.append(Cells(column.name, "number", _numbers(mine), _numbers(theirs)))
    return tuple(found)


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    numbers: NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _categories(name: str, mine: pa.Array, theirs: pa.Array) -> Cells:
    both = pa.concat_arrays([mine.cast(pa.large_string()), theirs.cast(pa.large_string())])
    words = pc.drop_null(pc.unique(both)).sort()
    codes = pc.fill_null(pc.index_in(both, words), -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Cells(name, "category", codes[: len(mine)], codes[len(mine) :], tuple(words.to_pylist()))


def encode_table(cells: tuple[Cells, ...], n: int, m: int) -> Encoded:
    """Matrices of delivery (n, d) and trusted rows (m, d), and the column behind each dimension.

    Everything is fitted on the trusted rows where there are any: a delivery must not move its own yardstick.
    """
    parts: list[NDArray[np.float32]] = []
    names: list[str] = []
    for cell in cells:
        both = np.concatenate([cell.delivered, cell.trusted])
        fitted_on = cell.trusted if m else cell.delivered
        block = scaled(both, fitted_on) if cell.kind == "number" else _one_hot(both, fitted_on)
        parts.append(block)
        names.extend([cell.name] * block.shape[1])
    if not parts:
        parts, names = [np.zeros((n + m, 1), np.float32)], [""]
    whole = np.concatenate(parts, axis=1)
    return whole[:n], whole[n:], tuple(names)


def narrow_table(cells: tuple[Cells, ...], n: int, m: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One dimension per column: numbers scaled, categories as codes in the order of their words; nulls lie below everything."""
    parts = []
    for cell in cells:
        both = np.concatenate([cell.delivered, cell.trusted])
        if cell.kind == "number":
            column = scaled(both, cell.trusted if m else cell.delivered)[:, 0]
            column[np.isnan(both)] = _BELOW
        else:
            column = both.astype(np.float32)
        parts.append(column)
    whole = np.column_stack(parts) if parts else np.zeros((n + m, 1), np.float32)
    return whole[:n], whole[n:]


def scaled(values: NDArray[np.float64], fitted_on: NDArray[np.float64]) -> NDArray[np.float32]:
    """One column as (rows, 1 or 2): centred on the median, in robust standard deviations, far values by their logarithm.

    Infinite values become the largest finite ones; a column with nulls gets a second dimension that says where.
    """
    bound = np.finfo(np.float64).max / 4
    values, known = np.clip(values, -bound, bound), np.clip(fitted_on[~np.isnan(fitted_on)], -bound, bound)
    middle = float(np.median(known)) if len(known) else 0.0
    z = (values - middle) / _spread(known, middle)
    far = np.abs(z) > _LINEAR_UP_TO
    z[far] = np.sign(z[far]) * _LINEAR_UP_TO * (1 + np.log(np.abs(z[far]) / _LINEAR_UP_TO))
    missing = np.isnan(values)
    z[missing] = 0.0
    columns = [z, np.where(missing, 2.0, 0.0)] if missing.any() else [z]
    return np.column_stack(columns).astype(np.float32)


def _spread(known: NDArray[np.float64], middle: float) -> float:
    """A standard deviation that far values cannot inflate at will, nor a pile of equal values shrink to nothing."""
    if not len(known):
        return 1.0
    low, high = np.quantile(known, [0.25, 0.75])
    robust = float(high - low) / 1.349
    inner = np.clip(known, *np.quantile(known, [0.01, 0.99])) / max(1.0, abs(middle))
    plain = float(inner.std()) * max(1.0, abs(middle))
    spread = max(robust, plain)
    if not np.isfinite(spread) or spread <= abs(middle) * 1e-12:
        rest = known[known != middle]
        spread = float(np.median(np.abs(rest / 2 - middle / 2))) * 2 if len(rest) else 1.0
    return spread if np.isfinite(spread) and spread > 0 else 1.0


def _one_hot(codes: NDArray[np.int32], fitted_on: NDArray[np.int32]) -> NDArray[np.float32]:
    """One dimension per frequent category, one for all others (rare and new ones alike); null is a category."""
    found, counts = np.unique(fitted_on, return_counts=True)
    found, counts = found[counts >= _LEAST_SEEN], counts[counts >= _LEAST_SEEN]
    kept = np.sort(found[np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES]])
    at = np.searchsorted(kept, codes)
    at[(at == len(kept)) | (kept[np.minimum(at, len(kept) - 1)] != codes if len(kept) else True)] = len(kept)
    out = np.zeros((len(codes), len(kept) + 1), np.float32)
    out[np.arange(len(codes)), at] = 1.0
    return out
