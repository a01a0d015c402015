"""The ranking with its texts: places from the index, texts from memory or the log; the first page is kept."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import nlargest
from typing import NamedTuple

from storage.errors import IndexUnavailable
from storage.fresh import FreshIndex
from storage.records import Place, Ranking
from storage.sql.engine import Database
from storage.sql.log import LogState
from storage.sql.reads import Row, tweet_of


class _Kept(NamedTuple):
    """A first page, and the state of the log that it was read at: while that lasts, it is what would be read again."""

    state: LogState
    ranking: Ranking


def only_posted(before: LogState, after: LogState) -> bool:
    """Whether nothing was deleted from *before* to *after*: then each entry is one tweet more."""
    return before.store == after.store and all(
        head.seq - before.heads[partition].seq == head.live - before.heads[partition].live
        for partition, head in after.heads.items()
    )


class Tops:
    """Pages of the ranking. Safe to use from any thread."""

    def __init__(self, database: Database, index: FreshIndex, rows_kept: int) -> None:
        self._database = database
        self._index = index
        self._rows_kept = rows_kept
        self._kept: dict[int, _Kept] = {}
        self._reading = threading.Lock()
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._rows_lock = threading.Lock()

    def page(self, limit: int, after: Place | None, state: LogState | None = None) -> Ranking:
        """
        The first *limit* tweets below *after*, as of *state*, which the caller has just read, or later.

        The first of all are the same object as before while they are equal and nothing was deleted. When the index is
        away they are the last ones known that are not deleted, and stale. Raises IndexUnavailable when there are none.
        """
        if after:
            return self._read(limit, after, state)
        with self._reading:  # one reads for all who wait here
            return self._read_first(limit, state or self._database.get_state())

    def _read_first(self, limit: int, state: LogState) -> Ranking:
        kept = self._kept.get(limit)
        if kept and kept.state == state:
            return kept.ranking
        try:
            ranking = self._read(limit, None, state)
        except IndexUnavailable:
            if not kept:
                raise
            return self._without_deleted(kept.ranking)
        if kept and kept.ranking == ranking and only_posted(kept.state, state):
            ranking = kept.ranking  # what was made of it, with the names of those retweeted, is good still
        self._kept[limit] = _Kept(state, ranking)
        return ranking

    def last_known(self, limit: int, after: Place | None) -> Ranking:
        """The first *limit* tweets as last known, less the deleted ones, and stale. Raises IndexUnavailable."""
        kept = None if after else self._kept.get(limit)
        if not kept:
            raise IndexUnavailable("the ranking is not known")
        return self._without_deleted(kept.ranking)

    def _without_deleted(self, known: Ranking) -> Ranking:
        """The last ranking *known*, and that it is that; who was deleted since is not shown any more."""
        rows = self._database.find_rows([tweet.id for tweet in known.tweets])
        live = tuple(tweet for tweet in known.tweets if tweet.id in rows and not rows[tweet.id].deleted)
        return replace(known, tweets=live, stale=True)

    def _read(self, limit: int, after: Place | None, state: LogState | None) -> Ranking:
        parts = self._index.pages(limit + 1, after, state)
        found = nlargest(limit + 1, (place for part in parts.values() for place in part.places))
        places = found[:limit]
        rows = self._rows_of([place.id for place in places])
        tweets = tuple(tweet_of(rows[place.id], place.count_retweet) for place in places if place.id in rows)
        return Ranking(tweets, places[-1] if len(found) > limit else None)

    def _rows_of(self, ids: Sequence[int]) -> dict[int, Row]:
        """The rows of ranked tweets: texts never change, and deleted tweets are not ranked."""
        with self._rows_lock:
            found = {tweet: row for tweet in ids if (row := self._rows.get(tweet))}
        missing = [tweet for tweet in ids if tweet not in found]
        if missing:
            read = self._database.find_rows(missing)
            found |= {tweet: row for tweet, row in read.items() if not row.deleted}
            self._keep(found.values())
        return found

    def _keep(self, rows: Iterable[Row]) -> None:
        with self._rows_lock:
            for row in rows:
                self._rows[row.id] = row
                self._rows.move_to_end(row.id)
            while len(self._rows) > self._rows_kept:
                self._rows.popitem(last=False)
