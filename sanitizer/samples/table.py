"""Samples: rows of one schema in one Arrow table, each with an identity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def content_ids(self) -> NDArray[np.bytes_]:
        """32 bytes per row, shape (n,), dtype S32-like `V32`: digest of the canonical row without its label and source."""
        return content_ids(self.table, self.schema)

    @cached_property
    def row_digests(self) -> NDArray[np.bytes_]:
        """32 bytes per row, shape (n,): digest of the whole canonical row."""
        return row_digests(self.table, self.schema)

    @cached_property
    def sample_ids(self) -> list[str]:
        """Hex row digest, `-` and the number of the occurrence: exact duplicates stay apart, moving rows changes nothing."""
        return sample_ids(self.row_digests)


@dataclass(frozen=True, eq=False)
class Samples(UnverifiedSamples):
    """Rows read from verified bytes.  Only `samples.read` makes them, from a `VerifiedDelivery` or a verified release."""

    origin: str = ""  # digest of the verified delivery or release
