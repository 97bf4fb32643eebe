"""What stands beside a suspect: its nearest trusted rows, and what the trusted side and the delivery look like as a whole.

Kept when the delivery is held, because later the trusted side will be another one: a reviewer, and who audits the review,
must see what the verdict was made against.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import insert, select

from sanitizer.errors import DigestMismatch, printable
from sanitizer.quarantine import content
from sanitizer.quarantine.content import Content
from sanitizer.samples import UnverifiedSamples
from sanitizer.store import deliveries
from sanitizer.store.tables import contexts, held, trusted_rows
from sanitizer.store.transaction import Reader, Transaction
from sanitizer.verdicts import Verdicts

NEAREST = 5  # trusted rows kept for each suspect: a person compares with no more
TYPICAL = 5  # trusted rows of each label, for suspects without neighbours
BINS = 24
_MOST_COLUMNS = 200
_MOST_LABELS = 60
_MOST_POINTS = 400
_MOST_ITEMS = 5_000
_QUANTILES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class Beside:
    """One trusted row."""

    sample_id: str
    content: Content


def keep(tx: Transaction, samples: UnverifiedSamples, verdicts: Verdicts, trusted: UnverifiedSamples | None, delivery: str) -> int:
    """Keeps what the held samples of `delivery` are compared with; returns how many trusted rows that are.

    Call it after `hold`, in the same transaction.  Again for the same delivery it changes nothing.
    """
    if tx.one(select(contexts.c.delivery).where(contexts.c.delivery == delivery)) is not None:
        return 0
    dataset = deliveries.get(tx, delivery).dataset
    typical = {} if trusted is None else _typical(trusted, verdicts.seed)
    named = [names[:NEAREST] for names in tx.execute(select(held.c.neighbours).where(held.c.delivery == delivery)).scalars()]
    kept = 0 if trusted is None else _keep_rows(tx, trusted, [*named, *typical.values()], dataset)
    tx.execute(insert(contexts), {"delivery": delivery, "facts": _facts(samples, verdicts, trusted) | {"typical": typical}})
    return kept


def context(view: Reader, delivery: str) -> dict[str, Any]:
    """What the trusted side and the delivery looked like when it was judged; empty when nobody kept it.

    `judged` and `trusted` count samples (ratings: users); `columns` maps a name to its distribution over the trusted rows;
    `witnesses` a name to the quantiles of its scores over the delivery; `sources` a source to its counts; `typical` a label
    to sample ids of trusted rows;
    `map` projects embeddings to a plane; `ratings` tells what trusted users do; `range` spans all numbers (the grey levels of a grid).
    """
    row = view.one(select(contexts.c.facts).where(contexts.c.delivery == delivery))
    facts: dict[str, Any] = {} if row is None else row["facts"]
    return facts


def beside(view: Reader, dataset: str, sample_ids: Iterable[str]) -> dict[str, Beside]:
    """Kept trusted rows by sample id; ids that were not kept are absent.  Raises `DigestMismatch` when stored bytes changed."""
    wanted = sorted(set(sample_ids))
    found: dict[str, Beside] = {}
    for start in range(0, len(wanted), 500):
        query = select(trusted_rows).where(trusted_rows.c.dataset == dataset, trusted_rows.c.sample_id.in_(wanted[start : start + 500]))
        for row in view.rows(query):
            if hashlib.sha256(row["content"]).hexdigest() != row["sha256"]:
                raise DigestMismatch(f"the kept trusted row {row['sample_id']} was changed", subject=row["sample_id"])
            arrow, schema = content.read_schema(view, row["schema"])
            batch = pa.ipc.read_record_batch(pa.py_buffer(row["content"]), arrow)
            found[row["sample_id"]] = Beside(row["sample_id"], Content(batch, (row["sample_id"],), schema))
    return found


def _keep_rows(tx: Transaction, trusted: UnverifiedSamples, named: Iterable[Sequence[str]], dataset: str) -> int:
    wanted = {name for names in named for name in names}
    known = set(tx.execute(select(trusted_rows.c.sample_id).where(trusted_rows.c.dataset == dataset)).scalars())
    places = {name: i for i, name in enumerate(trusted.sample_ids) if name in wanted and name not in known}
    if not places:
        return 0
    schema = content.keep_schema(tx, trusted)
    rows = trusted.table.take(pa.array(list(places.values()))).replace_schema_metadata(None).combine_chunks().to_batches()[0]
    found = []
    for i, name in enumerate(places):
        body = rows.slice(i, 1).serialize().to_pybytes()
        digest = hashlib.sha256(body).hexdigest()
        found.append({"dataset": dataset, "sample_id": name, "schema": schema, "sha256": digest, "content": body})
    tx.execute(insert(trusted_rows), found)
    return len(found)


def _typical(trusted: UnverifiedSamples, seed: int) -> dict[str, list[str]]:
    """A few trusted sample ids of each label, drawn with the seed."""
    if trusted.schema.modality == "ratings" or not len(trusted):
        return {}
    label = trusted.schema.label
    values = [""] * len(trusted) if label is None else ["" if v is None else str(v) for v in trusted.table[label].to_pylist()]
    ids, rng = trusted.sample_ids, np.random.default_rng(seed)
    rows = pd.Series(range(len(values))).groupby(pd.Series(values, dtype="str"))
    return {
        str(name): [ids[i] for i in sorted(rng.choice(mine.to_numpy(), min(TYPICAL, len(mine)), replace=False).tolist())]
        for name, mine in list(rows)[:_MOST_LABELS]
    }


def _facts(samples: UnverifiedSamples, verdicts: Verdicts, trusted: UnverifiedSamples | None) -> dict[str, Any]:
    known = trusted if trusted is not None and len(trusted) else samples
    sources: dict[str, dict[str, Any]] = verdicts.sources.head(500).to_dict("index")  # type: ignore[assignment]  # its index is of names
    facts: dict[str, Any] = {
        "judged": len(verdicts.table),
        "trusted": 0 if trusted is None else _units(trusted),
        "unproven": verdicts.unproven,
        "q": verdicts.q,
        "columns": {} if known.schema.modality == "ratings" else _columns(known, verdicts),
        "range": _range(known),
        "witnesses": {str(name): _quantiles(scores.to_numpy(np.float64)) for name, scores in verdicts.evidence.items()},
        "sources": {
            printable(str(name)): {
                "accused": bool(row["accused"]),
                "samples": int(row["samples"]),
                "suspicious": int(row["suspicious"]),
                "p_value": _number(row["p_value"]),
            }
            for name, row in sources.items()
        },
    }
    vectors = next((c for c in known.schema.features if c.type.startswith("embedding[")), None)
    if vectors is not None:
        facts["map"] = _map(known, vectors.name, verdicts.seed)
    if known.schema.modality == "ratings":
        facts["ratings"] = _ratings(known)
    return facts


def _columns(known: UnverifiedSamples, verdicts: Verdicts) -> dict[str, Any]:
    """The distribution of each plain column, those that weighed in a verdict first."""
    weighty = {str(name) for names in verdicts.table["columns"] for name in names}
    plain = [c for c in known.schema.features if c.type in ("int64", "float64", "bool") or (c.type == "string" and c.name != "text")]
    plain.sort(key=lambda c: c.name not in weighty)
    return {c.name: _categories(known, c.name) if c.type in ("string", "bool") else _numbers(known, c.name) for c in plain[:_MOST_COLUMNS]}


def _units(samples: UnverifiedSamples) -> int:
    return int(pc.count_distinct(samples.table["user"]).as_py()) if samples.schema.modality == "ratings" else len(samples)


def _range(known: UnverifiedSamples) -> list[float]:
    ends = [pc.min_max(known.table[c.name]).as_py() for c in known.schema.features if c.type in ("int64", "float64")]
    known_ends = [float(v) for e in ends for v in e.values() if v is not None and math.isfinite(v)]
    return [min(known_ends, default=0.0), max(known_ends, default=1.0)]


def _numbers(known: UnverifiedSamples, name: str) -> dict[str, Any]:
    values = known.table[name].drop_null().to_numpy().astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"kind": "number", "bins": [], "quantiles": []}
    low, high = np.quantile(values, [0.005, 0.995])  # one outlier among the trusted must not flatten the picture
    if high <= low:
        low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, BINS, (low, high if high > low else low + 1))
    return {
        "kind": "number",
        "low": float(low),
        "high": float(high),
        "bins": [int(n) for n in counts],
        "quantiles": _quantiles(values),
        "whole": bool(pa.types.is_integer(known.table[name].type)),
    }


def _categories(known: UnverifiedSamples, name: str) -> dict[str, Any]:
    counts = Counter(str(value) for value in known.table[name].to_pylist())
    return {"kind": "category", "values": [[value[:200], n] for value, n in counts.most_common(12)], "different": len(counts)}


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    finite = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(finite, _QUANTILES)] if len(finite) else []


def _map(known: UnverifiedSamples, name: str, seed: int) -> dict[str, Any]:
    """The plane of the two widest directions of the trusted vectors, and where some of them lie in it."""
    vectors = known.matrix(name).astype(np.float64)
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    rng = np.random.default_rng(seed)
    some = vectors[np.sort(rng.choice(len(vectors), min(len(vectors), 4_000), replace=False))] if len(vectors) else vectors
    if not len(some):
        return {"middle": [], "axes": [], "points": []}
    middle = some.mean(axis=0)
    _, _, directions = np.linalg.svd(some - middle, full_matrices=False)
    axes = directions[:2]
    rows = np.sort(rng.choice(len(vectors), min(len(vectors), _MOST_POINTS), replace=False))
    at = (vectors[rows] - middle) @ axes.T
    label = known.schema.label
    labels = [None] * len(rows) if label is None else known.table[label].take(pa.array(rows)).to_pylist()
    points = [[round(float(x), 4), round(float(y), 4) if axes.shape[0] > 1 else 0.0] for x, y, *_ in np.pad(at, ((0, 0), (0, 1)))]
    return {
        "middle": [float(v) for v in middle],
        "axes": [[float(v) for v in axis] for axis in axes],
        "points": [[*point, None if name is None else str(name)] for point, name in zip(points, labels, strict=True)],
    }


def _ratings(known: UnverifiedSamples) -> dict[str, Any]:
    """What trusted users do: how many ratings, how high, and how each item fares."""
    table = known.table.select(["user", "item", "rating"])
    by_user = table.group_by("user").aggregate([("rating", "count"), ("rating", "mean")])
    by_item = table.group_by("item").aggregate([("rating", "count"), ("rating", "mean")]).sort_by([("rating_count", "descending")])
    marks = pc.value_counts(table["rating"].combine_chunks()).to_pylist()
    items = by_item.slice(0, _MOST_ITEMS).to_pylist()
    return {
        "counts": _quantiles(by_user["rating_count"].to_numpy().astype(np.float64)),
        "means": _quantiles(by_user["rating_mean"].to_numpy().astype(np.float64)),
        "marks": sorted([float(m["values"]), int(m["counts"])] for m in marks if m["values"] is not None),
        "items": {str(row["item"]): [round(float(row["rating_mean"] or 0), 3), int(row["rating_count"])] for row in items},
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
