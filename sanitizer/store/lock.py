"""Locks between processes that a crash sets free: the kernel or the database server holds them, not a row."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from sanitizer.errors import Busy, StorageFailed


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[None]:
    """Holds an exclusive `flock` on `path`; raises `Busy`, naming the holder, when another process has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageFailed(f"cannot open the lock file {path}: {error.strerror}", subject=str(path)) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Busy(f"{what} is in use by process {holder}: wait for it to end, then run again", subject=what) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)  # lets go of the lock; the file stays, removing it would let two processes lock two files of one name


def lock_path(database: Path, name: str) -> Path:
    """Where the lock `name` of a SQLite state lives: beside it, under a name that a data set's name cannot escape."""
    readable = re.sub(r"[^a-z0-9._-]", "_", name.lower())[:40]
    return database.with_name(f"{database.name}.locks") / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.lock"


@contextmanager
def advisory_lock(engine: Engine, what: str) -> Iterator[None]:
    """Holds a PostgreSQL advisory lock on a session of its own; raises `Busy` when another session has it."""
    key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise Busy(f"{what} is in use by another process: wait for it to end, then run again", subject=what)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
