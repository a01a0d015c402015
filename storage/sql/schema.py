"""
The schema, declared once. The migrations must give exactly this; a test compares the two.

The log has no table of its own: a tweet's row is the entry that posted it (`seq`, `nonce`), and when it is deleted the
same row carries the entry that deleted it (`deleted_seq`, `deleted_nonce`). The two numbers together are gapless in a
partition.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# On SQLite only INTEGER makes the primary key the row's own place, without a second tree.
Id = BigInteger().with_variant(Integer(), "sqlite")

tweets = Table(
    "tweets",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("parent", BigInteger),  # the tweet it retweets; never changes
    Column("partition", Integer, nullable=False),  # of the chain's root
    Column("depth", Integer, nullable=False),  # how many ancestors it has
    Column("seq", BigInteger, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("base", BigInteger, nullable=False),  # the count it was posted with
    Column("created_at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("user_name", String(64)),  # this and the texts are null once it is deleted
    Column("title", Text),
    Column("body", Text),
    Column("deleted_seq", BigInteger),
    Column("deleted_nonce", BigInteger),
    Column("key_digest", LargeBinary(16)),  # of user and idempotency key: tells a repeated call
    Column("call_digest", LargeBinary(16)),  # of the call and its values: tells whether it is the same one
    CheckConstraint("parent IS NULL OR parent < id", name="parent_is_older"),
    CheckConstraint("(deleted_seq IS NULL) = (body IS NOT NULL)", name="deleted_has_no_text"),
)
Index("tweets_by_seq", tweets.c.partition, tweets.c.seq, unique=True)
for name, columns, condition, unique in (
    ("tweets_by_deleted_seq", (tweets.c.partition, tweets.c.deleted_seq), "deleted_seq IS NOT NULL", True),
    ("tweets_by_parent", (tweets.c.parent, tweets.c.id), "parent IS NOT NULL", False),
    ("tweets_by_user", (tweets.c.user_name, tweets.c.id), "user_name IS NOT NULL", False),
    ("tweets_by_key", (tweets.c.key_digest,), "key_digest IS NOT NULL", True),
):
    Index(name, *columns, unique=unique, sqlite_where=text(condition), postgresql_where=text(condition))

heads = Table(
    "heads",  # the last entry of each partition; a row is locked while places are given
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),  # 0 before the first entry
    Column("nonce", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),  # no later tweet of the partition has a smaller id
    Column("live", BigInteger, nullable=False),  # tweets not deleted: what the index must count as well
)

store = Table(
    "store",  # one row
    metadata,
    Column("id", String(32), primary_key=True),  # random: tells this database from any other
    Column("partitions", Integer, nullable=False),
    Column("usable_from", String(32), nullable=False, server_default="0004"),  # the oldest revision whose code fits
)

tokens = Table(
    "tokens",  # from the first row on, writes need one; revoked ones stay
    metadata,
    Column("id", String(12), primary_key=True),  # public, for people to name it by
    Column("user_name", String(64), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),  # SHA-256 of the token
    Column("created_at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("revoked_at", BigInteger),
)
Index("tokens_by_digest", tokens.c.digest, unique=True)
