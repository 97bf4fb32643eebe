"""What a supplier runs, and what a receiver sees of it before and after verifying."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from sanitizer.errors import (
    BadEnvelope,
    BadName,
    DigestMismatch,
    Expired,
    NotRegularFile,
    Replayed,
    StorageFailed,
    UnlistedFile,
    Unsigned,
    UsageError,
)
from sanitizer.provenance import delivery as deliveries
from sanitizer.provenance import walk
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import MANIFEST, Delivery, NoHistory, VerifiedDelivery, add_signature, check, deliver, verify
from sanitizer.provenance.trust import TrustRoot
from tests.vectors.world import NOW, World, key


@pytest.fixture
def world(tmp_path):
    return World.make(tmp_path)


def judged(world, **options):
    trust = TrustRoot.load(world.trust, now=NOW)
    return verify(Delivery(world.offered, world.source), trust, BlobStore(world.root / "blobs"), NoHistory(), now=NOW, **options)


def sign(directory, *names, **change):
    values = {"source": "north", "sequence": 1, "issued": NOW, "expires": NOW + timedelta(days=1), **change}
    return deliver(directory, signers=[key(n) for n in names or ("north",)], **values)


def test_a_delivery_is_incomplete_until_its_manifest_is_there(world):
    world.manifest.unlink()
    offered = Delivery(world.offered, "north")
    assert not offered.complete
    assert offered.digest() is None
    assert offered.claimed_sequence() is None
    sign(world.offered)
    assert offered.complete
    assert offered.claimed_sequence() == 1
    assert Delivery.at(world.offered) == offered


def test_its_name_does_not_depend_on_who_signed(world):
    before = Delivery(world.offered, "north").digest()
    add_signature(world.offered, [key("south")])
    assert Delivery(world.offered, "north").digest() == before
    assert judged_digest(world) == before


def judged_digest(world):
    world.deliver()
    return judged(world).digest


def test_an_unreadable_manifest_has_no_name_but_is_complete(world):
    world.manifest.write_bytes(b"{}")
    offered = Delivery(world.offered, "north")
    assert offered.complete
    assert offered.digest() is None
    with pytest.raises(BadEnvelope):
        judged(world)


def test_verified_facts_survive_their_json(world):
    found = judged(world)
    assert VerifiedDelivery.from_json(json.loads(json.dumps(found.to_json())), found.blobs) == found
    assert found.signers == (key("north").public_key.keyid,)
    with pytest.raises(BadEnvelope):
        VerifiedDelivery.from_json({"source": "north"}, found.blobs)


def test_looking_at_a_delivery_finds_the_same_and_keeps_nothing(world):
    trust = TrustRoot.load(world.trust, now=NOW)
    seen = check(Delivery(world.offered, "north"), trust, NoHistory(), now=NOW)
    assert not (world.root / "blobs").exists()
    assert seen.to_json() == judged(world).to_json()
    world.put("data.csv", b"x,y,label\n1,2,b\n2,1,b\n3,3,a\n")
    with pytest.raises(DigestMismatch):
        check(Delivery(world.offered, "north"), trust, NoHistory(), now=NOW)


def test_a_delivery_older_than_the_policy_allows_is_expired(world):
    world.deliver(issued=NOW - timedelta(days=100), expires=NOW + timedelta(days=100))
    judged(world, max_age=timedelta(days=101))
    with pytest.raises(Expired, match="longer ago than the policy's 99 days"):
        judged(world, max_age=timedelta(days=99))


def test_verifying_twice_gives_the_same(world):
    assert judged(world) == judged(world)


def test_a_manifest_swapped_while_it_is_judged_is_judged_as_one(world, monkeypatch):
    """Named by one manifest and proven by another, an old delivery would pass as a known one: it is read once."""
    world.deliver(name="accepted", sequence=2)
    accepted = Delivery(world.offered, "north")
    world.deliver(name="old", sequence=1)
    old = world.manifest.read_bytes()
    world.manifest.write_bytes((accepted.root / MANIFEST).read_bytes())
    read = walk.read

    def swapping(*arguments):
        data = read(*arguments)
        world.manifest.write_bytes(old)
        return data

    class Accepted(NoHistory):
        def last_sequence(self, source):
            return 2

        def knows(self, digest):
            return digest == accepted.digest()

    monkeypatch.setattr(walk, "read", swapping)
    trust = TrustRoot.load(world.trust, now=NOW)
    assert check(Delivery(world.offered, "north"), trust, Accepted(), now=NOW).digest == accepted.digest()
    with pytest.raises(Replayed):
        check(Delivery(world.offered, "north"), trust, Accepted(), now=NOW)


def test_an_unreadable_delivery_stops_no_other(world, monkeypatch):
    def denied(*_):
        raise StorageFailed("cannot read: Permission denied")

    monkeypatch.setattr(walk, "read", denied)
    offered = Delivery(world.offered, "north")
    assert (offered.complete, offered.digest(), offered.claimed_sequence()) == (True, None, None)


# the supplier's side


def test_the_supplier_is_told_at_once_what_would_be_refused(tmp_path):
    def prepared(name):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "data.csv").write_bytes(b"x\n")
        return directory

    with pytest.raises(UsageError, match="needs a signer"):
        deliver(prepared("a"), source="north", signers=[], sequence=1, issued=NOW, expires=NOW + timedelta(days=1))
    with pytest.raises(UsageError, match=r"would be refused.*sequence"):
        sign(prepared("b"), sequence=0)
    with pytest.raises(UsageError, match=r"would be refused.*source"):
        sign(prepared("c"), source="Lab North")
    with pytest.raises(UsageError, match="expires before"):
        sign(prepared("d"), expires=NOW)
    with pytest.raises(UsageError, match="no file to deliver"):
        (tmp_path / "empty").mkdir()
        sign(tmp_path / "empty")
    linked = prepared("e")
    (linked / "link.csv").symlink_to("data.csv")
    with pytest.raises(NotRegularFile):
        sign(linked)
    odd = prepared("f")
    (odd / "NUL").write_bytes(b"")
    with pytest.raises(BadName):
        sign(odd)
    hollow = prepared("g")
    (hollow / "empty").mkdir()
    with pytest.raises(UnlistedFile):
        sign(hollow)
    assert not list(tmp_path.rglob(MANIFEST))


def test_a_second_signer_signs_only_what_lies_there(world):
    world.deliver("pair", "pair-a")
    world.put("data.csv", b"x,y,label\n1,2,b\n2,1,b\n3,3,a\n")
    with pytest.raises(DigestMismatch):
        add_signature(world.offered, [key("pair-b")])
    world.deliver("pair", "pair-a")
    world.put("extra.csv", b"")
    with pytest.raises(UnlistedFile):
        add_signature(world.offered, [key("pair-b")])
    world.manifest.unlink()
    with pytest.raises(Unsigned):
        add_signature(world.offered, [key("pair-b")])


def test_the_manifest_appears_last_and_whole(world, monkeypatch):
    world.manifest.unlink()
    seen = []
    replace = deliveries.Path.replace

    def watching(self, target):
        seen.append(sorted(p.name for p in world.offered.iterdir()))
        return replace(self, target)

    monkeypatch.setattr(deliveries.Path, "replace", watching)
    sign(world.offered)
    assert [MANIFEST in names for names in seen] == [False]
    judged(world)


def test_a_signing_cut_short_is_no_delivery_and_can_be_done_again(world):
    world.manifest.rename(world.offered / f".{MANIFEST}.new")
    assert not Delivery(world.offered, "north").complete
    sign(world.offered)
    judged(world)
