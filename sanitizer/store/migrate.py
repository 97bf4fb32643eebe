"""Bringing a database to the tables of this version, all or nothing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from sanitizer.errors import UsageError

HEAD = "0002"  # newest revision in migrations/versions; a test keeps it true, so that an open of a current store loads no alembic
_TURNSTILE = 0x53414E4954495A45  # PostgreSQL advisory lock: two processes that open a new store at once


def upgrade(engine: Engine) -> None:
    """Runs the migrations that are missing, in one transaction; raises `UsageError` for a store of a newer version."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TURNSTILE})
        if (present := revision(connection)) != HEAD:
            _run(connection, present)


def revision(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _run(connection: Connection, present: str | None) -> None:
    from alembic import command  # noqa: PLC0415 (a quarter of a second that a current store does not pay)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UsageError(
            f"the state is of a newer version of sanitizer (revision {present}): upgrade the package", subject=str(present)
        ) from error
