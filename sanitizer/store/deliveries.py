"""Deliveries on their way: received, verified, screened, decided, published; or refused; or held until a person decides."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import rfc8785
from sqlalchemy import RowMapping, func, insert, select, update

from sanitizer.errors import SanitizerError, UsageError
from sanitizer.store.tables import deliveries as table
from sanitizer.store.transaction import Reader, Transaction

# state -> what may follow.  `refused` and `held` come from an error; a refused delivery starts again only when its files changed
NEXT: Mapping[str, frozenset[str]] = {
    "received": frozenset({"verified", "refused", "held"}),
    "verified": frozenset({"screened", "refused", "held"}),
    "screened": frozenset({"decided", "refused", "held"}),
    "decided": frozenset({"published", "held", "refused"}),
    "published": frozenset(),
    "refused": frozenset({"received"}),
    "held": frozenset({"received", "verified", "screened", "decided", "refused"}),
}
ACCEPTED = ("verified", "screened", "decided", "published", "held")


@dataclass(frozen=True)
class DeliveryState:
    """How far one delivery came.

    `digest` is that of the signed manifest, or `fingerprint` where there is none; `arrival` counts deliveries from 1.
    `code` and `message` are those of the error that refused or held it.
    `artefacts` maps a word (`samples`, `verdicts`, …) to a blob digest.
    """

    digest: str
    arrival: int
    dataset: str
    source: str
    sequence: int | None
    path: str
    fingerprint: str
    level: str
    state: str
    code: str
    message: str
    artefacts: Mapping[str, str]
    received_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> DeliveryState:
        """From a row of the table."""
        return cls(**row)


def fingerprint(directory: Path, *, trust: str = "") -> str:
    """`sha256:…` of the names, sizes and times of what lies in `directory`, read without opening a file.

    A refused delivery is judged anew only when this changes: its files, or the trust root (`trust` names its version).
    """
    seen = [trust]
    for at, names, files in os.walk(directory):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(at, name)
            stat = path.lstat()
            seen.append(
                f"{os.fsencode(path.relative_to(directory)).hex()} {stat.st_mode} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
            )
    return f"sha256:{hashlib.sha256(rfc8785.dumps(seen)).hexdigest()}"


def receive(
    tx: Transaction,
    digest: str,
    *,
    dataset: str,
    source: str,
    path: str,
    fingerprint: str,
    sequence: int | None = None,
) -> DeliveryState:
    """Notes that a delivery came.  One that is known stays as it is, except a refused one whose files changed: it starts again."""
    known = find(tx, digest)
    if known is None:
        arrival = int(tx.execute(select(func.coalesce(func.max(table.c.arrival), 0))).scalar_one()) + 1
        row = {
            "digest": digest,
            "arrival": arrival,
            "dataset": dataset,
            "source": source,
            "sequence": sequence,
            "path": path,
            "fingerprint": fingerprint,
            "level": "",
            "state": "received",
            "code": "",
            "message": "",
            "artefacts": {},
            "received_at": tx.now,
            "updated_at": tx.now,
        }
        tx.execute(insert(table), row)
    elif known.state == "refused" and known.fingerprint != fingerprint:
        _set(tx, digest, state="received", code="", message="", path=path, fingerprint=fingerprint, source=source, sequence=sequence)
    else:
        return known
    tx.record("delivery.received", digest, {"dataset": dataset, "source": source, "sequence": sequence, "path": path})
    return get(tx, digest)


def reopen(tx: Transaction, digest: str) -> DeliveryState:
    """Lets a refused delivery start again where what refused it is gone: a trust root was renewed, a clock was set right."""
    known = get(tx, digest)
    if known.state != "refused":
        return known
    _set(tx, digest, state="received", code="", message="")
    tx.record("delivery.received", digest, {"dataset": known.dataset, "source": known.source, "path": known.path, "again": True})
    return get(tx, digest)


def advance(
    tx: Transaction,
    digest: str,
    to: str,
    *,
    artefacts: Mapping[str, str] | None = None,
    level: str | None = None,
    source: str | None = None,
    sequence: int | None = None,
    facts: Mapping[str, object] | None = None,
    actor: str = "sanitizer",
) -> DeliveryState:
    """Moves a delivery on; the same step with the same artefacts again changes nothing.

    Raises `UsageError` for a step that the state machine does not know.
    """
    known = get(tx, digest)
    merged = {**known.artefacts, **(artefacts or {})}
    if known.state == to and merged == known.artefacts:
        return known
    if known.state != to and to not in NEXT[known.state]:
        raise UsageError(f"delivery {digest} is {known.state}: it cannot become {to}", subject=digest)
    changed: dict[str, object] = {"state": to, "code": "", "message": "", "artefacts": merged}
    changed |= {k: v for k, v in {"level": level, "source": source, "sequence": sequence}.items() if v is not None}
    _set(tx, digest, **changed)
    tx.record(f"delivery.{to}", digest, {"artefacts": merged, "source": source or known.source, **(facts or {})}, actor=actor)
    return get(tx, digest)


def stop(tx: Transaction, digest: str, error: SanitizerError, *, fingerprint: str | None = None) -> DeliveryState:
    """Refuses or holds a delivery, by the error's exit code: 3 refuses, 4 holds.  Anything else is not the delivery's fault."""
    state = {3: "refused", 4: "held"}.get(error.exit_code)
    if state is None:
        raise UsageError(f"{error.code} is no judgement on a delivery: it is worth a retry", subject=digest) from error
    known = get(tx, digest)
    if known.state != state and state not in NEXT[known.state]:
        raise UsageError(f"delivery {digest} is {known.state}: it cannot become {state}", subject=digest) from error
    if (known.state, known.code, known.message) == (state, error.code, error.message):
        return known
    _set(tx, digest, state=state, code=error.code, message=error.message, fingerprint=fingerprint or known.fingerprint)
    tx.record(f"delivery.{state}", digest, {"code": error.code, "message": error.message, "subject": error.subject, "source": known.source})
    return get(tx, digest)


def find(view: Reader, digest: str) -> DeliveryState | None:
    """The delivery of this digest, if it ever came."""
    row = view.one(select(table).where(table.c.digest == digest))
    return None if row is None else DeliveryState.of(row)


def get(view: Reader, digest: str) -> DeliveryState:
    """The delivery of this digest; raises `UsageError` when it never came."""
    found = find(view, digest)
    if found is None:
        raise UsageError(f"no delivery {digest} is known: see `sanitizer report`", subject=digest)
    return found


def listed(view: Reader, *, dataset: str | None = None, states: Sequence[str] = ()) -> list[DeliveryState]:
    """Deliveries in the order of their arrival."""
    query = select(table).order_by(table.c.arrival)
    if dataset is not None:
        query = query.where(table.c.dataset == dataset)
    if states:
        query = query.where(table.c.state.in_(states))
    return [DeliveryState.of(row) for row in view.rows(query)]


def remembered(view: Reader, fingerprint: str) -> DeliveryState | None:
    """The refusal of exactly these files under this trust root, so that nobody judges them at every tick."""
    query = select(table).where(table.c.fingerprint == fingerprint, table.c.state == "refused").order_by(table.c.arrival.desc())
    row = view.one(query)
    return None if row is None else DeliveryState.of(row)


def last_sequence(view: Reader, source: str) -> int | None:
    """The highest sequence number that was accepted from `source`."""
    query = select(func.max(table.c.sequence)).where(table.c.source == source, table.c.state.in_(ACCEPTED))
    found: int | None = view.execute(query).scalar()
    return found


def knows(view: Reader, digest: str) -> bool:
    """Whether a delivery of this digest was accepted before."""
    return view.one(select(table.c.digest).where(table.c.digest == digest, table.c.state.in_(ACCEPTED))) is not None


def _set(tx: Transaction, digest: str, **values: object) -> None:
    tx.execute(update(table).where(table.c.digest == digest).values(updated_at=tx.now, **values))
