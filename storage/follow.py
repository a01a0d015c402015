"""
Keeps the index equal to the log, whatever happened to either.

The index says by its position which entry it holds last. If the log knows that entry, the ones after it are folded in;
if it does not (another history, an empty Redis, a foreign one), or the number of tweets differs, the ranking is rebuilt
beside the old one and swapped. There is no third way: nothing corrects a count by hand.
"""

import logging
import threading
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from storage.errors import IndexUnavailable, StorageError, StoreConflict
from storage.fold import Worth, change, gains
from storage.index.keys import Position
from storage.index.ranking import RankingIndex, Stand
from storage.links import Links
from storage.observer import Observer
from storage.sql import log
from storage.sql.engine import Database
from storage.sql.log import Head, Store

TICK_S = 1.0
"""How often the follower looks without being asked."""

FOLD_AT_ONCE = 5_000
"""Entries in one script call: keeps Redis busy for some 20 ms, within which others wait."""

FILL_AT_ONCE = 10_000

REBUILT_FROM = 10_000
"""Entries behind where a rebuild is considered: for each tweet of the store it costs half of what folding one does."""

ON_ITS_WAY_S = 0.001
LOOKS = 20
"""A batch that is stored is in the index about a millisecond later: so look again before it is mended."""

_log = logging.getLogger(__name__)


class Difference(NamedTuple):
    """A tweet whose count in the index is not the one of the log; None where it is missing."""

    tweet_id: int
    in_log: int | None
    in_index: int | None


