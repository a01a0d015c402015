"""What the service can do with tweets: post, retweet, delete, read, rank. `storage.sql` has what needs SQL alone."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, cast

from sqlalchemy import Connection

from storage.errors import IndexUnavailable, Overloaded, StorageError, TweetNotFound
from storage.ids import LARGEST
from storage.index.ranking import RankingIndex
from storage.kept import KeptAnswers
from storage.reader import TOO_MANY, Reader
from storage.reconciler import Reconciler
from storage.records import NewTweet, Page, Place, Posted, Rank, Ranking, Tweet
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Row, Store, tweet_of
from storage.writer import Writer

CACHE_SIZES = 200_000, 2_000
"""
How many ancestries the writer keeps, about 30 MB, and how many texts of ranked tweets the reader.

Those are 20 MB if all were of full length, 80 MB in letters of four bytes. What is answered and stored does not depend
on it.
"""


class Tweets(AbstractContextManager["Tweets"]):
    """
    The tweets and their ranking. Safe to use from any thread; close it when done.

    Beside the errors named, each call may raise StoreUnavailable, StoreFull or IndexUnavailable.
    """

    def __init__(
        self,
        database: Database,
        index: RankingIndex,
        store: Store,
        *,
        owns_index: bool = False,
        is_trusted: bool = False,
        max_ancestors: int = 1000,
        queue_limit: int = 1024,
        cache_sizes: tuple[int, int] = CACHE_SIZES,
    ) -> None:
        self.database = database
        self.index = index
        self.server: Any = None
        """The embedded server, where this process runs it."""
        self.on_close: Callable[[bool], None] = lambda _is_trustworthy: None
        """Called by `close` once nothing asks the index, with whether there is no reason to doubt it."""
        self.reconciler = Reconciler(database, index, store, owns_index=owns_index, is_trusted=is_trusted)
        self._reader = Reader(database, index, self.reconciler, cache_sizes[1])
        self.windows: KeptAnswers = KeptAnswers("windows")
        """The tops of windows: see `storage.sql.windows`."""
        self.drawings: KeptAnswers = KeptAnswers("cascades")
        """What is drawn of cascades, by the ids of their tweets."""
        self._writer = Writer(
            database,
            index,
            self.reconciler,
            store,
            self._find_replayed,
            max_ancestors=max_ancestors,
            queue_limit=queue_limit,
            ancestries_kept=cache_sizes[0],
        )

    @property
    def store(self) -> Store:
        """Which database this is."""
        return self.reconciler.store

    def start(self) -> None:
        """Begin to take writes, and to bring the index up to date; waits for neither SQL nor Redis."""
        self.reconciler.start()
        self._writer.worker.start()
        self._reader.worker.start()

    def post(self, new: NewTweet) -> "Future[Posted]":
        """
        Post a tweet or a retweet; every ancestor of a retweet gains one.

        The future is done when it is on disk. Its errors: TweetNotFound or TweetDeleted (the target), ChainTooLong,
        KeyReused, TweetDeleted (the tweet that the key had posted), Overloaded. Raises Overloaded when too many wait.
        """
        return cast("Future[Posted]", self._writer.worker.submit(new))

    def delete(self, tweet_id: int) -> "Future[None]":
        """
        Delete a tweet: its text goes, its place in the chain stays, each of its ancestors loses one.

        Errors of the future: TweetNotFound, TweetDeleted (before), Overloaded. Raises Overloaded when too many wait.
        """
        return cast("Future[None]", self._writer.worker.submit(tweet_id))

    def get(self, tweet_id: int) -> "Future[Tweet]":
        """The tweet with its count. Errors of the future: TweetNotFound, TweetDeleted. Raises Overloaded."""
        return cast("Future[Tweet]", self._reader.worker.submit(tweet_id))

    def list_chain(self, tweet_id: int, limit: int, after: int | None = None) -> Page:
        """
        The tweet and its ancestors, root last, those with ids below *after*; deleted ones as tombstones.

        A parent has a smaller id than its retweet, so the last id of a page is the cursor of the next one. Raises
        TweetNotFound.
        """
        with self.database.reading() as connection:
            chain = _list_chain(connection, tweet_id)
            some = [each for each in chain if after is None or each < after][: limit + 1]
            found = log.list_rows(connection, some)
        return self._page([found[each] for each in some], limit)

    def list_chain_ends(
        self, tweet_id: int, nearest: int, farthest: int
    ) -> tuple[tuple[Tweet, ...], tuple[Tweet, ...], int]:
        """
        At most *nearest* (1 or more) tweets from the tweet upwards, and of the rest *farthest* from its root downwards.

        Deleted tweets are tombstones. Also returns how many lie between the two; their texts are not read. Raises
        TweetNotFound.
        """
        with self.database.reading() as connection:
            chain = _list_chain(connection, tweet_id)
            near, far = chain[:nearest], chain[nearest:][::-1][:farthest]
            found = log.list_rows(connection, [*near, *far])
        tweets = self._with_counts([found[each] for each in (*near, *far)])
        return tweets[: len(near)], tweets[len(near) :], len(chain) - len(tweets)

    def list_newest(self, limit: int, after: int | None = None) -> Page:
        """The tweets that are not deleted, newest first, older than *after*."""
        return self._list(limit, after)

    def list_retweets(self, tweet_id: int, limit: int, after: int | None = None) -> Page:
        """The direct retweets that are not deleted, newest first, older than *after*. Raises TweetNotFound."""
        if self.database.find_row(tweet_id) is None:
            raise TweetNotFound
        return self._list(limit, after, parent=tweet_id)

    def list_by_user(self, user_name: str, limit: int, after: int | None = None) -> Page:
        """The tweets of *user_name*, newest first, older than *after*; empty for an unknown name."""
        return self._list(limit, after, user_name=user_name)

    def list_live(self, ids: Sequence[int], limit: int) -> tuple[Tweet, ...]:
        """
        The first *limit* of *ids* that are not deleted, in their order.

        Without the index a tweet of very many retweets has None as its count.
        """
        found = self.database.find_rows(ids)
        live = [row for row in map(found.get, ids) if row is not None and not row.deleted][:limit]
        counts = self._reader.counts(live) if live else {}
        return tuple(tweet_of(row, counts.get(row.id)) for row in live)

    def list_authors(self, ids: Collection[int]) -> dict[int, str | None]:
        """The author of each of *ids*, None for a deleted tweet: one read, which does not ask the index."""
        rows = self.database.find_rows(ids)
        return {row.id: None if row.deleted else row.user_name for row in rows.values()}

    def find_tweets(self, ids: Collection[int]) -> dict[int, Tweet]:
        """Those of *ids* that there are, without counts, deleted ones as tombstones: one read, no index."""
        return {row.id: tweet_of(row, None) for row in self.database.find_rows(ids).values()}

    def count_live(self) -> int:
        """How many tweets are not deleted, which is how many the ranking has: one read, no index."""
        return sum(head.live for head in self.database.get_state().heads.values())

    def top(self, limit: int, after: Place | None = None) -> "Future[Ranking]":
        """The first *limit* tweets of the ranking below *after*. Raises Overloaded."""
        return cast("Future[Ranking]", self._reader.worker.submit((limit, after)))

    def rank(self, tweet_id: int) -> Rank:
        """Where the tweet stands. Raises TweetNotFound, TweetDeleted."""
        return self._reader.rank(tweet_id)

    def observe(self, on_batch: Callable[[int, int, float], None], on_rebuild: Callable[[int], object]) -> None:
        """
        Call *on_batch* after each batch, with its writes, stored or refused, how many wait, and the seconds it took.

        *on_rebuild* is called with how many rankings of partitions were rebuilt, those before included. Both are called
        by threads in the midst of work, and must be quick.
        """
        on_rebuild(self.reconciler.rebuilds)
        self._writer.on_batch, self.reconciler.on_rebuild = on_batch, on_rebuild

    def waiting(self) -> int:
        """How many writes wait to be stored."""
        return self._writer.worker.waiting()

    def flush(self) -> None:
        """Start the batches of what was submitted: the more together, the less each costs."""
        self._writer.worker.flush()
        self._reader.worker.flush()

    def tick(self) -> None:
        """Once a second: end what has waited for ten seconds as Overloaded."""
        self._writer.worker.expire()
        self._reader.worker.expire()

    def close(self) -> None:
        """End the threads and connections, and the embedded server; what was accepted is stored before."""
        self._writer.worker.close()
        self._reader.worker.close()
        self.windows.close()
        self.drawings.close()
        self.reconciler.stop()
        is_trustworthy = self.reconciler.is_trustworthy()
        self.index.close()
        self.on_close(is_trustworthy)
        self.database.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_replayed(self, tweet_id: int) -> Future[Any] | StorageError:
        """The outcome of a call that was repeated: the tweet that the first one posted."""
        posted: Future[Any] = Future()

        def complete(found: Future[Any]) -> None:
            if (error := found.exception()) is not None:
                posted.set_exception(error)
            else:
                posted.set_result(Posted(found.result(), replayed=True))

        try:
            self.get(tweet_id).add_done_callback(complete)
        except Overloaded as error:
            return error
        self._reader.worker.flush()
        return posted

    def _with_counts(self, rows: Sequence[Row]) -> tuple[Tweet, ...]:
        live = [row for row in rows if not row.deleted]
        counts = self._reader.counts(live) if live else {}
        if len(counts) < len(live):
            raise IndexUnavailable(TOO_MANY)
        return tuple(tweet_of(row, counts.get(row.id)) for row in rows)

    def _list(self, limit: int, after: int | None, **equal: int | str) -> Page:
        with self.database.reading() as connection:
            rows = log.list_below(connection, LARGEST if after is None else after, limit + 1, **equal)
        return self._page(rows, limit)

    def _page(self, rows: Sequence[Row], limit: int) -> Page:
        return Page(self._with_counts(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)


def _list_chain(connection: Connection, tweet_id: int) -> list[int]:
    """The ids of the tweet and of its ancestors, root last. Raises TweetNotFound."""
    if not (chain := log.list_chains(connection, [tweet_id])):
        raise TweetNotFound
    return sorted(chain, reverse=True)
