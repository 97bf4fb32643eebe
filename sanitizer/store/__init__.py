"""State and ledger, in one transaction: the one place that knows SQLite from PostgreSQL."""
