"""Every table of the state, in one place.

Times are text (`2026-01-31T12:00:00.000000Z`): they sort as time sorts, in SQLite and PostgreSQL alike.
What was hashed (ledger entries, rows of held samples) is stored as the very bytes that were.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)  # made once: held samples have four documents each


class Moment(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC text with microseconds."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (the base class's signature)
        """Aware datetime to text."""
        return None if value is None else timestamp(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (the base class's signature)
        """Text to aware datetime."""
        return None if value is None else datetime.fromisoformat(value)


class Document(TypeDecorator[Any]):
    """A JSON value as text.  Pure ASCII: PostgreSQL stores neither NUL nor half surrogates otherwise."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 (the base class's signature)
        """Value to text; None stays NULL."""
        return None if value is None else _JSON.encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 (the base class's signature)
        """Text to value."""
        return None if value is None else json.loads(value)


class Words(TypeDecorator[str]):
    """Text from outside.  PostgreSQL stores neither NUL nor lone surrogates: they become visible signs, the same in every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (the base class's signature)
        """Text with what cannot be stored made visible."""
        return None if value is None else words(value)


def words(text: str) -> str:
    """`text` as every database can store it.

    >>> words("a\\0b\\udc80")
    'a␀b\\\\udc80'
    """
    return text.replace("\0", "␀").encode("utf-8", "backslashreplace").decode("utf-8")


def timestamp(moment: datetime) -> str:
    """The one text form of a time.

    >>> timestamp(datetime(2026, 1, 31, 12, tzinfo=UTC))
    '2026-01-31T12:00:00.000000Z'
    """
    if moment.tzinfo is None:
        raise ValueError("a time without its zone could be any of 24")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _number(name: str, *args: Any, **kwargs: Any) -> Column[int]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), *args, **kwargs)


def _id() -> Column[int]:
    # writers are alone (see transaction.py), so ids are counted by us: the same history gives the same ids everywhere
    return _number("id", primary_key=True, autoincrement=False)


# one row: the writers' turnstile and the tree's frontier
head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("size", nullable=False),
    Column("frontier", Document, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    _number("index", primary_key=True, autoincrement=False),
    Column("kind", String(64), nullable=False),
    Column("subject", Words, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Index("ix_ledger_kind_index", "kind", "index"),
    Index("ix_ledger_subject_index", "subject", "index"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _number("size", primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("at", Moment, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("digest", String(71), primary_key=True),
    _number("arrival", nullable=False, unique=True),
    Column("dataset", String(64), nullable=False),
    Column("source", Words, nullable=False),
    _number("sequence", nullable=True),
    Column("path", Words, nullable=False),
    Column("fingerprint", String(71), nullable=False),
    Column("level", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("message", Words, nullable=False),
    Column("artefacts", Document, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("ix_deliveries_dataset_state_arrival", "dataset", "state", "arrival"),
    Index("ix_deliveries_source_sequence", "source", "sequence"),
    Index("ix_deliveries_fingerprint", "fingerprint"),
)

pins = Table(
    "pins",
    metadata,
    Column("dataset", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", Moment, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("dataset", String(64), primary_key=True),
    _number("version", primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("content", String(71), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("facts", Document, nullable=False),
    Column("at", Moment, nullable=False),
)

# the Arrow schema that the bytes of held rows are written in
row_schemas = Table(
    "row_schemas",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("arrow", LargeBinary, nullable=False),
    Column("roles", Document, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    _id(),
    Column("dataset", String(64), nullable=False),
    Column("delivery", String(71), ForeignKey("deliveries.digest"), nullable=False),
    Column("name", Words, nullable=False),
    Column("cause", String(64), nullable=False),
    Column("reason", Words, nullable=False),
    Column("significance", Float(53), nullable=True),
    Column("risk", Float(53), nullable=False),
    Column("size", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("released", Integer, nullable=False),
    Column("relabelled", Integer, nullable=False),
    Column("proposed", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Index("uq_cases_delivery_name_cause", "delivery", "name", "cause", unique=True),
    Index("ix_cases_dataset_risk_id", "dataset", "risk", "id"),
)

held = Table(
    "held",
    metadata,
    _id(),
    Column("dataset", String(64), nullable=False),
    Column("delivery", String(71), ForeignKey("deliveries.digest"), nullable=False),
    _number("case_id", ForeignKey("cases.id"), nullable=False),
    Column("sample_id", Words, nullable=False),
    _number("position", nullable=False),
    Column("cause", String(64), nullable=False),
    Column("suspicion", Float(53), nullable=False),
    Column("p_value", Float(53), nullable=True),
    Column("reason", Words, nullable=False),
    Column("source", Words, nullable=True),
    Column("label", Words, nullable=True),
    Column("scores", Document, nullable=False),
    Column("columns", Document, nullable=False),
    Column("neighbours", Document, nullable=False),
    # projection of the decisions, kept in the same transaction and checked by `quarantine.audit`
    Column("state", String(16), nullable=False),
    _number("decision", nullable=True),
    _number("proposal", nullable=True),
    Column("new_label", Words, nullable=True),
    Index("uq_held_delivery_sample_id", "delivery", "sample_id", unique=True),
    Index("ix_held_sample_id", "dataset", "sample_id"),
    # every filter of `ls` by itself ends in the order of the listing: a page reads as many entries as it shows
    Index("ix_held_state", "dataset", "state", "suspicion", "id"),
    Index("ix_held_case", "case_id", "state", "suspicion", "id"),
    Index("ix_held_delivery", "delivery", "state", "suspicion", "id"),
    Index("ix_held_cause", "dataset", "cause", "state", "suspicion", "id"),
    Index("ix_held_source", "dataset", "source", "state", "suspicion", "id"),
    Index("ix_held_proposal", "proposal", "case_id", "state"),
    Index("ix_held_label", "dataset", "label", "state", "suspicion", "id"),
)

held_content = Table(
    "held_content",
    metadata,
    _number("held_id", ForeignKey("held.id"), primary_key=True, autoincrement=False),
    Column("schema", String(71), ForeignKey("row_schemas.digest"), nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("row_ids", Document, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    _id(),
    Column("dataset", String(64), nullable=False),
    Column("action", String(16), nullable=False),
    Column("label", Words, nullable=True),
    _number("case_id", ForeignKey("cases.id"), nullable=True),
    # undo and approve speak of `target`; `root` is the decision that the chain of them began with
    _number("target", ForeignKey("decisions.id"), nullable=True),
    _number("root", nullable=False),
    Column("reviewer", Words, nullable=False),
    Column("second", Words, nullable=True),
    Column("needs_second", Boolean, nullable=False),
    Column("reason", Words, nullable=False),
    Column("shown", Document, nullable=False),
    Column("size", Integer, nullable=False),
    Column("members", String(71), nullable=False),
    _number("ledger_index", nullable=False),
    Column("at", Moment, nullable=False),
    Column("status", String(16), nullable=False),  # projection of the chain: effective, proposed, undone
    Index("ix_decisions_dataset_id", "dataset", "id"),
    Index("ix_decisions_root", "root", "id"),
    Index("ix_decisions_status", "status", "id"),
    Index("ix_decisions_reviewer", "reviewer", "id"),
)

decision_members = Table(
    "decision_members",
    metadata,
    _number("decision", ForeignKey("decisions.id"), primary_key=True, autoincrement=False),
    _number("held_id", ForeignKey("held.id"), primary_key=True, autoincrement=False),
    Index("ix_decision_members_held_id_decision", "held_id", "decision"),
)

# --- beside the suspects: what a reviewer compares them with, kept as it was when they were judged ---

trusted_rows = Table(
    "trusted_rows",
    metadata,
    Column("dataset", String(64), primary_key=True),
    Column("sample_id", String(128), primary_key=True),
    Column("schema", String(71), ForeignKey("row_schemas.digest"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
)

contexts = Table(
    "contexts",
    metadata,
    Column("delivery", String(71), ForeignKey("deliveries.digest"), primary_key=True),
    Column("facts", Document, nullable=False),
)

# --- people who review, and what they are doing ---

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=True),  # argon2id in PHC form; none: this person comes by another way than the login page
    Column("sources", Document, nullable=False),  # suppliers and annotators that this person is, or works for
    Column("active", Boolean, nullable=False),
    Column("at", Moment, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the token, which only the browser has
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("via", String(16), nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_sessions_account", "account"),
)

# what was asked for under which token, so that a command sent twice is carried out once
commands = Table(
    "commands",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("body", String(71), nullable=False),
    Column("outcome", Document, nullable=False),
    Column("at", Moment, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    _number("case_id", ForeignKey("cases.id"), primary_key=True, autoincrement=False),
    Column("account", String(64), primary_key=True),
    Column("at", Moment, nullable=False),
)

# notes, and the wish that a second person looks
marks = Table(
    "marks",
    metadata,
    _id(),
    _number("held_id", ForeignKey("held.id"), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("account", String(64), nullable=False),
    Column("text", Words, nullable=False),
    _number("ledger_index", nullable=False),
    Column("at", Moment, nullable=False),
    Index("ix_marks_held_id", "held_id", "id"),
)

# samples of a case drawn at random, to speak for the rest of it
draws = Table(
    "draws",
    metadata,
    _id(),
    _number("case_id", ForeignKey("cases.id"), nullable=False),
    Column("account", String(64), nullable=False),
    Column("population", Integer, nullable=False),
    _number("ledger_index", nullable=False),
    _number("decision", nullable=True),
    Column("at", Moment, nullable=False),
    Index("ix_draws_case_id", "case_id", "id"),
)

draw_members = Table(
    "draw_members",
    metadata,
    _number("draw", ForeignKey("draws.id"), primary_key=True, autoincrement=False),
    _number("held_id", ForeignKey("held.id"), primary_key=True, autoincrement=False),
)
