from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """What is written is judged here, not whether it survives a power cut: flushing takes most of the time on a busy disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("sanitizer.provenance.blobs._sync_file_system", lambda _: None)
