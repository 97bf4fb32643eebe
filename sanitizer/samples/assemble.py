"""The files of one delivery become one canonical table; runs inside the child process."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sanitizer.errors import AmbiguousData, DigestMismatch
from sanitizer.samples import strict
from sanitizer.samples.readers import READERS, TEXT, sniff
from sanitizer.samples.readers.limits import Budget
from sanitizer.samples.schema import Column, Schema, listed

if TYPE_CHECKING:
    from sanitizer.samples.sandbox import Payload, Request


def assemble(request: Request) -> tuple[pa.Table, Schema]:
    """All files of `request` in one table: read, cast to the schema or to the one that is drafted from them all."""
    budget = Budget(request.limits.rows, request.limits.decoded_bytes)
    raw = [(payload.name, *_raw(payload, request.formats, budget)) for payload in request.files]
    schema = Schema.from_json(request.schema) if request.schema else _draft(raw, request)
    parts = [strict.fit(table, schema, name, strict.parsed if kind in TEXT else strict.converted) for name, kind, table in raw]
    return pa.concat_tables(parts), schema


def _raw(payload: Payload, formats: tuple[str, ...], budget: Budget) -> tuple[str, pa.Table]:
    with Path(payload.path).open("rb") as file:
        _check_digest(payload, file)
        kind = sniff(file, payload.name, formats)
        return kind, READERS[kind](file, payload.name, budget)


def _check_digest(payload: Payload, file: BufferedReader) -> None:
    # the same open file is hashed and parsed: what was verified is what is read
    if payload.sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != payload.sha256:
        raise DigestMismatch(f"{payload.name} changed after it was verified", subject=payload.name)
    file.seek(0)


def _draft(raw: list[tuple[str, str, pa.Table]], request: Request) -> Schema:
    """The schema that fits all files; text gets its types from all text together, so that one file alone decides nothing."""
    first, _, columns = raw[0]
    for name, _, table in raw[1:]:
        if set(table.column_names) != set(columns.column_names):
            raise AmbiguousData(
                f"{name} has the columns {listed(table.column_names)}, {first} has {listed(columns.column_names)}", subject=name
            )
    texts = [(name, table) for name, kind, table in raw if kind in TEXT]
    inferred = {
        c: strict.infer([(name, table[c]) for name, table in texts], c, mixed=request.mixed)
        for c in (columns.column_names if texts else ())
    }
    typed = []
    for name, kind, table in raw:
        if kind in TEXT:
            held = {c: strict.parsed(table[c], Column(c, inferred[c]), name) for c in columns.column_names}
        else:
            held = {c: strict.canonical_exactly(table[c], c, name) for c in columns.column_names}
        # a file that has no value at all in a column says nothing about its type
        typed.append(pa.table({c: v if v.null_count < len(v) else pa.nulls(len(v)) for c, v in held.items()}))
    try:
        whole = pa.concat_tables(typed, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise AmbiguousData(f"the files disagree about the types of their columns: {error}") from error
    whole = pa.table({c: strict.canonical_exactly(v, c, first) for c, v in zip(whole.column_names, whole.columns, strict=True)})
    shapes = {f.name: tuple(map(int, f.metadata[b"shape"].split(b","))) for f in columns.schema if b"shape" in (f.metadata or {})}
    return Schema.draft(whole, label=request.label, source=request.source, key=request.key, modality=request.modality, shapes=shapes)
