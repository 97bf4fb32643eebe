"""Identity of a sample: digests of its canonical encoding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.samples.schema import Schema


def content_ids(table: pa.Table, schema: Schema) -> NDArray[np.bytes_]:
    """SHA-256 of each row without its label and source, shape (n,), 32 raw bytes each."""
    raise NotImplementedError


def row_digests(table: pa.Table, schema: Schema) -> NDArray[np.bytes_]:
    """SHA-256 of each whole row, shape (n,), 32 raw bytes each."""
    raise NotImplementedError


def sample_ids(digests: NDArray[np.bytes_]) -> list[str]:
    """`<hex digest>-<occurrence>` per row, in order."""
    seen: Counter[bytes] = Counter()
    out = []
    for digest in map(bytes, digests):
        out.append(f"{digest.hex()}-{seen[digest]}")
        seen[digest] += 1
    return out
