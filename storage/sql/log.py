"""
The log: entries in their places, read and appended inside a transaction that the caller opened.

A place is a partition and a `seq` in it, without gaps. Places are given while the partition's head row is locked.
"""

import secrets
from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection

from storage.errors import StoreConflict, StoreUnavailable
from storage.fold import Ancestry, Entry
from storage.records import Tweet
from storage.sql.statements import rows, run

NONCE_BITS = 62


class Store(NamedTuple):
    """Which database this is: a random name, and how many partitions it was created with. Neither ever changes."""

    id: str
    partitions: int


class Head(NamedTuple):
    """The last entry of a partition, the highest id given in it, and how many of its tweets are not deleted."""

    seq: int
    nonce: int
    last_id: int
    live: int


REPLACED = "another database stands where this one was opened; restart the service"


class LogState(NamedTuple):
    """Where the log stands at one instant. While it is the same, so is everything that can be read."""

    store: Store
    heads: dict[int, Head]

    def may_become(self, later: "LogState") -> bool:
        """Whether *later*, read after this one, may be of the same timeline; if not, the log went back in between."""
        pairs = ((head, later.heads[partition]) for partition, head in self.heads.items())
        return self.store == later.store and all(new.seq > old.seq or new[:2] == old[:2] for old, new in pairs)

    def checked(self, store: Store) -> Self:
        """The same, if it is of *store*. Raises StoreUnavailable."""
        if self.store != store:
            raise StoreUnavailable(REPLACED)
        return self


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


# Statements that are also asked elsewhere, or by a test how they are planned.
ROW = ", ".join(Row._fields)
STATE = """
SELECT heads.partition, heads.seq, heads.nonce, heads.last_id, heads.live, store.id, store.partitions
FROM heads CROSS JOIN store ORDER BY heads.partition
"""
LOCKED_HEADS = STATE.replace("ORDER BY", "WHERE heads.partition {in_ids} ORDER BY") + "{for_update_of_heads}"
BY_IDS = f"SELECT {ROW} FROM tweets WHERE id {{in_ids}}"  # noqa: S608  # constants
CALLS = "SELECT key_digest, id, call_digest FROM tweets WHERE key_digest {in_keys}"
ANCESTRIES = "SELECT id, parent, partition, depth FROM tweets WHERE id {in_ids}"
# UNION, not UNION ALL: chains that share ancestors are walked once.
CHAINS = """
WITH RECURSIVE upwards(id, parent, partition, depth) AS (
    SELECT id, parent, partition, depth FROM tweets WHERE id {in_ids} UNION
    SELECT t.id, t.parent, t.partition, t.depth FROM upwards JOIN tweets t ON t.id = upwards.parent)
SELECT id, parent, partition, depth FROM upwards
"""
DESCENDANTS = """
WITH RECURSIVE downwards(id, deleted_seq) AS (
    SELECT id, deleted_seq FROM tweets WHERE parent = :id UNION ALL
    SELECT t.id, t.deleted_seq FROM downwards JOIN tweets t ON t.parent = downwards.id)
SELECT deleted_seq IS NULL FROM downwards LIMIT :limit
"""
CHUNK = """
SELECT id, parent, base, seq, deleted_seq FROM tweets
WHERE partition = :partition AND seq < :below ORDER BY seq DESC LIMIT :limit
"""


def tweet_of(row: Row, count: int | None) -> Tweet:
    """The tweet of *row* with its count, None for a tombstone."""
    return Tweet(row.id, row.user_name, row.title, row.body, row.parent, count, row.created_at)


def new_nonces(count: int) -> list[int]:
    """*count* random numbers, each to tell an entry from one with the same seq in another timeline of this database."""
    return [number >> (64 - NONCE_BITS) for number in array("Q", secrets.token_bytes(8 * count))]


def get_state(connection: Connection) -> LogState:
    """Where the log stands, read in one statement. Raises StoreConflict when it was never founded."""
    return read_state(rows(connection, STATE))


def read_state(found: Sequence[Sequence[Any]]) -> LogState:
    """What the rows of `STATE` say."""
    if not found:
        raise StoreConflict("the database has no name yet")
    return LogState(Store(*found[0][5:]), {row[0]: Head(*row[1:5]) for row in found})


def lock_heads(connection: Connection, store: Store, partitions: Iterable[int]) -> dict[int, Head]:
    """
    The heads of *partitions*, which no other transaction can move until this one ends.

    Raises StoreUnavailable when *store* is no more what the database says.
    """
    wanted = sorted(partitions)
    if not wanted:
        return {}
    # In one order, so that two writers never wait for each other.
    found = rows(connection, LOCKED_HEADS, ids=wanted)
    if len(found) < len(wanted) or found[0][5:] != store:
        raise StoreUnavailable(REPLACED)
    return {row[0]: Head(*row[1:5]) for row in found}


