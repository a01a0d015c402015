"""The whole log counted."""

from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import Connection

from storage.errors import StoreConflict
from storage.fold import Worth, gains
from storage.sql import log


def count_all(connection: Connection, partitions: Collection[int] | None = None) -> Iterator[tuple[int, int, int]]:
    """Every live tweet, or those of *partitions*, as (id, partition, count) by the log alone, newest first."""
    return count(log.stream_all(connection, partitions))


def count(rows: Iterable[tuple[int, int | None, int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """
    The live ones of *rows*, which are whole chains as `log.stream_all` gives them, as (id, partition, count).

    It is the fold from place zero.
    """
    partition = base = live = 0

    def worths() -> Iterator[Worth]:
        nonlocal partition, base, live
        for tweet_id, parent, partition, base, live in rows:  # noqa: B007  # seen below
            yield tweet_id, parent, live

    # Every tweet of these chains is among the worths: the gains come in step with the rows, and no parent is asked for.
    for tweet_id, gain in gains(worths(), _never_asked):
        if live:
            yield tweet_id, partition, base + gain


def _never_asked(tweet_id: int) -> int | None:
    raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")
