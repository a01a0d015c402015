"""Rank every tweet: drop what the choice of ranked tweets needed. Say which versions a schema suits."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

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


def upgrade() -> None:
    """Drop both; an index of some tweets alone is not recognized any more, and is rebuilt with all of them."""
    op.drop_table("unordered")
    op.drop_column("store", "ranked")
    op.add_column("store", sa.Column("usable_from", sa.String(32), nullable=False, server_default="0004"))


def downgrade() -> None:
    """Create both again as version 0.1 expects them, for an index of all tweets."""
    op.drop_column("store", "usable_from")
    op.add_column("store", sa.Column("ranked", sa.String(8), nullable=False, server_default="all"))
    op.create_table(
        "unordered",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("to_seq", sa.BigInteger, nullable=False),
    )
    op.execute(FIND_UNORDERED)
