"""The whole log counted, and the index compared with that."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from storage.errors import StoreConflict
from storage.fold import Worth, gains
from storage.index.ranking import RankingIndex
from storage.sql import log
from storage.sql.engine import Database


class Difference(NamedTuple):
    """A tweet whose count in the index is not the one of the log; None where it is missing."""

    tweet_id: int
    in_log: int | None
    in_index: int | None


def count_all(connection: Connection, partitions: Collection[int] | None = None) -> Iterator[tuple[int, int, int]]:
    """
    Every live tweet, or those of *partitions*, as (id, partition, count) by the log alone, newest first.

    It is the fold from place zero.
    """
    partition = base = live = 0

    def worths() -> Iterator[Worth]:
        nonlocal partition, base, live
        for tweet_id, parent, partition, base, live in log.stream_all(connection, partitions):  # noqa: B007  # seen below
            yield tweet_id, parent, live

    # Every tweet of these chains is among the worths: the gains come in step with the rows, and no parent is asked for.
    for tweet_id, gain in gains(worths(), _never_asked):
        if live:
            yield tweet_id, partition, base + gain


def list_differences(database: Database, index: RankingIndex) -> list[Difference]:
    """In what the index differs from the log, by rising id."""
    with database.reading(snapshot=True) as connection:
        partitions = log.get_store(connection).partitions
        in_log = {tweet: count for tweet, _, count in count_all(connection)}
    places = (place for partition in range(partitions) for place in index.scan(partition))
    in_index = {place.id: place.count_retweet for place in places}
    wrong = [tweet for tweet, count in in_log.items() if in_index.get(tweet) != count]
    unknown = [tweet for tweet in in_index if tweet not in in_log]
    return [Difference(tweet, in_log.get(tweet), in_index.get(tweet)) for tweet in sorted(wrong + unknown)]


def _never_asked(tweet_id: int) -> int | None:
    raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")
