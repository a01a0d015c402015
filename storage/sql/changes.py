"""The entries of the log with what they hold, for the change feed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, update

from storage.sql.schema import tweets
from storage.sql.statements import rows


class EntryRow(NamedTuple):
    """An entry: `sign` 1 for a post, -1 for a deletion. The texts are None once the tweet is deleted."""

    seq: int
    nonce: int
    sign: int
    id: int
    parent: int | None
    base: int
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None


def list_whole_entries(connection: Connection, partition: int, after_seq: int, to_seq: int) -> list[EntryRow]:
    """The entries of *partition* after *after_seq* until and with *to_seq*, in order."""
    # Bounds and not a LIMIT: with one, PostgreSQL reads and sorts everything after the place.
    statement = """
    SELECT seq, nonce, 1, id, parent, base, created_at, user_name, title, body FROM tweets
    WHERE partition = :partition AND seq > :after AND seq <= :last UNION ALL
    SELECT deleted_seq, deleted_nonce, -1, id, parent, base, created_at, NULL, NULL, NULL FROM tweets
    WHERE partition = :partition AND deleted_seq > :after AND deleted_seq <= :last ORDER BY 1
    """
    return [EntryRow(*row) for row in rows(connection, statement, partition=partition, after=after_seq, last=to_seq)]


class TreePlace(NamedTuple):
    """Where a tweet stands: the partition of its chain, how many ancestors it has, and whether it is deleted."""

    partition: int
    depth: int
    deleted: bool


def list_places(connection: Connection, ids: Sequence[int]) -> dict[int, TreePlace]:
    """The places of those of *ids* that name a tweet."""
    statement = "SELECT id, partition, depth, deleted_seq FROM tweets WHERE id {in_ids}"
    found = rows(connection, statement, ids=ids)
    return {row[0]: TreePlace(row[1], row[2], row[3] is not None) for row in found}


def list_keys(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
    """The digests of key and call of those of *ids* that were posted with an idempotency key."""
    statement = "SELECT id, key_digest, call_digest FROM tweets WHERE id {in_ids} AND key_digest IS NOT NULL"
    return {row[0]: (row[1], row[2]) for row in rows(connection, statement, ids=ids)}


def list_keys_after(connection: Connection, tweet_id: int, limit: int) -> list[dict[str, Any]]:
    """At most *limit* tweets with idempotency keys and ids above *tweet_id*, in order: for `set_keys`."""
    statement = """
    SELECT id, key_digest, call_digest FROM tweets
    WHERE id > :after AND key_digest IS NOT NULL ORDER BY id LIMIT :limit
    """
    found = rows(connection, statement, after=tweet_id, limit=limit)
    return [{"tweet_id": row[0], "key": row[1], "call": row[2]} for row in found]


def set_keys(connection: Connection, keys: Sequence[dict[str, Any]]) -> None:
    """Give tweets that have none their idempotency keys."""
    connection.execute(_SET_KEYS, keys)


_SET_KEYS = (
    update(tweets)
    .where(tweets.c.id == bindparam("tweet_id"), tweets.c.key_digest.is_(None))
    .values(key_digest=bindparam("key"), call_digest=bindparam("call"))
)
