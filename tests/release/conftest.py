from __future__ import annotations

import shutil

import pytest
from securesystemslib.signer import CryptoSigner

from sanitizer.provenance.blobs import BlobStore
from tests.release.build import Line, Trust
from tests.store.build import open_store


@pytest.fixture(scope="session")
def signer():
    return CryptoSigner.generate_ecdsa()


@pytest.fixture(scope="session")
def ledger_signer():
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def trust(signer):
    return Trust([signer.public_key])


@pytest.fixture
def line(tmp_path, signer, ledger_signer):
    with open_store(tmp_path, ledger_signer=ledger_signer) as store:
        yield Line(store, BlobStore(tmp_path / "blobs"), tmp_path / "releases", signer)


@pytest.fixture(scope="session")
def _published(tmp_path_factory, signer, ledger_signer):
    place = tmp_path_factory.mktemp("published")
    with open_store(place, ledger_signer=ledger_signer) as store:
        line = Line(store, BlobStore(place / "blobs"), place / "releases", signer)
        line.deliver(10, held={3: "outlier"})
        line.publish()
        line.deliver(5, first=100)
        line.publish()
    return place / "releases" / "toys"


@pytest.fixture
def toys(_published, tmp_path):
    """Releases 1 (9 samples) and 2 (14 samples), writable."""
    place = tmp_path / "toys"
    shutil.copytree(_published, place)
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return place
