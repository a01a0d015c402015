"""What the service can do with tweets: post, retweet, delete, read, rank. The whole of storage as the app sees it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from types import TracebackType
from typing import Self, TypeVar

from storage.append import Deletion, Job, Replay
from storage.embedded import EmbeddedServer
from storage.errors import IndexUnavailable, StorageError, TweetDeleted, TweetNotFound
from storage.follow import Follower
from storage.ids import LARGEST
from storage.index.ranking import Counts, Part, RankingIndex
from storage.records import Draft, Health, Page, Place, Posted, Rank, Ranking, Tweet
from storage.sql import log, reads
from storage.sql.engine import Database
from storage.sql.log import Store
from storage.sql.reads import Row
from storage.writer import Writer

CATCH_UP_WITHIN_S = 1.0
"""How long a reader waits for the index to be brought in step before it is told that it cannot be asked."""

COUNTED_AT_MOST = 10_000
"""Descendants that are counted one by one for a reader while the index is away."""

ROWS_KEPT = 2_000
"""Texts kept in memory for the ranking: 20 MB if all were of full length."""

Answer = TypeVar("Answer", Part, Counts)


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
        self.store = store
        self.server = server
        self.follower = Follower(database, index, store)
        self._writer = Writer(
            database, index, self.follower, store, max_ancestors=max_ancestors, queue_limit=queue_limit
        )
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._rows_lock = threading.Lock()
        self._last_top: dict[int, Ranking] = {}

    def start(self) -> None:
        """Bring the index in step, and begin to take writes."""
        with self.database.reading() as connection:
            for partition, head in log.list_heads(connection).items():
                self.follower.know(partition, head)
        self.follower.catch_up()
        self.follower.start()
        self._writer.start()

    def post(self, draft: Draft) -> Posted:
        """
        Post *draft*, a tweet or a retweet; every ancestor of a retweet gains one.

        Returns when it is on disk. Raises TweetNotFound or TweetDeleted (the target), ChainTooLong, KeyReused,
        TweetDeleted (the tweet that the key had posted), Overloaded.
        """
        outcome = self._write(draft)
        if isinstance(outcome, Replay):
            return Posted(self.get(outcome.tweet_id), replayed=True)
        if outcome is None:
            raise StorageError("a post had no outcome")
        return Posted(outcome)

    def delete(self, tweet_id: int) -> None:
        """
        Delete a tweet: its text goes, its place in the chain stays, each of its ancestors loses one.

        Raises TweetNotFound, TweetDeleted (before), Overloaded.
        """
        self._write(Deletion(tweet_id))

    def get(self, tweet_id: int) -> Tweet:
        """The tweet with its count. Raises TweetNotFound, TweetDeleted."""
        with self.database.reading() as connection:
            row = reads.find_row(connection, tweet_id)
        return self._with_counts([_live(row)])[0]

    def list_chain(self, tweet_id: int) -> tuple[Tweet, ...]:
        """The tweet and its ancestors: target first, root last; deleted ones as tombstones. Raises TweetNotFound."""
        with self.database.reading() as connection:
            rows = reads.list_chain(connection, tweet_id)
        if not rows:
            raise TweetNotFound
        return self._with_counts(rows)

    def list_retweets(self, tweet_id: int, limit: int, after: int | None = None) -> Page:
        """The direct retweets that are not deleted, newest first, older than *after*. Raises TweetNotFound."""
        with self.database.reading() as connection:
            if reads.find_row(connection, tweet_id) is None:
                raise TweetNotFound
            rows = reads.list_retweets(connection, tweet_id, after or LARGEST, limit + 1)
        return self._page(rows, limit)

    def list_by_user(self, user_name: str, limit: int, after: int | None = None) -> Page:
        """The tweets of *user_name*, newest first, older than *after*; empty for nobody's name."""
        with self.database.reading() as connection:
            rows = reads.list_by_user(connection, user_name, after or LARGEST, limit + 1)
        return self._page(rows, limit)

    def list_authors(self, ids: Iterable[int]) -> dict[int, str | None]:
        """The author of each of *ids*, None for a deleted tweet: one read, which does not ask the index."""
        with self.database.reading() as connection:
            rows = reads.list_rows(connection, ids)
        return {row.id: None if row.deleted else row.user_name for row in rows.values()}

    def top(self, limit: int, after: Place | None = None) -> Ranking:
        """The first *limit* tweets of the ranking below *after*."""
        try:
            parts = self._ask_all(lambda partition: self.index.page(partition, limit + 1, after))
        except IndexUnavailable:
            if after is None and (last := self._last_top.get(limit)):
                return last
            raise
        places = nlargest(limit + 1, (place for part in parts for place in part.places))
        rows = self._bodies([place.id for place in places[:limit]])
        tweets = tuple(_tweet(rows[place.id], place.count_retweet) for place in places[:limit] if place.id in rows)
        ranking = Ranking(tweets, places[limit - 1] if len(places) > limit else None)
        if after is None:
            self._last_top[limit] = Ranking(ranking.tweets, ranking.next, stale=True)
        return ranking

    def rank(self, tweet_id: int) -> Rank:
        """Where the tweet stands. Raises TweetNotFound, TweetDeleted."""
        with self.database.reading() as connection:
            row = _live(reads.find_row(connection, tweet_id))
        count = self._ask(row.partition, lambda: self.index.counts(row.partition, [tweet_id])).counts[0]
        if count is None:
            raise TweetDeleted
        parts = self._ask_all(lambda partition: self.index.page(partition, 0, Place(count, tweet_id)))
        return Rank(sum(part.above for part in parts), count, sum(part.stand.cardinality for part in parts))

    def health(self) -> Health:
        """Ask both parts, each within two seconds. Raises nothing."""
        partitions = range(self.store.partitions)
        try:
            with self.database.reading() as connection:
                heads = log.list_heads(connection)
        except StorageError:
            heads = {}
        try:
            stands = [self.index.counts(partition).stand for partition in partitions]
        except StorageError:
            return Health(store=bool(heads), index=False, lag=None)
        positions = [stand.position.seq if stand.position else 0 for stand in stands]
        lag = sum(max(0, heads[p].seq - positions[p]) for p in partitions) if heads else None
        return Health(store=bool(heads), index=True, lag=lag)

    def close(self) -> None:
        """End the threads and connections, and the embedded server; what was accepted is stored before."""
        self._writer.stop()
        self.follower.stop()
        self.index.close()
        if self.server:
            self.server.stop()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, job: Job) -> Tweet | Replay | None:
        outcome = self._writer.write(job)
        if isinstance(outcome, StorageError):
            raise outcome
        return outcome

    def _ask(self, partition: int, question: Callable[[], Answer]) -> Answer:
        """
        Ask the index, and see that its answer holds all that was answered for before the question.

        If it does not, bring it in step and ask again; IndexUnavailable when that does not help.
        """
        for _ in range(2):
            if self.follower.away:
                break
            head = self.follower.known(partition)
            if self.follower.in_step:
                answer = question()
                if self.follower.reaches(answer.stand, head):
                    return answer
            if not self.follower.catch_up(CATCH_UP_WITHIN_S):
                break
        raise IndexUnavailable("the index is away or being brought in step")

    def _ask_all(self, question: Callable[[int], Answer]) -> list[Answer]:
        def about(partition: int) -> Answer:
            return self._ask(partition, lambda: question(partition))

        return [about(partition) for partition in range(self.store.partitions)]

    def _with_counts(self, rows: Sequence[Row]) -> tuple[Tweet, ...]:
        live = [row for row in rows if not row.deleted]
        counts = self._counts(live)
        return tuple(_tweet(row, counts.get(row.id)) for row in rows)

    def _counts(self, rows: Sequence[Row]) -> dict[int, int]:
        """The counts of live tweets: of the index, or, where it cannot say, of the log itself."""
        counts: dict[int, int] = {}
        try:
            for partition in {row.partition for row in rows}:
                ids = [row.id for row in rows if row.partition == partition]
                answer = self._count_in(partition, ids)
                counts |= {tweet: count for tweet, count in zip(ids, answer.counts, strict=True) if count is not None}
        except IndexUnavailable:
            counts = {}
        missing = {row.id: row.base for row in rows if row.id not in counts}
        return counts | self._counts_by_log(missing) if missing else counts

    def _count_in(self, partition: int, ids: Sequence[int]) -> Counts:
        return self._ask(partition, lambda: self.index.counts(partition, ids))

    def _counts_by_log(self, bases: dict[int, int]) -> dict[int, int]:
        with self.database.reading() as connection:
            descendants = reads.count_descendants(connection, list(bases), COUNTED_AT_MOST)
        if descendants is None:
            raise IndexUnavailable("too many retweets to count one by one")
        return {tweet: base + descendants[tweet] for tweet, base in bases.items()}

    def _bodies(self, ids: Sequence[int]) -> dict[int, Row]:
        """The rows of ranked tweets, from memory where possible: texts never change, deleted ones are not ranked."""
        with self._rows_lock:
            found = {tweet: row for tweet in ids if (row := self._rows.get(tweet))}
        missing = [tweet for tweet in ids if tweet not in found]
        if missing:
            with self.database.reading() as connection:
                read = reads.list_rows(connection, missing)
            found |= {tweet: row for tweet, row in read.items() if not row.deleted}
            self._keep(found.values())
        return found

    def _keep(self, rows: Iterable[Row]) -> None:
        with self._rows_lock:
            for row in rows:
                self._rows[row.id] = row
                self._rows.move_to_end(row.id)
            while len(self._rows) > ROWS_KEPT:
                self._rows.popitem(last=False)

    def _page(self, rows: Sequence[Row], limit: int) -> Page:
        return Page(self._with_counts(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)


def _live(row: Row | None) -> Row:
    if row is None:
        raise TweetNotFound
    if row.deleted:
        raise TweetDeleted
    return row


def _tweet(row: Row, count: int | None) -> Tweet:
    return Tweet(row.id, row.user_name, row.title, row.body, row.parent, count, row.created_at)
