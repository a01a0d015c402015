"""The whole log counted."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from storage.errors import StoreConflict
from storage.sql.database import Database

PROGRESS_EVERY = 1_000
"""Tweets between two calls of `OnProgress`."""

Each = TypeVar("Each")

OnProgress = Callable[[int], None]
"""Called often, with how many tweets were read so far; what it raises aborts the reading."""


def no_progress(_read: int) -> None:
    """Do nothing."""


def with_progress(things: Iterable[Each], on_progress: OnProgress, numbers: Iterator[int]) -> Generator[Each]:
    """*things* one by one, which *numbers* count; *on_progress* hears of it now and then."""
    for thing, number in zip(things, numbers, strict=False):
        if number % PROGRESS_EVERY == 0:
            on_progress(number)
        yield thing


class Gains(Protocol):
    """What tweets gain that are not reached yet: a dict, or something smaller."""

    def pop(self, tweet_id: int, none: int, /) -> int:
        """What *tweet_id* gained, *none* for nothing; from then on it has gained nothing."""

    def get(self, tweet_id: int, none: int, /) -> int:
        """What *tweet_id* gained so far."""

    def __setitem__(self, tweet_id: int, gain: int, /) -> None: ...

    def __iter__(self) -> Iterator[int]: ...


def count_all(
    database: Database, places: Mapping[int, int], gains: Callable[[], Gains] = dict
) -> Iterator[tuple[int, int, int]]:
    """
    Every live tweet of some partitions as (id, partition, count) by the log alone, one partition after the other.

    *places* has the seq of the last entry that is to count, by partition; *gains* makes what is kept for each.
    """
    for partition, seq in places.items():
        yield from count(database.stream_tweets(partition, seq), gains())


def count(rows: Iterable[tuple[int, int | None, int, int, int]], gained: Gains) -> Iterator[tuple[int, int, int]]:
    """
    The live ones of *rows*, which are whole chains as `Database.stream_tweets` gives them, as (id, partition, count).

    It is the fold from place zero, and `storage.fold.gains` would do: but where every ancestor is among the rows there
    are none to look for in between, which makes it more than twice as fast. *gained* is empty at first. A dict takes
    some 100 bytes for each tweet whose retweets were read before itself.
    """
    for tweet_id, parent, partition, base, live in rows:
        gain = gained.pop(tweet_id, 0)
        if live:
            yield tweet_id, partition, base + gain
        if parent is not None:
            gained[parent] = gained.get(parent, 0) + gain + live
    for tweet_id in gained:
        raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")
