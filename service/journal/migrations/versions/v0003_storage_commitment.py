"""Storage commitment: what a destination is asked, and what peers ask us."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("delivery", sa.Column("transaction_uid", sa.String(64)))
    op.add_column("delivery", sa.Column("awaited", sa.JSON))
    op.create_index("ix_delivery_transaction_uid", "delivery", ["transaction_uid"])
    op.create_table(
        "commitment",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("references", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("reported_at", _TIME),
        sa.Column("not_committed", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("available_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_commitment"),
    )
    op.create_index("ix_commitment_state_available_at", "commitment", ["state", "available_at"])
