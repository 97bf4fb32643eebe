from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner

from sanitizer.quarantine import hold
from tests.quarantine.build import DIGEST, HELD, make_samples, make_verdicts, receive
from tests.store.build import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, ledger_signer=CryptoSigner.generate_ed25519()) as opened:
        yield opened


@pytest.fixture
def samples():
    return make_samples(12)


@pytest.fixture
def verdicts(samples):
    return make_verdicts(samples, HELD, group=(5, 6, 7))


@pytest.fixture
def filled(store, samples, verdicts):
    """A store with six held samples: ids 1..6 = positions 2, 3, 5, 6, 7, 11; three cases."""
    with store.transaction() as tx:
        receive(tx, DIGEST)
        assert hold(tx, samples, verdicts, DIGEST) == 6
    return store
