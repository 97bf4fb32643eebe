"""What one delivery gives to a release: its accepted rows as canonical Parquet, with everything that led to their acceptance."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sanitizer.errors import UsageError
from sanitizer.provenance.blobs import BlobStore
from sanitizer.samples import Samples, UnverifiedSamples
from sanitizer.verdicts import Verdicts

_ROW_GROUP = 65_536  # rows; small enough to stream, large enough to compress


@dataclass(frozen=True)
class Part:
    """The accepted rows of one delivery.  `data` and `ids` are blobs; everything is JSON, so that it can wait in the state.

    `ids` has one row per row of `data`: columns `row` and `content` (32-byte digests) and `occurrence` (int32).
    `counts` has `samples`, `accepted` and `quarantined`, in units of verdicts (users, for ratings).
    `asserted` is empty, or who vouched for data that no supplier signed, and why.
    `lifted` is empty, or who let in a delivery that was held as a whole, and why.
    """

    delivery: str
    source: str
    sequence: int | None
    level: str
    signers: tuple[str, ...]
    schema: Mapping[str, Any]
    data: str
    ids: str
    rows: int
    counts: Mapping[str, int]
    policy: str
    samples: str = ""
    verdicts: str = ""
    detectors: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    q: float | None = None
    unproven: bool = False
    expected_recall: Mapping[str, float] = field(default_factory=dict)
    asserted: str = ""
    lifted: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `BlobStore.put_json`."""
        return asdict(self) | {"signers": list(self.signers)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**body, "signers": tuple(body["signers"])})


def accept(
    samples: Samples,
    verdicts: Verdicts,
    *,
    delivery: str,
    source: str,
    sequence: int | None,
    level: str,
    signers: tuple[str, ...],
    policy: str,
    blobs: BlobStore,
    samples_digest: str = "",
    verdicts_digest: str = "",
    lifted: str = "",
) -> Part:
    """The rows that the verdicts accept, written once; later releases reuse the bytes.

    Args:
        samples: read from a verified delivery.
        verdicts: exactly one for each sample (ratings: for each user).
        delivery: digest of its manifest.
        source: who supplied it.
        sequence: its number among those of its source.
        level: assurance level, L0 to L3.
        signers: key ids that signed it.
        policy: digest of the policy that it was judged by.
        blobs: where the rows are written.
        samples_digest: blob of the samples.
        verdicts_digest: blob of the verdicts.
        lifted: who let a delivery in that the verdicts hold as a whole, and why.

    Raises:
        UsageError: the samples are unverified, the verdicts do not cover them, or the delivery is held.
    """
    if not isinstance(samples, Samples):
        raise UsageError("only samples read from a verified delivery can be published")
    if verdicts.held and not lifted:
        raise UsageError(f"the delivery is held: {verdicts.held_reason}", subject=delivery)
    keep = accepted_rows(samples, verdicts)
    quarantined = verdicts.quarantined
    return Part(
        delivery=delivery,
        source=source,
        sequence=sequence,
        level=level,
        signers=signers,
        counts={"samples": len(verdicts.table), "accepted": len(verdicts.table) - quarantined, "quarantined": quarantined},
        policy=policy,
        samples=samples_digest,
        verdicts=verdicts_digest,
        detectors=dict(verdicts.detectors),
        failed=dict(verdicts.failed),
        seed=verdicts.seed,
        q=verdicts.q,
        unproven=verdicts.unproven,
        expected_recall={family: recall for family, recall in verdicts.expected_recall.items() if math.isfinite(recall)},
        lifted=lifted,
        **written(samples, keep, blobs),
    )


def baseline(samples: UnverifiedSamples, *, actor: str, reason: str, policy: str, blobs: BlobStore, data: str) -> Part:
    """Existing data as the first trusted part.  Nobody signed or judged it: the release says who vouched for it, and why.

    `data` is the digest of the bytes that it was read from.  Raises `UsageError` without a name or a reason.
    """
    if not actor.strip() or not reason.strip():
        raise UsageError("a baseline is an assertion: it needs the name of who makes it and a reason in words")
    return Part(
        delivery=data,
        source=actor,
        sequence=None,
        level="asserted",
        signers=(),
        counts={"samples": len(samples), "accepted": len(samples), "quarantined": 0},
        policy=policy,
        unproven=True,
        asserted=f"{actor}: {reason}",
        **written(samples, np.ones(len(samples), dtype=bool), blobs),
    )


