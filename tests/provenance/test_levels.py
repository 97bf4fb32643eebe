"""What other proofs than our own manifest are worth, and how they are read: strictly, and never for more than they prove."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta

import pytest
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from sanitizer.errors import (
    BadEnvelope,
    BadName,
    ChangedSincePinned,
    DigestMismatch,
    Expired,
    LengthMismatch,
    MissingFile,
    Replayed,
    RevokedKey,
    ThresholdNotMet,
    UnlistedFile,
    Unsigned,
    UntrustedSigner,
    UsageError,
    WeakDigest,
)
from sanitizer.provenance import oms, trust_edit
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import Delivery, NoHistory, VerifiedDelivery, check, verify
from sanitizer.provenance.trust import TrustRoot
from tests.vectors.world import FILES, NOW, World, key


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def world(tmp_path):
    """A delivery of plain files without any proof."""
    made = World.make(tmp_path)
    made.manifest.unlink()
    return made


class History(NoHistory):
    def __init__(self, last=None, known=()):
        self.last, self.known = last, known

    def last_sequence(self, source):
        return self.last

    def knows(self, digest):
        return digest in self.known


def judge(world, least_level, history=None, **options):
    trust = TrustRoot.load(world.trust, now=world.now)
    delivery = Delivery(world.offered, world.source, least_level)
    assert delivery.complete
    arguments = {"now": world.now, "least_level": least_level}
    found = verify(delivery, trust, BlobStore(world.root / "blobs"), history or NoHistory(), **arguments, **options)
    assert found.digest == delivery.digest()
    looked_at = check(delivery, trust, history or NoHistory(), **arguments)
    assert looked_at.to_json() == found.to_json()
    assert VerifiedDelivery.from_json(json.loads(json.dumps(found.to_json())), found.blobs) == found
    return found


# L1: lists of digests


def sums(world, algorithm="sha256", name="SHA256SUMS", line="{digest}  {path}\n", files=FILES):
    text = "".join(line.format(digest=hashlib.new(algorithm, data).hexdigest(), path=path) for path, data in files.items())
    (world.offered / name).write_text(text)


def bag(world, algorithms=("sha256",), tags=True):
    """Moves the files under data/ and lists them."""
    for path in FILES:
        place = world.offered / "data" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (world.offered / path).rename(place)
    shutil.rmtree(world.offered / "more")
    (world.offered / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    (world.offered / "bag-info.txt").write_text("Source-Organization: Lab North\n")
    for algorithm in algorithms:
        lines = "".join(f"{hashlib.new(algorithm, data).hexdigest()}  data/{path}\n" for path, data in FILES.items())
        (world.offered / f"manifest-{algorithm}.txt").write_text(lines)
    if tags:
        listed = ["bagit.txt", "bag-info.txt", *(f"manifest-{a}.txt" for a in algorithms)]
        lines = "".join(f"{sha256((world.offered / name).read_bytes())} {name}\n" for name in listed)
        (world.offered / "tagmanifest-sha256.txt").write_text(lines)


def croissant(world, change=lambda _: None):
    described = {
        "@context": {"@vocab": "https://schema.org/", "cr": "http://mlcommons.org/croissant/"},
        "@type": "sc:Dataset",
        "name": "demo",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": path,
                "contentUrl": path,
                "contentSize": f"{len(data)} B",
                "sha256": sha256(data),
                "md5": "0" * 32,
            }
            for path, data in FILES.items()
        ],
    }
    change(described)
    (world.offered / "croissant.json").write_text(json.dumps(described))


LISTS = {
    "sha256sum": sums,
    "sha256sum in binary mode": lambda w: sums(w, line="{digest} *{path}\n"),
    "sha256sum of find": lambda w: sums(w, line="{digest}  ./{path}\n"),
    "sha256sum --tag": lambda w: sums(w, line="SHA256 ({path}) = {digest}\n"),
    "sha256sum in capitals with CRLF": lambda w: sums(w, line="{digest}  {path}\r\n"),
    "sha512sum": lambda w: sums(w, "sha512", "SHA512SUMS"),
    "BagIt": bag,
    "BagIt without tag manifest": lambda w: bag(w, tags=False),
    "BagIt with two manifests": lambda w: bag(w, ("sha256", "sha512")),
    "Croissant": croissant,
}


@pytest.mark.parametrize("write", LISTS.values(), ids=LISTS)
def test_a_list_of_digests_proves_level_1_and_no_more(world, write):
    write(world)
    found = judge(world, "L1")
    assert (found.level, found.sequence, found.signers) == ("L1", None, ())
    kept = {f.path.removeprefix("data/"): found.blobs.read(f"sha256:{f.sha256}") for f in found.manifest.files}
    assert FILES.items() <= kept.items()
    with pytest.raises(Unsigned):
        judge_anyway(world, "L2")


def judge_anyway(world, least_level):
    trust = TrustRoot.load(world.trust, now=world.now)
    return verify(
        Delivery(world.offered, world.source, least_level),
        trust,
        BlobStore(world.root / "blobs"),
        NoHistory(),
        now=world.now,
        least_level=least_level,
    )


@pytest.mark.parametrize("write", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"X"), DigestMismatch),
        (lambda p: p.unlink(), MissingFile),
        (lambda p: p.with_name("extra.csv").write_bytes(b""), UnlistedFile),
    ],
    ids=["changed", "missing", "extra"],
)
def test_a_list_of_digests_notices_damage(world, write, harm, error):
    write(world)
    [path] = world.offered.rglob("data.csv")
    harm(path)
    with pytest.raises(error):
        judge_anyway(world, "L1")


def test_a_stronger_proof_that_fails_never_falls_back_to_a_weaker_one(world):
    world.deliver("north", "stranger")
    sums(world)
    with pytest.raises(UntrustedSigner):
        judge_anyway(world, "L1")


def test_a_list_of_a_revoked_source_is_refused(world):
    sums(world)
    trust_edit.revoke(world.trust, "source", "north", reason="gone", signers=[key("owner")], now=NOW)
    with pytest.raises(RevokedKey):
        judge_anyway(world, "L1")


def test_where_signatures_are_asked_for_a_list_is_a_file_like_any_other(world):
    sums(world)
    assert not Delivery(world.offered, "north").complete
    world.deliver()
    assert "SHA256SUMS" in {f.path for f in judge(world, "L2").manifest.files}


def write_list(text):
    return lambda w: (w.offered / "SHA256SUMS").write_bytes(text.encode() if isinstance(text, str) else text)


GOOD = sha256(FILES["data.csv"])


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (write_list(f"{hashlib.md5(FILES['data.csv']).hexdigest()}  data.csv\n"), WeakDigest, "128 bits"),
        (write_list(f"{hashlib.sha1(FILES['data.csv']).hexdigest()}  data.csv\n"), WeakDigest, "160 bits"),
        (write_list(f"{GOOD}  data.csv\n{GOOD}  data.csv\n"), BadEnvelope, "twice"),
        (write_list(f"{GOOD}  data.csv\n{GOOD}  ./data.csv\n"), BadEnvelope, "twice"),
        (write_list(f"{GOOD} data.csv\n"), BadEnvelope, "line 1"),
        (write_list(f"{GOOD}  data.csv\n\n{GOOD}  b\n"), BadEnvelope, "line 2"),
        (write_list(f"\\{GOOD}  data\\n.csv\n"), BadEnvelope, "line 1"),
        (write_list(f"{GOOD}  ../data.csv\n"), BadName, "dot part"),
        (write_list(f"{GOOD}  /etc/passwd\n"), BadName, "absolute"),
        (write_list(f"{GOOD}  SHA256SUMS\n"), BadName, "take it for"),
        (write_list(b"\xff\xfe"), BadEnvelope, "UTF-8"),
        (write_list(""), UnlistedFile, "not in the manifest"),
        (lambda w: bag(w, ("sha256", "md5")), WeakDigest, "md5"),
        (lambda w: bag(w, ("md5",)), WeakDigest, "md5"),
        (lambda w: (bag(w), (w.offered / "fetch.txt").write_text("http://localhost/x 1 data/x\n")), BadEnvelope, "fetch.txt"),
        (lambda w: (bag(w, ()), None), Unsigned, "no manifest"),
        (lambda w: (bag(w), (w.offered / "bagit.txt").write_text("BagIt-Version: 2.0\n")), BadEnvelope, "bagit.txt"),
        (lambda w: (bag(w), (w.offered / "bag-info.txt").write_text("changed")), DigestMismatch, "bag-info.txt"),
        (lambda w: (bag(w), (w.offered / "manifest-sha256.txt").write_text("")), UnlistedFile, "not in the manifest"),
        (lambda w: (bag(w, tags=False), (w.offered / "notes.txt").write_text("")), UnlistedFile, "notes.txt"),
        (lambda w: (bag(w, tags=False), append(w, "manifest-sha256.txt", f"{GOOD}  bagit.txt\n")), BadName, "outside data/"),
        (lambda w: (bag(w, tags=False), append(w, "manifest-sha256.txt", f"{GOOD}  data/../x\n")), BadName, "dot part"),
        (lambda w: (bag(w, tags=False), append(w, "manifest-sha256.txt", f"{GOOD}  data/x%0Ay\n")), BadName, "control"),
        (
            lambda w: (bag(w, ("sha256", "sha512")), append(w, "manifest-sha512.txt", f"{GOOD * 2}  data/x\n")),
            BadEnvelope,
            "different files",
        ),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(sha256="0" * 64)), DigestMismatch, "data.csv"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].pop("sha256")), WeakDigest, "no sha256"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentSize="7 B")), LengthMismatch, "data.csv"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentUrl="http://localhost/data.csv")), BadEnvelope, "elsewhere"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentUrl="//localhost/data.csv")), BadEnvelope, "elsewhere"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentUrl="file:///etc/passwd")), BadEnvelope, "elsewhere"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentUrl="../south.csv")), BadName, "dot part"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(contentUrl="/etc/passwd")), BadName, "absolute"),
        (lambda w: croissant(w, lambda c: c["distribution"][0].update(containedIn="x.zip")), BadEnvelope, "archives"),
        (lambda w: croissant(w, lambda c: c["distribution"].append(dict(c["distribution"][0], sha256="0" * 64))), BadEnvelope, "twice"),
        (lambda w: croissant(w, lambda c: c["distribution"].append({"@type": "cr:Torrent"})), BadEnvelope, "neither"),
        (lambda w: croissant(w, lambda c: c["distribution"].append(7)), BadEnvelope, "neither"),
        (lambda w: croissant(w, lambda c: c.pop("distribution")), BadEnvelope, "no distribution"),
        (lambda w: (w.offered / "croissant.json").write_bytes(b"[]"), BadEnvelope, "no distribution"),
        (lambda w: (w.offered / "croissant.json").write_bytes(b"[" * 100_000), BadEnvelope, "nested too deeply"),
    ],
)
def test_a_list_that_can_be_read_in_two_ways_or_proves_too_little_is_refused(world, write, error, words):
    write(world)
    with pytest.raises(error, match=words):
        judge_anyway(world, "L1")


def append(world, name, text):
    with (world.offered / name).open("a") as file:
        file.write(text)


# L0: nothing, pinned


def test_without_any_proof_the_level_says_so_and_content_is_pinned_on_first_sight(world):
    pins = {}
    found = judge(world, "L0", pinned=pins.get)
    assert (found.level, found.kind, found.signers) == ("L0", "nothing", ())
    pins.update([found.pin])
    assert judge(world, "L0", pinned=pins.get) == found
    world.put("data.csv", b"changed")
    with pytest.raises(ChangedSincePinned, match=r"north/first is not what was first seen there, data\.csv differs"):
        judge(world, "L0", pinned=pins.get)
    assert found.blobs.read(f"sha256:{sha256(FILES['data.csv'])}") == FILES["data.csv"]
    assert found.blobs.read(f"sha256:{sha256(b'changed')}") == b"changed"


def test_without_proof_names_and_kinds_of_files_are_still_checked(world):
    (world.offered / "link.csv").symlink_to("data.csv")
    with pytest.raises(Exception, match=r"link\.csv"):
        judge_anyway(world, "L0")


def test_an_empty_directory_is_no_delivery(tmp_path):
    world = World.make(tmp_path)
    world.source, world.name = "north", "empty"
    world.offered.mkdir()
    with pytest.raises(Unsigned):
        judge_anyway(world, "L0")


# L2: an OMS bundle


def bundle(world, signer="release", files=FILES):
    data = oms.sign(world.name, {path: sha256(content) for path, content in files.items()}, key(signer))
    (world.offered / "model.sig").write_bytes(data)


@pytest.fixture
def oms_world(world):
    """`labs` signs with the public tool, so with P-256."""
    world.add_source("labs", "release-labs")
    (world.root / "inbox/labs").mkdir()
    world.offered.rename(world.root / "inbox/labs/first")
    world.source = "labs"
    return world


def test_a_bundle_of_the_public_tool_proves_level_2(oms_world):
    bundle(oms_world, "release-labs")
    found = judge(oms_world, "L2")
    assert (found.level, found.kind, found.signers) == ("L2", "oms", (key("release-labs").public_key.keyid,))


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda w: bundle(w, "release-stranger"), UntrustedSigner),
        (lambda w: bundle(w, "release"), UntrustedSigner),
        (lambda w: (bundle(w, "release-labs"), w.put("data.csv", b"x,y,label\n1,2,b\n2,1,b\n3,3,a\n")), DigestMismatch),
        (lambda w: (bundle(w, "release-labs"), w.put(".git/extra.csv", b"")), UnlistedFile),
        (lambda w: bundle(w, "release-labs", {**FILES, "../south.csv": b""}), BadName),
        (lambda w: (w.offered / "model.sig").write_bytes(b"{}"), BadEnvelope),
        (lambda w: (bundle(w, "release-labs"), _revoke(w, key("release-labs"))), RevokedKey),
    ],
)
def test_a_bundle_is_read_strictly(oms_world, harm, error):
    harm(oms_world)
    with pytest.raises(error):
        judge_anyway(oms_world, "L2")


def _revoke(world, signer):
    trust_edit.revoke(world.trust, "key", signer.public_key.keyid, reason="stolen", signers=[key("owner")], now=NOW)


def test_a_bundle_cannot_meet_a_threshold_of_two(oms_world):
    trust_edit.rotate(
        oms_world.trust, "labs", signers=[key("owner")], add=[key("release-labs-2").public_key], threshold=2, now=NOW - timedelta(days=1)
    )
    bundle(oms_world, "release-labs")
    with pytest.raises(ThresholdNotMet):
        judge_anyway(oms_world, "L2")


# L3: a TUF repository


class Repository:
    """A supplier's own TUF repository, laid out as a delivery."""

    def __init__(self, world, *, consistent=True, name="tuf"):
        self.world, self.signer, self.consistent, self.version = world, key(name), consistent, 0
        root = Root(expires=NOW + timedelta(days=365), consistent_snapshot=consistent)
        for role in root.roles:
            root.add_key(self.signer.public_key, role)
        self.root = Metadata(root)
        self.root.sign(self.signer)

    def publish(self, name="first", files=FILES, expires=NOW + timedelta(days=7)):
        self.version += 1
        self.world.source, self.world.name = "tufs", name
        metadata = self.world.offered / "metadata"
        metadata.mkdir(parents=True, exist_ok=True)
        targets = Targets(self.version, expires=NOW + timedelta(days=90))
        for path, data in files.items():
            target = targets.targets[path] = TargetFile.from_data(path, data)
            self.world.put(f"targets/{target.get_prefixed_paths()[0] if self.consistent else path}", data)
        self.write(metadata, "1.root", self.root.to_bytes())
        signed = self.write(metadata, self.named("targets"), self.signed(targets))
        snapshot = Snapshot(self.version, expires=NOW + timedelta(days=90))
        snapshot.meta["targets.json"] = MetaFile.from_data(self.version, signed, ["sha256"])
        signed = self.write(metadata, self.named("snapshot"), self.signed(snapshot))
        meta = MetaFile.from_data(self.version, signed, ["sha256"])
        self.write(metadata, "timestamp", self.signed(Timestamp(self.version, expires=expires, snapshot_meta=meta)))

    def named(self, role):
        return f"{self.version}.{role}" if self.consistent else role

    def signed(self, content):
        metadata = Metadata(content)
        metadata.sign(self.signer)
        return metadata.to_bytes()

    def write(self, where, name, data):
        (where / f"{name}.json").write_bytes(data)
        return data


