"""A history that cannot be rewritten unnoticed: entries in a Merkle tree, its root signed now and then.

Entries are RFC 8785 JSON and the leaves of an RFC 6962 tree.  Each names the hash of the one before it, so an edited
entry betrays itself at its place; a checkpoint (https://c2sp.org/tlog-checkpoint) signs size and root, so whoever keeps
an old one notices a shortened, reordered or forked history.  All of this is pure: where entries lie is the store's affair.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from sanitizer.errors import LedgerBroken, UsageError
from sanitizer.provenance import jcs, keys

EMPTY_ROOT = hashlib.sha256().digest()
NOTHING_BEFORE = "0" * 64  # `previous` of the first entry


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 2.1: the hash of a leaf; the prefix keeps leaves and inner nodes apart."""
    return hashlib.sha256(b"\0" + entry).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    `index` counts from 0; `at` is a time in RFC 3339; `kind` a dotted word such as `delivery.verified`; `subject` what it
    is about; `facts` JSON values; `actor` who did it; `previous` the leaf hash of the entry before, in hex.
    """

    index: int
    at: str
    kind: str
    subject: str
    facts: dict[str, Any]
    actor: str
    previous: str = NOTHING_BEFORE

    def to_bytes(self) -> bytes:
        """The RFC 8785 form: what is stored, hashed and shown.  Raises ValueError for facts that JSON cannot carry."""
        return jcs.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Entry:
        """Reads what `to_bytes` made; raises `LedgerBroken` for anything else, a reordered key included."""
        found = jcs.loads(raw, what="the entry", error=LedgerBroken)
        try:
            entry = cls(**found)
            canonical = entry.to_bytes()
        except (TypeError, ValueError, RecursionError) as error:
            raise LedgerBroken(f"this is no ledger entry: {error}") from error
        match entry:
            case Entry(int(), str(), str(), str(), dict(), str(), str()) if canonical == raw and entry.index is not True:
                return entry
        raise LedgerBroken("this is no ledger entry: not in its canonical form")


class Tree:
    """An RFC 6962 tree that only grows and keeps only its right edge: `log2(size)` hashes.

    Law: `root()` depends on the entries and their order alone, not on when it was asked or where the tree was saved.

    >>> tree = Tree()
    >>> tree.append(b"first").hex()[:8], tree.size, tree.root() == leaf_hash(b"first")
    ('a1af0302', 1, True)
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = (), last: bytes | None = None) -> None:
        self.size = size
        self._edge = list(edge)  # roots of the full subtrees, largest first
        self._last = last

    def append(self, entry: bytes) -> bytes:
        """Adds an entry; returns its leaf hash."""
        leaf = node = leaf_hash(entry)
        size = self.size
        while size & 1:
            node = _node_hash(self._edge.pop(), node)
            size >>= 1
        self._edge.append(node)
        self.size += 1
        self._last = leaf
        return leaf

    def root(self) -> bytes:
        """The root of all entries so far, 32 bytes."""
        if not self._edge:
            return EMPTY_ROOT
        node = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            node = _node_hash(left, node)
        return node

    @property
    def previous(self) -> str:
        """What the next entry says in its field `previous`."""
        return NOTHING_BEFORE if self._last is None else self._last.hex()

    def to_json(self) -> dict[str, Any]:
        """Plain values to save between processes."""
        return {"size": self.size, "edge": [node.hex() for node in self._edge], "last": None if self._last is None else self._last.hex()}

    @classmethod
    def from_json(cls, found: Any) -> Tree:
        """What `to_json` made; raises `LedgerBroken` for anything that cannot be one."""
        try:
            last = found["last"]
            tree = cls(
                operator.index(found["size"]),
                [bytes.fromhex(node) for node in found["edge"]],
                None if last is None else bytes.fromhex(last),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerBroken(f"the saved edge of the ledger is malformed: {error!r}") from error
        if tree.size < 0 or len(tree._edge) != tree.size.bit_count() or (tree._last is None) != (tree.size == 0):
            raise LedgerBroken("the saved edge of the ledger does not fit its size")
        return tree


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 2.1: the root over leaf hashes."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY_ROOT
    split = _split(len(leaves))
    return _node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 6962 2.1.1: the hashes that lead from leaf `index` to the root of all `leaves`."""
    if not 0 <= index < len(leaves):
        raise UsageError(f"the ledger has {len(leaves)} entries, none with index {index}")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), tree_root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), tree_root(leaves[:split])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 2.1.3.2: raises `LedgerBroken` unless the leaf hash stands at `index` in the tree of that size and root."""
    node, right, left_of_last = leaf, index, size - 1
    if not 0 <= index < size:
        raise LedgerBroken(f"no entry {index} can be in a ledger of {size}", subject=f"entry {index}")
    for sibling in proof:
        if left_of_last == 0:
            raise LedgerBroken("the proof is too long", subject=f"entry {index}")
        if right & 1 or right == left_of_last:
            node = _node_hash(sibling, node)
            while not right & 1 and right:
                right >>= 1
                left_of_last >>= 1
        else:
            node = _node_hash(node, sibling)
        right >>= 1
        left_of_last >>= 1
    if left_of_last != 0 or node != root:
        raise LedgerBroken(f"entry {index} is not in the ledger of this checkpoint", subject=f"entry {index}")


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """RFC 6962 2.1.2: the hashes that show the first `old_size` of `leaves` to be unchanged."""
    if not 0 <= old_size <= len(leaves):
        raise UsageError(f"the ledger has {len(leaves)} entries, fewer than {old_size}")
    return [] if old_size == 0 else _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [tree_root(leaves)]
    split = _split(len(leaves))
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, whole=whole), tree_root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, whole=False), tree_root(leaves[:split])]


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2: raises `LedgerBroken` unless the tree of the new size and root begins with the old one."""
    broken = LedgerBroken(f"the ledger of {new_size} entries does not continue the one of {old_size}", subject=f"entry {old_size}")
    if (
        old_size > new_size
        or (old_size == new_size and (old_root != new_root or proof))
        or (old_size == 0 and (old_root != EMPTY_ROOT or proof))
    ):
        raise broken
    if old_size in {0, new_size}:
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    old, new = old_size - 1, new_size - 1
    while old & 1:
        old >>= 1
        new >>= 1
    if not path:
        raise broken
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if new == 0:
            raise broken
        if old & 1 or old == new:
            old_node, new_node = _node_hash(sibling, old_node), _node_hash(sibling, new_node)
            while not old & 1 and old:
                old >>= 1
                new >>= 1
        else:
            new_node = _node_hash(new_node, sibling)
        old >>= 1
        new >>= 1
    if new != 0 or old_node != old_root or new_node != new_root:
        raise broken


def _split(n: int) -> int:
    """The largest power of two below `n`."""
    return 1 << (n - 1).bit_length() - 1


@dataclass(frozen=True)
class Checkpoint:
    """Size and root of a ledger at some moment; `origin` names the ledger.

    Signed it is a C2SP note that any transparency-log tool reads: the three lines, an empty line, and per signer a line of an
    em dash, the key's name (ours: the origin), and base64 of 4 bytes of key id and the Ed25519 signature.
    """

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, signer: Signer) -> str:
        """The signed note.

        Raises:
            UsageError: the signer's key is not Ed25519, or the origin cannot name a key.
        """
        if not re.fullmatch(r"[^\s+\0]+", self.origin):
            raise UsageError(f"{self.origin!r} cannot name a ledger: no spaces, no plus sign", subject=self.origin)
        hint = note_key_id(self.origin, signer.public_key)
        try:
            signature = bytes.fromhex(signer.sign(self.body().encode()).signature)
        except Exception as error:  # tokens and clouds have errors of their own
            raise UsageError(f"the ledger key cannot sign: {error}") from error
        return f"{self.body()}\n— {self.origin} {base64.b64encode(hint + signature).decode()}\n"

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        """What a note says, its signatures not looked at; raises `LedgerBroken` if it is none."""
        body, gap, _ = note.rpartition("\n\n")
        found = re.fullmatch(r"([^\s+\0]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n((?:.+\n)*)", f"{body}\n")
        if not gap or found is None:
            raise LedgerBroken("this is no checkpoint: origin, size and root, each on a line, then signatures")
        return cls(found[1], int(found[2]), base64.b64decode(found[3]))

    @classmethod
    def verify(cls, note: str, allowed: Sequence[Key], *, origin: str | None = None) -> Checkpoint:
        """What a note says, once one of the `allowed` keys signed it.

        Raises:
            LedgerBroken: it is no checkpoint, is of another ledger, or none of them signed it.
        """
        checkpoint = cls.parse(note)
        if origin is not None and checkpoint.origin != origin:
            raise LedgerBroken(f"the checkpoint is of the ledger {checkpoint.origin!r}, not {origin!r}", subject=checkpoint.origin)
        body, _, signatures = note.rpartition("\n\n")
        signed = f"{body}\n".encode()
        for line in signatures.splitlines():
            dash, _, rest = line.partition(" ")
            name, _, encoded = rest.partition(" ")
            if dash == "—" and name == checkpoint.origin and any(_signed(signed, encoded, name, key) for key in allowed):
                return checkpoint
        raise LedgerBroken(f"the checkpoint of {checkpoint.size} entries is signed by no key of this ledger", subject=checkpoint.origin)


def note_key_id(name: str, key: Key) -> bytes:
    """C2SP signed-note: four bytes that tell verifiers which key to try."""
    public = load_pem_public_key(keys.pem(key))
    if not isinstance(public, Ed25519PublicKey):
        raise UsageError(f"checkpoints are signed with Ed25519, not {key.scheme}: `sanitizer keys new ledger`", subject=key.keyid)
    return hashlib.sha256(name.encode() + b"\n\x01" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:4]


def _signed(body: bytes, encoded: str, name: str, key: Key) -> bool:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        return False
    if key.scheme != "ed25519" or blob[:4] != note_key_id(name, key):
        return False
    try:
        key.verify_signature(Signature(key.keyid, blob[4:].hex()), body)
    except UnverifiedSignatureError:
        return False
    return True


def verify_entries(entries: Iterable[bytes], notes: Sequence[str], allowed: Sequence[Key], *, origin: str | None = None) -> Tree:
    """Reads the whole ledger and holds it against every checkpoint; returns its tree.

    Args:
        entries: raw bytes in order.
        notes: signed checkpoints of any age; those kept elsewhere are the ones that prove something.
        allowed: keys that may sign checkpoints.
        origin: the ledger's name.

    Raises:
        LedgerBroken: its subject is `entry N`, the first entry that is not what it was; where entries were rewritten
            together with all that follow, the first one after the last checkpoint that still holds.
    """
    checkpoints = sorted((Checkpoint.verify(note, allowed, origin=origin) for note in notes), key=lambda c: c.size)
    waiting, held = list(checkpoints), 0
    tree = Tree()
    for raw in entries:
        at, before = f"entry {tree.size}", f"entry {tree.size - 1}"
        problem, entry = _read(raw)
        continues = entry is not None and entry.previous == tree.previous
        if entry is not None and entry.index == tree.size and not continues and not _proven(tree, waiting):
            # it names another entry than the one that stands before it: that one was changed.  Asked before the checkpoint, which
            # would only know that it was one of several
            raise LedgerBroken(f"{before} of the ledger was changed: the next one does not continue it", subject=before)
        held = _hold(tree, waiting, held)
        if entry is None:
            raise LedgerBroken(f"{at} of the ledger was changed: {problem}", subject=at)
        if entry.index != tree.size:
            raise LedgerBroken(f"{at} of the ledger is missing or out of order: here stands {entry.index}", subject=at)
        if not continues:
            raise LedgerBroken(
                f"{at} of the ledger was changed: it does not continue the one before, which a checkpoint proves", subject=at
            )
        tree.append(raw)
    held = _hold(tree, waiting, held)
    if waiting:
        at = f"entry {tree.size}"
        raise LedgerBroken(f"the ledger ends after {tree.size} entries, a checkpoint knows {waiting[-1].size}: {at} is missing", subject=at)
    return tree


def _read(raw: bytes) -> tuple[str, Entry | None]:
    try:
        return "", Entry.from_bytes(raw)
    except LedgerBroken as error:
        return error.message, None


def _proven(tree: Tree, waiting: Sequence[Checkpoint]) -> bool:
    """Whether a checkpoint of this very size agrees with the tree (an empty one needs no proof)."""
    return tree.size == 0 or any(checkpoint.size == tree.size and checkpoint.root == tree.root() for checkpoint in waiting)


def _hold(tree: Tree, waiting: list[Checkpoint], held: int) -> int:
    """Holds the tree against the checkpoints of its size; returns how many entries are proven good."""
    while waiting and waiting[0].size == tree.size:
        if waiting.pop(0).root != tree.root():
            at = f"entry {held}"
            raise LedgerBroken(f"entries {held} to {tree.size - 1} of the ledger are not those of the checkpoint over them", subject=at)
        held = tree.size
    return held
