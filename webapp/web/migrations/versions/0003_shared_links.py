"""Shared links, and what is said to be wrong with them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite ends a transaction with each statement here: one that was cut off in the middle goes on where it was.
    op.create_table(
        "shared_link",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String(32), nullable=False, unique=True),
        sa.Column("manager_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("gone_at", sa.DateTime(timezone=True)),
        sa.Column("gone_as", sa.String(20)),
        sa.Column("has_prompt_in_preview", sa.Boolean, nullable=False),
        sa.Column("model_title", sa.String(200), nullable=False),
        sa.Column("opening", sa.String(100), nullable=False),
        sa.Column("run", sa.Text),
        if_not_exists=True,
    )
    op.create_table(
        "link_report",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("link_id", sa.Integer, sa.ForeignKey("shared_link.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("details", sa.String(1000), nullable=False),
        if_not_exists=True,
    )
    for table, columns in (
        ("shared_link", ["gone_at", "expires_at"]),
        ("shared_link", ["manager_hash"]),
        ("link_report", ["link_id"]),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns, if_not_exists=True)


def downgrade() -> None:
    op.drop_table("link_report", if_exists=True)
    op.drop_table("shared_link", if_exists=True)
