"""Directories that others filled, and change while we look: nothing outside is reached, nothing unverified is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sanitizer.errors import (
    BadEnvelope,
    BadName,
    DigestMismatch,
    LengthMismatch,
    MissingFile,
    NotRegularFile,
    Refused,
    StorageFailed,
    UnlistedFile,
)
from sanitizer.provenance import walk
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.manifest import Claim


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    for path, data in {"a.csv": b"a", "sub/b.csv": b"bb", "sub/deeper/c.csv": b"ccc"}.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    return made


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path / "blobs")


def claims(root):
    return [Claim(f.path, f.size, f.sha256) for f in walk.measure(root).files]


def test_measuring_checking_and_taking_find_the_same(root, blobs):
    found = walk.measure(root)
    assert [f.path for f in found.files] == ["a.csv", "sub/b.csv", "sub/deeper/c.csv"]
    assert walk.check(root, claims(root)) == walk.take(root, claims(root), blobs) == found
    assert [blobs.read(f"sha256:{f.sha256}") for f in found.files] == [b"a", b"bb", b"ccc"]


def test_a_file_outside_cannot_be_named(root, blobs):
    (root.parent / "secret").write_bytes(b"s")
    for name in ("../secret", "sub/../../secret", str(root.parent / "secret")):
        with pytest.raises(BadName):
            walk.take(root, [Claim(name, 1, hashlib.sha256(b"s").hexdigest())], blobs)


def test_a_name_that_can_be_a_supplier_finds_out_when_signing(root):
    (root / "x:y.csv").write_bytes(b"")
    with pytest.raises(BadName, match="stream"):
        walk.measure(root)


def test_a_directory_that_cannot_be_opened_is_our_own_error(tmp_path):
    with pytest.raises(MissingFile):
        walk.measure(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotRegularFile):
        walk.measure(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_our_failure_not_the_suppliers(root):
    (root / "a.csv").chmod(0)
    with pytest.raises(StorageFailed):
        walk.measure(root)


def test_a_deep_tree_ends_somewhere(tmp_path):
    deep = tmp_path / "root"
    (deep / "/".join(["d"] * 60)).mkdir(parents=True)
    with pytest.raises(NotRegularFile):
        walk.measure(deep)


def test_an_unlisted_tree_is_refused_before_it_is_walked(root, blobs, monkeypatch):
    known = claims(root)
    for n in range(50):
        (root / "flood" / str(n)).mkdir(parents=True)
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda fd: opened.append(fd) or scandir(fd))
    with pytest.raises(UnlistedFile):
        walk.take(root, known, blobs)
    assert len(opened) <= 4


# between looking and reading.  Each change happens right after the listing, the widest window there is


def swap_for_link(root):
    outside = root.parent / "outside.csv"
    outside.write_bytes(b"a")
    (root / "a.csv").unlink()
    (root / "a.csv").symlink_to(outside)


def swap_directory_for_link(root):
    outside = root.parent / "outside"
    (root / "sub").rename(outside)
    (root / "sub").symlink_to(outside)


def swap_for_pipe(root):
    (root / "a.csv").unlink()
    os.mkfifo(root / "a.csv")


def swap_for_hard_link(root):
    (root / "a.csv").unlink()
    (root.parent / "outside.csv").write_bytes(b"a")
    (root / "a.csv").hardlink_to(root.parent / "outside.csv")


def swap_content(root):
    (root / "a.csv").write_bytes(b"b")


def grow(root):
    with (root / "sub/b.csv").open("ab") as file:
        file.write(b"b" * 5_000_000)


def shrink(root):
    (root / "sub/b.csv").write_bytes(b"")


def remove(root):
    (root / "a.csv").unlink()


def remove_directory(root):
    (root / "sub").rename(root.parent / "gone")


CHANGES = {
    swap_for_link: NotRegularFile,
    swap_directory_for_link: NotRegularFile,
    swap_for_pipe: NotRegularFile,
    swap_for_hard_link: NotRegularFile,
    swap_content: DigestMismatch,
    grow: LengthMismatch,
    shrink: LengthMismatch,
    remove: MissingFile,
    remove_directory: MissingFile,
}


@pytest.mark.parametrize(("change", "error"), CHANGES.items(), ids=[c.__name__ for c in CHANGES])
@pytest.mark.parametrize("sized", [True, False], ids=["with sizes", "digests only"])
def test_a_change_after_the_first_look_is_refused_and_nothing_is_kept(root, blobs, monkeypatch, change, error, sized):
    known = claims(root) if sized else [Claim(c.path, None, c.sha256) for c in claims(root)]
    listing = walk.listing

    def looked(*args, **options):
        found = listing(*args, **options)
        change(root)
        return found

    monkeypatch.setattr(walk, "listing", looked)
    with pytest.raises(error):
        walk.take(root, known, blobs)
    assert not [p for p in blobs.root.rglob("*") if p.is_file()]


def test_what_was_taken_is_read_whatever_happens_to_the_directory_afterwards(root, blobs):
    """Row 15 of the threat table: between verifying and using there is nothing to attack."""
    taken = walk.take(root, claims(root), blobs)
    for path in list(root.rglob("*.csv")):
        path.write_bytes(b"poison")
    assert [blobs.read(f"sha256:{f.sha256}") for f in taken.files] == [b"a", b"bb", b"ccc"]


def test_a_small_file_is_read_whole_or_not_at_all(root):
    assert walk.read(root, "sub/b.csv", 2) == b"bb"
    with pytest.raises(BadEnvelope, match="larger than"):
        walk.read(root, "sub/b.csv", 1)
    with pytest.raises(MissingFile):
        walk.read(root, "none", 10)


def test_no_handle_stays_open(root, blobs):
    def handles():
        return len(list(Path("/proc/self/fd").iterdir()))

    known, before = claims(root), handles()
    walk.take(root, known, blobs)
    (root / "a.csv").write_bytes(b"b")
    for attempt in (walk.take, lambda *a: walk.check(*a[:2])):
        with pytest.raises(Refused):
            attempt(root, known, blobs)
    (root / "sub" / "link").symlink_to("x")
    with pytest.raises(Refused):
        walk.measure(root)
    assert handles() == before
