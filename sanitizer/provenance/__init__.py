"""Who sent which bytes: digests, names, keys, trust root, deliveries, ledger.  Knows no data libraries."""
