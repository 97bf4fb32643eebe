"""Only the files that the manifest names become samples, in one order, under one schema."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from sanitizer.errors import AmbiguousData, DigestMismatch, ParserLimit, SchemaMismatch
from sanitizer.policy import Samples as Policy
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import VerifiedDelivery
from sanitizer.provenance.manifest import FileEntry, Manifest
from sanitizer.samples import Samples, from_any, read
from sanitizer.samples.proof import rows_root

NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def verified(tmp_path: Path) -> VerifiedDelivery:
    return delivery(tmp_path, {"b.csv": b"y,x\ndog,2\n", "a.csv": b"x,y\n1,cat\n"})


def delivery(root: Path, files: dict[str, bytes]) -> VerifiedDelivery:
    """What `provenance.delivery.verify` hands over."""
    blobs = BlobStore(root)
    manifest = Manifest.of(FileEntry(path, blobs.put_bytes(data).removeprefix("sha256:"), len(data)) for path, data in files.items())
    return VerifiedDelivery(
        source="lab",
        sequence=1,
        issued=NOW,
        expires=NOW,
        level="L2",
        kind="statement",
        signers=("key",),
        manifest=manifest,
        digest="sha256:d",
        schema_id=None,
        rows_root=None,
        blobs=blobs,
    )


def test_the_files_come_in_the_order_of_their_paths(verified: VerifiedDelivery) -> None:
    samples = read(verified, None, Policy(label="y"))
    assert isinstance(samples, Samples)
    assert samples.origin == "sha256:d"
    assert samples.table.to_pylist() == [{"x": 1, "y": "cat"}, {"x": 2, "y": "dog"}]


def test_the_next_delivery_is_cast_to_what_the_first_one_drafted(verified: VerifiedDelivery, tmp_path: Path) -> None:
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


def test_a_label_that_the_first_delivery_lacks_holds_it(verified: VerifiedDelivery) -> None:
    with pytest.raises(SchemaMismatch, match="no column 'label' for the label"):
        read(verified, None, Policy(label="label"))


def test_the_policy_bounds_what_is_read(verified: VerifiedDelivery) -> None:
    with pytest.raises(ParserLimit, match="rows"):
        read(verified, None, Policy(max_rows=1))


def test_a_blob_that_changed_is_not_read(verified: VerifiedDelivery) -> None:
    path = verified.blobs.path(f"sha256:{verified.manifest.files[0].sha256}")
    path.chmod(0o644)
    path.write_bytes(b"x,y\n9,cat\n")
    with pytest.raises(DigestMismatch, match="changed after it was verified"):
        read(verified, None, Policy(label="y"))


def test_ambiguous_files_are_refused_by_name_and_row(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousData, match=r"d/1\.csv: row 2 has 1 cells"):
        read(delivery(tmp_path, {"d/1.csv": b"x,y\n1,cat\n2\n"}), None, Policy(label="y"))


def test_the_supplier_may_sign_the_schema_and_the_rows(verified: VerifiedDelivery) -> None:
    rows = from_any(pd.DataFrame({"x": [1, 2], "y": ["cat", "dog"]}), label="y")
    signed = replace(verified, schema_id=rows.schema.id, rows_root=rows_root(rows.row_digests))
    assert read(signed, rows.schema, Policy()).sample_ids == rows.sample_ids
    with pytest.raises(SchemaMismatch, match="the supplier signed schema sha256:0"):
        read(replace(signed, schema_id="sha256:0"), rows.schema, Policy())
    with pytest.raises(AmbiguousData, match="the supplier signed rows with the root sha256:0"):
        read(replace(signed, rows_root="sha256:0"), rows.schema, Policy())