def accepted_rows(samples: UnverifiedSamples, verdicts: Verdicts) -> NDArray[np.bool_]:
    """Which rows are accepted, shape (n,); raises `UsageError` unless every sample has exactly one verdict."""
    actions = verdicts.table["action"]
    if not set(actions) <= {"accept", "quarantine"}:
        raise UsageError(f"unknown verdicts: {', '.join(sorted(set(actions) - {'accept', 'quarantine'}))}")
    if samples.schema.modality == "ratings":
        users = samples.table["user"].to_pylist()
        if set(users) != set(verdicts.table.index) or not verdicts.table.index.is_unique:
            raise UsageError("the verdicts and the ratings speak of different users")
        return np.array([actions[user] == "accept" for user in users], dtype=bool)
    if list(verdicts.table["sample_id"]) != samples.sample_ids:
        raise UsageError(
            f"the verdicts ({len(verdicts.table)}) are not those of these samples ({len(samples)}): every sample needs exactly one"
        )
    return np.asarray((actions == "accept").to_numpy(), dtype=bool)


def written(samples: UnverifiedSamples, keep: NDArray[np.bool_], blobs: BlobStore) -> dict[str, Any]:
    """Writes the rows under `keep` and their identities as blobs; returns the fields `schema`, `data`, `ids`, `rows` of a `Part`."""
    rows = pa.array(keep)
    return {
        "schema": samples.schema.to_json(),
        "data": blobs.put_bytes(parquet(samples.table.filter(rows))),
        "ids": blobs.put_bytes(parquet(identities(samples, samples.sample_ids).filter(rows))),
        "rows": int(keep.sum()),
    }


def identities(samples: UnverifiedSamples, sample_ids: Sequence[str]) -> pa.Table:
    """Row digest, occurrence and content id of every row.

    The occurrence is that in the delivery, not among the rows that were kept: of two equal rows one may be held.
    """
    occurrences = [int(sample_id.rpartition("-")[2]) for sample_id in sample_ids]
    return pa.table(
        {
            "row": _digests(samples.row_digests),
            "occurrence": pa.array(occurrences, pa.int32()),
            "content": _digests(samples.content_ids),
        }
    )


def keys(ids: pa.Table) -> pa.Array:
    """Sample ids as 36 bytes, row digest then big-endian occurrence: what rows are compared by."""
    raw = np.empty((ids.num_rows, 36), dtype=np.uint8)
    rows = ids["row"].combine_chunks()
    if ids.num_rows:
        raw[:, :32] = np.frombuffer(rows.buffers()[1], dtype=np.uint8)[32 * rows.offset :][: 32 * len(rows)].reshape(-1, 32)
        raw[:, 32:] = ids["occurrence"].to_numpy().astype(">i4").view(np.uint8).reshape(-1, 4)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(36), ids.num_rows, [None, pa.py_buffer(raw.tobytes())])


def key(sample_id: str) -> bytes:
    """One sample id, `<hex>-<occurrence>`, as 36 bytes."""
    digest, _, occurrence = sample_id.rpartition("-")
    return bytes.fromhex(digest) + int(occurrence).to_bytes(4, "big")


def parquet(table: pa.Table) -> bytes:
    """Canonical Parquet: the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(
        table.combine_chunks(),
        sink,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        version="2.6",
        store_schema=True,
        write_page_checksum=True,
    )
    return sink.getvalue()


def read_parquet(data: bytes) -> pa.Table:
    """The table in verified bytes."""
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def _digests(raw: NDArray[np.void]) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(raw), [None, pa.py_buffer(np.ascontiguousarray(raw).tobytes())])
