"""
Reads that include all that was acknowledged before they were asked for, on every host (read-your-writes).

The heads of the log are read first, and an answer of the index counts if the index includes them. One thread answers
the queries that nearly all requests make, for one tweet or a page of the ranking: all that are pending as one batch,
with one read of the log and one round trip to Redis. A batch begins after the last of its queries was submitted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from heapq import nlargest

from storage.batch_worker import BatchWorker
from storage.errors import IndexDamaged, IndexUnavailable, StorageError, TweetDeleted, TweetNotFound
from storage.index.ranking import Answer, RankingIndex
from storage.reconciler import LOOKS, Reconciler
from storage.records import Place, Rank, Ranking, Tweet
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import LogState, Row, tweet_of

BATCH_LIMIT = 1024
QUEUE_LIMIT = 16_384
"""Queries that may wait: more than the server has connections."""

CATCH_UP_WITHIN_S = 1.0
"""How long a read waits for the index to catch up before it does without."""

COUNTED_AT_MOST = 10_000
"""Descendants that are counted one by one for a reader while the index is unavailable."""

TOO_MANY = "the tweet has too many retweets to count them without the index"


TopQuery = tuple[int, Place | None]
"""A query for the first so many tweets of the ranking, below a place."""

Query = int | TopQuery
"""A tweet by its id, or a page of the ranking."""

Found = Tweet | Ranking


KeptPage = tuple[Ranking, LogState, bool]
"""A first page of the ranking, the state of the log that it includes, and whether it is of exactly that state."""


class Reader:
    """Answers queries in batches by its `worker`; `counts` and `rank` may be called from any thread, and may wait."""

    def __init__(self, database: Database, index: RankingIndex, reconciler: Reconciler, rows_kept: int) -> None:
        self._database = database
        self._index = index
        self._reconciler = reconciler
        self._rows_kept = rows_kept
        self._rows: dict[int, Row] = {}
        self._pages: dict[TopQuery, KeptPage] = {}
        self._state: LogState | None = None  # as last read by the worker
        self.worker: BatchWorker[Query, Found] = BatchWorker(
            "reader", self._handle, batch_limit=BATCH_LIMIT, queue_limit=QUEUE_LIMIT
        )

    def counts(self, rows: Sequence[Row], state: LogState | None = None) -> dict[int, int]:
        """
        The counts of live tweets as of *state*, just read, or later: of the index, or, where it cannot say, of the log.

        Those with too many descendants to count one by one are left out. Raises StoreUnavailable.
        """
        ids: dict[int, list[int]] = {}
        for row in rows:
            ids.setdefault(row.partition, []).append(row.id)
        state = state or self._database.get_state()
        answers = self._ask(state, ids, lambda chosen: self._index.counts_all({p: ids[p] for p in chosen}))
        counts = {
            tweet_id: count
            for partition, answer in answers.items()
            for tweet_id, count in zip(ids[partition], answer.counts, strict=True)
            if count is not None
        }
        unknown = [row for row in rows if row.id not in counts]
        if unknown:
            with self._database.reading() as connection:
                for row in unknown:
                    count = log.count_descendants(connection, row.id, COUNTED_AT_MOST)
                    if count is not None:
                        counts[row.id] = row.base + count
        return counts

    def rank(self, tweet_id: int) -> Rank:
        """The place of a tweet in the ranking. Raises TweetNotFound, TweetDeleted, IndexUnavailable."""
        for _ in range(LOOKS):
            row = self._database.find_row(tweet_id)
            if row is None:
                raise TweetNotFound
            if row.deleted:
                raise TweetDeleted
            state, at = self._database.get_state(), row.partition
            answers = self._ask(state, [at], lambda asked: self._index.counts_all(dict.fromkeys(asked, (tweet_id,))))
            if not answers:
                raise IndexUnavailable(f"partition {at} of the index is unavailable")
            if (count := answers[at].counts[0]) is None:
                continue  # it was deleted since
            pages = self._read_pages(0, Place(count, tweet_id), state)
            if pages[at].is_taken:  # else its count has changed between the two looks
                above = sum(page.above for page in pages.values())
                return Rank(above, count, sum(page.state.cardinality for page in pages.values()))
        raise IndexUnavailable("the count of the tweet changes all the time")

    def _handle(self, queries: list[Query]) -> list[Found | StorageError]:
        tops = dict.fromkeys(query for query in queries if isinstance(query, tuple))
        ids = dict.fromkeys(query for query in queries if not isinstance(query, tuple))
        rows = self._database.find_rows(ids) if ids else {}
        state = self._read_state()  # after the rows: a live one that is not ranked there was deleted since
        pages = self._read_tops(tops, state) if tops else {}
        tweets: Mapping[int, Tweet | StorageError]
        try:
            tweets = self._read_tweets(ids, rows, state)
        except StorageError as error:
            tweets = dict.fromkeys(ids, error)
        return [pages[query] if isinstance(query, tuple) else tweets[query] for query in queries]

    def _read_state(self) -> LogState:
        """Where the log stands. If it went back to an earlier place, what was kept and the index are in doubt."""
        before, self._state = self._state, self._database.get_state()
        if before and not before.may_become(self._state):
            self._rows, self._pages = {}, {}
            for partition in self._state.heads:
                self._reconciler.mark_stale(partition)
        return self._state

    def _read_tweets(
        self, ids: Iterable[int], rows: Mapping[int, Row], state: LogState
    ) -> dict[int, Tweet | StorageError]:
        live = [row for row in rows.values() if not row.deleted]
        counts = self.counts(live, state) if live else {}
        tweets: dict[int, Tweet | StorageError] = {}
        for tweet_id in ids:
            row = rows.get(tweet_id)
            if row is None:
                tweets[tweet_id] = TweetNotFound()
            elif row.deleted:
                tweets[tweet_id] = TweetDeleted()
            elif tweet_id in counts:
                tweets[tweet_id] = tweet_of(row, counts[tweet_id])
            else:
                tweets[tweet_id] = IndexUnavailable(TOO_MANY)
        return tweets

    def _read_tops(self, queries: Iterable[TopQuery], state: LogState) -> dict[TopQuery, Ranking | StorageError]:
        """
        A page for each query; the same object as before while it is equal and nothing was deleted.

        When the index cannot be asked, the first page is the last one known without those deleted since, and stale.
        """
        answers: dict[TopQuery, Ranking | StorageError] = {}
        failed: IndexUnavailable | None = None
        for query in queries:
            kept = self._pages.get(query)
            if kept and kept[1:] == (state, True):
                answers[query] = kept[0]
                continue
            if failed is None:  # else this one would wait in vain as well
                try:
                    answers[query] = self._read_top(query, kept, state)
                    continue
                except IndexUnavailable as error:
                    failed = error
            answers[query] = failed
            if kept:
                rows = self._database.find_rows([tweet.id for tweet in kept[0].tweets])
                live = tuple(tweet for tweet in kept[0].tweets if tweet.id in rows and not rows[tweet.id].deleted)
                answers[query] = replace(kept[0], tweets=live, stale=True)
        return answers

    def _read_top(self, query: TopQuery, kept: KeptPage | None, state: LogState) -> Ranking:
        limit, after = query
        parts = self._read_pages(limit + 1, after, state)
        found = nlargest(limit + 1, (place for part in parts.values() for place in part.places))
        places = found[:limit]
        rows = self._read_rows([place.id for place in places])
        tweets = tuple(tweet_of(rows[place.id], place.count_retweet) for place in places if place.id in rows)
        above = sum(part.above for part in parts.values())
        ranking = Ranking(tweets, places[-1] if len(found) > limit else None, above=above)
        if after is None:
            if kept and kept[0] == ranking and _only_posted(kept[1], state):
                ranking = kept[0]
            is_exact = all(part.state.matches(state.heads[p]) for p, part in parts.items())
            self._pages[query] = ranking, state, is_exact
        return ranking

    def _read_rows(self, ids: Sequence[int]) -> Mapping[int, Row]:
        """The rows of ranked tweets. Texts never change, and deleted tweets are not ranked."""
        if len(self._rows) > self._rows_kept:
            self._rows = {}
        missing = [tweet_id for tweet_id in ids if tweet_id not in self._rows]
        if missing:
            read = self._database.find_rows(missing)
            self._rows |= {tweet_id: row for tweet_id, row in read.items() if not row.deleted}
        return self._rows

    def _read_pages(self, limit: int, after: Place | None, state: LogState) -> dict[int, Answer]:
        """At most *limit* places below *after* of each partition, as of *state* or later. Raises IndexUnavailable."""
        pages = self._ask(state, state.heads, lambda chosen: self._index.pages(chosen, limit, after))
        if len(pages) < len(state.heads):
            raise IndexUnavailable("the index is unavailable, or a part of it")
        return pages

    def _ask(
        self,
        state: LogState,
        partitions: Collection[int],
        ask: Callable[[list[int]], list[Answer | IndexUnavailable]],
    ) -> dict[int, Answer]:
        """
        The answers of those of *partitions* that include *state*; if need be, after the index has caught up.

        Those that are current are asked, and again while a batch may be under way.
        """
        found: dict[int, Answer] = {}
        for has_caught_up in (False, True):
            for _ in range(LOOKS):
                asked = [each for each in partitions if each not in found and self._reconciler.is_current(each)]
                for partition, answer in zip(asked, ask(asked) if asked else (), strict=True):
                    if isinstance(answer, IndexUnavailable):
                        self._reconciler.mark_unavailable(partition, answer)
                    elif answer.is_damaged():
                        self._reconciler.mark_unavailable(partition, IndexDamaged("a score is no count"))
                    elif answer.state.includes(state.heads[partition]):
                        found[partition] = answer
                if len(found) == len(partitions) or not asked:
                    break
                self._reconciler.wait_for_batch()
            missing = [each for each in partitions if each not in found]
            if has_caught_up or all(map(self._reconciler.is_unavailable, missing)):
                break
            with suppress(IndexUnavailable):  # another part of it may be unavailable
                self._reconciler.catch_up(CATCH_UP_WITHIN_S)
        return found


def _only_posted(before: LogState, after: LogState) -> bool:
    """Whether nothing was deleted from *before* to *after*: then each entry is one tweet more."""
    return before.store == after.store and all(
        head.seq - before.heads[partition].seq == head.live - before.heads[partition].live
        for partition, head in after.heads.items()
    )
