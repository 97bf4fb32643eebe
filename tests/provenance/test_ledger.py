"""The ledger against RFC 6962: an implementation written twice, proofs for all sizes, every kind of rewriting."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import LedgerBroken, UsageError
from sanitizer.provenance.ledger import (
    EMPTY_ROOT,
    Checkpoint,
    Entry,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_entries,
    verify_inclusion,
)
from tests.vectors.world import key

LEDGER = key("ledger")


def reference_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, level by level instead of by splitting: an odd node moves up unchanged."""
    level = [hashlib.sha256(b"\x00" + e).digest() for e in entries]
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def test_roots_are_those_of_the_certificate_transparency_test_vectors():
    leaves = [
        bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
    ]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    tree = Tree()
    for n, leaf in enumerate(leaves, 1):
        tree.append(leaf)
        assert tree.root().hex() == roots[n]


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_compact_tree_the_recursive_one_and_the_reference_agree(entries):
    tree = Tree()
    for entry in entries:
        tree = Tree.from_json(json.loads(json.dumps(tree.to_json())))  # saved and loaded at every step
        tree.append(entry)
    assert tree.root() == tree_root([leaf_hash(e) for e in entries]) == reference_root(entries)


def test_every_inclusion_proof_holds_for_its_entry_and_no_other():
    for size in range(1, 18):
        leaves = [leaf_hash(bytes([n])) for n in range(size)]
        root = tree_root(leaves)
        for index in range(size):
            proof = inclusion_proof(leaves, index)
            verify_inclusion(leaves[index], index, size, proof, root)
            for wrong in range(size):
                if wrong != index:
                    with pytest.raises(LedgerBroken):
                        verify_inclusion(leaves[index], wrong, size, proof, root)
            with pytest.raises(LedgerBroken):
                verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
            with pytest.raises(LedgerBroken):
                verify_inclusion(leaves[index], index, size, [*proof, bytes(32)], root)
            if proof:
                with pytest.raises(LedgerBroken):
                    verify_inclusion(leaves[index], index, size, proof[:-1], root)


def test_every_consistency_proof_holds_and_a_changed_past_has_none():
    for new in range(1, 18):
        leaves = [leaf_hash(bytes([n])) for n in range(new)]
        for old in range(new + 1):
            proof = consistency_proof(leaves, old)
            verify_consistency(old, tree_root(leaves[:old]), new, tree_root(leaves), proof)
            if old:
                forged = [leaf_hash(b"forged"), *leaves[1:]]
                with pytest.raises(LedgerBroken):
                    verify_consistency(old, tree_root(forged[:old]), new, tree_root(leaves), proof)
                with pytest.raises(LedgerBroken):
                    verify_consistency(old, tree_root(leaves[:old]), new, tree_root(forged), proof)
                with pytest.raises(LedgerBroken):
                    verify_consistency(old, tree_root(leaves[:old]), new, tree_root(leaves), [*proof, bytes(32)])


def written(n: int, change: dict[int, str] | None = None) -> list[bytes]:
    """A ledger of `n` entries, chained; `change` gives some another subject from the start, as one who rewrites all would."""
    tree, entries = Tree(), []
    for index in range(n):
        subject = (change or {}).get(index, f"delivery {index}")
        entries.append(Entry(index, "2026-03-01T12:00:00Z", "delivery.verified", subject, {"n": index}, "test", tree.previous).to_bytes())
        tree.append(entries[-1])
    return entries


def note(entries: list[bytes], signer=LEDGER, origin: str = "demo") -> str:
    tree = Tree()
    for entry in entries:
        tree.append(entry)
    return Checkpoint(origin, tree.size, tree.root()).sign(signer)


def audit(entries: list[bytes], *notes: str) -> Tree:
    return verify_entries(entries, notes, [LEDGER.public_key], origin="demo")


def test_an_untouched_ledger_holds_against_all_its_checkpoints():
    entries = written(10)
    assert audit(entries, *(note(entries[:n]) for n in range(11))).root() == reference_root(entries)


def tampered(raw: bytes) -> bytes:
    return raw.replace(b"delivery.verified", b"delivery.refusedd")


