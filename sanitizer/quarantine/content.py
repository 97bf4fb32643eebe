"""The rows of held samples as bytes.  The one place where they are written and read, so the one place where they will be sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import func, insert, select

from sanitizer.errors import DigestMismatch, UsageError
from sanitizer.samples import Column, Schema, UnverifiedSamples
from sanitizer.store.tables import held_content, row_schemas
from sanitizer.store.transaction import Reader, Transaction
from sanitizer.verdicts import Verdicts

_MANY = 2_000  # rows per INSERT batch


@dataclass(frozen=True)
class Content:
    """What one held sample consists of: its rows (one; for ratings all of a user), their sample ids, and their schema."""

    rows: pa.RecordBatch
    row_ids: tuple[str, ...]
    schema: Schema


def rows_of(samples: UnverifiedSamples, verdicts: Verdicts) -> list[NDArray[np.int64]]:
    """Positions in `samples` of what each verdict speaks of: its own row, or every rating of its user."""
    if samples.schema.modality != "ratings":
        if len(verdicts.table) != len(samples):
            raise UsageError(f"{len(verdicts.table)} verdicts for {len(samples)} samples: every sample needs exactly one")
        return [np.array([i]) for i in range(len(samples))]
    encoded = pc.dictionary_encode(samples.table["user"].combine_chunks())
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    of_user = {user: order[bounds[k] : bounds[k + 1]] for k, user in enumerate(encoded.dictionary.to_pylist())}
    if set(of_user) != set(verdicts.table.index):
        raise UsageError("the verdicts and the ratings speak of different users")
    return [of_user[user] for user in verdicts.table.index]


def write(tx: Transaction, samples: UnverifiedSamples, held: Sequence[tuple[int, NDArray[np.int64]]]) -> str:
    """Stores the rows of each (held id, positions); returns `sha256:…` over `held id, space, sha256 of its bytes, newline` of each."""
    schema = keep_schema(tx, samples)
    ids = samples.sample_ids
    rows: list[dict[str, Any]] = []
    total = hashlib.sha256()
    every = np.concatenate([positions for _, positions in held])
    batch = samples.table.take(pa.array(every)).replace_schema_metadata(None).combine_chunks().to_batches()[0]
    start = 0
    for held_id, positions in held:
        content = batch.slice(start, len(positions)).serialize().to_pybytes()
        start += len(positions)
        sha256 = hashlib.sha256(content).hexdigest()
        total.update(f"{held_id} {sha256}\n".encode())
        rows.append(
            {
                "held_id": held_id,
                "schema": schema,
                "sealed": False,
                "sha256": sha256,
                "row_ids": [ids[p] for p in positions],
                "content": content,
            }
        )
        if len(rows) == _MANY:
            tx.execute(insert(held_content), rows)
            rows.clear()
    if rows:
        tx.execute(insert(held_content), rows)
    return f"sha256:{total.hexdigest()}"


def read(view: Reader, held_ids: Sequence[int]) -> dict[int, Content]:
    """The rows of each held id; raises `DigestMismatch` when stored bytes changed."""
    schemas: dict[str, tuple[pa.Schema, Schema]] = {}
    found: dict[int, Content] = {}
    for chunk in _chunks(held_ids):
        for row in view.rows(select(held_content).where(held_content.c.held_id.in_(chunk))):
            if hashlib.sha256(row["content"]).hexdigest() != row["sha256"]:
                raise DigestMismatch(f"the stored rows of held sample {row['held_id']} were changed", subject=str(row["held_id"]))
            if row["schema"] not in schemas:
                schemas[row["schema"]] = read_schema(view, row["schema"])
            arrow, schema = schemas[row["schema"]]
            found[row["held_id"]] = Content(pa.ipc.read_record_batch(pa.py_buffer(row["content"]), arrow), tuple(row["row_ids"]), schema)
    return found


def keep_schema(tx: Transaction, samples: UnverifiedSamples) -> str:
    """Keeps the schema that rows of `samples` are written in; returns its digest."""
    arrow = samples.table.schema.remove_metadata().serialize().to_pybytes()
    digest = f"sha256:{hashlib.sha256(arrow + samples.schema.id.encode()).hexdigest()}"
    if tx.one(select(row_schemas.c.digest).where(row_schemas.c.digest == digest)) is None:
        tx.execute(insert(row_schemas), {"digest": digest, "arrow": arrow, "roles": asdict(samples.schema)})
    return digest


def read_schema(view: Reader, digest: str) -> tuple[pa.Schema, Schema]:
    """A kept schema, as Arrow and as ours."""
    row = view.rows(select(row_schemas).where(row_schemas.c.digest == digest))[0]
    roles = row["roles"]
    columns = tuple(Column(**{**c, "categories": None if c["categories"] is None else tuple(c["categories"])}) for c in roles["columns"])
    schema = Schema(**{**roles, "columns": columns, "key": tuple(roles["key"])})
    return pa.ipc.read_schema(pa.py_buffer(row["arrow"])), schema


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _MANY):
        yield ids[start : start + _MANY]


def parse_label(kept: Content, label: str) -> Any:
    """`label` as a value of the label column; raises `UsageError` when it is none."""
    schema = kept.schema
    if schema.label is None:
        raise UsageError("these samples have no label: they can be dropped or released")
    known = next(c for c in schema.columns if c.name == schema.label).categories
    if known is not None and label not in known:
        raise UsageError(f"{label!r} is not a label of this data set: it has {', '.join(known[:20])}", subject=label)
    kind = kept.rows.schema.field(schema.label).type
    try:
        return pa.array([label], pa.string()).cast(kind)[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"{label!r} is not a value of the label column, which is {kind}", subject=label) from error


def check_label(view: Reader, held_ids: Sequence[int], label: str) -> None:
    """Raises `UsageError` when `label` fits the schema of any of the samples not."""
    query = select(held_content.c.schema, func.min(held_content.c.held_id)).group_by(held_content.c.schema)
    examples = {row[1] for chunk in _chunks(held_ids) for row in view.execute(query.where(held_content.c.held_id.in_(chunk)))}
    for kept in read(view, sorted(examples)).values():
        parse_label(kept, label)
