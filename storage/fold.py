"""
The counting, all of it: log entries in, increments out. Pure: no database, no Redis, no clock.

A tweet's count is the count it was posted with plus its live descendants. So an entry is worth one to every ancestor
of its tweet: +1 when it was posted, -1 when it was deleted. A batch, a catch-up and a rebuild are the same fold.
"""

from collections.abc import Callable, Iterable
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


@dataclass(frozen=True, slots=True)
class Change:
    """What some entries do to a ranking: set these counts, add these gains, remove these tweets. No id is in two."""

    added: dict[int, int]
    credited: dict[int, int]
    removed: list[int]


def change(entries: Iterable[Entry], parent_of: Callable[[int], int | None]) -> Change:
    """
    What *entries*, any part of one partition's log in order, do to its ranking.

    *parent_of* is asked for the parents of tweets that have no entry among them. A parent's id is always smaller than
    its child's, so in falling order each tweet has gained all when it is reached, and is visited once however many lie
    below it: O(n log n) in the tweets touched, not tweets x depth.
    """
    parents: dict[int, int | None] = {}
    added: dict[int, int] = {}
    deleted: set[int] = set()
    removed: list[int] = []
    gained: dict[int, int] = {}  # by tweets not yet reached
    order: list[int] = []  # a heap of them, newest first; once for each time that they gain

    def credit(tweet: int | None, gain: int) -> None:
        if tweet is not None:
            heappush(order, -tweet)
            gained[tweet] = gained.get(tweet, 0) + gain

    for entry in entries:
        parents[entry.id] = entry.parent
        credit(entry.parent, entry.sign)
        if entry.sign > 0:
            added[entry.id] = entry.base
        else:
            deleted.add(entry.id)
            if added.pop(entry.id, None) is None:  # else it was posted by one of them, and comes to nothing
                removed.append(entry.id)
    credited: dict[int, int] = {}
    while order:
        tweet = -heappop(order)
        if gain := gained.pop(tweet, 0):
            if tweet in added:
                added[tweet] += gain
            elif tweet not in deleted:
                credited[tweet] = gain
            credit(parents[tweet] if tweet in parents else parent_of(tweet), gain)
    return Change(added, credited, removed)
