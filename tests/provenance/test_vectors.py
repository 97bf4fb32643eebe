"""Each named attack is refused with its code; each honest delivery passes."""

from __future__ import annotations

import pytest

from sanitizer.errors import SanitizerError
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import Delivery, verify
from sanitizer.provenance.trust import TrustRoot
from tests.vectors.attacks import ATTACKS, HONEST
from tests.vectors.world import FILES, World


class History:
    def __init__(self, accepted):
        self.accepted = accepted

    def last_sequence(self, source):
        return self.accepted.get(source)

    def knows(self, digest):
        return False


class Seen:
    def __init__(self, versions):
        self.versions = dict(versions)

    def seen(self):
        return self.versions

    def remember(self, versions):
        self.versions.update(versions)


def judge(world):
    trust = TrustRoot.load(world.trust, now=world.now, state=Seen(world.seen))
    delivery = Delivery(world.offered, world.source)
    blobs = BlobStore(world.root / "blobs")
    return verify(delivery, trust, blobs, History(world.accepted), now=world.now, least_level=world.least_level)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=lambda a: f"{a.row:02}-{a.name}")
def test_an_attack_is_refused_with_its_code_in_one_line(attack, tmp_path):
    world = World.make(tmp_path)
    attack.build(world)
    with pytest.raises(SanitizerError) as refused:
        judge(world)
    assert (refused.value.code, refused.value.exit_code) == (attack.code, attack.exit_code), refused.value.message
    assert refused.value.message.isprintable()
    assert not list((tmp_path / "blobs").glob("??/*")), "nothing of a refused delivery is kept"
    assert not list((tmp_path / "blobs").glob("tmp/*")), "nothing is left half-written"


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_delivery_is_verified_and_its_bytes_are_in_the_blob_store(name, tmp_path):
    world = World.make(tmp_path)
    HONEST[name](world)
    verified = judge(world)
    assert (verified.level, verified.source) == ("L2", world.source)
    kept = {f.path: verified.blobs.read(f"sha256:{f.sha256}") for f in verified.manifest.files}
    assert FILES.items() <= kept.items()
