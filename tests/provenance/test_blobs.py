"""Bytes named by their digest: never other bytes, whatever happens to the disk."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import BadEnvelope, DigestMismatch, LengthMismatch, MissingFile, StorageFailed, UsageError
from sanitizer.provenance.blobs import CHUNK, BlobStore
from sanitizer.provenance.manifest import Claim, FileEntry


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path / "blobs")


def files(blobs):
    return sorted(p for p in blobs.root.rglob("*") if p.is_file())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_what_is_put_is_what_is_read(blobs, size):
    data = os.urandom(size)
    digest = blobs.put_bytes(data)
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert blobs.read(digest) == data
    with blobs.open(digest) as stream:
        assert b"".join(iter(lambda: stream.read(1000), b"")) == data
    assert io.BufferedReader(blobs.open(digest)).read() == data


def test_the_same_bytes_are_one_read_only_file(blobs):
    assert blobs.put_bytes(b"x") == blobs.put_bytes(b"x")
    [path] = files(blobs)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_json_is_kept_in_its_canonical_form_and_read_strictly(blobs):
    digest = blobs.put_json({"b": 1, "a": "é"})
    assert blobs.read(digest) == '{"a":"é","b":1}'.encode()
    assert blobs.read_json(digest) == {"a": "é", "b": 1}
    with pytest.raises(BadEnvelope, match="twice"):
        blobs.read_json(blobs.put_bytes(b'{"a":1,"a":2}'))


@pytest.mark.parametrize("change", [lambda d: d[:-1] + b"X", lambda d: d[:-1], lambda d: d + b"X", lambda _: b""])
def test_a_changed_blob_is_never_read_to_its_end(blobs, change):
    data = os.urandom(2 * CHUNK + 1)
    digest = blobs.put_bytes(data)
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(change(data))
    with pytest.raises(DigestMismatch, match="somebody changed the store"):
        blobs.read(digest)
    with blobs.open(digest) as stream, pytest.raises(DigestMismatch):
        while stream.read(100_000):
            pass


def test_a_changed_blob_is_made_whole_by_the_next_copy_of_it(blobs):
    digest = blobs.put_bytes(b"data")
    blobs.path(digest).chmod(0o644)
    blobs.path(digest).write_bytes(b"rotten")
    assert blobs.put_bytes(b"data") == digest
    assert blobs.read(digest) == b"data"


def test_a_blob_that_is_not_there_is_named(blobs):
    digest = f"sha256:{'0' * 64}"
    assert not blobs.has(digest)
    with pytest.raises(MissingFile, match=digest):
        blobs.read(digest)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "sha256:..", "sha256:" + "A" * 64, "md5:" + "0" * 32, "0" * 64, "sha256:" + "0" * 64 + "\n"]
)
def test_only_a_digest_names_a_blob(blobs, digest):
    with pytest.raises(UsageError, match="is no digest"):
        blobs.path(digest)


def test_a_link_in_place_of_a_blob_is_not_followed(blobs, tmp_path):
    digest = blobs.put_bytes(b"data")
    (tmp_path / "elsewhere").write_bytes(b"data")
    blobs.path(digest).unlink()
    blobs.path(digest).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFailed):
        blobs.read(digest)


def expected(data, **change):
    values = {"path": "x", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} | change
    return FileEntry(**values)


def test_only_expected_bytes_are_kept(blobs):
    assert blobs.put_stream(io.BytesIO(b"data"), expect=expected(b"data")) == f"sha256:{hashlib.sha256(b'data').hexdigest()}"
    with pytest.raises(DigestMismatch):
        blobs.put_stream(io.BytesIO(b"atad"), expect=expected(b"data"))
    with pytest.raises(LengthMismatch, match="has 3 bytes, its manifest says 4"):
        blobs.put_stream(io.BytesIO(b"dat"), expect=expected(b"data"))
    with pytest.raises(LengthMismatch, match="has more bytes, its manifest says 4"):
        blobs.put_stream(io.BytesIO(b"data!"), expect=expected(b"data"))
    assert len(files(blobs)) == 1


def test_an_endless_stream_is_cut_one_byte_after_its_claim(blobs):
    class Endless(io.RawIOBase):
        given = 0

        def readinto(self, buffer):
            self.given += len(buffer)
            return len(buffer)

    stream = Endless()
    with pytest.raises(LengthMismatch):
        blobs.take(stream, Claim("x", 1000))
    assert stream.given == 1001


def test_sha512_is_checked_where_it_is_claimed(blobs):
    good = hashlib.sha512(b"data").hexdigest()
    assert blobs.take(io.BytesIO(b"data"), Claim("x", sha512=good)).size == 4
    with pytest.raises(DigestMismatch):
        blobs.take(io.BytesIO(b"data"), Claim("x", sha512="0" * 128))


def test_a_batch_keeps_all_or_nothing(blobs):
    with blobs.batch():
        first = blobs.put_bytes(b"1")
        assert not blobs.has(first)
    assert blobs.has(first)
    with pytest.raises(ZeroDivisionError), blobs.batch():
        second = blobs.put_bytes(b"2")
        _ = 1 / 0
    assert not blobs.has(second)
    assert len(files(blobs)) == 1
    with blobs.batch(), pytest.raises(UsageError), blobs.batch():
        pass


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod"])
@pytest.mark.parametrize("batch", [False, True])
def test_a_full_disk_is_our_own_error_and_leaves_nothing(blobs, monkeypatch, call, batch):
    blobs.put_bytes(b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if batch and call == "fsync":
        monkeypatch.setattr("sanitizer.provenance.blobs._sync_file_system", full)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageFailed, match="No space left on device"):
        if batch:
            with blobs.batch():
                blobs.put_bytes(b"after")
        else:
            blobs.put_bytes(b"after")
    monkeypatch.undo()
    assert len(files(blobs)) == 1


def test_what_a_crash_left_half_written_is_swept(blobs):
    digest = blobs.put_bytes(b"whole")
    (blobs.root / "tmp/half").write_bytes(b"ha")
    assert blobs.sweep() == 1
    assert blobs.sweep() == 0
    assert blobs.read(digest) == b"whole"


@given(st.binary(max_size=300), st.integers(1, 400))
def test_any_read_size_gives_the_same_bytes(tmp_path_factory, data, size):
    blobs = BlobStore(tmp_path_factory.getbasetemp() / "any")
    with blobs.open(blobs.put_bytes(data)) as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == data
