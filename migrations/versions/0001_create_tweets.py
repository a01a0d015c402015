"""Create the tweets, the heads of their partitions, and the row that names the store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INDEXES = (
    ("tweets_by_seq", ["partition", "seq"], None, True),
    ("tweets_by_deleted_seq", ["partition", "deleted_seq"], "deleted_seq IS NOT NULL", True),
    ("tweets_by_parent", ["parent", "id"], "parent IS NOT NULL", False),
    ("tweets_by_user", ["user_name", "id"], "user_name IS NOT NULL", False),
    ("tweets_by_key", ["key_digest"], "key_digest IS NOT NULL", True),
)


def upgrade() -> None:
    """Create all three tables; the rows of a new store are `storage.migrate`'s to add."""
    _create_tweets()
    for name, columns, condition, unique in INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "tweets", columns, unique=unique, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "heads",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        sa.Column("last_id", sa.BigInteger, nullable=False),
        sa.Column("live", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "store",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("partitions", sa.Integer, nullable=False),
    )


def _create_tweets() -> None:
    op.create_table(
        "tweets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("parent", sa.BigInteger),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        sa.Column("base", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("user_name", sa.String(64)),
        sa.Column("title", sa.Text),
        sa.Column("body", sa.Text),
        sa.Column("deleted_seq", sa.BigInteger),
        sa.Column("deleted_nonce", sa.BigInteger),
        sa.Column("key_digest", sa.LargeBinary(16)),
        sa.Column("call_digest", sa.LargeBinary(16)),
        sa.CheckConstraint("parent IS NULL OR parent < id", name="parent_is_older"),
        sa.CheckConstraint("(deleted_seq IS NULL) = (body IS NOT NULL)", name="deleted_has_no_text"),
    )


def downgrade() -> None:
    """Drop all three tables, and every tweet with them."""
    op.drop_table("store")
    op.drop_table("heads")
    op.drop_table("tweets")
