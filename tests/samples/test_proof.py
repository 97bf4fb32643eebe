"""A proof shows that one row is among those under a root, and shows nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sanitizer.errors import BadEnvelope, DigestMismatch, UsageError
from sanitizer.samples import proof
from sanitizer.samples.identity import DIGEST
from sanitizer.samples.proof import Proof, prove, rows_root


def digests(n: int) -> NDArray[np.void]:
    return np.frombuffer(b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(n)), DIGEST)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "BLOCK", 4)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 9, 31])
def test_every_row_can_be_proven(n: int) -> None:
    rows = digests(n)
    root = rows_root(rows)
    for i in range(n):
        held = Proof.from_json(json.loads(json.dumps(prove(rows, i).to_json())))
        held.verify(bytes(rows[i]), root)


def test_the_root_changes_with_any_row_their_order_and_their_number() -> None:
    rows = digests(9)
    swapped = rows[[1, 0, *range(2, 9)]]
    assert len({rows_root(rows[:n]) for n in range(10)} | {rows_root(swapped)}) == 11


def test_a_proof_holds_for_its_row_its_place_and_its_root_only() -> None:
    rows = digests(9)
    root, fine = rows_root(rows), prove(rows, 5)
    digest = bytes(rows[5])
    other = bytes(digests(10)[9])
    forged = [
        (fine, other, root),
        (fine, digest, rows_root(rows[:8])),
        (fine, digest, "sha256:nonsense"),
        (replace(fine, row=6), digest, root),
        (replace(fine, row=1), digest, root),
        (replace(fine, rows=10), digest, root),
        (replace(fine, rows=5), digest, root),
        (replace(fine, row=-1), digest, root),
        (replace(fine, block=fine.block + digest), digest, root),
        (replace(fine, block=fine.block.replace(digest, other)), other, root),
        (replace(fine, path=fine.path[:-1]), digest, root),
        (replace(fine, path=(*fine.path, digest)), digest, root),
    ]
    fine.verify(digest, root)
    for claim, of, under in forged:
        with pytest.raises(DigestMismatch, match=r"is not among the rows|speaks of another row"):
            claim.verify(of, under)


def test_there_is_no_proof_for_a_row_that_is_not_there() -> None:
    for row in (-1, 3):
        with pytest.raises(UsageError, match="there are 3 rows"):
            prove(digests(3), row)


@pytest.mark.parametrize("found", [{}, {"row": "x", "rows": 1, "block": "", "path": []}, {"row": 0, "rows": 1, "block": "zz", "path": []}])
def test_nonsense_is_no_proof(found: dict[str, object]) -> None:
    with pytest.raises(BadEnvelope, match="no proof of a row"):
        Proof.from_json(found)