def move_heads(connection: Connection, moved: dict[int, Head]) -> None:
    """Set the heads of the partitions that were appended to."""
    statement = "UPDATE heads SET seq = :seq, nonce = :nonce, last_id = :last_id, live = :live WHERE partition = :at"
    each = [{"at": partition, **head._asdict()} for partition, head in moved.items()]
    run(connection.connection.driver_connection, connection.dialect, statement, each)


def list_calls(connection: Connection, key_digests: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
    """For those of *key_digests* that were used: the id of the tweet, and the digest of the call that posted it."""
    return {row[0]: (row[1], row[2]) for row in rows(connection, CALLS, keys=key_digests)}


def insert_tweets(connection: Connection, columns: Sequence[str], values: Sequence[tuple[Any, ...]]) -> None:
    """Add rows of *values* of *columns*, with places given under `lock_heads`, by the fastest way of the database."""
    driver = connection.connection.driver_connection
    if values:
        connection.get_execution_options()["insert_rows"](driver, "tweets", columns, values)


def append_deletions(connection: Connection, deletions: Sequence[dict[str, int]]) -> None:
    """Delete tweets: dicts of `tweet_id`, `at_seq` and `at_nonce`. Their texts are gone with the commit."""
    statement = """
    UPDATE tweets SET deleted_seq = :at_seq, deleted_nonce = :at_nonce, user_name = NULL, title = NULL, body = NULL
    WHERE id = :tweet_id
    """
    run(connection.connection.driver_connection, connection.dialect, statement, deletions)


def find_nonce(connection: Connection, partition: int, seq: int) -> int | None:
    """The nonce of the entry at that place: 0 before the first entry, None when there is no such entry."""
    if seq == 0:
        return 0
    statement = """
    SELECT nonce FROM tweets WHERE partition = :partition AND seq = :seq UNION ALL
    SELECT deleted_nonce FROM tweets WHERE partition = :partition AND deleted_seq = :seq
    """
    found = rows(connection, statement, partition=partition, seq=seq)
    return found[0][0] if found else None


def list_entries(connection: Connection, partition: int, after: int, limit: int) -> list[Entry]:
    """At most *limit* entries of *partition* that follow the one of seq *after*, in order, without a gap."""
    # Bounds and not a LIMIT: with one, PostgreSQL reads and sorts everything after the place.
    statement = """
    SELECT seq, nonce, id, parent, base, 1 FROM tweets
    WHERE partition = :partition AND seq > :after AND seq <= :last UNION ALL
    SELECT deleted_seq, deleted_nonce, id, parent, base, -1 FROM tweets
    WHERE partition = :partition AND deleted_seq > :after AND deleted_seq <= :last ORDER BY 1
    """
    return [Entry(*row) for row in rows(connection, statement, partition=partition, after=after, last=after + limit)]


def list_ancestries(connection: Connection, ids: Collection[int]) -> dict[int, Ancestry]:
    """The ancestries of those of *ids* that name a tweet."""
    return {row[0]: Ancestry(*row[1:]) for row in rows(connection, ANCESTRIES, ids=ids)}


def list_chains(connection: Connection, ids: Collection[int]) -> dict[int, Ancestry]:
    """The ancestries of those of *ids* that name a tweet, and of all their ancestors."""
    return {row[0]: Ancestry(*row[1:]) for row in rows(connection, CHAINS, ids=ids)}


def list_rows(connection: Connection, ids: Collection[int]) -> dict[int, Row]:
    """Those of *ids* that name a tweet, deleted or not."""
    return {row[0]: Row._make(row) for row in rows(connection, BY_IDS, ids=ids)}


def list_rows_from(connection: Connection, first: int, limit: int) -> list[tuple[Row, int]]:
    """At most *limit* tweets with ids from *first* on, in order, each with its seq; deleted ones too."""
    statement = f"SELECT {ROW}, seq FROM tweets WHERE id >= :first ORDER BY id LIMIT :limit"  # noqa: S608  # constants
    return [(Row._make(row[:-1]), row[-1]) for row in rows(connection, statement, first=first, limit=limit)]


def list_below(connection: Connection, below: int, limit: int, **equal: int | str) -> list[Row]:
    """Tweets that are not deleted, with ids below *below*, whose columns *equal* those values; newest first."""
    conditions = "".join(f" AND {column} = :{column}" for column in equal)
    statement = f"""
    SELECT {ROW} FROM tweets WHERE id < :below AND deleted_seq IS NULL{conditions} ORDER BY id DESC LIMIT :limit
    """  # noqa: S608  # constants
    return [Row._make(row) for row in rows(connection, statement, below=below, limit=limit, **equal)]


def count_descendants(connection: Connection, tweet_id: int, limit: int) -> int | None:
    """The live descendants of a tweet, counted one by one; None when that would look at more than *limit*."""
    found = rows(connection, DESCENDANTS, id=tweet_id, limit=limit + 1)
    return sum(row[0] for row in found) if len(found) <= limit else None
