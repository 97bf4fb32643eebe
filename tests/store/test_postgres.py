"""The same promises on PostgreSQL: the tests of the state and of the quarantine once more, on a server of their own."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text

from sanitizer.errors import Busy, StorageFailed
from sanitizer.quarantine import audit as audit_quarantine
from sanitizer.quarantine import cases, counts, decide, hold, ls, outcome, show, undo
from sanitizer.store import Store, audit, deliveries, pins
from sanitizer.store.tables import ledger, metadata
from tests.quarantine.build import DIGEST, HELD, make_samples, make_verdicts, receive
from tests.store.postgres import server

pytestmark = pytest.mark.slow
_numbers = itertools.count()


@pytest.fixture(scope="module")
def postgres():
    with server() as url:
        yield url


@pytest.fixture
def url(postgres):
    name = f"state{next(_numbers)}"
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return postgres.format(name)


@pytest.fixture
def store(url, tmp_path, ledger_signer):
    with Store.open(url, tmp_path, ledger_signer=ledger_signer) as opened:
        yield opened


def entries(store):
    with store.reading() as view:
        return view.execute(select(func.count()).select_from(ledger)).scalar_one()


def test_the_migrations_build_exactly_the_tables_of_the_package(store):
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_keeps_what_was_there(url, tmp_path):
    for _ in range(2):
        with Store.open(url, tmp_path) as store, store.transaction() as tx:
            tx.record("test.happened", "thing", {})
    with Store.open(url, tmp_path) as store:
        assert entries(store) == 2


def test_two_processes_may_open_a_new_store_at_once(url, tmp_path):
    script = "import sys; from pathlib import Path; from sanitizer.store import Store; Store.open(sys.argv[1], Path(sys.argv[2])).close()"
    both = [subprocess.Popen([sys.executable, "-c", script, url, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]


def test_a_block_that_raises_leaves_no_trace(store):
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.record("test.happened", "thing", {})
        raise ZeroDivisionError
    assert entries(store) == 0


def test_writers_take_turns_and_the_ledger_stays_whole(store, ledger_signer):
    def append():
        for _ in range(25):
            with store.transaction() as tx:
                tx.record("test.happened", "thing", {})

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = audit(store, [ledger_signer.public_key])
    assert (found.entries, found.signed) == (100, 100)


def test_a_reader_sees_one_moment_and_waits_for_no_writer(store):
    with store.reading() as view:
        assert view.execute(select(func.count()).select_from(ledger)).scalar_one() == 0
        with store.transaction() as tx:
            tx.record("test.happened", "thing", {})
        assert view.execute(select(func.count()).select_from(ledger)).scalar_one() == 0
    assert entries(store) == 1


def test_text_that_postgresql_cannot_store_becomes_visible(store):
    with store.transaction() as tx:
        deliveries.receive(tx, DIGEST, dataset="digits", source="a\x00b\udc80", path="in\x00box", fingerprint=DIGEST)
        tx.record("test.happened", "null \x00", {"text": "null \x00 and \u202e"}, actor="a\x00")
        assert deliveries.get(tx, DIGEST).source == "a␀b\\udc80"


def test_a_lock_keeps_others_out_until_its_holder_ends(store, url, tmp_path):
    with store.lock("digits"), Store.open(url, tmp_path) as other:
        with pytest.raises(Busy, match="digits is in use"), other.lock("digits"):
            pass
        with other.lock("another"):
            pass
    script = (
        "import os, sys; from pathlib import Path; from sanitizer.store import Store\n"
        "with Store.open(sys.argv[1], Path(sys.argv[2])).lock('digits'):\n"
        "    print('held', flush=True); sys.stdin.readline(); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, url, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy), store.lock("digits"):
            pass
        holder.communicate("die\n")
    for _ in range(1000):  # the server notices the broken connection a moment later
        try:
            with store.lock("digits"):
                break
        except Busy:
            with store.reading() as view:
                view.execute(text("SELECT pg_sleep(0.01)"))
    else:
        pytest.fail("the lock of a dead process was never freed")


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(StorageFailed, match="sanitizer:\\*\\*\\*@") as caught:
        Store.open(f"postgresql://sanitizer:secret@/x?host={tmp_path}", tmp_path)
    assert "secret" not in caught.value.message


def test_pins_and_deliveries_work_alike(store):
    with store.transaction() as tx:
        pins.pin(tx, "digits", "schema", "one")
        receive(tx, DIGEST)
        for state in ("verified", "screened", "decided", "published"):
            deliveries.advance(tx, DIGEST, state)
    assert store.last_sequence("lab") == 1
    assert store.knows(DIGEST)


def test_quarantine_works_alike(store):
    samples = make_samples(12)
    with store.transaction() as tx:
        receive(tx, DIGEST)
        assert hold(tx, samples, make_verdicts(samples, HELD, group=(5, 6, 7)), DIGEST) == 6
        drop = decide(tx, ids=[1, 2], action="drop", reviewer="rea", reason="poison")
        decide(tx, ids=[6], action="relabel", label="dog", reviewer="rea", reason="mislabelled")
        decide(tx, case_id=cases(tx)[0].id, action="release", reviewer="rea", second="sam", reason="fine")
        undo(tx, drop.id, reviewer="rea", reason="slip")
    with store.reading() as view:
        assert counts(view) == {"size": 6, "held": 2, "dropped": 0, "released": 3, "relabelled": 1, "proposed": 0}
        assert show(view, 3).content.rows.to_pylist() == samples.table.slice(5, 1).to_pylist()
        assert [held.position for held in ls(view, limit=4).samples] == [11, 7, 6, 5]
        assert ls(view, limit=4).next is not None
        assert len(outcome(view, "digits").back) == 4
        assert audit_quarantine(view)["samples"] == 6


def test_a_very_long_source_and_label_fit(store):
    samples = make_samples(3)
    table = samples.table.to_pylist()
    for row in table:
        row["by"] = "x" * 100_000
    long = type(samples)(samples.table.from_pylist(table, schema=samples.table.schema), samples.schema)
    with store.transaction() as tx:
        receive(tx, DIGEST)
        hold(tx, long, make_verdicts(long, {0: "outlier"}), DIGEST)
        assert len(show(tx, 1).held.source) < 300
        assert show(tx, 1).content.rows["by"][0].as_py() == "x" * 100_000
