"""Samples: rows of one schema in one Arrow table, each with an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.errors import UsageError
from sanitizer.samples.canonical import flat
from sanitizer.samples.identity import content_ids, row_digests, sample_ids
from sanitizer.samples.schema import Schema


@dataclass(frozen=True, eq=False)
class UnverifiedSamples:
    """Rows whose origin nobody proved: detectors may read them, `publish` cannot take them.

    `table` holds exactly the columns of `schema`, in its order, in canonical types, one chunk per column or more.
    Images and embeddings are fixed-size lists, so that `matrix` views cost no copy.
    """

    table: pa.Table
    schema: Schema

    def __post_init__(self) -> None:
        if not self.table.schema.equals(self.schema.arrow):
            raise UsageError(f"a table with columns {self.table.schema.to_string(truncate_metadata=True)} does not fit its schema")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str | None) -> pa.ChunkedArray | None:
        """The values of one column; None for no name, so that `column(schema.label)` works for unlabelled data."""
        return None if name is None else self.table[self.schema[name].name]

    def matrix(self, name: str) -> NDArray[Any]:
        """A column as numpy array: (n, d) float32 of embeddings, (n, h, w[, c]) uint8 of images, (n,) of numbers and booleans.

        Read-only and without a copy if the column is one chunk without nulls (booleans are unpacked).  A null is NaN, for
        which integers and booleans become float64; a null image is black.
        """
        column, values = self.schema[name], self.table[name]
        if column.type in ("string", "timestamp"):
            raise UsageError(f"column {name!r} holds {column.type}s, which are no matrix", subject=name)
        if not column.shape:
            boolean = column.type == "bool" and values.null_count  # numpy has no missing boolean
            return (values.cast(pa.int64()) if boolean else values).to_numpy()  # type: ignore[no-any-return]
        parts = [_shaped(chunk, column.shape) for chunk in values.chunks]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros((0, *column.shape), column.arrow.value_type.to_pandas_dtype())

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Self:
        """The samples at these positions, or under this boolean mask, in order."""
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            return replace(self, table=self.table.filter(pa.array(chosen)))
        return replace(self, table=self.table.take(pa.array(chosen.astype(np.int64))))

    @cached_property
    def content_ids(self) -> NDArray[np.void]:
        """32 bytes per row, shape (n,), dtype `V32`: digest of the canonical row without its label and source."""
        return content_ids(self.table, self.schema)

    @cached_property
    def row_digests(self) -> NDArray[np.void]:
        """32 bytes per row, shape (n,): digest of the whole canonical row."""
        return row_digests(self.table, self.schema, self.content_ids)

    @cached_property
    def sample_ids(self) -> list[str]:
        """Hex row digest, `-` and the number of the occurrence: exact duplicates stay apart, moving rows changes nothing."""
        return sample_ids(self.row_digests)


@dataclass(frozen=True, eq=False)
class Samples(UnverifiedSamples):
    """Rows read from verified bytes.  Only `samples.read` makes them, from a `VerifiedDelivery` or a verified release."""

    origin: str = ""  # digest of the verified delivery or release


def _shaped(chunk: pa.FixedSizeListArray, shape: tuple[int, ...]) -> NDArray[Any]:
    values: NDArray[Any] = flat(chunk).reshape(len(chunk), *shape)
    if chunk.null_count:
        values = values.copy()
        values[chunk.is_null().to_numpy(zero_copy_only=False)] = np.nan if values.dtype == np.float32 else 0
    return values
