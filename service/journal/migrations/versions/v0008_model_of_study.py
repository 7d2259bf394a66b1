"""Which model a study has, and which one was asked for an image."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.journal.schema import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("image", sa.Column("model_asked", sa.String(64)))
    op.create_table(
        "study_model",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("package_sha256", sa.String(64), nullable=False),
        sa.Column("chosen_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_study_model"),
    )
