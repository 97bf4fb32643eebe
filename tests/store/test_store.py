from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text

from sanitizer.errors import Busy, StorageFailed, UsageError
from sanitizer.store import Store
from sanitizer.store.migrate import HEAD, revision
from sanitizer.store.tables import checkpoints, ledger, metadata


def entries(store):
    with store.reading() as view:
        return view.execute(select(func.count()).select_from(ledger)).scalar_one()


def test_what_a_transaction_records_is_there_after_it(store):
    with store.transaction() as tx:
        assert tx.record("test.happened", "thing", {"n": 1}) == 0
        assert tx.record("test.happened", "thing", {"n": 2}) == 1
    assert entries(store) == 2


def test_a_block_that_raises_leaves_no_trace(store):
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.record("test.happened", "thing", {})
        raise ZeroDivisionError
    assert entries(store) == 0
    with store.transaction() as tx:
        assert tx.record("test.happened", "thing", {}) == 0


def test_each_commit_is_signed_once(store):
    for _ in range(3):
        with store.transaction() as tx:
            tx.record("test.happened", "a", {})
            tx.record("test.happened", "b", {})
    with store.transaction():
        pass
    with store.reading() as view:
        assert list(view.execute(select(checkpoints.c.size)).scalars()) == [2, 4, 6]


def test_without_a_signer_the_ledger_grows_unsigned_and_is_signed_later(tmp_path, ledger_signer):
    with Store.open("sqlite:///state.db", tmp_path) as store, store.transaction() as tx:
        tx.record("test.happened", "thing", {})
    with Store.open("sqlite:///state.db", tmp_path, ledger_signer=ledger_signer) as store:
        with store.transaction() as tx:
            tx.record("test.happened", "thing", {})
        with store.reading() as view:
            assert list(view.execute(select(checkpoints.c.size)).scalars()) == [2]


def test_a_reader_sees_one_moment_and_waits_for_no_writer(store):
    with store.reading() as view:
        assert view.execute(select(func.count()).select_from(ledger)).scalar_one() == 0
        with store.transaction() as tx:
            tx.record("test.happened", "thing", {})
        assert view.execute(select(func.count()).select_from(ledger)).scalar_one() == 0
    assert entries(store) == 1


def test_sqlite_is_told_to_be_durable(store):
    with store.reading() as view:
        settings = [view.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert settings == ["wal", 2, 1]


def test_opening_again_keeps_what_was_there(tmp_path):
    for _ in range(2):
        with Store.open("sqlite:///state.db", tmp_path) as store, store.transaction() as tx:
            tx.record("test.happened", "thing", {})
    with Store.open("sqlite:///state.db", tmp_path) as store:
        assert entries(store) == 2


def test_the_migrations_build_exactly_the_tables_of_the_package(store):

    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_revision_is_the_one_that_open_expects(store):

    config = Config()
    config.set_main_option("script_location", "sanitizer:store/migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    with store._engine.connect() as connection:
        assert revision(connection) == HEAD


def test_a_store_of_a_newer_version_is_not_touched(tmp_path):
    Store.open("sqlite:///state.db", tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(UsageError, match="newer version of sanitizer"):
        Store.open("sqlite:///state.db", tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "lost with the process"),
        ("sqlite:///:memory:", "lost with the process"),
        ("mysql://localhost/x", "not a supported database"),
        ("nonsense", "not a database URL"),
    ],
)
def test_a_wrong_url_is_a_usage_error(tmp_path, url, said):
    with pytest.raises(UsageError, match=said):
        Store.open(url, tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="unable to open database file"):
        Store.open("sqlite:///file/state.db", tmp_path)


def test_a_file_that_is_no_database_is_not_overwritten(tmp_path):
    (tmp_path / "state.db").write_text("precious words, many of them, more than one hundred bytes so that a header would fit here" * 20)
    with pytest.raises(StorageFailed, match="not a database"):
        Store.open("sqlite:///state.db", tmp_path)
    assert (tmp_path / "state.db").read_text().startswith("precious")


def test_a_full_disk_keeps_nothing_of_the_transaction(store):
    with pytest.raises(StorageFailed, match="full"), store.transaction() as tx:
        pages = tx.execute(text("PRAGMA page_count")).scalar_one()
        tx.execute(text(f"PRAGMA max_page_count = {pages + 5}"))
        for _ in range(100):
            tx.record("test.happened", "thing", {"much": "x" * 10_000})
    store.close()
    assert entries(store) == 0


def test_a_read_only_database_is_reported(store):
    with pytest.raises(StorageFailed, match="readonly"), store.transaction() as tx:
        tx.execute(text("PRAGMA query_only = 1"))
        tx.record("test.happened", "thing", {})


def test_messages_of_the_database_do_not_carry_the_data(store):
    with pytest.raises(StorageFailed) as caught, store.transaction() as tx:
        tx.execute(text("INSERT INTO pins VALUES ('secret', 'secret', NULL, '')"))
    assert "secret" not in caught.value.message


def test_a_store_carried_over_a_fork_says_so(store):
    child = os.fork()
    if child == 0:
        try:
            with store.reading():
                os._exit(1)
        except StorageFailed:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_lock_keeps_others_out_and_names_the_holder(store, tmp_path):
    with store.lock("digits"), Store.open("sqlite:///state.db", tmp_path) as other:
        with pytest.raises(Busy, match=f"digits is in use by process {os.getpid()}"), other.lock("digits"):
            pass
        with other.lock("another"):
            pass
    with store.lock("digits"):
        pass


def test_names_of_locks_cannot_leave_their_directory(store, tmp_path):
    with store.lock("../../escape"):
        assert [path.parent.name for path in tmp_path.rglob("*.lock")] == ["state.db.locks"]


def test_a_crashed_holder_frees_its_lock(store, tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from sanitizer.store import Store\n"
        "with Store.open('sqlite:///state.db', Path(sys.argv[1])).lock('digits'):\n"
        "    print('held', flush=True); sys.stdin.readline(); os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy), store.lock("digits"):
            pass
        holder.communicate("die\n")
    with store.lock("digits"):
        pass


def _append(directory, times):

    with Store.open("sqlite:///state.db", Path(directory)) as store:
        for _ in range(times):
            with store.transaction() as tx:
                tx.record("test.happened", "thing", {})


def test_writers_of_several_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(str(tmp_path), 20)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    with Store.open("sqlite:///state.db", tmp_path) as store:
        assert entries(store) == 40
