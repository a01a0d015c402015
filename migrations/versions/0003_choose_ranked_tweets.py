"""Say which tweets the index holds, and up to where a log is not in the order of ids."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

FIND_UNORDERED = """
INSERT INTO unordered (partition, to_seq)
SELECT posted.partition, max(posted.seq)
FROM (
    SELECT tweets.partition, tweets.seq, tweets.id,
        max(tweets.id) OVER (PARTITION BY tweets.partition ORDER BY tweets.seq) AS highest
    FROM tweets
) AS posted
WHERE posted.id < posted.highest
GROUP BY posted.partition
"""
"""Imports have done it: one pass through the index by seq."""


def upgrade() -> None:
    """The index holds all tweets, as before."""
    op.add_column("store", sa.Column("ranked", sa.String(8), nullable=False, server_default="all"))
    op.create_table(
        "unordered",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("to_seq", sa.BigInteger, nullable=False),
    )
    op.execute(FIND_UNORDERED)


def downgrade() -> None:
    """Drop both; an index of counted tweets alone is not recognized, and is rebuilt with all."""
    op.drop_table("unordered")
    op.drop_column("store", "ranked")
