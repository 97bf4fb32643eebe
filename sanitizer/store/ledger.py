"""The ledger as it is stored: its newest checkpoint, and reading all of it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from securesystemslib.signer import Key
from sqlalchemy import inspect, select

from sanitizer.errors import LedgerBroken
from sanitizer.provenance.ledger import Entry, Tree, verify_entries
from sanitizer.store.store import Store
from sanitizer.store.tables import checkpoints, head, ledger
from sanitizer.store.transaction import Reader

_MANY = 10_000


@dataclass(frozen=True)
class Audited:
    """A ledger that is whole: its size, its root, and how many of its entries a signed checkpoint covers."""

    entries: int
    root: str
    checkpoints: int
    signed: int


def audit(store: Store, keys: Sequence[Key], *, notes: Sequence[str] = (), origin: str | None = None) -> Audited:
    """Reads the whole ledger again and holds it against every checkpoint, stored ones and those kept elsewhere.

    Args:
        store: whose ledger.
        keys: that may sign its checkpoints.
        notes: checkpoints that came another way (a release, a mail): they alone betray a history that was cut together with its own.
        origin: the ledger's name, if its checkpoints must carry it.

    Raises:
        LedgerBroken: its subject is `entry N`, the first entry that is not what it was.
    """
    with store.reading() as view:
        _tables_there(view)
        stored = list(view.execute(select(checkpoints.c.note).order_by(checkpoints.c.size)).scalars())
        tree = verify_entries(_entries(view), [*stored, *notes], keys, origin=origin)
        _columns_agree(view)
        [*_, kept] = [None, *view.rows(select(head))]
        if kept is None:
            raise LedgerBroken("the head of the ledger is gone: somebody deleted it", subject="head")
        saved = Tree.from_json(kept["frontier"])
        if (saved.size, saved.root(), kept["size"]) != (tree.size, tree.root(), tree.size):
            raise LedgerBroken(
                f"the saved head is of {saved.size} entries, the ledger of {tree.size}: one of the two was changed",
                subject=f"entry {min(saved.size, tree.size)}",
            )
        last = view.execute(select(checkpoints.c.size).order_by(checkpoints.c.size.desc()).limit(1)).scalar()
    return Audited(tree.size, tree.root().hex(), len(stored) + len(notes), last or 0)


def last_checkpoint(view: Reader) -> str:
    """The newest signed checkpoint, "" when the ledger was never signed."""
    note: str | None = view.execute(select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1)).scalar()
    return note or ""


def entries(view: Reader, *, kind: str | None = None, subject: str | None = None, after: int = -1, limit: int = 1000) -> list[Entry]:
    """Entries in order, from the one after index `after`."""
    query = select(ledger.c.entry).where(ledger.c.index > after).order_by(ledger.c.index).limit(limit)
    if kind is not None:
        query = query.where(ledger.c.kind == kind)
    if subject is not None:
        query = query.where(ledger.c.subject == subject)
    return [Entry.from_bytes(raw) for raw in view.execute(query).scalars()]


def _entries(view: Reader) -> Iterator[bytes]:
    after = -1
    while rows := view.rows(select(ledger.c.index, ledger.c.entry).where(ledger.c.index > after).order_by(ledger.c.index).limit(_MANY)):
        for row in rows:
            if not isinstance(row["entry"], bytes):  # SQLite lets anybody put text where bytes were
                raise LedgerBroken(
                    f"entry {row['index']} of the ledger was changed: it is no longer bytes", subject=f"entry {row['index']}"
                )
            yield row["entry"]
        after = rows[-1]["index"]


def _tables_there(view: Reader) -> None:
    there = set(inspect(view.connection).get_table_names())
    absent = sorted({table.name for table in (ledger, head, checkpoints)} - there)
    if absent:
        raise LedgerBroken(f"the state has no table {absent[0]}: somebody removed it", subject=absent[0])


def _columns_agree(view: Reader) -> None:
    # `kind` and `subject` stand beside the entry to find it by: they must not tell another story
    for row in view.execute(select(ledger).order_by(ledger.c.index)).mappings():
        entry = Entry.from_bytes(row["entry"])
        if (entry.index, entry.kind, entry.subject) != (row["index"], row["kind"], row["subject"]):
            at = f"entry {row['index']}"
            raise LedgerBroken(f"{at} of the ledger is filed under another name than its own", subject=at)
