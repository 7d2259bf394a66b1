"""The first tables: image, result, delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "image",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ignored_reason", sa.Text),
        sa.Column("duplicates", sa.Integer, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("analysis_started_at", _TIME),
        sa.Column("analysed_at", _TIME),
        sa.Column("delivered_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("available_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_image"),
        sa.UniqueConstraint(
            "sop_instance_uid", "revision", name="uq_image_sop_instance_uid_revision"
        ),
    )
    op.create_index("ix_image_state_received_at", "image", ["state", "received_at"])
    op.create_index("ix_image_received_at", "image", ["received_at"])
    op.create_table(
        "result",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("image_key", sa.String(32), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("objects", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("reason_text", sa.Text),
        sa.Column("frame", sa.Integer),
        sa.Column("region", sa.JSON),
        sa.Column("probability_malignant", sa.Float),
        sa.Column("probability_benign", sa.Float),
        sa.Column("threshold", sa.Float),
        sa.Column("decision", sa.Text),
        sa.Column("stage_seconds", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_result"),
        sa.ForeignKeyConstraint(["image_key"], ["image.key"], name="fk_result_image_key"),
        sa.UniqueConstraint("image_key", "model_sha256", name="uq_result_image_key_model_sha256"),
    )
    op.create_index("ix_result_state_reason", "result", ["state", "reason"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("image_key", sa.String(32), nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("result_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("delivered_at", _TIME),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("available_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.ForeignKeyConstraint(["image_key"], ["image.key"], name="fk_delivery_image_key"),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name="fk_delivery_result_id"),
        sa.UniqueConstraint("image_key", "destination", name="uq_delivery_image_key_destination"),
    )
    op.create_index("ix_delivery_state_created_at", "delivery", ["state", "created_at"])