def add_tuf_source(world, root):
    trust_edit.add_source(world.trust, "tufs", [], tuf_root=root, signers=[key("owner")], now=NOW - timedelta(days=3))


@pytest.fixture(params=[True, False], ids=["consistent", "plain"])
def repository(world, request):
    made = Repository(world, consistent=request.param)
    add_tuf_source(world, made.root.to_bytes())
    made.publish()
    return made


def test_a_tuf_repository_proves_level_3(repository):
    found = judge(repository.world, "L3")
    assert (found.level, found.kind, found.sequence) == ("L3", "tuf", 1)
    contents = {found.blobs.read(f"sha256:{f.sha256}") for f in found.manifest.files}
    assert contents == set(FILES.values())
    assert trust_edit.lint(repository.world.trust, now=NOW) == []


def test_an_older_state_of_a_repository_is_replayed_and_the_same_one_is_known(repository):
    first = judge(repository.world, "L3")
    with pytest.raises(Replayed, match="sequence 1 is not above 2"):
        judge(repository.world, "L3", History(2))
    assert judge(repository.world, "L3", History(1, known={first.digest})).digest == first.digest


def test_a_renewed_timestamp_over_the_same_files_is_the_same_delivery(repository):
    world = repository.world
    first = Delivery(world.offered, "tufs", "L3").digest()
    timestamp = world.offered / "metadata/timestamp.json"
    renewed = Metadata[Timestamp].from_file(str(timestamp))
    renewed.signed.version += 1
    renewed.sign(repository.signer)
    timestamp.write_bytes(renewed.to_bytes())
    assert judge(world, "L3").digest == first


