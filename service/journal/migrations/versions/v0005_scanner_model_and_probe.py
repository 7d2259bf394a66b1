"""Which scanner model an image came from, and which images are our own probes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.journal.schema import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("result", sa.Column("scanner_model", sa.Text))
    op.add_column(
        "image", sa.Column("probe", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "probe",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("made_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_probe"),
    )
