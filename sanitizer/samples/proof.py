"""One hash over all rows, and the proof that one row is among them.

Row digests are cut into blocks of 4096; the blocks are the leaves of an RFC 6962 tree.  The root (in a release, in a delivery)
commits to every row, their order and their number.  A proof is one block of 128 kB and a short path, and needs no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanitizer.errors import BadEnvelope, DigestMismatch, LedgerBroken, UsageError
from sanitizer.provenance.ledger import inclusion_proof, leaf_hash, tree_root, verify_inclusion

BLOCK = 4096  # rows of one leaf: fewer make the tree costly (a pure one of 1e6 leaves takes a second), more the proofs long
_SIZE = 32


@dataclass(frozen=True)
class Proof:
    """That a row digest stands at position `row` among `rows`: its block, and the path from there to the root."""

    row: int
    rows: int
    block: bytes
    path: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """The row digest that is proven."""
        start = self.row % BLOCK * _SIZE
        return self.block[start : start + _SIZE]

    def verify(self, digest: bytes, root: str) -> None:
        """Raise `DigestMismatch` unless the row with this digest is under `root` (`sha256:…`)."""
        blocks = -(-self.rows // BLOCK)
        index = self.row // BLOCK
        held = min(BLOCK, self.rows - index * BLOCK)
        if not 0 <= self.row < self.rows or len(self.block) != held * _SIZE or self.digest != digest:
            raise DigestMismatch(f"the proof speaks of another row than {digest.hex()}", subject=digest.hex())
        try:
            expected = bytes.fromhex(root.removeprefix("sha256:"))
            verify_inclusion(_leaf(self.rows, index, self.block), index, blocks, self.path, expected)
        except (LedgerBroken, ValueError) as error:
            raise DigestMismatch(f"row {digest.hex()} is not among the rows of {root}", subject=digest.hex()) from error

    def to_json(self) -> dict[str, Any]:
        """Plain values; bytes as hex."""
        return {"row": self.row, "rows": self.rows, "block": self.block.hex(), "path": [node.hex() for node in self.path]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Proof:
        """The inverse of `to_json`; raises `BadEnvelope` for anything else."""
        try:
            path = tuple(bytes.fromhex(node) for node in found["path"])
            return cls(int(found["row"]), int(found["rows"]), bytes.fromhex(found["block"]), path)
        except (KeyError, TypeError, ValueError) as error:
            raise BadEnvelope(f"this is no proof of a row: {error!r}") from error


def rows_root(digests: NDArray[np.void]) -> str:
    """`sha256:…` over row digests of shape (n,), their order and their number.

    >>> rows_root(np.zeros(0, "V32"))[:15]
    'sha256:e3b0c442'
    """
    return f"sha256:{tree_root(_leaves(digests)).hex()}"


def prove(digests: NDArray[np.void], row: int) -> Proof:
    """The proof for the row at position `row`; raises `UsageError` where there is none."""
    if not 0 <= row < len(digests):
        raise UsageError(f"there are {len(digests)} rows, none at position {row}")
    index = row // BLOCK
    block = digests[index * BLOCK : (index + 1) * BLOCK].tobytes()
    return Proof(row, len(digests), block, tuple(inclusion_proof(_leaves(digests), index)))


def _leaves(digests: NDArray[np.void]) -> list[bytes]:
    blocks = range(0, len(digests), BLOCK)
    return [_leaf(len(digests), start // BLOCK, digests[start : start + BLOCK].tobytes()) for start in blocks]


def _leaf(rows: int, index: int, block: bytes) -> bytes:
    # the number of rows is part of each leaf: otherwise a proof could claim that there are more behind the last block
    return leaf_hash(rows.to_bytes(8, "little") + index.to_bytes(8, "little") + block)
