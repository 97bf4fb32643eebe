"""Witnesses: one file each, one contract, one registry."""
