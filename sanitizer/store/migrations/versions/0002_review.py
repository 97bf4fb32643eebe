"""Review: people and their sessions, what stands beside the suspects, claims, notes, draws."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "trusted_rows",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("sample_id", sa.String(length=128), nullable=False),
        sa.Column("schema", sa.String(length=71), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["schema"], ["row_schemas.digest"], name=op.f("fk_trusted_rows_schema")),
        sa.PrimaryKeyConstraint("dataset", "sample_id", name=op.f("pk_trusted_rows")),
    )
    op.create_table(
        "contexts",
        sa.Column("delivery", sa.String(length=71), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.digest"], name=op.f("fk_contexts_delivery")),
        sa.PrimaryKeyConstraint("delivery", name=op.f("pk_contexts")),
    )
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("opened_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_sessions_account")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_account", "sessions", ["account"], unique=False)
    op.create_table(
        "commands",
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("body", sa.String(length=71), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_commands")),
    )
    op.create_table(
        "claims",
        sa.Column("case_id", _number(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_claims_case_id")),
        sa.PrimaryKeyConstraint("case_id", "account", name=op.f("pk_claims")),
    )
    op.create_table(
        "marks",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("held_id", _number(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("ledger_index", _number(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["held_id"], ["held.id"], name=op.f("fk_marks_held_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marks")),
    )
    op.create_index("ix_marks_held_id", "marks", ["held_id", "id"], unique=False)
    op.create_table(
        "draws",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("case_id", _number(), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("ledger_index", _number(), nullable=False),
        sa.Column("decision", _number(), nullable=True),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_draws_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draws")),
    )
    op.create_index("ix_draws_case_id", "draws", ["case_id", "id"], unique=False)
    op.create_index("ix_decisions_status", "decisions", ["status", "id"], unique=False)
    op.create_index("ix_decisions_reviewer", "decisions", ["reviewer", "id"], unique=False)
    op.create_index("ix_held_proposal", "held", ["proposal", "case_id", "state"], unique=False)
    op.create_table(
        "draw_members",
        sa.Column("draw", _number(), autoincrement=False, nullable=False),
        sa.Column("held_id", _number(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["draw"], ["draws.id"], name=op.f("fk_draw_members_draw")),
        sa.ForeignKeyConstraint(["held_id"], ["held.id"], name=op.f("fk_draw_members_held_id")),
        sa.PrimaryKeyConstraint("draw", "held_id", name=op.f("pk_draw_members")),
    )