def _revoke_unknown(world):
    # a key of the supplier's own repository: the receiver withdraws it for itself
    with trust_edit._editing(world.trust) as edit:
        edit.revoke_key(key("tuf").public_key, "stolen", NOW)
        edit.commit([key("owner")], NOW)


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda w: next((w.offered / "targets").rglob("*data.csv")).write_bytes(b"x,y,label\n1,2,b\n2,1,b\n3,3,a\n"), DigestMismatch),
        (lambda w: w.put("targets/extra.csv", b""), UnlistedFile),
        (lambda w: w.put("extra.csv", b""), UnlistedFile),
        (lambda w: next((w.offered / "targets").rglob("*data.csv")).unlink(), MissingFile),
        (lambda w: (w.offered / "metadata/timestamp.json").write_bytes(b"{}"), BadEnvelope),
        (lambda w: setattr(w, "now", NOW + timedelta(days=8)), Expired),
        (_revoke_unknown, RevokedKey),
    ],
    ids=["changed", "extra target", "extra file", "missing", "garbage", "frozen", "key revoked"],
)
def test_a_repository_is_read_strictly(repository, harm, error):
    harm(repository.world)
    with pytest.raises(error):
        judge_anyway(repository.world, "L3")


def test_states_of_a_repository_cannot_be_mixed(world):
    repository = Repository(world)
    add_tuf_source(world, repository.root.to_bytes())
    repository.publish("first")
    older = (world.offered / "metadata/1.targets.json").read_bytes()
    repository.publish("second", {**FILES, "data.csv": b"x\n"})
    (world.offered / "metadata/2.targets.json").write_bytes(older)
    with pytest.raises(BadEnvelope, match="parts of different states are mixed"):
        judge_anyway(world, "L3")


def test_a_repository_of_others_is_refused_under_the_pinned_root(world):
    add_tuf_source(world, Repository(world).root.to_bytes())
    Repository(world, name="stranger").publish()
    with pytest.raises(UntrustedSigner):
        judge_anyway(world, "L3")


def test_a_repository_needs_a_pinned_root(world):
    repository = Repository(world)
    world.add_source("tufs", "north")
    repository.publish()
    with pytest.raises(UntrustedSigner, match="no TUF root is known"):
        judge_anyway(world, "L3")


def test_only_a_self_signed_root_can_be_pinned(world):
    with pytest.raises(UsageError, match="no TUF root"):
        add_tuf_source(world, b"{}")


def test_a_statement_does_not_prove_level_3(world):
    world.deliver()
    with pytest.raises(Unsigned, match="has no TUF repository"):
        judge_anyway(world, "L3")
