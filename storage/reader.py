"""
The reader: one thread that answers the questions asked most, for one tweet and for the ranking.

All pending queries are answered as one batch: one read of the log, one round trip to Redis. Each batch begins after the
last of its queries was submitted, so none is answered with an older state.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from storage.batch import Replay
from storage.batch_worker import BatchWorker
from storage.errors import IndexUnavailable, StorageError, TweetDeleted, TweetNotFound
from storage.fresh import FreshIndex
from storage.records import Place, Posted, Ranking, Tweet
from storage.sql import reads
from storage.sql.engine import Database
from storage.sql.log import LogState
from storage.sql.reads import Row, tweet_of
from storage.tops import Tops

BATCH_LIMIT = 1024
QUEUE_LIMIT = 16_384
"""Queries that may wait: more than the server has connections."""

COUNTED_AT_MOST = 10_000
"""Descendants that are counted one by one for a reader while the index is away."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class TopQuery(NamedTuple):
    """A query for the first *limit* tweets of the ranking below *after*."""

    limit: int
    after: Place | None


Query = int | TopQuery | Replay
"""A tweet by its id, a page of the ranking, or the tweet of a repeated call."""

Found = Tweet | Ranking | Posted


class Reader:
    """Answers queries in batches."""

    def __init__(self, database: Database, index: FreshIndex, tops: Tops) -> None:
        self._database = database
        self._index = index
        self._tops = tops
        self._state: LogState | None = None
        self.worker: BatchWorker[Query, Found] = BatchWorker(
            "reader", self._handle, batch_limit=BATCH_LIMIT, queue_limit=QUEUE_LIMIT
        )

    def counts(self, rows: Sequence[Row], state: LogState | None = None) -> dict[int, int]:
        """
        The counts of live tweets: of the index, or, where it cannot say, of the log.

        Those whose descendants are too many to count one by one are left out.
        """
        answers = self._index.counts([(row.partition, row.id) for row in rows], state)
        counts = {row.id: count for row, count in zip(rows, answers, strict=True) if isinstance(count, int)}
        unknown = [row for row in rows if row.id not in counts]
        return counts | self._counts_by_log(unknown) if unknown else counts

    def _counts_by_log(self, rows: Sequence[Row]) -> dict[int, int]:
        with self._database.reading() as connection:
            found = reads.count_descendants(connection, [row.id for row in rows], COUNTED_AT_MOST)
            if found is None:  # too many in all
                each = (reads.count_descendants(connection, [row.id], COUNTED_AT_MOST) for row in rows)
                found = {tweet: count for counts in each if counts for tweet, count in counts.items()}
        return {row.id: row.base + found[row.id] for row in rows if row.id in found}

    def _handle(self, queries: list[Query]) -> list[Found | StorageError]:
        self._state = None
        ids = {_tweet_id(query) for query in queries if not isinstance(query, TopQuery)}
        tweets = _answers(self._tweets, ids)
        pages = _answers(self._pages, {query for query in queries if isinstance(query, TopQuery)})
        return [
            pages[query] if isinstance(query, TopQuery) else _posted(query, tweets[_tweet_id(query)])
            for query in queries
        ]

    def _state_of_log(self) -> LogState:
        """Where the log stands: read once for all that is answered together."""
        if self._state is None:
            self._state = self._database.get_state()
        return self._state

    def _tweets(self, ids: Collection[int]) -> dict[int, Tweet | StorageError]:
        rows = self._database.find_rows(ids)
        live = [row for row in rows.values() if not row.deleted]
        counts = self.counts(live, self._state_of_log()) if live else {}
        answers: dict[int, Tweet | StorageError] = {}
        for tweet_id in ids:
            if tweet_id not in rows:
                answers[tweet_id] = TweetNotFound()
            elif rows[tweet_id].deleted:
                answers[tweet_id] = TweetDeleted()
            elif tweet_id in counts:
                answers[tweet_id] = tweet_of(rows[tweet_id], counts[tweet_id])
            else:
                answers[tweet_id] = IndexUnavailable("too many retweets to count one by one")
        return answers

    def _pages(self, queries: Collection[TopQuery]) -> dict[TopQuery, Ranking | StorageError]:
        answers: dict[TopQuery, Ranking | StorageError] = {}
        is_current = True  # where one has waited for the index in vain, the others would, one after the other
        for query in queries:
            try:
                ranking = self._tops.page(*query, self._state_of_log()) if is_current else self._tops.last_known(*query)
                is_current = not ranking.stale
                answers[query] = ranking
            except IndexUnavailable as error:
                is_current = False
                answers[query] = error
        return answers


def _answers(
    find: Callable[[Collection[Key]], Mapping[Key, Value | StorageError]], wanted: Collection[Key]
) -> Mapping[Key, Value | StorageError]:
    """What *find* finds of *wanted*, or for each of them why it cannot."""
    try:
        return find(wanted) if wanted else {}
    except StorageError as error:
        return dict.fromkeys(wanted, error)


def _tweet_id(query: int | Replay) -> int:
    return query.tweet_id if isinstance(query, Replay) else query


def _posted(query: int | Replay, answer: Tweet | StorageError) -> Found | StorageError:
    return Posted(answer, replayed=True) if isinstance(query, Replay) and isinstance(answer, Tweet) else answer
