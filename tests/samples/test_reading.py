"""Only the files that the manifest names become samples, in one order, under one schema."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from sanitizer.errors import AmbiguousData, DigestMismatch, ParserLimit, SchemaMismatch
from sanitizer.policy import Samples as Policy
from sanitizer.provenance.manifest import FileEntry, Manifest
from sanitizer.samples import Samples, read


@dataclass
class Folder:
    """Blobs in a folder."""

    root: Path

    def path(self, digest: str, /) -> Path:
        return self.root / digest.removeprefix("sha256:")


@dataclass
class Verified:
    """A delivery that somebody verified."""

    digest: str
    manifest: Manifest
    blobs: Folder


@pytest.fixture
def verified(tmp_path: Path) -> Verified:
    return delivery(tmp_path, {"b.csv": b"y,x\ndog,2\n", "a.csv": b"x,y\n1,cat\n"})


def delivery(root: Path, files: dict[str, bytes]) -> Verified:
    entries = []
    for path, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        (root / sha256).write_bytes(data)
        entries.append(FileEntry(path, sha256, len(data)))
    return Verified("sha256:d", Manifest.of(entries), Folder(root))


def test_the_files_come_in_the_order_of_their_paths(verified: Verified) -> None:
    samples = read(verified, None, Policy(label="y"))
    assert isinstance(samples, Samples)
    assert samples.origin == "sha256:d"
    assert samples.table.to_pylist() == [{"x": 1, "y": "cat"}, {"x": 2, "y": "dog"}]


def test_the_next_delivery_is_cast_to_what_the_first_one_drafted(verified: Verified, tmp_path: Path) -> None:
    schema = read(verified, None, Policy(label="y", key=("x",))).schema
    assert schema.key == ("x",)
    assert read(delivery(tmp_path, {"c.csv": b"y,x\ncat,3.0\n"}), schema, Policy()).table.to_pylist() == [{"x": 3, "y": "cat"}]
    for data, words in (
        (b"y,x\ncow,3\n", "none of its 2 categories"),
        (b"y,x\ncat,?\n", "row 1: column 'x' holds"),
        (b"y\ncat\n", "lacks x"),
    ):
        with pytest.raises(SchemaMismatch, match=words):
            read(delivery(tmp_path, {"c.csv": data}), schema, Policy())


def test_a_label_that_the_first_delivery_lacks_holds_it(verified: Verified) -> None:
    with pytest.raises(SchemaMismatch, match="no column 'label' for the label"):
        read(verified, None, Policy(label="label"))


def test_the_policy_bounds_what_is_read(verified: Verified) -> None:
    with pytest.raises(ParserLimit, match="rows"):
        read(verified, None, Policy(max_rows=1))


def test_a_blob_that_changed_is_not_read(verified: Verified) -> None:
    path = verified.blobs.path(verified.manifest.files[0].sha256)
    path.write_bytes(b"x,y\n9,cat\n")
    with pytest.raises(DigestMismatch, match="changed after it was verified"):
        read(verified, None, Policy(label="y"))


def test_ambiguous_files_are_refused_by_name_and_row(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousData, match=r"d/1\.csv: row 2 has 1 cells"):
        read(delivery(tmp_path, {"d/1.csv": b"x,y\n1,cat\n2\n"}), None, Policy(label="y"))
