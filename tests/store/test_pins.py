from __future__ import annotations

import pytest

from sanitizer.errors import ChangedSincePinned
from sanitizer.store import pins


def test_a_pin_holds_until_a_person_moves_it(store):
    with store.transaction() as tx:
        pins.pin(tx, "digits", "schema", "one")
        pins.pin(tx, "digits", "schema", "one")
        with pytest.raises(ChangedSincePinned, match="schema of digits was pinned as one, now it is two"):
            pins.pin(tx, "digits", "schema", "two")
        assert pins.pinned(tx, "digits", "schema") == "one"
        pins.move(tx, "digits", "schema", "two", actor="ann", reason="a column was added")
        assert pins.pinned(tx, "digits", "schema") == "two"
        assert tx.ledger_size == 2


def test_pins_of_data_sets_stay_apart(store):
    with store.transaction() as tx:
        pins.pin(tx, "digits", "schema", "one")
        assert pins.pinned(tx, "letters", "schema") is None
