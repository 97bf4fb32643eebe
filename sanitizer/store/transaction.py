"""One transaction: a change of state and the ledger entry that tells of it, kept together or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from securesystemslib.signer import Signer
from sqlalchemy import Connection, Executable, Result, RowMapping, insert, select, update

from sanitizer.errors import LedgerBroken, printable
from sanitizer.provenance.ledger import Checkpoint, Entry, Tree
from sanitizer.store.tables import checkpoints, head, ledger, timestamp, words


def _plain(value: Any) -> Any:
    """`value` with half surrogates (of undecodable file names) made visible and NaN and infinities made null: JSON carries neither."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {_plain(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


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
    def connection(self) -> Connection:
        """The connection of this view, to ask what the database itself knows."""
        return self._connection

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
            facts: JSON values; no integer beyond 2**53.  What JSON cannot carry of a number (NaN) becomes null.
            actor: who did it.
        """
        entry = Entry(
            index=self._tree.size,
            at=timestamp(self.now),
            kind=kind,
            subject=printable(words(subject)),
            facts=_plain(dict(facts)),
            actor=words(actor),
            previous=self._tree.previous,
        )
        raw = entry.to_bytes()
        self._tree.append(raw)
        self._connection.execute(insert(ledger), {"index": entry.index, "kind": kind, "subject": entry.subject, "entry": raw})
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
