"""
The counting, all of it: log entries in, increments out. Pure: no database, no Redis, no clock.

A tweet's count is the count it was posted with plus its live descendants. So an entry is worth one to every ancestor
of its tweet: +1 when it was posted, -1 when it was deleted. A batch, a catch-up and a rebuild are the same fold.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple


class Entry(NamedTuple):
    """An entry of the log: the tweet `id` was posted (`sign` 1) or deleted (`sign` -1)."""

    seq: int
    nonce: int
    id: int
    parent: int | None
    base: int
    sign: int


class Ancestry(NamedTuple):
    """The parent of a tweet, the partition of its chain, and how many ancestors it has. Never changes."""

    parent: int | None
    partition: int
    depth: int


Worth = tuple[int, int | None, int]
"""A tweet, its parent, and what its ancestors gain by the tweet itself. Not a class: there may be millions."""


@dataclass(frozen=True, slots=True)
class Change:
    """What some entries do to a ranking: set these counts, add these gains, remove these tweets. No id is in two."""

    added: dict[int, int]
    credited: dict[int, int]
    removed: list[int]


def gains(worths: Iterable[Worth], parent_of: Callable[[int], int | None]) -> Iterator[tuple[int, int]]:
    """
    How much each tweet gains by *worths*, as (id, gain) with ids falling: all of *worths*, and the ancestors that gain.

    *worths* come in falling id order; *parent_of* is asked for the ancestors that are not among them. A parent's id is
    always smaller than its child's, so in falling order each tweet is complete when it is reached, and is visited once
    however many lie below it: O(n log n) in the tweets touched, not tweets x depth.
    """
    waiting: dict[int, int] = {}  # gains of tweets not yet reached
    order: list[int] = []  # a heap of them, newest first

    def pass_up(parent: int | None, gain: int) -> None:
        if parent is None or not gain:
            return
        if parent not in waiting:
            heappush(order, -parent)
            waiting[parent] = 0
        waiting[parent] += gain

    def ancestors_above(limit: int) -> Iterator[tuple[int, int]]:
        while order and -order[0] > limit:
            ancestor = -heappop(order)
            if gain := waiting.pop(ancestor):
                yield ancestor, gain
                pass_up(parent_of(ancestor), gain)

    for tweet, parent, own in worths:
        yield from ancestors_above(tweet)
        gain = 0
        if order and order[0] == -tweet:
            heappop(order)
            gain = waiting.pop(tweet)
        yield tweet, gain
        pass_up(parent, gain + own)
    yield from ancestors_above(-1)


def change(entries: Iterable[Entry], parent_of: Callable[[int], int | None]) -> Change:
    """What *entries*, any part of one partition's log in order, do to its ranking."""
    posted: dict[int, Entry] = {}
    removed: dict[int, Entry] = {}
    for entry in entries:
        (posted if entry.sign > 0 else removed)[entry.id] = entry
    passing = posted.keys() & removed.keys()  # posted and deleted within these entries: worth nothing to anyone
    touched = sorted(posted.keys() | removed.keys(), reverse=True)
    worths = (
        (tweet, entry.parent, 0 if tweet in passing else entry.sign)
        for tweet in touched
        for entry in (posted.get(tweet) or removed[tweet],)
    )
    added = {tweet: entry.base for tweet, entry in posted.items() if tweet not in passing}
    credited = {}
    for tweet, gain in gains(worths, parent_of):
        if tweet in added:
            added[tweet] += gain
        elif gain and tweet not in removed:
            credited[tweet] = gain
    return Change(added, credited, [tweet for tweet in removed if tweet not in passing])
