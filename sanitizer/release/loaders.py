"""A verified release in the form that training code wants.  Every byte is hashed before it is parsed, and read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sanitizer.errors import MissingExtra
from sanitizer.release.gate import VerifiedRelease
from sanitizer.samples import Samples, Schema


@dataclass(frozen=True, eq=False)
class Identities:
    """`table` has the columns `part`, `row` and `occurrence`, one row per row of the release."""

    table: pa.Table

    @property
    def row_digests(self) -> NDArray[np.void]:
        """32 bytes per row, shape (n,), dtype `V32`."""
        held = self.table["row"].combine_chunks()
        return np.frombuffer(held.buffers()[1], "V32")[held.offset :][: len(held)]


@dataclass(frozen=True)
class OpenRelease:
    """What `open_release` hands out.

    `settle` waits until every file beside the data is verified too; no row is handed out before.
    """

    release: VerifiedRelease
    settle: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    _read: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def version(self) -> int:
        """The version of the release."""
        return self.release.version

    @property
    def digest(self) -> str:
        """`sha256:…` that names the release."""
        return self.release.digest

    @property
    def schema(self) -> Schema:
        """Names, types and roles of the columns, as signed."""
        return Schema.from_json(self.release.statement["release"]["schema"])

    def __len__(self) -> int:
        return self.release.samples

    def parts(self) -> Iterator[pa.Table]:
        """One table after the other, each verified before it is parsed: for data larger than memory."""
        for name in sorted(self.release.files):
            if name.startswith("data/") and name.endswith(".parquet"):
                table = pq.read_table(pa.BufferReader(self.release.read(name))).cast(self.schema.arrow)
                self.settle()
                self._read.add(name)
                yield table

    def receipt(self) -> dict[str, Any]:
        """What was read of which release until now, for the lineage of a model: keep it beside the weights.

        `sanitizer trace` tells later whether a release of this digest was revoked.
        """
        told = self.release
        return {
            "dataset": told.dataset,
            "version": told.version,
            "release": told.digest,
            "keyid": told.keyid,
            "content": told.content,
            "samples": told.samples,
            "read": {name: told.files[name] for name in sorted(self._read)},
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def arrow(self) -> pa.Table:
        """All rows as one Arrow table."""
        return pa.concat_tables(list(self.parts()))

    def pandas(self) -> pd.DataFrame:
        """All rows as a data frame; images and embeddings are columns of arrays."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def arrays(self) -> dict[str, NDArray[Any]]:
        """One array per column: images as uint8 (n, h, w[, c]), embeddings as float32 (n, d), text as objects."""
        samples = self.samples()
        plain = {"string", "timestamp"}
        return {
            c.name: np.asarray(samples.table[c.name].to_pandas()) if c.type in plain else samples.matrix(c.name)
            for c in self.schema.columns
        }

    def identities(self) -> Identities:
        """Row digest and content id of every row, in order, without its data."""
        return Identities(pq.read_table(pa.BufferReader(self.release.read("rows.sha256.parquet"))))

    def samples(self) -> Samples:
        """All rows as `Samples`: the trusted side that the next delivery is judged against."""
        return Samples(self.arrow(), self.schema, origin=self.digest)

    def torch(self) -> Any:
        """A map-style `torch.utils.data.Dataset` of dicts: numbers, images and embeddings are tensors, text stays text."""
        try:
            import torch  # noqa: PLC0415 (optional, and heavy)
        except ModuleNotFoundError as error:
            raise MissingExtra("release.torch() needs PyTorch: pip install torch", subject="torch") from error
        columns = {
            name: torch.from_numpy(np.array(values)) if values.dtype != object else values
            for name, values in self.arrays().items()
            if values.dtype.kind != "M"
        }
        return _rows(torch, columns, len(self))

    def hf(self) -> Any:
        """A Hugging Face `datasets.Dataset` over the same Arrow memory."""
        try:
            import datasets  # noqa: PLC0415 (optional, and heavy)
        except ModuleNotFoundError as error:
            raise MissingExtra("release.hf() needs Hugging Face datasets: pip install datasets", subject="datasets") from error
        return datasets.Dataset(self.arrow())


def _rows(torch: Any, columns: dict[str, Any], length: int) -> Any:
    class Rows(torch.utils.data.Dataset):  # type: ignore[misc]  # the base is known only at run time
        def __len__(self) -> int:
            return length

        def __getitem__(self, index: int) -> dict[str, Any]:
            if not -length <= index < length:
                raise IndexError(index)
            return {name: values[index] for name, values in columns.items()}

    return Rows()
