"""Which images show one lesion, as operators say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.journal.schema import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "lesion_link",
        sa.Column("image_key", sa.String(32), nullable=False),
        sa.Column("lesion", sa.String(32), nullable=False),
        sa.Column("side", sa.String(1)),
        sa.Column("linked_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("image_key", name="pk_lesion_link"),
        sa.ForeignKeyConstraint(["image_key"], ["image.key"], name="fk_lesion_link_image_key"),
    )
    op.create_index("ix_lesion_link_lesion", "lesion_link", ["lesion"])
