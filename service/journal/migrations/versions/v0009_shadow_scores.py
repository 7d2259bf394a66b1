"""What a second model said of an image, silently."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.journal.schema import UtcDateTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "shadow_score",
        sa.Column("image_key", sa.String(32), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("probability_malignant", sa.Float),
        sa.Column("probability_benign", sa.Float),
        sa.Column("threshold", sa.Float),
        sa.Column("decision", sa.Text),
        sa.Column("unlike_training", sa.Boolean, nullable=False),
        sa.Column("scored_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("image_key", "model_sha256", name="pk_shadow_score"),
        sa.ForeignKeyConstraint(["image_key"], ["image.key"], name="fk_shadow_score_image_key"),
    )
