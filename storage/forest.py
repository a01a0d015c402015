"""The chains of an import: who hangs where, and what every count must be. Pure, and small: millions of tweets fit."""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

NOTHING = -1
"""In place of a parent or a count that is not there; neither can be negative."""


class Node(NamedTuple):
    """A tweet's id and where it hangs; `parent` is the id of its parent."""

    id: int
    parent: int | None
    partition: int
    depth: int


class WrongCount(NamedTuple):
    """A tweet whose count is not the one that its line announced."""

    line: int
    announced: int
    counted: int


class Forest:
    """Tweets under the names that their file gives them, parents before children: about 150 bytes each."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}  # name -> place in the arrays
        self._ids = array("q")
        self._partitions = array("i")
        self._depths = array("i")
        self._parents = array("q")  # their places
        self._lines = array("q")
        self._bases = array("q")
        self._announced = array("q")
        self._live = bytearray()

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, name: int) -> int | None:
        """The place of the tweet of that name, for the other questions."""
        return self._places.get(name)

    def hang(self, tweet_id: int, above: int) -> Node:
        """Where a new tweet hangs below the tweet at *above*."""
        return Node(tweet_id, self._ids[above], self._partitions[above], self._depths[above] + 1)

    def partition_of(self, place: int) -> int:
        """The partition of the tweet at *place*."""
        return self._partitions[place]

    def line_of(self, place: int) -> int:
        """The line of the tweet at *place*."""
        return self._lines[place]

    def add(self, name: int, above: int | None, node: Node, line: int) -> None:
        """Add a tweet below the one at *above*; `weigh` must follow."""
        self._places[name] = len(self._ids)
        self._ids.append(node.id)
        self._partitions.append(node.partition)
        self._depths.append(node.depth)
        self._parents.append(NOTHING if above is None else above)
        self._lines.append(line)

    def weigh(self, *, live: bool, base: int, announced: int | None) -> None:
        """Say of the tweet added last whether it counts, with what it starts, and the count announced for it."""
        self._live.append(live)
        self._bases.append(base)
        self._announced.append(NOTHING if announced is None else announced)

    def wrong_counts(self) -> Iterator[WrongCount]:
        """The tweets whose count is not the announced one, last line first."""
        below = array("q", bytes(8 * len(self)))
        for at in reversed(range(len(self))):
            counted = self._bases[at] + below[at]
            if self._announced[at] not in {NOTHING, counted}:
                yield WrongCount(self._lines[at], self._announced[at], counted)
            if (parent := self._parents[at]) != NOTHING:
                below[parent] += below[at] + self._live[at]
