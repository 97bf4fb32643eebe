"""Arrow IPC files (Feather 2), every batch validated before anybody looks at its values."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa

from sanitizer.errors import AmbiguousData
from sanitizer.samples.readers.limits import Budget, check_names


def read(file: BinaryIO, where: str, budget: Budget) -> pa.Table:
    """The rows of an Arrow file in the types that it stores."""
    try:
        with pa.ipc.open_file(file) as held:
            check_names(held.schema.names, where)
            batches = [budget.spend_batch(held.get_batch(i), where) for i in range(held.num_record_batches)]
            return pa.Table.from_batches(batches, held.schema).replace_schema_metadata()
    except MemoryError:  # Arrow's own is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise AmbiguousData(f"{where} cannot be read as Arrow: {error}", subject=where) from error
