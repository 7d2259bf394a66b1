"""What pathology found in a study or an image."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.journal.schema import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "truth",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("diagnosis", sa.String(16), nullable=False),
        sa.Column("dated", sa.Date, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("teller", sa.Text, nullable=False),
        sa.Column("came_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_truth"),
        sa.UniqueConstraint("uid", "number", name="uq_truth_uid_number"),
    )
