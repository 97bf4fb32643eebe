"""Connections: the one place that knows SQLite from PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sanitizer.errors import MissingExtra, StorageFailed, UsageError

_BUSY_SECONDS = 30  # how long a writer waits for another one before it gives up


def resolve(url: str, workspace: Path) -> URL:
    """The URL with its driver named and a relative SQLite path made relative to `workspace`; raises `UsageError`."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"{url!r} is not a database URL: write sqlite:///state.db or postgresql://host/name", subject=url) from error
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:" or "mode=memory" in parsed.database:
                raise UsageError("state in memory is lost with the process: name a file, such as sqlite:///state.db", subject=url)
            return parsed.set(drivername="sqlite+pysqlite", database=str(workspace / parsed.database))
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise UsageError(f"{other} is not a supported database: use SQLite or PostgreSQL", subject=url)


def connect(url: URL) -> Engine:
    """An engine whose transactions are durable once committed, and whose writers never deadlock on an upgrade of their lock."""
    try:
        if url.get_backend_name() == "postgresql":
            return create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", hide_parameters=True)
        engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise MissingExtra("PostgreSQL needs its driver: pip install 'sanitizer[postgres]'", subject=str(error.name)) from error
    except NoSuchModuleError as error:
        raise UsageError(str(error), subject=url.drivername) from error
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3's own BEGIN is deferred and comes late; _begin_sqlite writes ours
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # a deferred transaction that reads, then writes, fails at once when another one wrote in between; IMMEDIATE waits its turn
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE")


@contextmanager
def storage_errors(url: URL) -> Iterator[None]:
    """Turns what the database says into `StorageFailed`; the statement and its parameters stay out of the message."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__
        where = url.render_as_string(hide_password=True)
        raise StorageFailed(
            f"cannot use the state at {where}: {said}; nothing of this step was kept, run it again", subject=where
        ) from error
