"""Opening the state, reading it, changing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from securesystemslib.signer import Signer
from sqlalchemy import URL, Engine

from sanitizer.errors import StorageFailed
from sanitizer.store import deliveries
from sanitizer.store.engine import connect, resolve, storage_errors
from sanitizer.store.lock import advisory_lock, file_lock, lock_path
from sanitizer.store.migrate import upgrade
from sanitizer.store.transaction import Reader, Transaction


class Store:
    """The state of a workspace: deliveries, quarantine, decisions, releases, and the ledger of them all.

    It is also the `History` that `provenance.delivery.verify` asks what was accepted before.
    """

    def __init__(self, engine: Engine, url: URL, *, ledger_signer: Signer | None, origin: str) -> None:
        self._engine = engine
        self._url = url
        self._signer = ledger_signer
        self._origin = origin
        self._process = os.getpid()

    @classmethod
    def open(cls, url: str, workspace: Path, *, ledger_signer: Signer | None = None, origin: str = "sanitizer") -> Self:
        """Opens the state and brings its tables to this version.

        Args:
            url: SQLAlchemy URL, `sqlite:///state.db` or `postgresql://…`; a relative SQLite path is relative to `workspace`.
            workspace: directory of the workspace.
            ledger_signer: signs a checkpoint at each commit; without one the ledger grows unsigned until someone signs.
            origin: name of this ledger in its checkpoints.

        Raises:
            UsageError: the URL is not one of ours, or the store is of a newer version.
            StorageFailed: it cannot be opened or written.
        """
        resolved = resolve(url, workspace)
        engine = connect(resolved)
        try:
            with storage_errors(resolved):
                upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, resolved, ledger_signer=ledger_signer, origin=origin)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, now: datetime | None = None) -> Iterator[Transaction]:
        """The block's changes and ledger entries become durable together when it ends, or none of them when it raises."""
        self._of_this_process()
        with storage_errors(self._url), self._engine.begin() as connection:
            tx = Transaction(connection, now or datetime.now(UTC), self._signer, self._origin)
            yield tx
            tx.seal()

    @contextmanager
    def reading(self, *, now: datetime | None = None) -> Iterator[Reader]:
        """One consistent view that waits for no writer."""
        self._of_this_process()
        with storage_errors(self._url), self._engine.connect() as connection:
            isolation = {"isolation_level": "REPEATABLE READ"} if self.dialect == "postgresql" else {"read_only": True}
            yield Reader(connection.execution_options(**isolation), now or datetime.now(UTC))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keeps other processes out of `name` until the block ends; raises `Busy` at once when one is inside.  A crash sets it free."""
        self._of_this_process()
        if self.dialect == "postgresql":
            with storage_errors(self._url), advisory_lock(self._engine, name):
                yield
        else:
            with file_lock(lock_path(Path(str(self._url.database)), name), name):
                yield

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    def last_sequence(self, source: str) -> int | None:
        """The highest sequence number accepted from `source`."""
        with self.reading() as view:
            return deliveries.last_sequence(view, source)

    def knows(self, digest: str) -> bool:
        """Whether the delivery of this manifest digest was accepted before."""
        with self.reading() as view:
            return deliveries.knows(view, digest)

    def _of_this_process(self) -> None:
        if os.getpid() != self._process:  # a SQLite connection carried over a fork loses its locks and can ruin the file
            raise StorageFailed("this store was opened before a fork: open it anew in the child process")
