from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from sanitizer.errors import (
    BadEnvelope,
    BadName,
    DigestMismatch,
    Expired,
    MissingFile,
    NotRegularFile,
    Replayed,
    RevokedKey,
    StorageFailed,
    UnlistedFile,
    Unsigned,
    UntrustedSigner,
    UsageError,
    WeakDigest,
)
from sanitizer.provenance import oms
from sanitizer.provenance.trust import Revocation
from sanitizer.release import gate
from sanitizer.release.gate import SeenFile, open_release, verify_release
from tests.release.build import NOW, Trust

PART = "data/part-00000.parquet"


def opened(place, trust, **more):
    with open_release(place, trust=trust, now=NOW, **more) as release:
        return release.arrow()


def test_an_untouched_release_verifies_and_says_what_it_is(toys, trust):
    found = verify_release(toys / "2", trust, now=NOW)
    assert (found.dataset, found.version, found.samples, found.hashed) == ("toys", 2, 14, True)
    assert found.keyid == trust.keys[0].keyid


def test_the_directory_of_a_data_set_stands_for_its_latest_release(toys, trust):
    assert verify_release(toys, trust, now=NOW).version == 2


def test_a_release_can_be_named_from_within(toys, trust, monkeypatch):
    monkeypatch.chdir(toys / "2" / "data")
    assert verify_release("..", trust, now=NOW).version == 2


def flip(place):
    path = place / PART
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(place):
    (place / PART).rename(place.parent / "elsewhere")
    (place / PART).symlink_to(place.parent / "elsewhere")


def link_directory(place):
    (place / "data").rename(place.parent / "elsewhere")
    (place / "data").symlink_to(place.parent / "elsewhere")


def pipe(place):
    (place / PART).unlink()
    os.mkfifo(place / PART)


def write(name, data=b"x"):
    def tamper(place):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return tamper


def older_statement(place):
    shutil.copy(place.parent / "1" / "provenance.intoto.json", place)


def older_part(place):
    shutil.copy(place.parent / "1" / "README.md", place)


def longer(place):
    with (place / PART).open("ab") as file:
        file.write(b"\0")


TAMPER = {
    "one byte flipped": (flip, DigestMismatch),
    "a byte appended": (longer, DigestMismatch),
    "file emptied": (write(PART, b""), DigestMismatch),
    "card changed": (write("README.md"), DigestMismatch),
    "card of another release": (older_part, DigestMismatch),
    "statement of another release": (older_statement, DigestMismatch),
    "file added": (write("data/part-00009.parquet"), UnlistedFile),
    "file added under .git": (write(".git/config"), UnlistedFile),
    "hidden file added": (write("data/.part"), UnlistedFile),
    "file removed": (lambda place: (place / PART).unlink(), MissingFile),
    "statement removed": (lambda place: (place / "provenance.intoto.json").unlink(), MissingFile),
    "link instead of a file": (link, NotRegularFile),
    "link instead of a directory": (link_directory, NotRegularFile),
    "pipe instead of a file": (pipe, NotRegularFile),
    "signature removed": (lambda place: (place.parent / "2.sig").unlink(), Unsigned),
    "signature of another release": (lambda place: shutil.copy(place.parent / "1.sig", place.parent / "2.sig"), DigestMismatch),
    "signature emptied": (lambda place: (place.parent / "2.sig").write_bytes(b""), BadEnvelope),
}


@pytest.mark.parametrize(("tamper", "error"), TAMPER.values(), ids=TAMPER)
@pytest.mark.parametrize("way", [lambda *a: verify_release(*a, now=NOW), opened], ids=["verify", "open"])
def test_a_tampered_release_is_refused_both_ways(toys, trust, tamper, error, way):
    tamper(toys / "2")
    with pytest.raises(error):
        way(toys / "2", trust)


def test_without_a_trust_root_nothing_is_read(toys):
    with pytest.raises(UntrustedSigner, match="no trust root was given"), open_release(toys / "2"):
        pass


def test_a_release_cannot_bring_its_own_trust_root(toys):
    (toys / "2" / "trust").mkdir()
    with pytest.raises(UntrustedSigner, match="lies inside the release"):
        verify_release(toys / "2", toys / "2" / "trust", now=NOW)


def test_another_key_is_not_trusted(toys):
    with pytest.raises(UntrustedSigner):
        verify_release(toys / "2", Trust([CryptoSigner.generate_ecdsa().public_key]), now=NOW)


def test_a_revoked_key_is_named_as_such(toys, trust):
    trust.gone.append(trust.keys.pop())
    with pytest.raises(RevokedKey, match="a key that was revoked"):
        verify_release(toys / "2", trust, now=NOW)


@pytest.mark.parametrize("kind", ["release", "delivery", "source"])
def test_a_recall_reaches_every_release_that_contains_it(toys, trust, kind):
    digest = verify_release(toys / "2", trust, now=NOW).digest
    name = {"release": digest, "delivery": f"sha256:{1:064x}", "source": "lab"}[kind]
    trust.recalled[kind, name] = Revocation(kind, name, NOW, "contaminated")
    with pytest.raises(RevokedKey, match=f"the {kind} {name} was revoked on 2026-03-01: contaminated"):
        verify_release(toys / "2", trust, now=NOW)


