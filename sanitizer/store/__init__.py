"""State: deliveries, quarantine, releases and the ledger of them all, in SQLite or PostgreSQL."""

from sanitizer.store.ledger import Audited, audit
from sanitizer.store.store import Store
from sanitizer.store.transaction import Reader, Transaction

__all__ = ["Audited", "Reader", "Store", "Transaction", "audit"]
