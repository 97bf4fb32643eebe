"""What a data set settled once: its schema, its modality, the content behind an address."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from sanitizer.errors import ChangedSincePinned
from sanitizer.store.tables import pins as table
from sanitizer.store.transaction import Reader, Transaction


def pin(tx: Transaction, dataset: str, name: str, value: str, *, actor: str = "sanitizer") -> None:
    """Settles `name`; the same value again is a no-op, another one raises `ChangedSincePinned`."""
    known = pinned(tx, dataset, name)
    if known == value:
        return
    if known is not None:
        raise ChangedSincePinned(
            f"{name} of {dataset} was pinned as {known}, now it is {value}: compare the two, then move the pin if that is meant",
            subject=f"{dataset}/{name}",
        )
    tx.execute(insert(table), {"dataset": dataset, "name": name, "value": value, "at": tx.now})
    tx.record("pin.set", f"{dataset}/{name}", {"value": value}, actor=actor)


def move(tx: Transaction, dataset: str, name: str, value: str, *, actor: str, reason: str) -> None:
    """Replaces a pinned value: a person's decision, with its reason in the ledger."""
    known = pinned(tx, dataset, name)
    if known == value:
        return
    if known is None:
        tx.execute(insert(table), {"dataset": dataset, "name": name, "value": value, "at": tx.now})
    else:
        tx.execute(update(table).where(table.c.dataset == dataset, table.c.name == name).values(value=value, at=tx.now))
    tx.record("pin.moved", f"{dataset}/{name}", {"from": known, "to": value, "reason": reason}, actor=actor)


def pinned(view: Reader, dataset: str, name: str) -> str | None:
    """The pinned value, if there is one."""
    value: str | None = view.execute(select(table.c.value).where(table.c.dataset == dataset, table.c.name == name)).scalar()
    return value
