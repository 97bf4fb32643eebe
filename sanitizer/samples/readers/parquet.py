"""Parquet, decoded in small batches against the budget."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from sanitizer.errors import AmbiguousData
from sanitizer.samples.readers.limits import Budget, check_names

_CELLS = 1 << 20  # cells of one batch


def read(file: BinaryIO, where: str, budget: Budget) -> pa.Table:
    """The rows of a Parquet file in the types that it stores."""
    try:
        # the schema that Arrow writers add beside Parquet's own is the writer's word again, but it alone knows the length of
        # vectors; page checksums are checked where there are some
        held = pa.parquet.ParquetFile(file, page_checksum_verification=True)
        budget.promise(held.metadata.num_rows, where)
        names = held.schema_arrow.names
        check_names(names, where)
        batches = held.iter_batches(batch_size=max(1, _CELLS // len(names)), use_threads=False)
        return pa.Table.from_batches([budget.spend_batch(batch, where) for batch in batches], held.schema_arrow).replace_schema_metadata()
    except MemoryError:  # Arrow's own is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise AmbiguousData(f"{where} cannot be read as Parquet: {error}", subject=where) from error
