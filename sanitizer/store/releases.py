"""Releases as the state knows them: planned before the first byte is written, published when all of them are in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update

from sanitizer.store.tables import releases as table
from sanitizer.store.transaction import Reader, Transaction


@dataclass(frozen=True)
class ReleaseState:
    """One release.

    `state` is `planned`, `published` or `revoked`.  `content` names what goes in (accepted samples and policy): the same content makes
    no new version.  `digest` names what came out, "" while planned.
    """

    dataset: str
    version: int
    state: str
    content: str
    digest: str
    facts: Mapping[str, Any]
    at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> ReleaseState:
        """From a row of the table."""
        return cls(**row)


def plan(tx: Transaction, dataset: str, version: int, content: str, facts: Mapping[str, Any], *, actor: str) -> ReleaseState:
    """Notes what is about to be published; a plan that a crash left behind is replaced."""
    tx.execute(delete(table).where(table.c.dataset == dataset, table.c.state == "planned"))
    row: dict[str, Any] = {
        "dataset": dataset,
        "version": version,
        "state": "planned",
        "content": content,
        "digest": "",
        "facts": dict(facts),
        "at": tx.now,
    }
    tx.execute(insert(table), row)
    tx.record("release.planned", f"{dataset}/{version}", {"content": content, **facts}, actor=actor)
    return ReleaseState(**row)


def publish(tx: Transaction, dataset: str, version: int, digest: str, facts: Mapping[str, Any], *, actor: str) -> ReleaseState:
    """Notes that the planned release is in place."""
    where = (table.c.dataset == dataset, table.c.version == version)
    tx.execute(update(table).where(*where).values(state="published", digest=digest, facts=dict(facts), at=tx.now))
    tx.record("release.published", f"{dataset}/{version}", {"digest": digest, **facts}, actor=actor)
    return ReleaseState.of(tx.execute(select(table).where(*where)).mappings().one())


def latest(view: Reader, dataset: str) -> ReleaseState | None:
    """The published release of the highest version."""
    query = select(table).where(table.c.dataset == dataset, table.c.state == "published").order_by(table.c.version.desc()).limit(1)
    row = view.one(query)
    return None if row is None else ReleaseState.of(row)


def planned(view: Reader, dataset: str) -> ReleaseState | None:
    """The release that somebody began to publish and has not finished."""
    row = view.one(select(table).where(table.c.dataset == dataset, table.c.state == "planned"))
    return None if row is None else ReleaseState.of(row)


def listed(view: Reader, dataset: str | None = None) -> list[ReleaseState]:
    """All releases, by data set and version."""
    query = select(table).order_by(table.c.dataset, table.c.version)
    if dataset is not None:
        query = query.where(table.c.dataset == dataset)
    return [ReleaseState.of(row) for row in view.rows(query)]


def next_version(view: Reader, dataset: str) -> int:
    """One above the highest version that was ever published, revoked ones included."""
    query = select(func.coalesce(func.max(table.c.version), 0)).where(table.c.dataset == dataset, table.c.state != "planned")
    return int(view.execute(query).scalar_one()) + 1
