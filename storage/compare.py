"""
The index compared with the log, count by count, while both are written.

First all is read as it comes: what differs then may be wrong, or may have been written meanwhile. So these tweets are
looked at again, exactly: the index says their counts and the position that these are true for, in one instant, and the
log is counted up to that very place. Nobody has to wait for it.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from itertools import count as counting
from typing import NamedTuple

from storage.errors import IndexUnavailable
from storage.index.ranking import RankingIndex
from storage.records import Place
from storage.recount import Breathe, breathing, count, count_all, no_rest
from storage.sql import log
from storage.sql.database import Database

LOOKED_AT_AT_ONCE = 50_000
"""Tweets in one call of the second look: it keeps Redis busy for some 50 ms."""


class Difference(NamedTuple):
    """
    A tweet whose count in the index is not the one of the log; None where it is missing.

    `in_index` is -1 where the index has a score that is no count.
    """

    tweet_id: int
    in_log: int | None
    in_index: int | None


def list_differences(database: Database, index: RankingIndex, breathe: Breathe = no_rest) -> list[Difference]:
    """
    In what the index differs from the log, by rising id.

    *breathe* hears of each tweet of the log, and then of each member of the index. Raises IndexUnavailable, also when
    the index holds another history than the log.
    """
    numbers = counting()
    suspects = _suspects(database, index, breathe, numbers)
    found = [
        difference
        for partition, ids in suspects.items()
        for some in _portions(sorted(ids))
        for difference in _look_again(database, index, partition, some, breathe, numbers)
    ]
    return sorted(found)


def _suspects(database: Database, index: RankingIndex, breathe: Breathe, numbers: Iterator[int]) -> dict[int, set[int]]:
    """By partition, the tweets whose count was one in the log and another in the index, read one after the other."""
    # Negative, so that they rise as they come, newest first; 16 bytes a tweet, where a dict would take 150.
    negatives: dict[int, array[int]] = defaultdict(lambda: array("q"))
    counts: dict[int, array[int]] = defaultdict(lambda: array("q"))
    places = {partition: head.seq for partition, head in database.get_state().heads.items()}
    with closing(breathing(count_all(database, places), breathe, numbers)) as rows:
        for tweet_id, partition, counted in rows:
            negatives[partition].append(-tweet_id)
            counts[partition].append(counted)
    suspects = {}
    for partition in places:
        known = negatives[partition]
        if any(known[at] > known[at + 1] for at in range(len(known) - 1)):  # after an import of older tweets
            order = sorted(range(len(known)), key=known.__getitem__)
            negatives[partition] = array("q", map(known.__getitem__, order))
            counts[partition] = array("q", map(counts[partition].__getitem__, order))
        members = breathing(index.scan(partition), breathe, numbers)
        suspects[partition] = _unlike(negatives[partition], counts[partition], members)
    return suspects


def _unlike(negatives: "array[int]", counts: "array[int]", places: Iterable[Place]) -> set[int]:
    """The tweets that have other *counts* in *places*, or are in one of the two alone."""
    right, wrong = bytearray(len(negatives)), set()
    for place in places:
        at = bisect_left(negatives, -place.id)
        if at < len(negatives) and negatives[at] == -place.id and counts[at] == place.count_retweet:
            right[at] = 1
        else:
            wrong.add(place.id)
    return wrong | {-negatives[at] for at, is_right in enumerate(right) if not is_right}


def _look_again(
    database: Database,
    index: RankingIndex,
    partition: int,
    ids: Collection[int],
    breathe: Breathe,
    numbers: Iterator[int],
) -> Iterator[Difference]:
    """Those of *ids* whose count at one place of the log is not the one of the index at that place."""
    answer = index.counts(partition, ids)
    with database.reading() as connection:
        at = answer.state
        if at.nonce is None or log.find_nonce(connection, partition, at.seq) != at.nonce:
            raise IndexUnavailable("the index was brought in step meanwhile")
    wanted = set(ids)
    with closing(breathing(database.stream_tweets(partition, at.seq), breathe, numbers)) as rows:
        in_log = {tweet_id: counted for tweet_id, _, counted in count(rows) if tweet_id in wanted}
    for tweet_id, found in zip(ids, answer.counts, strict=True):
        right = in_log.get(tweet_id)
        if right != found:
            yield Difference(tweet_id, right, found)


def _portions(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), LOOKED_AT_AT_ONCE):
        yield ids[start : start + LOOKED_AT_AT_ONCE]
