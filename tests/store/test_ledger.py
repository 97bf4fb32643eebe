from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import delete, func, insert, select, update

from sanitizer.errors import LedgerBroken
from sanitizer.provenance.ledger import Entry, Tree
from sanitizer.store import Store, audit
from sanitizer.store.ledger import entries, last_checkpoint
from sanitizer.store.tables import checkpoints, head, ledger


@pytest.fixture
def told(store, now):
    """Nine entries, in three commits of two, three and four."""
    number = 0
    for size in (2, 3, 4):
        with store.transaction(now=now) as tx:
            for _ in range(size):
                tx.record("test.happened", f"thing {number % 2}", {"number": number}, actor="ann")
                number += 1
    return store


@pytest.fixture
def keys(ledger_signer):
    return [ledger_signer.public_key]


def raw(store, index):
    with store.reading() as view:
        return view.execute(select(ledger.c.entry).where(ledger.c.index == index)).scalar_one()


def change(store, *statements):
    with store._engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def forged(store, index, **changes):
    entry = Entry.from_bytes(raw(store, index))
    return Entry(**{**entry.__dict__, **changes}).to_bytes()


def test_an_untouched_ledger_is_whole(told, keys):
    found = audit(told, keys)
    assert (found.entries, found.checkpoints, found.signed) == (9, 3, 9)


def test_entries_are_found_by_kind_and_subject_in_order(told):
    with told.reading() as view:
        assert [e.index for e in entries(view, subject="thing 1")] == [1, 3, 5, 7]
        assert [e.facts["number"] for e in entries(view, kind="test.happened", after=6)] == [7, 8]
        assert entries(view, kind="other") == []


@pytest.mark.parametrize("index", range(9))
def test_an_edited_entry_is_named(told, keys, index):
    change(told, update(ledger).where(ledger.c.index == index).values(entry=forged(told, index, actor="eve")))
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys)
    # the last one has no follower that could betray it: only the checkpoint over its commit does
    assert caught.value.subject == (f"entry {index}" if index < 8 else "entry 5")


@pytest.mark.parametrize("index", range(9))
def test_a_deleted_entry_is_named(told, keys, index):
    change(told, delete(ledger).where(ledger.c.index == index))
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys)
    assert caught.value.subject == f"entry {index}"


def test_swapped_entries_are_named(told, keys):
    third, fourth = raw(told, 3), raw(told, 4)
    change(
        told,
        update(ledger).where(ledger.c.index == 3).values(entry=fourth),
        update(ledger).where(ledger.c.index == 4).values(entry=third),
    )
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys)
    assert caught.value.subject == "entry 3"


def test_an_entry_filed_under_another_name_is_named(told, keys):
    change(told, update(ledger).where(ledger.c.index == 6).values(subject="innocent"))
    with pytest.raises(LedgerBroken, match="entry 6 of the ledger is filed under another name"):
        audit(told, keys)


def rewritten(store, start):
    """All entries from `start` on, as a forger without the ledger key would rewrite them."""
    tree = Tree()
    for index in range(9):
        entry = forged(store, index, previous=tree.previous, actor="eve" if index >= start else "ann")
        tree.append(entry)
        change(store, update(ledger).where(ledger.c.index == index).values(entry=entry))
    change(store, update(head).values(frontier=tree.to_json()))


def test_a_history_rewritten_from_some_entry_on_is_named_from_the_last_checkpoint_that_holds(told, keys):
    rewritten(told, 3)
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys)
    assert caught.value.subject == "entry 2"


def test_a_history_cut_together_with_its_checkpoints_is_betrayed_by_one_kept_elsewhere(told, keys):
    with told.reading() as view:
        kept = last_checkpoint(view)
    tree = Tree()
    for index in range(5):
        tree.append(raw(told, index))
    change(
        told,
        delete(ledger).where(ledger.c.index >= 5),
        delete(checkpoints).where(checkpoints.c.size > 5),
        update(head).values(size=5, frontier=tree.to_json()),
    )
    assert audit(told, keys).entries == 5
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys, notes=[kept])
    assert caught.value.subject == "entry 5"


def test_nothing_more_is_signed_over_a_rewritten_history(told):
    rewritten(told, 3)
    with pytest.raises(LedgerBroken, match="does not agree with its last checkpoint"), told.transaction() as tx:
        tx.record("test.happened", "thing", {})


def test_checkpoints_of_another_key_prove_nothing(told):
    with pytest.raises(LedgerBroken, match="signed by no key of this ledger"):
        audit(told, [CryptoSigner.generate_ed25519().public_key])


def test_a_saved_head_that_was_changed_is_noticed(told, keys):
    change(told, update(head).values(size=0, frontier=Tree().to_json()))
    with pytest.raises(LedgerBroken, match="the saved head is of 0 entries, the ledger of 9"):
        audit(told, keys)


def test_an_appended_forgery_is_noticed(told, keys):
    forgery = Entry(9, "2026-03-01T12:00:00Z", "test.happened", "thing", {}, "eve", "0" * 64).to_bytes()
    change(told, insert(ledger).values(index=9, kind="test.happened", subject="thing", entry=forgery))
    with pytest.raises(LedgerBroken) as caught:
        audit(told, keys)
    assert caught.value.subject == "entry 9"


def test_an_empty_ledger_is_whole(store, keys):
    assert audit(store, keys).entries == 0


def test_what_was_never_signed_is_told_apart(tmp_path, keys):
    with Store.open("sqlite:///state.db", tmp_path) as store:
        with store.transaction() as tx:
            tx.record("test.happened", "thing", {})
        assert (audit(store, keys).entries, audit(store, keys).signed) == (1, 0)
        with store.reading() as view:
            assert view.execute(select(func.count()).select_from(checkpoints)).scalar_one() == 0
