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
from storage.index.ranking import RankingIndex
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
    parents, before = database.list_parents(), 0
    found: list[Difference] = []
    for partition, head in heads.items():
        counts = count_tweets(database.stream_tweets(partition, head.seq), PackedGains(parents))
        found += _compare(database, index, partition, head, counts, lambda done: on_progress(before + done))  # noqa: B023
        before += head.live
    return sorted(found)


def _compare(
    database: Database,
    index: RankingIndex,
    partition: int,
    head: Head,
    counts: Iterator[tuple[int, int]],
    on_progress: OnProgress,
) -> list[Difference]:
    """In what the index of *partition* differs from *counts*, those of the log as of *head* and brought up to date."""
    found: list[Difference] = []
    seq, nonce, live = head[0], head[1], head.live  # up to where entries are folded
    gains = Counter[int]()  # since *head*, of all tweets
    posted: dict[int, int] = {}  # since then, with the counts that they were posted with
    removed = set[int]()

    def compare(expected: Mapping[int, int | None]) -> int:
        """Compare tweets by what they counted as of *head*, None for those not ranked then; how many are ranked now."""
        nonlocal seq, nonce, live
        answer = index.counts(partition, expected)
        state = answer.state
        with database.reading() as connection:
            while state.nonce is not None and seq < state.seq:
                entries = log.list_entries(connection, partition, seq, min(ASKED_AT_ONCE, state.seq - seq))
                if not entries:
                    break
                ancestries = log.list_chains(connection, {each.parent for each in entries if each.parent is not None})
                changed = change(entries, lambda tweet_id: ancestries[tweet_id].parent)  # noqa: B023  # called here
                gains.update(changed.credited)
                posted.update(changed.added)
                removed.update(changed.removed)
                live += sum(entry.sign for entry in entries)
                seq, nonce = entries[-1].seq, entries[-1].nonce
        if (seq, nonce) != (state.seq, state.nonce):
            raise IndexUnavailable("the index was rebuilt meanwhile")
        for (tweet_id, count), in_index in zip(expected.items(), answer.counts, strict=True):
            at_first = posted.get(tweet_id, count)
            in_log = None if at_first is None or tweet_id in removed else at_first + gains[tweet_id]
            if in_log != in_index and len(found) < DIFFERENCES_LIMIT:
                found.append(Difference(tweet_id, in_log, in_index))
        return state.cardinality

    compared = 0
    while portion := dict(islice(counts, ASKED_AT_ONCE)):
        compare(portion)
        compared += len(portion)
        on_progress(compared)
    # What was posted meanwhile; then what the index ranks and the log does not have, or has as deleted.
    if compare(dict.fromkeys(posted)) <= live - sum(difference.in_index is None for difference in found):
        return found
    known = {difference.tweet_id for difference in found}
    places = index.scan(partition)
    while ids := [place.id for place in islice(places, ASKED_AT_ONCE)]:
        rows = database.find_rows(ids)
        strange = {each for each in ids if each not in rows or rows[each].body is None} - known
        compare(dict.fromkeys(strange))
        known |= strange
    return found


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
