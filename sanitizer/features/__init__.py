"""Samples become float32 matrices, and one neighbour graph that every witness shares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.errors import UsageError, printable
from sanitizer.features.bins import binned
from sanitizer.features.encoded import Cells, Features
from sanitizer.features.graph import NeighbourGraph, Neighbours, nearest
from sanitizer.features.plain import encode_embedding, encode_image, encode_ratings, encode_text, users_of
from sanitizer.features.posterior import Posteriors
from sanitizer.features.tables import cells_of, encode_table, narrow_table
from sanitizer.policy import Detect
from sanitizer.samples import UnverifiedSamples

__all__ = ["ENCODERS", "Cells", "Features", "NeighbourGraph", "Neighbours", "Posteriors", "binned", "codes", "encode", "nearest", "units"]

ENCODERS = {"embedding": encode_embedding, "image": encode_image, "text": encode_text, "ratings": encode_ratings}


def units(samples: UnverifiedSamples) -> pd.Index:
    """What the verdict table has one row for: the samples in their order, or the users of a ratings table."""
    return users_of(samples) if samples.schema.modality == "ratings" else pd.RangeIndex(len(samples))


def encode(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, detect: Detect) -> Features:
    """The delivery and its trusted rows as `Features`; the encoder is fitted on the trusted rows where there are any."""
    if trusted is not None and not len(trusted):
        trusted = None
    modality = samples.schema.modality
    index = units(samples)
    n, m = len(index), 0 if trusted is None else len(units(trusted))
    cells: tuple[Cells, ...] = ()
    if modality == "tabular":
        cells = cells_of(samples, trusted)
        rows, trusted_rows, names = encode_table(cells, n, m)
        narrow_rows, trusted_narrow_rows = narrow_table(cells, n, m)
    elif modality in ENCODERS:
        rows, trusted_rows, names = ENCODERS[modality](samples, trusted)
        narrow_rows, trusted_narrow_rows = rows, trusted_rows
    else:
        raise UsageError(f"there is no encoder for the modality {modality!r}; known: tabular, {', '.join(ENCODERS)}")
    y, trusted_y, labels = codes(samples, trusted, samples.schema.label if modality != "ratings" else None)
    source, trusted_source, sources = codes(samples, trusted, samples.schema.source if modality != "ratings" else None)
    if len(y) != n:
        y, trusted_y = np.full(n, -1, np.int32), np.full(m, -1, np.int32)
        source, trusted_source = y, trusted_y
    return Features(
        modality=modality, rows=rows, trusted_rows=trusted_rows, narrow_rows=narrow_rows, trusted_narrow_rows=trusted_narrow_rows,
        names=names, y=y, trusted_y=trusted_y, labels=labels, source=source, trusted_source=trusted_source, sources=sources,
        cells=cells, index=index, samples=samples, trusted=trusted, seed=detect.seed,
        notes=(*_differences(samples, trusted), *_strangers(y, trusted_y, labels)),
    )  # fmt: skip


def codes(
    samples: UnverifiedSamples, trusted: UnverifiedSamples | None, name: str | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[str, ...]]:
    """A column as codes over the union of both vocabularies, -1 for null; all -1 without such a column."""
    mine = _words(samples, name)
    theirs = pa.nulls(0, pa.large_string()) if trusted is None else _words(trusted, name)
    both = pa.concat_arrays([mine, theirs])
    words = both.unique().drop_null().sort()
    codes = pa.compute.fill_null(pa.compute.index_in(both, words), -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes[: len(mine)], codes[len(mine) :], tuple(words.to_pylist())


def _words(samples: UnverifiedSamples, name: str | None) -> pa.Array:
    if name is None or name not in samples.table.column_names:
        return pa.nulls(len(samples), pa.large_string())
    column = samples.table[name].combine_chunks()
    if pa.types.is_floating(column.type):  # 1.0 and 1 are one label, whichever type the other table has
        whole = pa.compute.equal(column, pa.compute.floor(column))
        if pa.compute.all(pa.compute.and_(whole, pa.compute.less(pa.compute.abs(column), 2.0**53))).as_py():
            column = column.cast(pa.int64())
    return column.cast(pa.large_string())


def _differences(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> tuple[str, ...]:
    """What the two tables do not share, for the report."""
    if trusted is None or samples.schema.modality != "tabular":
        return ()
    mine, theirs = {c.name for c in samples.schema.features}, {c.name for c in trusted.schema.features}
    notes = []
    if mine - theirs:
        notes.append(f"not judged, because the trusted release lacks them: columns {', '.join(sorted(mine - theirs))}")
    if theirs - mine:
        notes.append(f"absent from the delivery, present in the trusted release: columns {', '.join(sorted(theirs - mine))}")
    return tuple(notes)


def _strangers(y: NDArray[np.int32], trusted_y: NDArray[np.int32], labels: tuple[str, ...]) -> tuple[str, ...]:
    """A note about classes that the trusted rows do not know, if there are any."""
    if not (trusted_y >= 0).any():
        return ()
    new = np.setdiff1d(y[y >= 0], trusted_y)
    if not len(new):
        return ()
    shown = ", ".join(printable(labels[code]) for code in new[:5]) + (", …" if len(new) > 5 else "")
    rows = int(np.isin(y, new).sum())
    return (f"classes that no trusted row has: {shown} ({rows:,} rows)",)
