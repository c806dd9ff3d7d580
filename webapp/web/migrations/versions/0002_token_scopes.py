"""Scopes, account, expiry, last use and limit of API tokens. Those there are may do everything, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite ends a transaction with each statement here: one that was cut off in the middle goes on where it was.
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("api_token")}
    for column in (
        sa.Column("scopes", sa.String(100), nullable=False, server_default="run read"),
        sa.Column("account", sa.String(100)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("rate_limit", sa.Integer),
    ):
        if column.name not in there:
            op.add_column("api_token", column)


def downgrade() -> None:
    # Older versions know no limits of a token: those that have some are revoked, and do not open everything.
    op.execute(
        "update api_token set revoked_at = coalesce(revoked_at, current_timestamp) "
        "where scopes <> 'run read' or account is not null or expires_at is not null or rate_limit is not null"
    )
    with op.batch_alter_table("api_token") as table:
        for name in ("scopes", "account", "expires_at", "last_used_at", "rate_limit"):
            table.drop_column(name)
