"""
The log laid out anew over another number of partitions, or for an index of other tweets.

Every tweet goes to the partition of its chain's root and gets a new place there; so does every deletion, right after
the tweet. It is one transaction: writers wait for it, or are refused and may come again, and readers see the old layout
until the new one is there, whole. The store gets a new name with it: so every position in the index, and whatever other
processes remember of partitions, is seen to be of another layout.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from storage.errors import CannotOpen
from storage.ids import PARTITIONS
from storage.sql import log
from storage.sql.engine import Database
from storage.sql.log import Head, LogState, Store
from storage.sql.prepared import Prepared
from storage.sql.tables import tweets, unordered

AT_ONCE = 10_000
"""Rows in one statement."""

GOLDEN = 0x9E3779B97F4A7C15
"""2**64 by the golden ratio: the upper half of a product with it is a good hash (Knuth 6.4)."""


def repartition(database: Database, partitions: int, on_moved: Callable[[int], None] = lambda _: None) -> int:
    """
    Lay the log out over *partitions*, 1 to 1024; returns how many tweets there are.

    *on_moved* is told now and then how many have been moved. Raises CannotOpen, and what the database raises, with
    nothing changed.
    """
    if not 1 <= partitions <= PARTITIONS:
        raise CannotOpen(f"There may be from 1 to {PARTITIONS} partitions.")
    with database.writing(at_length=True) as connection:
        store = log.get_store(connection)
        log.lock_heads(connection, store, range(store.partitions))  # nobody writes from here on
        layout = _Layout(partitions, store.ranked)
        while rows := connection.execute(_NEXT, {"last": layout.last_id}).all():
            _MOVE.run(connection, [layout.move(*row) for row in rows])
            on_moved(len(layout))
        connection.execute(_SETTLE)
        connection.execute(delete(unordered))  # places go by ids now
        log.replace_layout(connection, layout.state())
    database.forget_deleted()  # on SQLite the write-ahead log is several times the size of the log now
    return len(layout)


def rank_only(database: Database, ranked: str) -> bool:
    """
    From now on have the index hold *ranked*, one of `log.RANKED`; False when it does already.

    Nothing is moved, but the store gets a new name: so every index is seen to be another one's, and built anew.
    """
    with database.writing() as connection:
        store = log.get_store(connection)
        heads = log.lock_heads(connection, store, range(store.partitions))
        if store.ranked == ranked:
            return False
        log.replace_layout(connection, LogState(Store(log.new_name(), store.partitions, ranked), heads))
    return True


@dataclass(slots=True)
class _Tail:
    """A head that moves with every entry."""

    seq: int = 0
    nonce: int = 0
    live: int = 0

    def enter(self, nonce: int, live: int) -> int:
        """Give the next place to the entry with *nonce*, which makes *live* more tweets live."""
        self.seq, self.nonce, self.live = self.seq + 1, nonce, self.live + live
        return self.seq


class _Layout:
    """The new places, given to tweets in the order of their ids; about 10 bytes for each of them."""

    def __init__(self, partitions: int, ranked: str) -> None:
        self._ranked = ranked
        self._tails = [_Tail() for _ in range(partitions)]
        self._ids = array("q")
        self._partitions = array("H")

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def last_id(self) -> int:
        """The tweet that was moved last."""
        return self._ids[-1] if self._ids else -1

    def move(self, tweet_id: int, parent: int | None, nonce: int, deleted_nonce: int | None) -> dict[str, Any]:
        """The new place of a tweet, and of its deletion: the parameters of `_MOVE`."""
        if parent is None:
            partition = partition_of_root(tweet_id, len(self._tails))
        else:
            partition = self._partitions[bisect_left(self._ids, parent)]
        self._ids.append(tweet_id)
        self._partitions.append(partition)
        tail = self._tails[partition]
        seq = tail.enter(nonce, 1)
        deleted_seq = None if deleted_nonce is None else tail.enter(deleted_nonce, -1)
        return {"tweet": tweet_id, "to": _in_between(partition), "at": seq, "gone_at": deleted_seq}

    def state(self) -> LogState:
        """The new layout as a whole. Every later id is greater than all there are, so that none is given twice."""
        last_id = max(self.last_id, 0)
        heads = {
            partition: Head(tail.seq, tail.nonce, last_id, tail.live) for partition, tail in enumerate(self._tails)
        }
        return LogState(Store(log.new_name(), len(heads), self._ranked), heads)


def partition_of_root(tweet_id: int, partitions: int) -> int:
    """Where a chain goes, by the id of its root: each partition gets about as many chains."""
    return (tweet_id * GOLDEN % 2**64 >> 32) % partitions


def _in_between(partition: int) -> int:
    """Where a moved tweet waits until all are moved: else its new place may be one that another still has."""
    return -1 - partition


_NEXT = (
    select(tweets.c.id, tweets.c.parent, tweets.c.nonce, tweets.c.deleted_nonce)
    .where(tweets.c.id > bindparam("last"))
    .order_by(tweets.c.id)
    .limit(AT_ONCE)
)
_MOVE = Prepared(
    update(tweets)
    .where(tweets.c.id == bindparam("tweet"))
    .values(partition=bindparam("to"), seq=bindparam("at"), deleted_seq=bindparam("gone_at"))
)
_SETTLE = update(tweets).values(partition=-1 - tweets.c.partition)
