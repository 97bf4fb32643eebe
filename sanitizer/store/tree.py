"""RFC 6962 tree, provisional."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785
from securesystemslib.signer import Signer


@dataclass(frozen=True)
class Entry:
    """One entry."""

    index: int
    at: str
    kind: str
    subject: str
    facts: dict[str, Any]
    actor: str

    def to_bytes(self) -> bytes:
        """RFC 8785."""
        return rfc8785.dumps(asdict(self))


class Tree:
    """Compact frontier."""

    def __init__(self, size: int = 0, nodes: list[bytes] | None = None) -> None:
        self.size = size
        self._nodes = nodes or []

    def append(self, raw: bytes) -> bytes:
        """Append."""
        leaf = node = hashlib.sha256(b"\0" + raw).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(b"\1" + self._nodes.pop() + node).digest()
            size >>= 1
        self._nodes.append(node)
        self.size += 1
        return leaf

    def root(self) -> bytes:
        """Root."""
        if not self._nodes:
            return hashlib.sha256().digest()
        node = self._nodes[-1]
        for left in reversed(self._nodes[:-1]):
            node = hashlib.sha256(b"\1" + left + node).digest()
        return node

    def to_json(self) -> dict[str, Any]:
        """JSON."""
        return {"size": self.size, "nodes": [n.hex() for n in self._nodes]}

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Tree:
        """JSON."""
        return cls(obj["size"], [bytes.fromhex(n) for n in obj["nodes"]])


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint."""

    origin: str
    size: int
    root: bytes

    def sign(self, signer: Signer) -> str:
        """Sign."""
        body = f"{self.origin}\n{self.size}\n{self.root.hex()}\n"
        return body + "\n" + str(signer.sign(body.encode()).signature)

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """Parse."""
        origin, size, root, *_ = note.split("\n")
        return cls(origin, int(size), bytes.fromhex(root))
