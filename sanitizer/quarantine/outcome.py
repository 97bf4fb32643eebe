"""What review means for the next release: which samples stay out, and which come back in, with which label."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
from sqlalchemy import select

from sanitizer.quarantine import content
from sanitizer.samples import Samples
from sanitizer.store.tables import held, held_content
from sanitizer.store.transaction import Reader


@dataclass(frozen=True, eq=False)
class Outcome:
    """The state of review of one data set.

    `back` holds the rows that were released or relabelled, labels applied, None when there are none; `back_ids` their sample ids, which
    stay those of the delivery for released rows (of two equal rows one may be dropped) and are new for relabelled ones.
    `excluded` holds the sample ids of rows that no release may contain in their original form: undecided, dropped, relabelled.
    `counts` tells how many held samples are `held`, `dropped`, `released`, `relabelled`.
    """

    back: Samples | None
    back_ids: tuple[str, ...]
    excluded: frozenset[str]
    counts: Mapping[str, int]


def outcome(view: Reader, dataset: str, *, recalled: Collection[str] = ()) -> Outcome:
    """Folds all decisions about a data set; nothing comes back from the deliveries `recalled` (digests), whatever was decided."""
    query = select(held.c.id, held.c.delivery, held.c.state, held.c.new_label, held_content.c.row_ids).join(
        held_content, held_content.c.held_id == held.c.id
    )
    rows = view.rows(query.where(held.c.dataset == dataset).order_by(held.c.id))
    counts = dict.fromkeys(("held", "dropped", "released", "relabelled"), 0)
    labels: dict[int, str | None] = {}
    excluded: set[str] = set()
    for row in rows:
        counts[row["state"]] += 1
        if row["state"] in ("released", "relabelled") and row["delivery"] not in recalled:
            labels[row["id"]] = row["new_label"]
        if row["state"] != "released":
            excluded.update(row["row_ids"])
    back, back_ids = _back(view, labels, dataset)
    return Outcome(back, back_ids, frozenset(excluded), counts)


def _back(view: Reader, labels: Mapping[int, str | None], dataset: str) -> tuple[Samples | None, tuple[str, ...]]:
    if not labels:
        return None, ()
    found = content.read(view, list(labels))
    schema = found[next(iter(labels))].schema
    batches = [_relabelled(found[held_id], label) for held_id, label in labels.items()]
    back = Samples(pa.Table.from_batches(batches).combine_chunks(), schema, origin=f"quarantine:{dataset}")
    old = [row_id if label is None else None for held_id, label in labels.items() for row_id in found[held_id].row_ids]
    return back, tuple(kept or new for kept, new in zip(old, back.sample_ids, strict=True))


def _relabelled(kept: content.Content, label: str | None) -> pa.RecordBatch:
    if label is None:
        return kept.rows
    column = kept.rows.schema.get_field_index(kept.schema.label)
    new = pa.array([content.parse_label(kept, label)] * len(kept.rows), kept.rows.schema.field(column).type)
    return kept.rows.set_column(column, kept.rows.schema.field(column), new)
