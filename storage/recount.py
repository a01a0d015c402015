"""The whole log counted."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TypeVar

from storage.errors import StoreConflict
from storage.sql.database import Database

BREATHE_EVERY = 1_000
"""Tweets between two moments in which the caller may rest, say how far it is, or end it all."""

Each = TypeVar("Each")

Breathe = Callable[[int], None]
"""Called often, with how many tweets were read so far; what it raises ends the reading."""


def no_rest(_read: int) -> None:
    """Breathe for a caller who does nothing meanwhile."""


def breathing(things: Iterable[Each], breathe: Breathe, numbers: Iterator[int]) -> Generator[Each]:
    """*things* one by one, which *numbers* count on, with some rest in between."""
    for thing, number in zip(things, numbers, strict=False):
        if number % BREATHE_EVERY == 0:
            breathe(number)
        yield thing


def count_all(database: Database, places: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """
    Every live tweet of some partitions as (id, partition, count) by the log alone, one partition after the other.

    *places* has the seq of the last entry that is to count, by partition.
    """
    for partition, seq in places.items():
        yield from count(database.stream_tweets(partition, seq))


def count(rows: Iterable[tuple[int, int | None, int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """
    The live ones of *rows*, which are whole chains as `Database.stream_tweets` gives them, as (id, partition, count).

    It is the fold from place zero, and `storage.fold.gains` would do: but where every ancestor is among the rows there
    are none to look for in between, which makes it more than twice as fast.
    """
    gained: dict[int, int] = {}  # by tweets not reached yet: each is older than those that hang below it
    for tweet_id, parent, partition, base, live in rows:
        gain = gained.pop(tweet_id, 0)
        if live:
            yield tweet_id, partition, base + gain
        if parent is not None:
            gained[parent] = gained.get(parent, 0) + gain + live
    for tweet_id in gained:
        raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")
