"""The entries of the log with what they hold, for the change feed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, literal, null, select, union_all, update

from storage.sql.schema import tweets
from storage.sql.statements import ids as ids_parameter
from storage.sql.statements import in_list, number


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
    rows = connection.execute(_ENTRIES, {"partition": partition, "after": after_seq, "to": to_seq})
    return [EntryRow(*row) for row in rows]


_AT = tweets.c.partition == number("partition")
_AFTER: Any = number("after")
_TO: Any = number("to")
_TWEET = (tweets.c.id, tweets.c.parent, tweets.c.base, tweets.c.created_at)
_ENTRIES = union_all(
    select(
        tweets.c.seq.label("seq"),
        tweets.c.nonce,
        literal(1).label("sign"),
        *_TWEET,
        tweets.c.user_name,
        tweets.c.title,
        tweets.c.body,
    ).where(_AT, tweets.c.seq > _AFTER, tweets.c.seq <= _TO),
    select(tweets.c.deleted_seq, tweets.c.deleted_nonce, literal(-1), *_TWEET, null(), null(), null()).where(
        _AT, tweets.c.deleted_seq > _AFTER, tweets.c.deleted_seq <= _TO
    ),
).order_by("seq")


class TreePlace(NamedTuple):
    """Where a tweet stands: the partition of its chain, how many ancestors it has, and whether it is deleted."""

    partition: int
    depth: int
    deleted: bool


def list_places(connection: Connection, ids: Sequence[int]) -> dict[int, TreePlace]:
    """The places of those of *ids* that name a tweet."""
    rows = connection.execute(_PLACES, {"ids": ids})
    return {row[0]: TreePlace(row[1], row[2], row[3] is not None) for row in rows}


def list_keys(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
    """The digests of key and call of those of *ids* that were posted with an idempotency key."""
    return {row[0]: (row[1], row[2]) for row in connection.execute(_KEYS, {"ids": ids})}


def list_keys_after(connection: Connection, tweet_id: int, limit: int) -> list[dict[str, Any]]:
    """At most *limit* tweets with idempotency keys and ids above *tweet_id*, in order: for `set_keys`."""
    return [dict(row) for row in connection.execute(_KEYS_AFTER, {"after": tweet_id, "limit": limit}).mappings()]


def set_keys(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Give tweets that have none their idempotency keys."""
    connection.execute(_SET_KEYS, rows)


_IS_ASKED = in_list(tweets.c.id, ids_parameter())
_PLACES = select(tweets.c.id, tweets.c.partition, tweets.c.depth, tweets.c.deleted_seq).where(_IS_ASKED)
_KEYS = select(tweets.c.id, tweets.c.key_digest, tweets.c.call_digest).where(
    _IS_ASKED, tweets.c.key_digest.is_not(None)
)
_KEYS_AFTER = (
    select(tweets.c.id.label("tweet_id"), tweets.c.key_digest.label("key"), tweets.c.call_digest.label("call"))
    .where(tweets.c.id > number("after"), tweets.c.key_digest.is_not(None))
    .order_by(tweets.c.id)
    .limit(number("limit"))
)
_SET_KEYS = (
    update(tweets)
    .where(tweets.c.id == bindparam("tweet_id"), tweets.c.key_digest.is_(None))
    .values(key_digest=bindparam("key"), call_digest=bindparam("call"))
)