class Follower:
    """Brings the index in step with the log: when woken, once a second, and when a reader waits for it."""

    def __init__(self, database: Database, index: RankingIndex, store: Store) -> None:
        self._database = database
        self._index = index
        self._store = store
        self._links = Links(database)
        self._working = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.in_step = False
        self.away = False
        """Whether Redis did not answer when it was asked last; who asks for something then need not wait for it."""
        self.rebuilds = 0
        self.observer = Observer()

    def start(self) -> None:
        """Look after the index in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it does now."""
        self._stopping = True
        self._wake.set()
        if self._thread:
            self._thread.join()

    def fell_behind(self) -> None:
        """Say that the index may lack something: until it is in step again nobody else writes to it."""
        self.in_step = False
        self._wake.set()

    def reaches(self, stand: Stand, head: Head) -> bool:
        """Whether an answer of the index at *stand* holds everything up to *head*."""
        at = stand.position
        if at is None or at.store != self._store.id or at.seq < head.seq:
            return False
        return at.seq > head.seq or (at.nonce == head.nonce and stand.cardinality == head.live)

    def may_reach(self, stand: Stand, head: Head) -> bool:
        """Whether the index is behind *head* in our own history, as while another process's batch is on its way."""
        at = stand.position
        return at is not None and at.store == self._store.id and at.seq < head.seq

    def catch_up(self, timeout_s: float = -1) -> bool:
        """
        Bring every partition in step now; False when somebody else is at it for longer than *timeout_s*.

        Raises IndexUnavailable or StoreUnavailable; the next tick tries again.
        """
        if not self._working.acquire(timeout=timeout_s):
            return False
        try:
            for partition in range(self._store.partitions):
                self._bring_in_step(partition)
            self.in_step, self.away = True, False
        except StorageError as error:
            self.in_step, self.away = False, isinstance(error, IndexUnavailable)
            raise
        finally:
            self._working.release()
        return True

    def rebuild(self) -> None:
        """Build every ranking anew from the log, from place zero. Writers may go on."""
        with self._working:
            for partition in range(self._store.partitions):
                self._rebuild(partition, self._index.counts(partition).stand.position)
        self.catch_up()

    def verify(self) -> list[Difference]:
        """
        Every difference between the index and a full count of the log; empty when all is right.

        What is written meanwhile is no difference: those found are looked at again with the log standing still.
        """
        differences = self._find_differences()
        self.observer.verified(len(differences))
        return differences

    def _find_differences(self) -> list[Difference]:
        self.catch_up()
        suspects = self._compare()
        if not suspects:
            return []
        with self._database.writing(at_length=True) as connection:
            log.lock_heads(connection, range(self._store.partitions))  # nobody writes now
            self.catch_up()
            return self._compare()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(TICK_S)
            self._wake.clear()
            try:
                if not self._stopping:
                    self.catch_up()
            except IndexUnavailable as error:
                _log.warning("the index is away: %s", error.__cause__)
            except StorageError as error:
                _log.warning("the log is away: %s", error.__cause__)
            except Exception:  # noqa: BLE001  # the thread must outlive any mistake
                _log.exception("following failed; the next tick tries again")

    def _bring_in_step(self, partition: int) -> None:
        # The position before the head: so the head is never behind a position of this history.
        stand = self._index.counts(partition).stand
        while True:
            with self._database.reading() as connection:
                heads = log.list_heads(connection)
                head = heads[partition]
                known_here = self._is_ours(stand, log.find_nonce(connection, partition, _seq(stand)))
            behind = head.seq - _seq(stand)
            far = behind > max(REBUILT_FROM, sum(each.live for each in heads.values()) // 2)
            if far or not known_here or (behind == 0 and stand.cardinality != head.live):
                self._rebuild(partition, stand.position)
                stand = self._index.counts(partition).stand
            elif behind == 0:
                return
            else:
                stand = self._fold_next(partition, stand.position)

    def _is_ours(self, stand: Stand, nonce: int | None) -> bool:
        """Whether the log knows the entry that the index holds last."""
        return stand.position is not None and stand.position == (self._store.id, stand.position.seq, nonce)

    def _fold_next(self, partition: int, at: Position | None) -> Stand:
        """Fold the entries that follow *at*, as many as one script takes."""
        if at is None:
            raise IndexUnavailable("the index lost its position")
        with self._database.reading() as connection:
            entries = log.list_entries(connection, partition, at.seq, FOLD_AT_ONCE)
        self._links.load(entry.parent for entry in entries if entry.parent is not None)
        to = Position(self._store.id, entries[-1].seq, entries[-1].nonce)
        return self._index.fold(partition, at, to, change(entries, self._links.parent_of)).stand

    def _rebuild(self, partition: int, found: Position | None) -> None:
        # Without a position it is new or was emptied; with one it holds something else, which somebody should know.
        _log.log(logging.WARNING if found else logging.INFO, "rebuilding the index of partition %d", partition)
        staging, cardinality = self._index.stage(partition), 0
        with self._database.reading(snapshot=True) as connection:
            head = log.list_heads(connection)[partition]
            counts = ((tweet, count) for tweet, where, count in count_all(connection) if where == partition)
            while part := list(islice(counts, FILL_AT_ONCE)):
                self._index.fill(staging, part)
                cardinality += len(part)
        to = Position(self._store.id, head.seq, head.nonce)
        self._index.swap(partition, staging, found, to, cardinality)
        self.rebuilds += 1
        self.observer.rebuilt()

    def _compare(self) -> list[Difference]:
        with self._database.reading(snapshot=True) as connection:
            in_log = {tweet: count for tweet, _, count in count_all(connection)}
        places = (place for partition in range(self._store.partitions) for place in self._index.scan(partition))
        in_index = {place.id: place.count_retweet for place in places}
        wrong = [tweet for tweet, count in in_log.items() if in_index.get(tweet) != count]
        unknown = [tweet for tweet in in_index if tweet not in in_log]
        return [Difference(tweet, in_log.get(tweet), in_index.get(tweet)) for tweet in sorted(wrong + unknown)]


def count_all(connection: Connection) -> Iterator[tuple[int, int, int]]:
    """Every live tweet as (id, partition, count) by the log alone, newest first: the fold from place zero."""
    partition = base = live = 0

    def worths() -> Iterator[Worth]:
        nonlocal partition, base, live
        for tweet_id, parent, partition, base, live in log.stream_all(connection):  # noqa: B007  # seen below
            yield tweet_id, parent, live

    # Every tweet is among the worths, so the gains come in step with the rows, and no parent is asked for.
    for tweet_id, gain in gains(worths(), _never_asked):
        if live:
            yield tweet_id, partition, base + gain


def _never_asked(tweet_id: int) -> int | None:
    raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")


def _seq(stand: Stand) -> int:
    return stand.position.seq if stand.position else 0
