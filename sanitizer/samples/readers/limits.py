"""What readers refuse whatever the format: too much, and names that name nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from sanitizer.errors import AmbiguousData, ParserLimit


@dataclass
class Budget:
    """What is left of the rows and decoded bytes that the policy allows for one delivery.

    What a file declares about its size is a claim (463 bytes of Parquet unpack to 2 GB and declare 1 MB), so readers decode
    in small batches and spend what each one really takes.
    """

    rows: int
    decoded_bytes: int

    def promise(self, rows: int, where: str) -> None:
        """Refuse a file that says itself that it holds too much, before anything is decoded."""
        if rows > self.rows:
            raise ParserLimit(
                f"{where}: {rows} rows, {self.rows} are left of `samples.max_rows`; split the delivery, or raise the limit", subject=where
            )

    def spend(self, rows: int, decoded_bytes: int, where: str) -> None:
        """Take from the budget; raises `ParserLimit` once it is gone."""
        self.rows -= rows
        self.decoded_bytes -= decoded_bytes
        if self.rows < 0:
            raise ParserLimit(
                f"{where}: more rows than `samples.max_rows` allows for one delivery; split it, or raise the limit", subject=where
            )
        if self.decoded_bytes < 0:
            raise ParserLimit(
                f"{where}: more decoded bytes than `samples.max_decoded_bytes` allows; split the delivery, or raise the limit",
                subject=where,
            )

    def spend_batch(self, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
        """Take what `batch` holds; raises `AmbiguousData` unless all of it is what its types say.

        Arrow trusts files: offsets may point outside, text of Parquet need not be UTF-8.
        """
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise AmbiguousData(f"{where} holds values that are none: {error}", subject=where) from error
        self.spend(batch.num_rows, batch.nbytes, where)
        return batch


def check_names(names: list[str], where: str) -> None:
    """Refuse column names that two readers would treat differently: none, empty, twice, or different only by spaces around."""
    if not names:
        raise AmbiguousData(f"{where}: there are no columns", subject=where)
    for name, times in Counter(name.strip() for name in names).items():
        if not name:
            raise AmbiguousData(f"{where}: column {[n.strip() for n in names].index('') + 1} has no name", subject=where)
        if times > 1:
            raise AmbiguousData(f"{where}: the column {name!r} is there {times} times; names must differ", subject=where)
