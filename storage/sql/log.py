"""
The log: entries in their places, read and appended inside a transaction that the caller opened.

A place is a partition and a `seq` in it, without gaps. Places are given while the partition's head row is locked.
"""

import secrets
from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    insert,
    literal,
    select,
    true,
    union_all,
    update,
)

from storage.errors import CannotOpen, StoreConflict, StoreReplaced
from storage.fold import Ancestry, Entry
from storage.ids import PARTITIONS
from storage.sql.prepared import Insertion, Lookup, Prepared
from storage.sql.tables import heads, store, tweets

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

    def may_become(self, later: "Head") -> bool:
        """Whether *later*, read after this one, may be of the same timeline; if not, the log went back in between."""
        return later.seq > self.seq or (later.seq == self.seq and later.nonce == self.nonce)


REPLACED = "another database stands where this one was opened; restart the service"


class LogState(NamedTuple):
    """Where the log stands at one instant. While it is the same, so is everything that can be read."""

    store: Store
    heads: dict[int, Head]

    def may_become(self, later: "LogState") -> bool:
        """Whether *later*, read after this one, may be of the same timeline; if not, the log went back in between."""
        return self.store == later.store and all(
            head.may_become(later.heads[partition]) for partition, head in self.heads.items()
        )

    def checked(self, store: Store) -> Self:
        """The same, if it is of *store*. Raises StoreReplaced."""
        if self.store != store:
            raise StoreReplaced(REPLACED)
        return self


def new_nonce() -> int:
    """A random number that tells an entry from one with the same seq in another history of this database."""
    return secrets.randbits(NONCE_BITS)


def new_nonces(count: int) -> list[int]:
    """So many of them, for one question to the system."""
    return [number >> (64 - NONCE_BITS) for number in array("Q", secrets.token_bytes(8 * count))]


def found_store(connection: Connection, partitions: int) -> None:
    """Give a freshly migrated database its name and its *partitions* (1 to 1024); nothing if it has them."""
    if connection.execute(select(store.c.id)).first() is not None:
        return
    if not 1 <= partitions <= PARTITIONS:
        raise CannotOpen(f"PARTITIONS must be from 1 to {PARTITIONS}.")
    connection.execute(insert(store).values(id=secrets.token_hex(8), partitions=partitions))
    nothing = Head(0, 0, 0, 0)._asdict()
    connection.execute(insert(heads), [{"partition": partition, **nothing} for partition in range(partitions)])


def get_store(connection: Connection) -> Store:
    """Which database this is. Raises StoreConflict when it was never founded."""
    row = connection.execute(select(*_STORE)).first()
    if row is None:
        raise StoreConflict("the database has no name yet")
    return Store(*row)


def list_heads(connection: Connection) -> dict[int, Head]:
    """The head of every partition."""
    rows = connection.execute(_HEADS)
    return {row[0]: Head(*row[1:]) for row in rows}


def get_state(connection: Connection) -> LogState:
    """Where the log stands, read in one statement. Raises StoreConflict when it was never founded."""
    return read_state(connection.execute(STATE).all())


def read_state(rows: Sequence[Sequence[Any]]) -> LogState:
    """What the rows of `STATE` say."""
    if not rows:
        raise StoreConflict("the database has no name yet")
    return LogState(Store(*rows[0][5:]), {row[0]: Head(*row[1:5]) for row in rows})


def lock_heads(connection: Connection, store: Store, partitions: Iterable[int]) -> dict[int, Head]:
    """
    The heads of *partitions*, which nobody else can move until the transaction ends.

    Raises StoreReplaced when *store* is no more what the database says.
    """
    wanted = sorted(partitions)
    if not wanted:
        return {}
    # In one order for everybody, so that two writers never wait for each other.
    rows = _LOCKED_HEADS.rows(connection, wanted)
    if len(rows) < len(wanted) or tuple(rows[0][5:]) != store:
        raise StoreReplaced(REPLACED)
    return {row[0]: Head(*row[1:5]) for row in rows}


def move_heads(connection: Connection, moved: dict[int, Head]) -> None:
    """Set the heads of the partitions that were appended to."""
    rows = [{"at": partition, **head._asdict()} for partition, head in moved.items()]
    _MOVE_HEAD.run(connection, rows)