def test_expiry_is_judged_by_our_clock(toys, trust):
    found = verify_release(toys / "2", trust, now=NOW)
    assert found.expires == NOW + timedelta(days=365)
    verify_release(toys / "2", trust, now=found.expires - timedelta(seconds=1))
    with pytest.raises(Expired, match="expired on 2027-03-01"):
        verify_release(toys / "2", trust, now=found.expires)


def test_an_older_release_than_one_seen_is_refused(toys, trust, tmp_path):
    state = tmp_path / "seen.json"
    verify_release(toys / "1", trust, state=state, now=NOW)
    verify_release(toys / "2", trust, state=state, now=NOW)
    verify_release(toys / "2", trust, state=state, now=NOW)
    with pytest.raises(Replayed, match="release 1 of toys is older than 2"):
        verify_release(toys / "1", trust, state=state, now=NOW)


def test_two_releases_of_one_version_are_one_too_many(toys, trust, tmp_path):
    state = SeenFile(tmp_path / "seen.json")
    state.put("toys", 2, "sha256:" + "0" * 64)
    with pytest.raises(Replayed, match="is not the 2 that was seen before"):
        verify_release(toys / "2", trust, state=state, now=NOW)


def test_a_refused_release_leaves_no_mark_in_the_memory(toys, trust, tmp_path):
    flip(toys / "2")
    state = SeenFile(tmp_path / "seen.json")
    with pytest.raises(DigestMismatch):
        verify_release(toys / "2", trust, state=state, now=NOW)
    assert state.get("toys") is None


def test_a_memory_that_cannot_be_read_stops_the_gate(toys, trust, tmp_path):
    (tmp_path / "seen.json").write_text("{")
    with pytest.raises(StorageFailed, match="memory"):
        verify_release(toys / "2", trust, state=tmp_path / "seen.json", now=NOW)


def test_the_memory_only_rises(tmp_path):
    state = SeenFile(tmp_path / "deep" / "seen.json")
    state.put("toys", 3, "a")
    state.put("toys", 2, "b")
    assert state.get("toys") == (3, "a")


@pytest.mark.parametrize("path", ["nothing", "s3://bucket/toys"])
def test_a_release_that_is_not_there_is_a_usage_error(tmp_path, trust, path):
    with pytest.raises(UsageError):
        verify_release(path if ":" in path else tmp_path / path, trust, now=NOW)


def test_a_pointer_to_nowhere_is_a_usage_error(toys, trust):
    (toys / "latest").write_text("../../etc\n")
    with pytest.raises(UsageError, match="points to no release"):
        verify_release(toys, trust, now=NOW)


# --- what is handed out --------------------------------------------------------------------------------------------


def test_every_form_holds_the_same_samples(toys, trust):
    with open_release(toys / "2", trust=trust, now=NOW) as release:
        table, frame, arrays = release.arrow(), release.pandas(), release.arrays()
        assert len(release) == table.num_rows == len(frame) == 14
        assert arrays["pixels"].shape == (14, 2, 2)
        assert arrays["x"].tolist() == frame["x"].tolist() == table["x"].to_pylist()
        assert list(arrays["label"]) == list(frame["label"])
        assert release.samples().table.equals(table)
        assert sum(part.num_rows for part in release.parts()) == 14


def test_bytes_that_change_after_the_gate_opened_are_not_handed_out(toys, trust):
    with open_release(toys / "2", trust=trust, now=NOW) as release:
        flip(toys / "2")
        with pytest.raises(DigestMismatch, match=PART):
            release.arrow()


def test_only_listed_files_are_read(toys, trust):
    with open_release(toys / "2", trust=trust, now=NOW) as release:
        with pytest.raises(UnlistedFile):
            release.release.read("../1/README.md")
        write("data/part-00002.parquet", (toys / "2" / PART).read_bytes())(toys / "2")
        assert release.arrow().num_rows == 14


