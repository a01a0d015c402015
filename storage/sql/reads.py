"""What readers ask of the log: tweets by id, by chain, by parent, by author, and counts when the index cannot say."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from storage.records import Tweet
from storage.sql.prepared import Lookup
from storage.sql.tables import tweets


class Row(NamedTuple):
    """A tweet without its count; the texts are None once it is deleted."""

    id: int
    parent: int | None
    partition: int
    depth: int
    base: int
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None

    @property
    def deleted(self) -> bool:
        """Whether it is a tombstone."""
        return self.body is None


def tweet_of(row: Row, count: int | None) -> Tweet:
    """The tweet of *row* with its count, None for a tombstone."""
    return Tweet(row.id, row.user_name, row.title, row.body, row.parent, count, row.created_at)


def list_rows(connection: Connection, ids: Collection[int]) -> dict[int, Row]:
    """Those of *ids* that name a tweet, deleted or not."""
    return {row[0]: Row(*row) for row in BY_IDS.rows(connection, ids)}


def list_chain(connection: Connection, tweet_id: int) -> list[Row]:
    """The tweet and its ancestors, root last, deleted ones too; empty when there never was one."""
    return [Row(*row) for row in connection.execute(_CHAIN, {"id": tweet_id})]


def list_retweets(connection: Connection, parent: int, below: int, limit: int) -> list[Row]:
    """Direct retweets of *parent* that are not deleted, with ids below *below*, newest first."""
    return [Row(*row) for row in connection.execute(_RETWEETS, {"parent": parent, "below": below, "limit": limit})]


def list_by_user(connection: Connection, user_name: str, below: int, limit: int) -> list[Row]:
    """Tweets of *user_name* with ids below *below*, newest first."""
    return [Row(*row) for row in connection.execute(_BY_USER, {"user": user_name, "below": below, "limit": limit})]


def count_descendants(connection: Connection, ids: Sequence[int], limit: int) -> dict[int, int] | None:
    """For each of *ids* its live descendants, counted one by one; None when that would look at more than *limit*."""
    rows = connection.execute(_DESCENDANTS, {"ids": list(ids), "limit": limit + 1}).all()
    if len(rows) > limit:
        return None
    counts = dict.fromkeys(ids, 0)
    for ancestor, live in rows:
        counts[ancestor] += live
    return counts


COLUMNS = (
    tweets.c.id,
    tweets.c.parent,
    tweets.c.partition,
    tweets.c.depth,
    tweets.c.base,
    tweets.c.created_at,
    tweets.c.user_name,
    tweets.c.title,
    tweets.c.body,
)
BY_IDS = Lookup(select(*COLUMNS).where(tweets.c.id.in_(bindparam("ids", expanding=True))))
_START = select(tweets.c.id, tweets.c.parent).where(tweets.c.id == bindparam("id")).cte("upwards", recursive=True)
_UPWARDS = _START.union_all(select(tweets.c.id, tweets.c.parent).where(tweets.c.id == _START.c.parent))
_CHAIN = select(*COLUMNS).where(tweets.c.id.in_(select(_UPWARDS.c.id))).order_by(tweets.c.id.desc())
_NEWEST_FIRST = select(*COLUMNS).where(tweets.c.id < bindparam("below")).order_by(tweets.c.id.desc())
_RETWEETS = _NEWEST_FIRST.where(tweets.c.parent == bindparam("parent"), tweets.c.deleted_seq.is_(None)).limit(
    bindparam("limit")
)
_BY_USER = _NEWEST_FIRST.where(tweets.c.user_name == bindparam("user")).limit(bindparam("limit"))
_CHILDREN = (
    select(tweets.c.parent.label("ancestor"), tweets.c.id, tweets.c.deleted_seq)
    .where(tweets.c.parent.in_(bindparam("ids", expanding=True)))
    .cte("downwards", recursive=True)
)
_DOWNWARDS = _CHILDREN.union_all(
    select(_CHILDREN.c.ancestor, tweets.c.id, tweets.c.deleted_seq).where(tweets.c.parent == _CHILDREN.c.id)
)
_DESCENDANTS = select(_DOWNWARDS.c.ancestor, _DOWNWARDS.c.deleted_seq.is_(None)).limit(bindparam("limit"))
