"""What the service can do with tweets: post, retweet, delete, read, rank. The whole of storage as the app sees it."""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from storage.append import Deletion, Replay
from storage.embedded import EmbeddedServer
from storage.errors import IndexUnavailable, StorageError, TweetDeleted, TweetNotFound
from storage.follow import Follower
from storage.fresh import FreshIndex
from storage.ids import LARGEST
from storage.index.ranking import RankingIndex
from storage.observer import Observer
from storage.order import Order
from storage.pending import FOREVER, Pending, Tell
from storage.reader import Reader
from storage.records import Draft, Health, Page, Place, Posted, Rank, Ranking, Tweet
from storage.scrub import Scrub
from storage.sql import reads
from storage.sql.engine import Database
from storage.sql.log import Store
from storage.sql.reads import Row, tweet_of
from storage.standing import LOOKS, lag
from storage.tops import Tops
from storage.writer import Writer

COUNTED_AT_MOST = 10_000
"""Descendants that are counted one by one for a reader while the index is away."""


class Tweets:
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
        server: EmbeddedServer | None = None,
        max_ancestors: int = 1000,
        queue_limit: int = 1024,
    ) -> None:
        self.database = database
        self.index = index
        self.server = server
        self.follower = Follower(database, index, store)
        self._writer = Writer(
            database, index, self.follower, store, max_ancestors=max_ancestors, queue_limit=queue_limit
        )
        self._index = FreshIndex(database, index, self.follower)
        self._order = Order(database, self._index)
        self._tops = Tops(database, self._order)
        self._reader = Reader(database, self._index, self._tops)
        self.scrub: Scrub | None = None
        """Who compares the index when it is not trusted; None where somebody else does."""

    @property
    def store(self) -> Store:
        """Which database this is, in which layout."""
        return self.follower.store

    def start(self) -> None:
        """Bring the index in step, if only a part of it can be reached, and begin to take writes."""
        try:
            self.follower.catch_up()
        except IndexUnavailable:
            if all(map(self.follower.is_away, range(self.store.partitions))):
                raise
        self.follower.start()
        self._writer.start()
        self._reader.start()

    def post(self, draft: Draft) -> Posted:
        """
        Post *draft*, a tweet or a retweet; every ancestor of a retweet gains one.

        Returns when it is on disk. Raises TweetNotFound or TweetDeleted (the target), ChainTooLong, KeyReused,
        TweetDeleted (the tweet that the key had posted), Overloaded.
        """
        return self.begin_post(draft).get()

    def begin_post(self, draft: Draft, tell: Tell | None = None) -> Pending[Posted]:
        """As `post`, without waiting: *tell* is called, by another thread, when it is done."""
        ticket = self._writer.begin(draft, tell)

        def get() -> Posted:
            outcome = self._writer.outcome_of(ticket)
            if isinstance(outcome, Tweet):
                return Posted(outcome)
            if isinstance(outcome, Replay):
                return Posted(self.get(outcome.tweet_id), replayed=True)
            raise StorageError("a post had no outcome")

        return Pending(get, lambda: not isinstance(ticket.outcome, Replay))

    def delete(self, tweet_id: int) -> None:
        """
        Delete a tweet: its text goes, its place in the chain stays, each of its ancestors loses one.

        Raises TweetNotFound, TweetDeleted (before), Overloaded.
        """
        self._writer.outcome_of(self._writer.begin(Deletion(tweet_id)))

    def get(self, tweet_id: int) -> Tweet:
        """The tweet with its count. Raises TweetNotFound, TweetDeleted."""
        return self.begin_get(tweet_id).get()

    def begin_get(self, tweet_id: int, tell: Tell | None = None) -> Pending[Tweet]:
        """As `get`, without waiting: *tell* is called, by another thread, when it is done."""
        ticket = self._reader.begin_tweet(tweet_id, tell)

        def get() -> Tweet:
            ticket.wait(FOREVER)
            try:
                return ticket.result()
            except IndexUnavailable:
                row = _live(self.database.find_row(tweet_id))
                return tweet_of(row, self._counts([row])[tweet_id])

        return Pending(get, lambda: not isinstance(ticket.outcome, IndexUnavailable))

    def list_chain(self, tweet_id: int) -> tuple[Tweet, ...]:
        """The tweet and its ancestors: target first, root last; deleted ones as tombstones. Raises TweetNotFound."""
        with self.database.reading() as connection:
            rows = reads.list_chain(connection, tweet_id)
        if not rows:
            raise TweetNotFound
        return self._with_counts(rows)

    def list_retweets(self, tweet_id: int, limit: int, after: int | None = None) -> Page:
        """The direct retweets that are not deleted, newest first, older than *after*. Raises TweetNotFound."""
        if self.database.find_row(tweet_id) is None:
            raise TweetNotFound
        with self.database.reading() as connection:
            rows = reads.list_retweets(connection, tweet_id, after or LARGEST, limit + 1)
        return self._page(rows, limit)

    def list_by_user(self, user_name: str, limit: int, after: int | None = None) -> Page:
        """The tweets of *user_name*, newest first, older than *after*; empty for nobody's name."""
        with self.database.reading() as connection:
            rows = reads.list_by_user(connection, user_name, after or LARGEST, limit + 1)
        return self._page(rows, limit)

    def list_authors(self, ids: Collection[int]) -> dict[int, str | None]:
        """The author of each of *ids*, None for a deleted tweet: one read, which does not ask the index."""
        rows = self.database.find_rows(ids)
        return {row.id: None if row.deleted else row.user_name for row in rows.values()}

    def top(self, limit: int, after: Place | None = None) -> Ranking:
        """The first *limit* tweets of the ranking below *after*."""
        return self.begin_top(limit, after).get()

    def begin_top(self, limit: int, after: Place | None = None, tell: Tell | None = None) -> Pending[Ranking]:
        """As `top`, without waiting: *tell* is called, by another thread, when it is done."""
        ticket = self._reader.begin_top(limit, after, tell)

        def get() -> Ranking:
            ticket.wait(FOREVER)
            try:
                return ticket.result()
            except IndexUnavailable:
                return self._tops.page(limit, after)

        return Pending(get, lambda: not isinstance(ticket.outcome, IndexUnavailable))

    def rank(self, tweet_id: int) -> Rank:
        """Where the tweet stands. Raises TweetNotFound, TweetDeleted."""
        for _ in range(LOOKS):
            rank = self._order.rank(self._count_ranked(tweet_id), tweet_id)
            if rank:
                return rank
        raise IndexUnavailable("the count of the tweet changes all the time")

    def health(self) -> Health:
        """Ask both parts, each within two seconds. Raises nothing."""
        try:
            state = self.database.get_state()
        except StorageError:
            state = None
        partitions = range((state.store if state else self.store).partitions)
        answers = self.index.counts_all(dict.fromkeys(partitions, ()))
        stands = [answer.stand for answer in answers if not isinstance(answer, IndexUnavailable)]
        if state is None or len(stands) < len(partitions):
            return Health(store=state is not None, index=len(stands) == len(partitions), lag=None)
        lags = (lag(stand, state.store, state.heads[partition]) for partition, stand in enumerate(stands))
        return Health(store=True, index=True, lag=sum(lags))

    def observe(self, observer: Observer) -> None:
        """Tell *observer* from now on what is done, and of the rebuilds that were necessary before."""
        for _ in range(self.follower.rebuilds):
            observer.rebuilt()
        self.follower.observer = self._writer.observer = observer

    def waiting(self) -> int:
        """How many writes wait to be stored."""
        return self._writer.waiting()

    def hand_over(self) -> None:
        """Let all that was begun with a *tell* be taken in hand, at once: the more together, the less each costs."""
        self._writer.hand_over()
        self._reader.hand_over()

    def tick(self) -> None:
        """Refuse writes that have waited for too long; once a second, where nobody waits for what he began."""
        self._writer.give_up()

    def close(self) -> None:
        """End the threads and connections, and the embedded server; what was accepted is stored before."""
        self._writer.stop()
        self._reader.stop()
        self.follower.stop()
        if self.scrub:
            self.scrub.stop()
        self.index.close()
        if self.server:
            self.server.stop()
        if self.scrub and (not self.server or self.server.ended_in_order):
            self.scrub.leave()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_counts(self, rows: Sequence[Row]) -> tuple[Tweet, ...]:
        live = [row for row in rows if not row.deleted]
        counts = self._counts(live)
        return tuple(tweet_of(row, counts.get(row.id)) for row in rows)

    def _counts(self, rows: Sequence[Row]) -> dict[int, int]:
        """The counts of live tweets: of the index, or, where it cannot say, of the log itself."""
        answer = self._index.counts([(row.partition, row.id) for row in rows])
        counts = {row.id: count for row, count in zip(rows, answer, strict=True) if isinstance(count, int)}
        missing = [row for row in rows if row.id not in counts]
        return counts | self._counts_by_log(missing) if missing else counts

    def _count_ranked(self, tweet_id: int) -> int:
        """The count of a tweet as it is ranked. Raises TweetNotFound, TweetDeleted."""
        for _ in range(2):
            row = _live(self.database.find_row(tweet_id))
            count = self._index.count(row.partition, tweet_id)
            if count is not None:
                return count
            # It was deleted since it was read, or the log was laid out anew: reading it again tells which.
        raise IndexUnavailable("the tweet is on its way to another partition")

    def _counts_by_log(self, rows: Sequence[Row]) -> dict[int, int]:
        with self.database.reading() as connection:
            descendants = reads.count_descendants(connection, [row.id for row in rows], COUNTED_AT_MOST)
        if descendants is None:
            raise IndexUnavailable("too many retweets to count one by one")
        return {row.id: row.base + descendants[row.id] for row in rows}

    def _page(self, rows: Sequence[Row], limit: int) -> Page:
        return Page(self._with_counts(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)


def _live(row: Row | None) -> Row:
    if row is None:
        raise TweetNotFound
    if row.deleted:
        raise TweetDeleted
    return row
