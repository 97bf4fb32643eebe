"""Evidence and a policy become verdicts: a statistical promise for every sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd
import pyarrow as pa

_FRAMES = ("table", "evidence", "cases", "sources")


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What was decided about one delivery.

    `table` has one row per sample in the order of the samples (ratings: one per user), with columns `sample_id` (str),
    `suspicion` (float, higher = more suspicious), `action` (`accept` | `quarantine`), `cause` (str, `""` when accepted),
    `p_value` (float or NaN), `reason` (one sentence or `""`), `case_id` (str, `""` = none), `neighbours` (list of the sample
    ids of the nearest trusted rows) and `columns` (list of the column names that weigh most).
    `evidence` has the same index and one column of scores per row or batch witness, NaN where it could not speak.
    `cases` has `case_id, cause, size, significance, reason, members` (positions in `table`).
    `sources` is indexed by source, with `accused` (bool), `samples`, `suspicious`, `p_value`.
    Law: held deliveries accuse no row; every sample of the delivery has exactly one verdict.
    """

    table: pd.DataFrame
    evidence: pd.DataFrame
    cases: pd.DataFrame
    sources: pd.DataFrame
    held: bool = False
    held_reason: str = ""
    unproven: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    expected_recall: dict[str, float] = field(default_factory=dict)
    power: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    q: float = 0.1
    seed: int = 0
    detectors: dict[str, str] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """How many samples are held back."""
        return int((self.table["action"] == "quarantine").sum())

    def to_arrow(self) -> pa.Table:
        """One table of one binary column: the four frames as Arrow streams; everything else as JSON in the metadata."""
        streams = [_stream(getattr(self, name)) for name in _FRAMES]
        rest: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FRAMES}
        meta = {b"verdicts": json.dumps(rest, sort_keys=True).encode()}
        return pa.table({"frame": list(_FRAMES), "stream": pa.array(streams, pa.binary())}).replace_schema_metadata(meta)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Verdicts:
        """The inverse of `to_arrow`."""
        rest: dict[str, Any] = json.loads(table.schema.metadata[b"verdicts"])
        rest["notes"] = tuple(rest["notes"])
        frames = dict(zip(table["frame"].to_pylist(), table["stream"].to_pylist(), strict=True))
        rest |= {name: _frame(frames[name]) for name in _FRAMES}
        return cls(**rest)


def _stream(frame: pd.DataFrame) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _frame(stream: bytes) -> pd.DataFrame:
    with pa.ipc.open_stream(stream) as reader:
        frame: pd.DataFrame = reader.read_pandas()
    return frame
