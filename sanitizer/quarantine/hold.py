"""What the verdicts quarantine is kept, with everything that a person needs to judge it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import func, insert, select

from sanitizer.errors import UsageError
from sanitizer.quarantine import content
from sanitizer.samples import UnverifiedSamples
from sanitizer.store import deliveries
from sanitizer.store.tables import cases, held
from sanitizer.store.transaction import Transaction
from sanitizer.verdicts import Verdicts


def hold(tx: Transaction, samples: UnverifiedSamples, verdicts: Verdicts, delivery: str) -> int:
    """Keeps every quarantined sample of `delivery` and returns how many there are; again for the same delivery changes nothing.

    Each sample belongs to one case: the group that the verdicts name, or all single ones of one cause together.

    Args:
        tx: the transaction that also moves the delivery on.
        samples: the delivery's samples.
        verdicts: their verdicts, in the same order.
        delivery: digest of the delivery; it must have been received.

    Raises:
        UsageError: the verdicts do not cover the samples, or they were held with other verdicts before.
    """
    rows_of = content.rows_of(samples, verdicts)
    table = verdicts.table.reset_index(drop=True)
    table = table[table["action"] == "quarantine"]
    known = int(tx.execute(select(func.count()).select_from(held).where(held.c.delivery == delivery)).scalar_one())
    if known:
        if known != len(table):
            raise UsageError(f"delivery {delivery} holds {known} samples already, these verdicts hold {len(table)}", subject=delivery)
        return known
    if table.empty:
        return 0
    dataset = deliveries.get(tx, delivery).dataset
    case_of = _open_cases(tx, table, verdicts.cases, dataset, delivery)
    first = int(tx.execute(select(func.coalesce(func.max(held.c.id), 0))).scalar_one()) + 1
    at = [int(rows_of[position][0]) for position in table.index]
    label, source = (_column(samples, name, at) for name in (samples.schema.label, samples.schema.source))
    columns = {str(name): values.to_list() for name, values in verdicts.evidence.iloc[table.index].items()}
    scores = [dict(zip(columns, map(_number, row), strict=True)) for row in zip(*columns.values(), strict=True)] or [{}] * len(table)
    rows = []
    for i, (position, verdict) in enumerate(zip(table.index, table.to_dict("records"), strict=True)):
        rows.append(
            {
                "id": first + i,
                "dataset": dataset,
                "delivery": delivery,
                "case_id": case_of[_case_key(verdict)],
                "sample_id": verdict["sample_id"],
                "position": int(position),
                "cause": verdict["cause"],
                "suspicion": _number(verdict["suspicion"]) or 0.0,
                "p_value": _number(verdict["p_value"]),
                "reason": verdict["reason"],
                "source": source[i],
                "label": label[i],
                "scores": scores[i],
                "columns": [str(c) for c in verdict["columns"]],
                "neighbours": [str(n) for n in verdict["neighbours"]],
                "state": "held",
            }
        )
    tx.execute(insert(held), rows)
    digest = content.write(tx, samples, [(row["id"], rows_of[row["position"]]) for row in rows])
    facts = {
        "dataset": dataset,
        "samples": len(rows),
        "causes": dict(Counter(row["cause"] for row in rows)),
        "cases": len(case_of),
        "first": first,
        "members": members_digest((row["id"], row["sample_id"]) for row in rows),
        "content": digest,
        "q": verdicts.q,
        "seed": verdicts.seed,
        "detectors": verdicts.detectors,
    }
    tx.record("quarantine.held", delivery, facts)
    return len(rows)


def members_digest(members: Any) -> str:
    """`sha256:…` over `held id, space, sample id, newline` of each member, by held id."""
    digest = hashlib.sha256()
    for held_id, sample_id in members:
        digest.update(f"{held_id} {sample_id}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _case_key(verdict: Mapping[Any, Any]) -> tuple[str, str]:
    return (str(verdict["case_id"]), str(verdict["cause"]))


def _open_cases(tx: Transaction, table: pd.DataFrame, groups: pd.DataFrame, dataset: str, delivery: str) -> dict[tuple[str, str], int]:
    """One case per named group, and one per cause for what stands alone; returns (name, cause) -> case id."""
    named = {str(g["case_id"]): g for g in groups.to_dict("records")}
    members: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for verdict in table.to_dict("records"):
        members.setdefault(_case_key(verdict), []).append(verdict)
    first = int(tx.execute(select(func.coalesce(func.max(cases.c.id), 0))).scalar_one()) + 1
    rows: list[dict[str, Any]] = []
    for number, ((name, cause), inside) in enumerate(members.items(), start=first):
        group = named.get(name)
        significance = None if group is None else _number(group["significance"])
        rows.append(
            {
                "id": number,
                "dataset": dataset,
                "delivery": delivery,
                "name": name,
                "cause": cause,
                "reason": f"single samples: {cause}" if group is None else str(group["reason"]),
                "significance": significance,
                "risk": _risk(inside, significance),
                "size": len(inside),
                "held": len(inside),
                "dropped": 0,
                "released": 0,
                "relabelled": 0,
                "proposed": 0,
                "at": tx.now,
            }
        )
    tx.execute(insert(cases), rows)
    return dict(zip(members, (row["id"] for row in rows), strict=True))


def _risk(inside: Sequence[Mapping[Any, Any]], significance: float | None) -> float:
    """What a reviewer should see first: many samples and little doubt; -log10 p (of the group or the median) x log2 (size + 1)."""
    known = [significance] if significance is not None else sorted(p for p in (_number(v["p_value"]) for v in inside) if p is not None)
    p = known[len(known) // 2] if known else 0.5
    return -math.log10(max(p, 1e-300)) * math.log2(1 + len(inside))


def _column(samples: UnverifiedSamples, name: str | None, rows: Sequence[int]) -> list[str | None]:
    if name is None:
        return [None] * len(rows)
    return [None if value is None else _short(str(value)) for value in samples.table[name].take(pa.array(rows, pa.int64())).to_pylist()]


def _short(text: str) -> str:
    # it is indexed, and PostgreSQL indexes at most 2,700 bytes; the whole text is among the rows
    return text if len(text) <= 200 else f"{text[:160]}… sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
