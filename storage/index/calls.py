"""
What the index is asked and what it answers: the scripts, their arguments, their replies. Knows no connection.

Each call is one script on the keys of one partition, all in one cluster slot, so it runs as it is on any server.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from storage.errors import IndexDamaged
from storage.fold import Change
from storage.index.keys import (
    NO_COUNT,
    Position,
    keys_of,
    member,
    read_count,
    read_kept,
    read_place,
    read_position,
    staging_by_id,
    write_position,
)
from storage.records import Place


class Script(NamedTuple):
    """A script, and the digest by which a server that has seen it knows it."""

    text: str
    sha: str


class Call(NamedTuple):
    """A script to run on the keys of one partition."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Any]


class Delivery(NamedTuple):
    """A change of one partition's ranking, which leads from one position to another."""

    partition: int
    at: Position
    to: Position
    change: Change


@dataclass(frozen=True, slots=True)
class Stand:
    """
    Where a partition of the index stands: its position, None for none, and how many tweets it ranks.

    `kept` is how many it must rank, where only counted tweets are ranked; else the log knows, and it is None.
    """

    position: Position | None
    cardinality: int
    kept: int | None = None

    @property
    def seq(self) -> int:
        """The last entry it holds, 0 for none."""
        return self.position.seq if self.position else 0


@dataclass(frozen=True, slots=True)
class Folded:
    """Whether the batch was applied, and where the partition stands now."""

    applied: bool
    stand: Stand


@dataclass(frozen=True, slots=True)
class Part:
    """
    A part of one partition's ranking: `above` tweets of that partition rank above the first of `places`.

    `ranked` says of each of the tweets asked about whether it is in the ranking at all.
    """

    stand: Stand
    above: int
    places: list[Place]
    ranked: list[bool]


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of the tweets asked for, None for those not ranked."""

    stand: Stand
    counts: list[int | None]


@dataclass(frozen=True, slots=True)
class Newer:
    """How many ranked tweets of a partition are newer than a tweet, and whether that one is ranked itself."""

    stand: Stand
    newer: int
    is_ranked: bool


def fold_call(delivery: Delivery) -> Call:
    """Apply *delivery*, unless the partition stands elsewhere than where it starts: see fold.lua."""
    partition, at, to, change = delivery
    if change.created is not None:
        return _fold_counted_call(delivery, change.created)
    arguments = chain(
        (write_position(at), write_position(to), len(change.added), len(change.credited)),
        _pairs(change.added),
        map(member, change.credited),
        change.credited.values(),
        map(member, change.removed),
    )
    return Call(_FOLD, keys_of(partition)[:2], [*arguments])


def _fold_counted_call(delivery: Delivery, created: Mapping[int, int]) -> Call:
    """The same for a partition that ranks only counted tweets: see fold_counted.lua."""
    partition, at, to, change = delivery
    arguments = chain(
        (write_position(at), write_position(to), len(change.added), len(created), len(change.credited)),
        _pairs(change.added),
        _pairs(created),
        _pairs(change.credited),
        map(member, change.removed),
    )
    return Call(_FOLD_COUNTED, keys_of(partition)[:3], [*arguments])


def read_folded(answer: Any) -> Folded:
    """What a `fold_call` answers."""
    applied, position, cardinality = answer
    return Folded(bool(applied), _stand(position, cardinality))


def page_call(partition: int, limit: int, after: Place | None, ids: Iterable[int] = ()) -> Call:
    """At most *limit* places below *after*, and which of *ids* are ranked: see page.lua."""
    arguments = [limit, after.count_retweet, member(after.id)] if after else [limit, "", ""]
    return Call(_PAGE, keys_of(partition)[:3], [*arguments, *map(member, ids)])


def read_part(answer: Any) -> Part:
    """What a `page_call` answers. Raises IndexDamaged when a score is no count."""
    position, cardinality, above, rows, ranked = answer
    places = [place for pair in zip(rows[::2], rows[1::2], strict=True) if (place := read_place(*pair))]
    _check_counts(place.count_retweet for place in places)
    return Part(_stand(position, cardinality), above, places, [*map(bool, ranked)])


def counts_call(partition: int, ids: Iterable[int]) -> Call:
    """The counts of *ids*: see counts.lua."""
    return Call(_COUNTS, keys_of(partition)[:3], [*map(member, ids)])


def read_counts(answer: Any) -> Counts:
    """What a `counts_call` or a `check_call` answers, with `NO_COUNT` for a score that is none."""
    position, cardinality, *scores = answer
    counts = [read_count(score) if score else None for score in scores]
    return Counts(_stand(position, cardinality), counts)


def read_right_counts(answer: Any) -> Counts:
    """The same for who shows them. Raises IndexDamaged when a score is no count."""
    counts = read_counts(answer)
    _check_counts(counts.counts)
    return counts


def check_call(partition: int, ids: Iterable[int]) -> Call:
    """The counts of *ids* where the ranking is kept in two orders, held against each other: see check.lua."""
    return Call(_CHECK, keys_of(partition)[:3], [*map(member, ids)])


def newer_call(partition: int, tweet_id: int) -> Call:
    """How many ranked tweets are newer than *tweet_id*: see newer.lua."""
    return Call(_NEWER, keys_of(partition)[:3], [member(tweet_id)])


def read_newer(answer: Any) -> Newer:
    """What a `newer_call` answers."""
    position, cardinality, newer, is_ranked = answer
    return Newer(_stand(position, cardinality), newer, bool(is_ranked))


def swap_call(
    partition: int, staging: str, found: Position | None, to: Position, cardinality: int, *, counted: bool
) -> Call:
    """Put what is staged in the place of the ranking: see swap.lua."""
    keys = [*keys_of(partition)[:3], staging, staging_by_id(staging)]
    position = write_position(to, cardinality if counted else None)
    arguments = [write_position(found) if found else "", position, cardinality, cardinality if counted else 0]
    return Call(_SWAP, keys, arguments)


def drop_call(partition: int) -> Call:
    """Take a partition out: see drop.lua."""
    return Call(_DROP, keys_of(partition)[:3], [])


def _check_counts(counts: Iterable[int | None]) -> None:
    if NO_COUNT in counts:
        raise IndexDamaged("a score is no count")


def _stand(position: bytes | None, cardinality: int) -> Stand:
    return Stand(read_position(position), cardinality, read_kept(position))


def _script(name: str, before: str = "") -> Script:
    """The script of that name, behind the one that is to stand *before* it."""
    folder = Path(__file__).parent / "scripts"
    text = "\n".join((folder / f"{part}.lua").read_text() for part in (before, name) if part)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_FOLD, _SWAP, _DROP = map(_script, ("fold", "swap", "drop"))
_FOLD_COUNTED, _PAGE, _COUNTS, _CHECK, _NEWER = (
    _script(name, before="stand") for name in ("fold_counted", "page", "counts", "check", "newer")
)


def _pairs(numbers: Mapping[int, int]) -> Iterable[Any]:
    return chain.from_iterable((number, member(tweet_id)) for tweet_id, number in numbers.items())
