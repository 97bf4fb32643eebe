from __future__ import annotations

import os
from itertools import pairwise

import pytest

from sanitizer.errors import Busy, DigestMismatch, TooSuspicious, UsageError
from sanitizer.store import deliveries

LINE = ("received", "verified", "screened", "decided", "published")
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def receive(tx, digest=A, *, source="lab", sequence=1, fingerprint=C):
    return deliveries.receive(tx, digest, dataset="digits", source=source, path="inbox/lab/1", fingerprint=fingerprint, sequence=sequence)


def walk(tx, digest, upto):
    for state in LINE[1 : LINE.index(upto) + 1]:
        deliveries.advance(tx, digest, state)


def test_a_delivery_goes_the_whole_way_and_the_ledger_tells_it(store, now):
    with store.transaction(now=now) as tx:
        receive(tx)
        walk(tx, A, "published")
        assert deliveries.get(tx, A).state == "published"
        assert tx.ledger_size == len(LINE)


@pytest.mark.parametrize(("at", "to"), [(a, b) for i, a in enumerate(LINE) for b in LINE if b not in LINE[i : i + 2]])
def test_no_step_is_left_out_or_taken_back(store, at, to):
    with store.transaction() as tx:
        receive(tx)
        walk(tx, A, at)
        with pytest.raises(UsageError, match=f"is {at}: it cannot become {to}"):
            deliveries.advance(tx, A, to)


def test_the_same_step_again_changes_nothing(store):
    with store.transaction() as tx:
        receive(tx)
        deliveries.advance(tx, A, "verified", artefacts={"manifest": B})
        before = tx.ledger_size
        deliveries.advance(tx, A, "verified", artefacts={"manifest": B})
        receive(tx)
        assert tx.ledger_size == before


def test_artefacts_gather_on_the_way(store):
    with store.transaction() as tx:
        receive(tx)
        deliveries.advance(tx, A, "verified", artefacts={"manifest": B}, level="L2")
        known = deliveries.advance(tx, A, "screened", artefacts={"samples": C})
    assert known.artefacts == {"manifest": B, "samples": C}
    assert known.level == "L2"


def test_a_refusal_keeps_its_code_and_words_and_is_remembered_by_its_files(store):
    with store.transaction() as tx:
        receive(tx)
        deliveries.stop(tx, A, DigestMismatch("1 of 3 files differ"))
        known = deliveries.remembered(tx, C)
    assert (known.state, known.code, known.message) == ("refused", "digest_mismatch", "1 of 3 files differ")


def test_a_refused_delivery_starts_again_only_when_its_files_changed(store):
    with store.transaction() as tx:
        receive(tx)
        deliveries.stop(tx, A, DigestMismatch("1 of 3 files differ"))
        assert receive(tx).state == "refused"
        assert receive(tx, fingerprint=B).state == "received"
        assert deliveries.remembered(tx, C) is None


def test_a_held_delivery_waits_and_can_go_on(store):
    with store.transaction() as tx:
        receive(tx)
        walk(tx, A, "screened")
        assert deliveries.stop(tx, A, TooSuspicious("it moved as a whole")).state == "held"
        assert deliveries.advance(tx, A, "decided").code == ""


def test_our_own_failure_is_no_judgement_on_a_delivery(store):
    with store.transaction() as tx:
        receive(tx)
        with pytest.raises(UsageError, match="worth a retry"):
            deliveries.stop(tx, A, Busy("another run"))


def test_only_what_was_accepted_counts_for_the_sequence(store):
    with store.transaction() as tx:
        receive(tx, A, sequence=3)
        assert deliveries.last_sequence(tx, "lab") is None
        walk(tx, A, "verified")
        receive(tx, B, sequence=9)
        deliveries.stop(tx, B, DigestMismatch("1 of 3 files differ"))
        receive(tx, C, source="other", sequence=7)
        walk(tx, C, "published")
    assert store.last_sequence("lab") == 3
    assert [store.knows(digest) for digest in (A, B, C)] == [True, False, True]


def test_deliveries_are_listed_as_they_came(store):
    with store.transaction() as tx:
        for digest in (B, C, A):
            receive(tx, digest)
        deliveries.advance(tx, C, "verified")
        listed = deliveries.listed(tx, dataset="digits")
        assert [d.digest for d in listed] == [B, C, A]
        assert all(one.arrival < other.arrival for one, other in pairwise(listed))
        assert [d.digest for d in deliveries.listed(tx, states=("verified",))] == [C]


def test_an_unknown_delivery_is_named(store):
    with store.reading() as view, pytest.raises(UsageError, match="no delivery sha256:aaaa"):
        deliveries.get(view, A)


def test_the_fingerprint_follows_every_change_of_the_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data.csv").write_text("a,b\n")
    seen = {deliveries.fingerprint(tmp_path)}
    assert deliveries.fingerprint(tmp_path) in seen
    for change in (
        lambda: (tmp_path / "sub" / "data.csv").write_text("a,bc\n"),
        lambda: os.utime(tmp_path / "sub" / "data.csv", ns=(1, 1)),
        lambda: (tmp_path / "sub" / "data.csv").rename(tmp_path / "data.csv"),
        (tmp_path / "empty").mkdir,
        lambda: (tmp_path / "link").symlink_to("/nowhere"),
    ):
        change()
        seen.add(deliveries.fingerprint(tmp_path))
    assert len(seen) == 6
    assert deliveries.fingerprint(tmp_path, trust="2") not in seen
