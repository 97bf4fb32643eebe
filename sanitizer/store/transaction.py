"""One transaction: a change of state and the ledger entry that tells of it, kept together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from securesystemslib.signer import Signer
from sqlalchemy import Connection, Executable, Result, RowMapping, insert, select, update

from sanitizer.errors import LedgerBroken, printable
from sanitizer.store.tables import checkpoints, head, ledger, timestamp, words
from sanitizer.store.tree import Checkpoint, Entry, Tree


class Reader:
    """One consistent view of the state; `now` is the time of the view."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now

    def execute(self, statement: Executable, parameters: Any = None) -> Result[*tuple[Any, ...]]:
        """Runs one SQLAlchemy statement."""
        return self._connection.execute(statement, parameters)

    def rows(self, statement: Executable) -> list[RowMapping]:
        """All rows of a query."""
        return list(self._connection.execute(statement).mappings())

    def one(self, statement: Executable) -> RowMapping | None:
        """The first row of a query, if there is one."""
        return self._connection.execute(statement).mappings().first()

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._connection.dialect.name


class Transaction(Reader):
    """The only writer of the moment: SQLite's write lock, or PostgreSQL's lock on the ledger head, makes all writers take turns."""

    def __init__(self, connection: Connection, now: datetime, signer: Signer | None, origin: str) -> None:
        super().__init__(connection, now)
        self._signer = signer
        self._origin = origin
        row = connection.execute(select(head).with_for_update()).mappings().one()
        self._tree = Tree.from_json(row["frontier"])
        self._began_at = self._tree.size
        if signer is not None:
            self._agree_with_last_checkpoint()

    def _agree_with_last_checkpoint(self) -> None:
        # a signer that trusts the stored frontier blindly would vouch for a rewritten history
        last = self.one(select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1))
        if last is None:
            return
        checkpoint = Checkpoint.parse(last["note"])
        if checkpoint.size > self._tree.size or (checkpoint.size == self._tree.size and checkpoint.root != self._tree.root()):
            raise LedgerBroken(
                f"the ledger's head does not agree with its last checkpoint of {checkpoint.size} entries: run `sanitizer audit verify`",
                subject=f"entry {checkpoint.size}",
            )

    def record(self, kind: str, subject: str, facts: Mapping[str, Any], *, actor: str = "sanitizer") -> int:
        """Appends one ledger entry and returns its index.

        Args:
            kind: dotted lower-case word, such as `delivery.verified`.
            subject: what it is about: a digest, a data set, a key id.
            facts: JSON values; no NaN, no integer beyond 2**53.
            actor: who did it.
        """
        entry = Entry(
            index=self._tree.size,
            at=timestamp(self.now),
            kind=kind,
            subject=printable(words(subject)),
            facts=dict(facts),
            actor=words(actor),
        )
        raw = entry.to_bytes()
        leaf = self._tree.append(raw)
        row = {"index": entry.index, "kind": kind, "subject": entry.subject, "entry": raw, "leaf": leaf}
        self._connection.execute(insert(ledger), row)
        return entry.index

    @property
    def ledger_size(self) -> int:
        """How many entries the ledger will have after this transaction."""
        return self._tree.size

    def seal(self) -> None:
        """Writes the ledger's new head and, where there is a ledger signer, its checkpoint; `Store` does it before each commit."""
        if self._tree.size == self._began_at:
            return
        self._connection.execute(update(head).values(size=self._tree.size, frontier=self._tree.to_json()))
        if self._signer is not None:
            note = Checkpoint(origin=self._origin, size=self._tree.size, root=self._tree.root()).sign(self._signer)
            self._connection.execute(insert(checkpoints), {"size": self._tree.size, "note": note, "at": self.now})
