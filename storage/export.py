"""The log's tweets, to be carried away: see `storage.transfer` for what is carried, and for the way back."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from storage.sql.engine import Database
from storage.sql.log import Head
from storage.sql.tables import tweets

EXPORTED_AT_ONCE = 1_000
"""Rows, which take some milliseconds to read."""


class Kept(NamedTuple):
    """A tweet as it is exported; a deleted one has neither `user_name`, `title` nor `body`."""

    id: int
    parent: int | None
    base: int
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None


def export_tweets(database: Database, at_once: int = EXPORTED_AT_ONCE) -> Generator[Kept]:
    """
    Every tweet that is there at the beginning, in the order of ids; those deleted until they are read, as deleted ones.

    Read *at_once* so many: a reader of one instant would keep deleted texts on the disk until whoever takes the export
    has taken all of it.
    """
    start, after = database.get_state(), 0
    left = _count(start.heads.values())
    while left > 0 and (rows := _read_some(database, after, at_once)):
        after = rows[-1].id
        # Those posted later have later places. Their ids need not be greater, where there are several partitions.
        kept = [Kept(*row[:-2]) for row in rows if row.seq <= start.heads[row.partition].seq]
        left -= len(kept)
        yield from kept


def _read_some(database: Database, after: int, limit: int) -> Sequence[Any]:
    """At most *limit* rows with greater ids than *after*."""
    with database.reading() as connection:
        return connection.execute(_FROM, {"after": after, "limit": limit}).all()


def count_tweets(database: Database) -> int:
    """How many tweets `export_tweets` gives."""
    return _count(database.get_state().heads.values())


def _count(heads: Iterable[Head]) -> int:
    """How many tweets there are: each has an entry in the log, and a second one once it is deleted."""
    return sum((head.seq + head.live) // 2 for head in heads)


_FROM = (
    select(
        tweets.c.id,
        tweets.c.parent,
        tweets.c.base,
        tweets.c.created_at,
        tweets.c.user_name,
        tweets.c.title,
        tweets.c.body,
        tweets.c.partition,
        tweets.c.seq,
    )
    .where(tweets.c.id > bindparam("after"))
    .order_by(tweets.c.id)
    .limit(bindparam("limit"))
)
