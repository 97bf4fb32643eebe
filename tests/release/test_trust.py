"""The gate with a real trust root: TUF metadata that came by another way than the release."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from sanitizer.errors import Expired, Replayed, RevokedKey, UntrustedSigner
from sanitizer.provenance import trust_edit
from sanitizer.provenance.trust import TrustRoot
from sanitizer.release.gate import open_release, verify_release
from tests.release.build import NOW


@pytest.fixture
def owner():
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def root(tmp_path, owner, signer):
    place = tmp_path / "elsewhere" / "trust"
    place.parent.mkdir()
    trust_edit.init(place, owners=[owner], release=signer.public_key, now=NOW)
    return place


def test_a_directory_of_metadata_is_a_trust_root(toys, root):
    with open_release(toys / "2", trust=root, now=NOW) as release:
        assert len(release.arrow()) == 14
    assert verify_release(toys / "2", TrustRoot.load(root, now=NOW), now=NOW).hashed


def test_a_single_root_file_pins_the_metadata_that_lies_with_the_releases(toys, root, tmp_path):
    pinned = tmp_path / "training" / "root.json"
    pinned.parent.mkdir()
    shutil.copy(root / "1.root.json", pinned)
    shutil.copytree(root, toys.parent / "trust")
    assert verify_release(toys / "2", pinned, now=NOW).version == 2


def test_metadata_beside_the_releases_that_the_pinned_root_did_not_sign_is_refused(toys, root, tmp_path, signer):
    pinned = tmp_path / "root.json"
    shutil.copy(root / "1.root.json", pinned)
    trust_edit.init(toys.parent / "trust", owners=[CryptoSigner.generate_ed25519()], release=signer.public_key, now=NOW)
    with pytest.raises(UntrustedSigner):
        verify_release(toys / "2", pinned, now=NOW)


def test_a_trust_root_of_others_does_not_open_our_release(toys, tmp_path, owner):
    place = tmp_path / "others"
    trust_edit.init(place, owners=[owner], release=CryptoSigner.generate_ecdsa().public_key, now=NOW)
    with pytest.raises(UntrustedSigner):
        verify_release(toys / "2", place, now=NOW)


def test_an_expired_trust_root_opens_nothing(toys, root):
    with pytest.raises(Expired, match="the trust root's root expired"):
        verify_release(toys / "2", root, now=NOW + timedelta(days=3650))


def test_a_revoked_release_key_closes_the_gate(toys, root, owner, signer):
    newer = CryptoSigner.generate_ecdsa()
    trust_edit.rotate(root, "release", signers=[owner], now=NOW, add=[newer.public_key])
    verify_release(toys / "2", root, now=NOW)
    trust_edit.revoke(root, "key", signer.public_key.keyid, reason="stolen", signers=[owner], now=NOW)
    with pytest.raises(RevokedKey):
        verify_release(toys / "2", root, now=NOW)


def test_a_revoked_delivery_closes_the_gate_for_what_contains_it(toys, root, owner):
    trust_edit.revoke(root, "delivery", f"sha256:{2:064x}", reason="contaminated", signers=[owner], now=NOW)
    assert verify_release(toys / "1", root, now=NOW).version == 1
    with pytest.raises(RevokedKey, match="contaminated"):
        verify_release(toys / "2", root, now=NOW)


def test_an_older_trust_root_than_one_seen_is_refused(toys, root, owner, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(root, old)
    trust_edit.revoke(root, "delivery", f"sha256:{9:064x}", reason="contaminated", signers=[owner], now=NOW)
    verify_release(toys / "2", root, state=tmp_path / "seen.json", now=NOW)
    with pytest.raises(Replayed, match="version"):
        verify_release(toys / "2", old, state=tmp_path / "seen.json", now=NOW)