BROKEN = {
    "an entry is edited": (lambda e: [*e[:4], tampered(e[4]), *e[5:]], "entry 4"),
    "the last entry is edited": (lambda e: [*e[:-1], tampered(e[-1])], "entry 8"),
    "an entry is edited, the next names it": (lambda _: written(10, {4: "forged"}), "entry 4"),
    "an entry is deleted": (lambda e: [*e[:4], *e[5:]], "entry 4"),
    "the first entry is deleted": (lambda e: e[1:], "entry 0"),
    "two entries change places": (lambda e: [*e[:4], e[5], e[4], *e[6:]], "entry 4"),
    "the end is cut off": (lambda e: e[:-1], "entry 9"),
    "everything is cut off": (lambda _: [], "entry 0"),
    "an entry is not canonical": (lambda e: [*e[:4], e[4].replace(b":", b": ", 1), *e[5:]], "entry 4"),
    "an entry is not JSON": (lambda e: [*e[:4], b"\xff", *e[5:]], "entry 4"),
    "an entry has a field more": (lambda e: [*e[:4], b'{"a":1}', *e[5:]], "entry 4"),
}


@pytest.mark.parametrize(("rewrite", "first_bad"), BROKEN.values(), ids=BROKEN)
def test_a_rewritten_ledger_is_noticed_and_the_first_bad_entry_is_named(rewrite, first_bad):
    entries = written(10)
    notes = [note(entries[:n]) for n in (4, 8, 10)]
    with pytest.raises(LedgerBroken, match="ledger") as broken:
        audit(rewrite(entries), *notes)
    assert broken.value.subject == first_bad


@given(st.dictionaries(st.text(max_size=4), st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1)))
def test_any_facts_that_can_be_written_are_read_back_as_the_same_entry(facts):
    raw = Entry(0, "2026-03-01T12:00:00Z", "x", "y", facts, "test").to_bytes()
    assert Entry.from_bytes(raw).to_bytes() == raw


def test_without_a_checkpoint_over_it_a_rewritten_end_is_not_noticed():
    assert audit(written(10, {9: "forged"}), note(written(9))).size == 10  # what checkpoints cannot promise


def test_two_checkpoints_of_different_histories_cannot_both_hold():
    with pytest.raises(LedgerBroken):
        audit(written(10), note(written(10)), note(written(10, {2: "fork"})))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n.replace("demo", "other"), "of the ledger 'other'"),
        (lambda n: n.replace("\n10\n", "\n11\n"), "signed by no key"),
        (lambda n: n.replace("— demo ", "— demo AAAA"), "signed by no key"),
        (lambda n: n.rpartition("\n\n")[0] + "\n\n", "signed by no key"),
        (lambda n: n.replace("\n\n", "\n"), "no checkpoint"),
        (lambda n: n.replace("\n10\n", "\n010\n"), "no checkpoint"),
        (lambda _: "", "no checkpoint"),
    ],
)
def test_a_forged_checkpoint_proves_nothing(change, words):
    entries = written(10)
    with pytest.raises(LedgerBroken, match=words):
        audit(entries, change(note(entries)))


def test_a_checkpoint_by_another_key_proves_nothing():
    with pytest.raises(LedgerBroken, match="signed by no key"):
        audit(written(3), note(written(3), key("stranger")))


def test_a_checkpoint_is_a_signed_note_that_other_tools_read():
    entries = written(3)
    text = note(entries)
    origin, size, _root, empty, signature, end = text.split("\n")
    assert (origin, size, empty, end) == ("demo", "3", "", "")
    assert signature.startswith("— demo ")
    assert Checkpoint.verify(text, [LEDGER.public_key]) == Checkpoint("demo", 3, tree_root([leaf_hash(e) for e in entries]))


def test_only_ed25519_signs_checkpoints_and_an_origin_has_no_spaces():
    with pytest.raises(UsageError, match="Ed25519"):
        Checkpoint("demo", 0, EMPTY_ROOT).sign(key("release"))
    with pytest.raises(UsageError, match="no spaces"):
        Checkpoint("a b", 0, EMPTY_ROOT).sign(LEDGER)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_are_taken_for_an_entry_or_break_the_reader(raw):
    with pytest.raises(LedgerBroken):
        Entry.from_bytes(raw)


@given(st.text(max_size=300))
def test_no_text_is_taken_for_a_checkpoint_or_breaks_the_reader(text):
    with pytest.raises(LedgerBroken):
        Checkpoint.verify(text, [LEDGER.public_key])
