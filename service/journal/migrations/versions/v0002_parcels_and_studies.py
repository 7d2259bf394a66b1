"""Parcels in place of results at the destinations; editions of a result; studies and summaries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
# Batch mode copies a table on SQLite, and must know the names of what it leaves out.
_NAMES = {
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}


def upgrade() -> None:
    _images()
    # In this order: SQLite lets no table be copied that another one still refers to.
    _deliveries()
    _results()
    _studies()


def _images() -> None:
    op.add_column("image", sa.Column("study_instance_uid", sa.String(64)))
    op.add_column("image", sa.Column("edition", sa.Integer, nullable=False, server_default="0"))
    op.add_column("image", sa.Column("parcel", sa.String(32)))
    op.execute("UPDATE image SET parcel = key WHERE key IN (SELECT image_key FROM result)")
    op.create_index("ix_image_study_instance_uid", "image", ["study_instance_uid"])


def _results() -> None:
    op.add_column("result", sa.Column("edition", sa.Integer, nullable=False, server_default="0"))
    op.add_column("result", sa.Column("parcel", sa.String(32), nullable=False, server_default=""))
    op.add_column("result", sa.Column("model_name", sa.Text, nullable=False, server_default=""))
    op.add_column("result", sa.Column("model_version", sa.Text, nullable=False, server_default=""))
    op.add_column("result", sa.Column("uids", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("result", sa.Column("frames_scored", sa.Integer))
    op.add_column(
        "result",
        sa.Column("unlike_training", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.execute("UPDATE result SET parcel = image_key")
    added = ("edition", "parcel", "uids", "model_name", "model_version", "unlike_training")
    with op.batch_alter_table("result", naming_convention=_NAMES) as table:
        for column in added:
            table.alter_column(column, server_default=None)
        table.drop_constraint("uq_result_image_key_model_sha256", type_="unique")
        table.create_unique_constraint("uq_result_image_key_edition", ["image_key", "edition"])
        table.create_unique_constraint("uq_result_parcel", ["parcel"])


def _deliveries() -> None:
    op.add_column("delivery", sa.Column("parcel", sa.String(32), nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("objects", sa.JSON, nullable=False, server_default="[]"))
    op.execute(
        "UPDATE delivery SET parcel = image_key,"
        " objects = (SELECT objects FROM result WHERE result.id = delivery.result_id)"
    )
    with op.batch_alter_table("delivery", naming_convention=_NAMES) as table:
        table.alter_column("parcel", server_default=None)
        table.alter_column("objects", server_default=None)
        table.alter_column("image_key", nullable=True)
        table.drop_constraint("uq_delivery_image_key_destination", type_="unique")
        table.drop_constraint("fk_delivery_result_id", type_="foreignkey")
        table.drop_column("result_id")
        table.create_unique_constraint("uq_delivery_parcel_destination", ["parcel", "destination"])
    op.create_index("ix_delivery_image_key", "delivery", ["image_key"])


def _studies() -> None:
    op.create_table(
        "study",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("summary_started_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("available_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_study"),
        sa.UniqueConstraint("study_instance_uid", name="uq_study_study_instance_uid"),
    )
    op.create_index("ix_study_state_available_at", "study", ["state", "available_at"])
    op.create_table(
        "summary",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_key", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("parcel", sa.String(32), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("basis", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_summary"),
        sa.ForeignKeyConstraint(["study_key"], ["study.key"], name="fk_summary_study_key"),
        sa.UniqueConstraint("study_key", "number", name="uq_summary_study_key_number"),
        sa.UniqueConstraint("parcel", name="uq_summary_parcel"),
    )
