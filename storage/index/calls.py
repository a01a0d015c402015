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
    read_place,
    read_position,
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


class FoldRequest(NamedTuple):
    """A change of one partition's ranking, which leads from one position to another."""

    partition: int
    at: Position
    to: Position
    change: Change


@dataclass(frozen=True, slots=True)
class IndexState:
    """Where a partition of the index stands: its position, None for none, and how many tweets it ranks."""

    position: Position | None
    cardinality: int

    @property
    def seq(self) -> int:
        """The last entry it holds, 0 for none."""
        return self.position.seq if self.position else 0


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Whether the batch was applied, and where the partition stands now."""

    applied: bool
    state: IndexState


@dataclass(frozen=True, slots=True)
class RankingPage:
    """
    A part of one partition's ranking: `above` tweets of that partition rank above the first of `places`.

    `is_taken` says whether a tweet stands at the very place after which it starts.
    """

    state: IndexState
    above: int
    is_taken: bool
    places: list[Place]


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of the tweets asked for, None for those not ranked."""

    state: IndexState
    counts: list[int | None]


def fold_call(delivery: FoldRequest) -> Call:
    """Apply *delivery*, unless the partition stands elsewhere than where it starts: see fold.lua."""
    partition, at, to, change = delivery
    arguments = chain(
        (write_position(at), write_position(to), len(change.added), len(change.credited)),
        _pairs(change.added),
        map(member, change.credited),
        change.credited.values(),
        map(member, change.removed),
    )
    return Call(_FOLD, keys_of(partition)[:2], [*arguments])


def read_folded(answer: Any) -> FoldResult:
    """What a `fold_call` answers."""
    applied, position, cardinality = answer
    return FoldResult(bool(applied), _state(position, cardinality))


def page_call(partition: int, limit: int, after: Place | None) -> Call:
    """At most *limit* places below *after*: see page.lua."""
    arguments = [limit, after.count_retweet, member(after.id)] if after else [limit, "", ""]
    return Call(_PAGE, keys_of(partition)[:2], arguments)


def read_part(answer: Any) -> RankingPage:
    """What a `page_call` answers. Raises IndexDamaged when a score is no count."""
    position, cardinality, above, is_taken, rows = answer
    places = [place for pair in zip(rows[::2], rows[1::2], strict=True) if (place := read_place(*pair))]
    _check_counts(place.count_retweet for place in places)
    return RankingPage(_state(position, cardinality), above, bool(is_taken), places)


def counts_call(partition: int, ids: Iterable[int]) -> Call:
    """The counts of *ids*: see counts.lua."""
    return Call(_COUNTS, keys_of(partition)[:2], [*map(member, ids)])


def read_counts(answer: Any) -> Counts:
    """What a `counts_call` answers, with `NO_COUNT` for a score that is none."""
    position, cardinality, *scores = answer
    counts = [read_count(score) if score else None for score in scores]
    return Counts(_state(position, cardinality), counts)


def read_right_counts(answer: Any) -> Counts:
    """The same for who shows them. Raises IndexDamaged when a score is no count."""
    counts = read_counts(answer)
    _check_counts(counts.counts)
    return counts


def swap_call(partition: int, staging: str, found: Position | None, to: Position, cardinality: int) -> Call:
    """Put what is staged in the place of the ranking: see swap.lua."""
    keys = [*keys_of(partition)[:2], staging]
    return Call(_SWAP, keys, [write_position(found) if found else "", write_position(to), cardinality])


def drop_call(partition: int) -> Call:
    """Remove a partition: see drop.lua."""
    return Call(_DROP, keys_of(partition)[:2], [])


def _check_counts(counts: Iterable[int | None]) -> None:
    if NO_COUNT in counts:
        raise IndexDamaged("a score is no count")


def _state(position: bytes | None, cardinality: int) -> IndexState:
    return IndexState(read_position(position), cardinality)


def _script(name: str) -> Script:
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_FOLD, _SWAP, _DROP, _PAGE, _COUNTS = map(_script, ("fold", "swap", "drop", "page", "counts"))


def _pairs(numbers: Mapping[int, int]) -> Iterable[Any]:
    return chain.from_iterable((number, member(tweet_id)) for tweet_id, number in numbers.items())
