from __future__ import annotations

from datetime import UTC, datetime

import pytest
from securesystemslib.signer import CryptoSigner

from tests.store.build import open_store


@pytest.fixture
def now():
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def ledger_signer():
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def store(tmp_path, ledger_signer):
    with open_store(tmp_path, ledger_signer=ledger_signer) as opened:
        yield opened
