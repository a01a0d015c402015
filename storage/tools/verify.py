"""
The index compared with the log, count by count, while both are written.

The log is counted as of one instant. Its tweets are compared in portions: the index says their counts, and the position
that these are true for; what was written between the instant and that position is folded into what is expected. So the
comparison is exact, though no writer waits. It takes 12 bytes of memory for each tweet that has retweets.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from storage.errors import IndexUnavailable
from storage.fold import change
from storage.index.ranking import IndexState, RankingIndex
from storage.rebuild import OnProgress, count_tweets
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head
from storage.tweets import Tweets

ASKED_AT_ONCE = 5_000
"""Tweets in one call, and entries in one statement: either takes some milliseconds."""

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


def verify(tweets: Tweets, on_progress: OnProgress = lambda _compared: None) -> list[Difference]:
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
    database: Database, index: RankingIndex, on_progress: OnProgress = lambda _compared: None
) -> list[Difference]:
    """
    The same, of an index as it is; not more than `DIFFERENCES_LIMIT` a partition.

    Raises IndexUnavailable also when the index is rebuilt meanwhile.
    """
    heads = database.get_state().heads
    parents, compared = database.list_parents(), 0
    found: list[Difference] = []
    for partition, head in heads.items():
        comparison = _Comparison(database, index, partition, head)
        counts = count_tweets(database.stream_tweets(partition, head.seq), PackedGains(parents))
        while portion := dict(islice(counts, ASKED_AT_ONCE)):
            comparison.compare(portion)
            compared += len(portion)
            on_progress(compared)
        comparison.finish()
        found += comparison.found
    return sorted(found)


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
        self._partition = partition
        self._seq, self._nonce = head.seq, head.nonce  # up to where entries are folded
        self._live = head.live
        self._gains = Counter[int]()  # since the instant, of all tweets
        self._posted: dict[int, int] = {}  # since then, with the counts that they were posted with
        self._removed: set[int] = set()
        self.found: list[Difference] = []

    def compare(self, counts: Mapping[int, int | None]) -> IndexState:
        """Compare tweets by what they counted at the instant; None for those that were not ranked then."""
        answer = self._index.counts(self._partition, counts)
        self._fold_to(answer.state)
        for (tweet_id, count), in_index in zip(counts.items(), answer.counts, strict=True):
            at_first = self._posted.get(tweet_id, count)
            in_log = None if at_first is None or tweet_id in self._removed else at_first + self._gains[tweet_id]
            if in_log != in_index and len(self.found) < DIFFERENCES_LIMIT:
                self.found.append(Difference(tweet_id, in_log, in_index))
        return answer.state

    def finish(self) -> None:
        """Compare what was posted meanwhile, and what the index ranks and the log does not have, or has as deleted."""
        state = self.compare(dict.fromkeys(self._posted))
        if state.cardinality <= self._live - sum(difference.in_index is None for difference in self.found):
            return
        known = {difference.tweet_id for difference in self.found}
        places = self._index.scan(self._partition)
        while ids := [place.id for place in islice(places, ASKED_AT_ONCE)]:
            rows = self._database.find_rows(ids)
            strange = {each for each in ids if each not in rows or rows[each].body is None} - known
            self.compare(dict.fromkeys(strange))
            known |= strange

    def _fold_to(self, state: IndexState) -> None:
        """Fold what was written up to *state*. Raises IndexUnavailable when that is on another timeline."""
        with self._database.reading() as connection:
            while state.nonce is not None and self._seq < state.seq:
                limit = min(ASKED_AT_ONCE, state.seq - self._seq)
                entries = log.list_entries(connection, self._partition, self._seq, limit)
                if not entries:
                    break
                ancestries = log.list_chains(connection, {each.parent for each in entries if each.parent is not None})
                changed = change(entries, lambda tweet_id: ancestries[tweet_id].parent)  # noqa: B023  # called here
                self._gains.update(changed.credited)
                self._posted |= changed.added
                self._removed.update(changed.removed)
                self._live += sum(entry.sign for entry in entries)
                self._seq, self._nonce = entries[-1].seq, entries[-1].nonce
        if (self._seq, self._nonce) != (state.seq, state.nonce):
            raise IndexUnavailable("the index was rebuilt meanwhile")
