"""Stand-in for `samples.from_any` until it lands."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.samples import Column, Schema, UnverifiedSamples


@dataclass(frozen=True, eq=False)
class _Adapted(UnverifiedSamples):
    @cached_property
    def row_digests(self) -> NDArray[np.bytes_]:
        rows = zip(*(self.table[c].to_pylist() for c in self.table.column_names), strict=True)
        return np.array([np.void(hashlib.sha256(repr(r).encode()).digest()) for r in rows])


def from_any(data: Any, *, label: str | None, source: str | None, modality: str | None) -> UnverifiedSamples:
    """A DataFrame or a dict of arrays as samples."""
    columns, arrays = [], []
    for name in list(data):
        values: Any = data[name]
        if isinstance(values, np.ndarray) and values.ndim > 1:
            flat = np.ascontiguousarray(values.reshape(len(values), -1))
            shape = ",".join(map(str, values.shape[1:]))
            kind = f"image[{shape}]" if name == "image" else f"embedding[{shape}]"
            array: pa.Array = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
        else:
            series: Any = pd.Series(values)
            if pd.api.types.is_bool_dtype(series):
                kind, array = "bool", pa.array(series)
            elif pd.api.types.is_integer_dtype(series):
                kind, array = "int64", pa.array(series).cast(pa.int64())
            elif pd.api.types.is_float_dtype(series):
                kind, array = "float64", pa.array(series.to_numpy(float), from_pandas=True)
            else:
                kind, array = "string", pa.array([None if pd.isna(v) else str(v) for v in series], pa.string())
        columns.append(Column(str(name), kind))
        arrays.append(array)
    schema = Schema(tuple(columns), modality or "tabular", label, source)
    return _Adapted(pa.table(arrays, names=[c.name for c in columns]), schema)