def list_calls(connection: Connection, key_digests: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
    """For those of *key_digests* that were used: the id of the tweet, and the digest of the call that posted it."""
    rows = _CALLS.rows(connection, key_digests)
    return {row[0]: (row[1], row[2]) for row in rows}


def append_tweets(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add tweets: dicts of all columns but the `deleted_` ones, with places given under `lock_heads`."""
    _APPEND.run(connection, rows)


def append_deletions(connection: Connection, rows: Sequence[dict[str, int]]) -> None:
    """Delete tweets: dicts of `tweet_id`, `at_seq` and `at_nonce`. Their texts are gone with the commit."""
    connection.execute(_DELETE, rows)


def find_nonce(connection: Connection, partition: int, seq: int) -> int | None:
    """The nonce of the entry at that place: 0 before the first entry, None when there is no such entry."""
    if seq == 0:
        return 0
    found = connection.execute(_NONCE, {"partition": partition, "seq": seq}).first()
    return found[0] if found else None


def list_entries(connection: Connection, partition: int, after_seq: int, limit: int) -> list[Entry]:
    """At most *limit* entries of *partition* that follow *after_seq*, in order, without a gap."""
    rows = connection.execute(_ENTRIES, {"partition": partition, "after_seq": after_seq, "limit": limit})
    return [Entry(*row) for row in rows]


def list_ancestries(connection: Connection, ids: Collection[int]) -> dict[int, Ancestry]:
    """The ancestries of those of *ids* that name a tweet."""
    return {row[0]: Ancestry(*row[1:]) for row in _ANCESTRIES.rows(connection, ids)}


def list_chains(connection: Connection, ids: Collection[int]) -> dict[int, Ancestry]:
    """The ancestries of those of *ids* that name a tweet, and of all their ancestors."""
    return {row[0]: Ancestry(*row[1:]) for row in _CHAINS.rows(connection, ids)}


_APPEND = Insertion(tweets)
_HEADS = select(heads.c.partition, heads.c.seq, heads.c.nonce, heads.c.last_id, heads.c.live)
_STORE = (store.c.id, store.c.partitions)
STATE = _HEADS.add_columns(*_STORE).join_from(heads, store, true()).order_by(heads.c.partition)
"""Every head in order, each with what `Store` holds: for `read_state`."""

_LOCKED_HEADS = Lookup(
    STATE.where(heads.c.partition.in_(bindparam("partitions", expanding=True))).with_for_update(of=heads)
)
_MOVE_HEAD = Prepared(
    update(heads).where(heads.c.partition == bindparam("at")).values({name: bindparam(name) for name in Head._fields})
)
_CALLS = Lookup(
    select(tweets.c.key_digest, tweets.c.id, tweets.c.call_digest).where(
        tweets.c.key_digest.in_(bindparam("digests", expanding=True))
    )
)
_DELETE = (
    update(tweets)
    .where(tweets.c.id == bindparam("tweet_id"))
    .values(deleted_seq=bindparam("at_seq"), deleted_nonce=bindparam("at_nonce"), user_name=None, title=None, body=None)
)
_AT = tweets.c.partition == bindparam("partition", type_=BigInteger)
_NONCE = union_all(
    select(tweets.c.nonce).where(_AT, tweets.c.seq == bindparam("seq", type_=BigInteger)),
    select(tweets.c.deleted_nonce).where(_AT, tweets.c.deleted_seq == bindparam("seq", type_=BigInteger)),
)
_AFTER: Any = bindparam("after_seq", type_=BigInteger)
_LIMIT: Any = bindparam("limit", type_=BigInteger)
_ENTRIES = union_all(
    select(
        tweets.c.seq.label("seq"), tweets.c.nonce, tweets.c.id, tweets.c.parent, tweets.c.base, literal(1).label("sign")
    ).where(_AT, tweets.c.seq > _AFTER, tweets.c.seq <= _AFTER + _LIMIT),
    select(
        tweets.c.deleted_seq, tweets.c.deleted_nonce, tweets.c.id, tweets.c.parent, tweets.c.base, literal(-1)
    ).where(_AT, tweets.c.deleted_seq > _AFTER, tweets.c.deleted_seq <= _AFTER + _LIMIT),
).order_by("seq")
_BY_IDS = select(tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.depth).where(
    tweets.c.id.in_(bindparam("ids", expanding=True))
)
_ANCESTRIES = Lookup(_BY_IDS)
_SELECTED = _BY_IDS.cte("upwards", recursive=True)
# UNION, not UNION ALL: chains that share ancestors are walked once.
_UPWARDS = _SELECTED.union(
    select(tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.depth).where(tweets.c.id == _SELECTED.c.parent)
)
_CHAINS = Lookup(select(_UPWARDS.c.id, _UPWARDS.c.parent, _UPWARDS.c.partition, _UPWARDS.c.depth))
