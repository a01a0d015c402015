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
        self._place: dict[int, int] = {}  # name -> place in the arrays
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

    def find(self, name: int | None) -> Node | None:
        """The tweet of that name."""
        at = None if name is None else self._place.get(name)
        if at is None:
            return None
        above = self._parents[at]
        return Node(
            self._ids[at], None if above == NOTHING else self._ids[above], self._partitions[at], self._depths[at]
        )

    def find_line(self, name: int) -> int | None:
        """The line in which the tweet of that name stands."""
        at = self._place.get(name)
        return None if at is None else self._lines[at]

    def add(self, name: int, parent: int | None, node: Node, line: int) -> None:
        """Add a tweet below *parent*, the name of one that was added before."""
        self._place[name] = len(self._ids)
        self._ids.append(node.id)
        self._partitions.append(node.partition)
        self._depths.append(node.depth)
        self._parents.append(NOTHING if parent is None else self._place[parent])
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
