"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("size", _number(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "deliveries",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("arrival", _number(), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sequence", _number(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=71), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("artefacts", sa.Text(), nullable=False),
        sa.Column("received_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("arrival", name=op.f("uq_deliveries_arrival")),
    )
    op.create_index("ix_deliveries_dataset_state_arrival", "deliveries", ["dataset", "state", "arrival"], unique=False)
    op.create_index("ix_deliveries_fingerprint", "deliveries", ["fingerprint"], unique=False)
    op.create_index("ix_deliveries_source_sequence", "deliveries", ["source", "sequence"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("index", _number(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_ledger")),
    )
    op.create_index("ix_ledger_kind_index", "ledger", ["kind", "index"], unique=False)
    op.create_index("ix_ledger_subject_index", "ledger", ["subject", "index"], unique=False)
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", _number(), nullable=False),
        sa.Column("frontier", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "pins",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "name", name=op.f("pk_pins")),
    )
    op.create_table(
        "releases",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("version", _number(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content", sa.String(length=71), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_releases")),
    )
    op.create_table(
        "row_schemas",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("arrow", sa.LargeBinary(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_row_schemas")),
    )
    op.create_table(
        "cases",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("delivery", sa.String(length=71), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("significance", sa.Float(precision=53), nullable=True),
        sa.Column("risk", sa.Float(precision=53), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.Column("released", sa.Integer(), nullable=False),
        sa.Column("relabelled", sa.Integer(), nullable=False),
        sa.Column("proposed", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.digest"], name=op.f("fk_cases_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index("ix_cases_dataset_risk_id", "cases", ["dataset", "risk", "id"], unique=False)
    op.create_index("uq_cases_delivery_name_cause", "cases", ["delivery", "name", "cause"], unique=True)
    op.create_table(
        "decisions",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("case_id", _number(), nullable=True),
        sa.Column("target", _number(), nullable=True),
        sa.Column("root", _number(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("second", sa.Text(), nullable=True),
        sa.Column("needs_second", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("members", sa.String(length=71), nullable=False),
        sa.Column("ledger_index", _number(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_decisions_case_id")),
        sa.ForeignKeyConstraint(["target"], ["decisions.id"], name=op.f("fk_decisions_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_dataset_id", "decisions", ["dataset", "id"], unique=False)
    op.create_index("ix_decisions_root", "decisions", ["root", "id"], unique=False)
    op.create_table(
        "held",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("delivery", sa.String(length=71), nullable=False),
        sa.Column("case_id", _number(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("position", _number(), nullable=False),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("suspicion", sa.Float(precision=53), nullable=False),
        sa.Column("p_value", sa.Float(precision=53), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("scores", sa.Text(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("neighbours", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decision", _number(), nullable=True),
        sa.Column("proposal", _number(), nullable=True),
        sa.Column("new_label", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_held_case_id")),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.digest"], name=op.f("fk_held_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held")),
    )
    op.create_index("ix_held_case", "held", ["case_id", "state", "suspicion", "id"], unique=False)
    op.create_index("ix_held_cause", "held", ["dataset", "cause", "state", "suspicion", "id"], unique=False)
    op.create_index("ix_held_delivery", "held", ["delivery", "state", "suspicion", "id"], unique=False)
    op.create_index("ix_held_label", "held", ["dataset", "label", "state", "suspicion", "id"], unique=False)
    op.create_index("ix_held_sample_id", "held", ["dataset", "sample_id"], unique=False)
    op.create_index("ix_held_source", "held", ["dataset", "source", "state", "suspicion", "id"], unique=False)
    op.create_index("ix_held_state", "held", ["dataset", "state", "suspicion", "id"], unique=False)
    op.create_index("uq_held_delivery_sample_id", "held", ["delivery", "sample_id"], unique=True)
    op.create_table(
        "decision_members",
        sa.Column("decision", _number(), autoincrement=False, nullable=False),
        sa.Column("held_id", _number(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["decision"], ["decisions.id"], name=op.f("fk_decision_members_decision")),
        sa.ForeignKeyConstraint(["held_id"], ["held.id"], name=op.f("fk_decision_members_held_id")),
        sa.PrimaryKeyConstraint("decision", "held_id", name=op.f("pk_decision_members")),
    )
    op.create_index("ix_decision_members_held_id_decision", "decision_members", ["held_id", "decision"], unique=False)
    op.create_table(
        "held_content",
        sa.Column("held_id", _number(), autoincrement=False, nullable=False),
        sa.Column("schema", sa.String(length=71), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("row_ids", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["held_id"], ["held.id"], name=op.f("fk_held_content_held_id")),
        sa.ForeignKeyConstraint(["schema"], ["row_schemas.digest"], name=op.f("fk_held_content_schema")),
        sa.PrimaryKeyConstraint("held_id", name=op.f("pk_held_content")),
    )
    head = sa.table("ledger_head", sa.column("id"), sa.column("size"), sa.column("frontier"))
    op.bulk_insert(head, [{"id": 0, "size": 0, "frontier": '{"edge":[],"last":null,"size":0}'}])
