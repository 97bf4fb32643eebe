"""Which rows go into a release: every accepted row of every part once, minus what review keeps out, plus what it lets in."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from sanitizer.errors import UsageError
from sanitizer.provenance.blobs import BlobStore
from sanitizer.release.parts import Part, identities, key, keys, parquet, read_parquet
from sanitizer.samples import Samples, Schema

REVIEW = "review"


@dataclass(frozen=True)
class Piece:
    """One Parquet file of a release: blob digests of its rows and of their identities, and where they come from (a delivery, or review)."""

    origin: str
    data: str
    ids: str
    rows: int


@dataclass(frozen=True)
class Assembly:
    """What a release will hold.  `content` names it: the same pieces, schema and policy have the same digest."""

    pieces: tuple[Piece, ...]
    schema: Schema
    rows: int
    content: str


def assemble(
    parts: Sequence[Part],
    blobs: BlobStore,
    *,
    dataset: str,
    policy: str,
    back: Samples | None = None,
    back_ids: Sequence[str] = (),
    excluded: Collection[str] = (),
) -> Assembly:
    """Puts a release together from blobs; a part of which nothing is taken away keeps its bytes.

    A row is in a release once: a delivery that repeats what an earlier one brought adds nothing.  `excluded` wins over acceptance:
    a sample that stands under suspicion in one delivery is out, although another one brought it unnoticed.

    Args:
        parts: in the order of their arrival.
        blobs: where their rows lie.
        dataset: name of the data set.
        policy: digest of the policy.
        back: rows that review released or relabelled.
        back_ids: their sample ids.
        excluded: sample ids that no release may hold.

    Raises:
        UsageError: no parts, or they follow different schemas.
    """
    if not parts:
        raise UsageError(f"nothing of {dataset} was accepted yet: there is nothing to publish")
    schema = _common_schema(parts, back)
    out = pa.array([key(sample_id) for sample_id in excluded], pa.binary(36))
    seen: list[pa.Array] = []
    pieces = []
    for part in parts:
        ids = read_parquet(blobs.read(part.ids))
        own = keys(ids)
        keep = _keep(own, [out, *seen])
        pieces.append(_piece(part, ids, keep, blobs))
        seen.append(own)
    if back is not None and len(back):
        # relabelled rows can meet rows that were there before: then there is nothing to add
        ids = identities(back, back_ids)
        keep = _keep(keys(ids), seen_without(seen, out)) & _first(keys(ids))
        if keep.any():
            rows = pa.array(keep)
            data, names = (blobs.put_bytes(parquet(t.filter(rows))) for t in (back.table, ids))
            pieces.append(Piece(REVIEW, data, names, int(keep.sum())))
    kept = [piece for piece in pieces if piece.rows] or pieces[:1]
    body = {"dataset": dataset, "policy": policy, "schema": schema.id, "parts": [piece.data for piece in kept]}
    content = f"sha256:{hashlib.sha256(rfc8785.dumps(body)).hexdigest()}"
    return Assembly(tuple(kept), schema, sum(piece.rows for piece in kept), content)


def seen_without(seen: Iterable[pa.Array], out: pa.Array) -> list[pa.Array]:
    """The rows seen so far that are not excluded."""
    return [own.filter(pc.invert(pc.is_in(own, value_set=out))) for own in seen]


def _common_schema(parts: Sequence[Part], back: Samples | None) -> Schema:
    schemas = [Schema.from_json(dict(part.schema)) for part in parts]
    last = schemas[-1]
    for part, schema in zip(parts, schemas, strict=True):
        if schema.id != last.id:
            raise UsageError(
                f"delivery {part.delivery} follows another schema ({schema.id}) than the last one ({last.id})", subject=part.delivery
            )
    if back is not None and back.schema.id != last.id:
        raise UsageError(f"the reviewed rows follow another schema ({back.schema.id}) than the deliveries ({last.id})")
    labels = {value for schema in schemas for column in schema.columns if column.name == schema.label for value in column.categories or ()}
    if last.label is None or not labels:
        return last
    # an edit of the schema may only have widened the classes: the release announces all of them
    columns = (
        replace(c, categories=tuple(sorted(labels))) if c.name == last.label and c.categories is not None else c for c in last.columns
    )
    return replace(last, columns=tuple(columns))


def _keep(own: pa.Array, others: Iterable[pa.Array]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    keep = np.ones(len(own), dtype=bool)
    for other in others:
        if len(other) and len(own):
            keep &= ~np.asarray(pc.is_in(own, value_set=other).to_numpy(zero_copy_only=False), dtype=bool)
    return keep


def _first(own: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    encoded = pc.dictionary_encode(own).indices.to_numpy(zero_copy_only=False)
    first = np.zeros(len(own), dtype=bool)
    first[np.unique(encoded, return_index=True)[1]] = True
    return first


def _piece(part: Part, ids: pa.Table, keep: np.ndarray[tuple[int], np.dtype[np.bool_]], blobs: BlobStore) -> Piece:
    if keep.all():
        return Piece(part.delivery, part.data, part.ids, part.rows)
    rows = pa.array(keep)
    data = blobs.put_bytes(parquet(read_parquet(blobs.read(part.data)).filter(rows)))
    return Piece(part.delivery, data, blobs.put_bytes(parquet(ids.filter(rows))), int(keep.sum()))
