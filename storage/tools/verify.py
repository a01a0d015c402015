"""
The index compared with the log, count by count, while both are written.

The log is counted as of one instant. Its tweets are compared in portions: the index says their counts, and the position
that these are true for; what was written between the instant and that position is folded into what is expected. So the
comparison is exact, though no writer waits. It takes 12 bytes of memory for each tweet that has retweets.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from storage.errors import IndexUnavailable
from storage.fold import Entry, change
from storage.index.ranking import IndexState, RankingIndex
from storage.rebuild import count_tweets
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head
from storage.tweets import Tweets

ASKED_AT_ONCE = 5_000
"""Tweets in one call, and entries in one statement: either takes some milliseconds."""

PROGRESS_EVERY = 1_000
"""Tweets between two calls of *on_progress*."""

TRIES = 3
"""Comparisons that are begun: each ends when the index is rebuilt meanwhile."""

DIFFERENCES_LIMIT = 100_000
"""Differences that are listed: one more costs memory, and helps no one."""


class Difference(NamedTuple):
    """
    A tweet whose count in the index is not the one of the log; None where it is missing.

    `in_index` is -1 where the index has a score that is no count.
    """

    tweet_id: int
    in_log: int | None
    in_index: int | None


def verify(tweets: Tweets, on_progress: Callable[[int], None] = lambda _: None) -> list[Difference]:
    """
    In what the index differs from the log once it was brought up to date, by rising id; empty when all is right.

    *on_progress* is called with how many tweets were compared; what it raises ends the comparison. Raises
    IndexUnavailable.
    """
    for tries in range(1, TRIES + 1):
        tweets.reconciler.catch_up()
        try:
            return list_differences(tweets.database, tweets.index, on_progress)
        except IndexUnavailable:  # it may have been rebuilt meanwhile
            if tries == TRIES:
                raise
    raise AssertionError


def list_differences(
    database: Database, index: RankingIndex, on_progress: Callable[[int], None] = lambda _: None
) -> list[Difference]:
    """
    The same, of an index as it is; not more than `DIFFERENCES_LIMIT` a partition.

    Raises IndexUnavailable also when the index is rebuilt meanwhile.
    """
    comparisons = [_Comparison(database, index, each, head) for each, head in database.get_state().heads.items()]
    parents, compared = database.list_parents(), 0
    for comparison in comparisons:
        rows = database.stream_tweets(comparison.partition, comparison.seq)
        for tweet_id, count in count_tweets(rows, PackedGains(parents)):
            comparison.add(tweet_id, count)
            compared += 1
            if compared % PROGRESS_EVERY == 0:
                on_progress(compared)
    return sorted(difference for each in comparisons for difference in each.finish())


class PackedGains:
    """The `Gains` of *parents*, ids that rise, in 12 bytes each; other tweets gain nothing."""

    def __init__(self, parents: "array[int]") -> None:
        self._parents = parents
        self._gains = array("i", bytes(4 * len(parents)))

    def pop(self, tweet_id: int, none: int) -> int:
        """As of a dict."""
        at = bisect_left(self._parents, tweet_id)
        if at == len(self._parents) or self._parents[at] != tweet_id:
            return none
        gain, self._gains[at] = self._gains[at], 0
        return gain

    def get(self, tweet_id: int, _none: int) -> int:
        """As of a dict; for *parents* alone."""
        return self._gains[bisect_left(self._parents, tweet_id)]

    def __setitem__(self, tweet_id: int, gain: int) -> None:
        self._gains[bisect_left(self._parents, tweet_id)] = gain

    def __iter__(self) -> Iterator[int]:
        return (tweet_id for tweet_id, gain in zip(self._parents, self._gains, strict=True) if gain)


class _Comparison:
    """One partition: what its log makes of its tweets, brought to where the index stands whenever it is asked."""

    def __init__(self, database: Database, index: RankingIndex, partition: int, head: Head) -> None:
        self._database = database
        self._index = index
        self.partition = partition
        self.seq, self._nonce = head.seq, head.nonce  # up to where entries are folded
        self._live = head.live
        self._gains = Counter[int]()  # since the instant, by the tweets that were there then
        self._posted: dict[int, int] = {}  # since then, with their counts
        self._removed: set[int] = set()
        self._waiting: list[tuple[int, int]] = []
        self._found: list[Difference] = []

    def add(self, tweet_id: int, count: int) -> None:
        """Compare a live tweet, sooner or later."""
        self._waiting.append((tweet_id, count))
        if len(self._waiting) == ASKED_AT_ONCE:
            self._compare()

    def finish(self) -> list[Difference]:
        """The differences, once all is added."""
        self._compare()
        state = self._ask(list(self._posted))
        missing = sum(difference.in_index is None for difference in self._found)
        if state.cardinality > self._live - missing:
            self._find_strangers()
        return self._found

    def _compare(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._ask([tweet_id for tweet_id, _ in waiting], dict(waiting))

    def _ask(self, ids: list[int], counts: dict[int, int] | None = None) -> IndexState:
        """Compare *ids*, which counted *counts* at the instant: not ranked, or posted since, where it has none."""
        answer = self._index.counts(self.partition, ids)
        self._fold_to(answer.state)
        for tweet_id, in_index in zip(ids, answer.counts, strict=True):
            in_log = self._posted.get(tweet_id)
            if counts and tweet_id in counts and tweet_id not in self._removed:
                in_log = counts[tweet_id] + self._gains[tweet_id]
            if in_log != in_index and len(self._found) < DIFFERENCES_LIMIT:
                self._found.append(Difference(tweet_id, in_log, in_index))
        return answer.state

    def _fold_to(self, state: IndexState) -> None:
        """Fold what was written up to *state*. Raises IndexUnavailable when that is on another timeline."""
        with self._database.reading() as connection:
            while state.nonce is not None and self.seq < state.seq:
                limit = min(ASKED_AT_ONCE, state.seq - self.seq)
                entries = log.list_entries(connection, self.partition, self.seq, limit)
                if not entries:
                    break
                ancestries = log.list_chains(connection, {each.parent for each in entries if each.parent is not None})
                self._fold(entries, lambda tweet_id: ancestries[tweet_id].parent)  # noqa: B023  # called right here
        if (self.seq, self._nonce) != (state.seq, state.nonce):
            raise IndexUnavailable("the index was rebuilt meanwhile")

    def _fold(self, entries: list[Entry], parent_of: Callable[[int], int | None]) -> None:
        changed = change(entries, parent_of)
        for tweet_id, gain in changed.credited.items():
            if tweet_id in self._posted:
                self._posted[tweet_id] += gain
            else:
                self._gains[tweet_id] += gain
        self._posted |= changed.added
        self._removed.update(changed.removed)
        for tweet_id in changed.removed:
            self._posted.pop(tweet_id, None)
        self._live += sum(entry.sign for entry in entries)
        self.seq, self._nonce = entries[-1].seq, entries[-1].nonce

    def _find_strangers(self) -> None:
        """Find what the index ranks and the log does not have, or has as deleted."""
        known = {difference.tweet_id for difference in self._found}
        some: list[int] = []
        for place in self._index.scan(self.partition):
            some.append(place.id)
            if len(some) == ASKED_AT_ONCE:
                self._check_strangers(some, known)
                some = []
        self._check_strangers(some, known)

    def _check_strangers(self, ids: list[int], known: set[int]) -> None:
        rows = self._database.find_rows(ids)
        strange = [tweet_id for tweet_id in dict.fromkeys(ids) if tweet_id not in rows or rows[tweet_id].body is None]
        self._ask([tweet_id for tweet_id in strange if tweet_id not in known])
        known.update(strange)