def test_a_missing_framework_is_named(toys, trust, monkeypatch):
    for name in ("torch", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with open_release(toys / "2", trust=trust, now=NOW) as release:
        with pytest.raises(UsageError, match="pip install torch"):
            release.torch()
        with pytest.raises(UsageError, match="pip install datasets"):
            release.hf()


def test_importing_the_gate_needs_almost_nothing():
    script = (
        "import sys, time; began = time.process_time(); import sanitizer.release.gate; spent = time.process_time() - began\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'sqlalchemy', 'pydantic', 'sklearn', 'tuf.ngclient', 'requests'} & set(sys.modules)\n"
        "print(spent, sorted(heavy))"
    )
    best = 9.0
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        spent, _, heavy = out.strip().partition(" ")
        assert heavy == "[]"
        best = min(best, float(spent))
    assert best < 0.3


# --- bundles that we did not write ----------------------------------------------------------------------------------


def forged(signer, change):
    """A validly signed bundle whose statement `change` bent."""
    files = {"a": "0" * 64, "b": "1" * 64}
    statement = json.loads(oms.base64.b64decode(json.loads(oms.sign("1", files, signer))["dsseEnvelope"]["payload"]))
    change(statement)
    envelope = oms.Envelope(json.dumps(statement).encode(), oms.IN_TOTO).signed_by([signer])
    return json.dumps({"mediaType": oms._MEDIA_TYPE, "dsseEnvelope": json.loads(envelope.to_bytes())}).encode()


def set_in(statement, path, value):
    *parents, last = path
    for name in parents:
        statement = statement[name]
    statement[last] = value


RESOURCES = ("predicate", "resources")
BENT = {
    "ignored paths": (("predicate", "serialization", "ignore_paths"), ["data"], BadEnvelope),
    "links followed": (("predicate", "serialization", "allow_symlinks"), True, BadEnvelope),
    "shards": (("predicate", "serialization", "method"), "shards", BadEnvelope),
    "another hash": (("predicate", "serialization", "hash_type"), "blake3", WeakDigest),
    "another hash of one file": ((*RESOURCES, 0, "algorithm"), "md5", WeakDigest),
    "a digest too short": ((*RESOURCES, 0, "digest"), "00", BadEnvelope),
    "a digest in capitals": ((*RESOURCES, 0, "digest"), "A" * 64, BadEnvelope),
    "a path that leaves": ((*RESOURCES, 0, "name"), "../a", BadName),
    "an absolute path": ((*RESOURCES, 0, "name"), "/etc/passwd", BadName),
    "a name twice": ((*RESOURCES, 0, "name"), "b", BadEnvelope),
    "a wrong root": (("subject", 0, "digest", "sha256"), "0" * 64, BadEnvelope),
    "two subjects": (("subject",), [{}, {}], BadEnvelope),
    "another predicate": (("predicateType",), "https://slsa.dev/provenance/v1", BadEnvelope),
    "another field": (("more",), 1, BadEnvelope),
    "no files": (RESOURCES, None, BadEnvelope),
    "a number for a name": ((*RESOURCES, 0, "name"), 1, BadEnvelope),
}


@pytest.mark.parametrize(("path", "value", "error"), BENT.values(), ids=BENT)
def test_a_bundle_that_vouches_for_less_than_it_seems_is_refused(signer, path, value, error):
    with pytest.raises(error):
        oms.verify(forged(signer, lambda statement: set_in(statement, path, value)), [signer.public_key])


def test_a_bundle_of_the_right_kind_is_accepted(signer):
    found = oms.verify(forged(signer, lambda statement: None), [signer.public_key])
    assert found.files == {"a": "0" * 64, "b": "1" * 64}


@pytest.mark.parametrize(
    "change",
    {
        "media type": lambda b: b.update(mediaType="application/json"),
        "no envelope": lambda b: b.pop("dsseEnvelope"),
        "envelope is a list": lambda b: b.update(dsseEnvelope=[]),
        "payload type": lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
        "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
        "junk first signature": lambda b: b["dsseEnvelope"]["signatures"].insert(0, {"sig": "AAAA", "keyid": ""}),
        "signatures is a number": lambda b: b["dsseEnvelope"].update(signatures=3),
        "signature is a number": lambda b: b["dsseEnvelope"].update(signatures=[3]),
        "payload is no base64": lambda b: b["dsseEnvelope"].update(payload="!"),
    }.values(),
)
def test_a_malformed_bundle_is_refused(signer, change):
    bundle = json.loads(oms.sign("1", {"a": "0" * 64}, signer))
    change(bundle)
    with pytest.raises(BadEnvelope):
        oms.verify(json.dumps(bundle).encode(), [signer.public_key])


def test_a_changed_payload_is_not_what_was_signed(signer):
    bundle = json.loads(oms.sign("1", {"a": "0" * 64}, signer))
    other = json.loads(oms.sign("1", {"a": "1" * 64}, signer))
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(UntrustedSigner):
        oms.verify(json.dumps(bundle).encode(), [signer.public_key])


def test_the_receipt_names_what_was_read_of_which_release(toys, trust, tmp_path):
    with open_release(toys / "2", trust=trust, now=NOW, receipt=tmp_path / "receipt.json") as release:
        assert release.receipt()["read"] == {}
        release.arrow()
    told = json.loads((tmp_path / "receipt.json").read_bytes())
    assert (told["release"], told["version"]) == (release.digest, 2)
    assert set(told["read"]) == {name for name in release.release.files if name.startswith("data/")}


@pytest.mark.parametrize("name", ["rows.sha256.parquet", "README.md", "bom.cdx.json"])
def test_no_row_is_handed_out_before_the_files_beside_the_data_are_verified(name, toys, trust, monkeypatch):
    monkeypatch.setattr(gate, "_AT_ONCE", 0)
    path = toys / "2" / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DigestMismatch, match=name), open_release(toys / "2", trust=trust, now=NOW) as release:
        next(release.parts())
        pytest.fail("a row was handed out")
