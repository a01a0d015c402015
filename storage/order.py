"""
The order of all tweets, whichever of them the index holds.

Where it holds only the counted ones, those with a count above 0, the others come after them, newest first. They are
found in the log, and the index says of each whether it counts. The rank of one of them is worked out from how many
tweets are newer, live ones by the log and counted ones by the index, for the very place at which the index stands.
"""

from collections.abc import Iterable, Mapping
from heapq import nlargest

from storage.errors import LayoutChanged
from storage.fresh import FreshIndex
from storage.ids import LARGEST
from storage.index.ranking import Part, Stand
from storage.records import Place, Rank
from storage.sql import counted, log
from storage.sql.counted import Candidate
from storage.sql.engine import Database
from storage.sql.log import LogState, Store
from storage.standing import LOOKS, equals

CANDIDATES_AT_MOST = 20_000
"""Tweets about which the index is asked at once: it takes some 20 ms."""

MORE = 4
"""How many times as many the next time, when too many of them were counted ones."""


class Order:
    """Places and ranks. Safe to use from any thread. Raises IndexUnavailable."""

    def __init__(self, database: Database, index: FreshIndex) -> None:
        self._database = database
        self._index = index

    def places(self, limit: int, after: Place | None = None, state: LogState | None = None) -> list[Place]:
        """The first *limit* places below *after*, as of *state* or later; without it, as of now."""
        state, parts = self._index.pages(limit, after, state=state)
        found = _merged(parts, limit)
        if state.store.ranks_all or len(found) == limit:
            return found
        for _ in range(LOOKS):
            found, exact = self._places_to_the_end(limit, after)
            if exact:
                break
            # Somebody wrote meanwhile. After so many tries a page may show a part of what is just being written.
        return found

    def rank(self, count: int, tweet_id: int) -> Rank | None:
        """Where a tweet with that *count* stands; None when it has another one by now, or the layout changed."""
        state, parts = self._index.pages(0, Place(count, tweet_id))
        above = sum(part.above for part in parts.values())
        stands = {partition: part.stand for partition, part in parts.items()}
        if state.store.ranks_all:
            return Rank(above, count, _ranked(stands))
        try:
            return Rank(above, count, self._total(state.store, stands)) if count else self._rank_uncounted(tweet_id)
        except LayoutChanged:
            return None

    def _rank_uncounted(self, tweet_id: int) -> Rank | None:
        state, answers = self._index.newer(tweet_id)
        if any(answer.is_ranked for answer in answers.values()):
            return None
        stands = {partition: answer.stand for partition, answer in answers.items()}
        with self._database.reading() as connection:
            newer = sum(counted.count_newer(connection, each, stands[each].seq, tweet_id) for each in stands)
        above = _ranked(stands) + newer - sum(answer.newer for answer in answers.values())
        return Rank(above + 1, 0, self._total(state.store, stands))

    def _total(self, store: Store, stands: Mapping[int, Stand]) -> int:
        """How many tweets were live at the places of *stands*. Raises LayoutChanged."""
        total = 0
        with self._database.reading() as connection:
            for partition, head in log.get_state(connection).checked(store).heads.items():
                at = stands[partition].seq
                deletions = counted.count_deletions(connection, partition, at, head.seq) if at < head.seq else 0
                total += head.live - (head.seq - at) + 2 * deletions
        return total

    def _places_to_the_end(self, limit: int, after: Place | None) -> tuple[list[Place], bool]:
        """The same as `places`, and whether all of it is of one instant."""
        below = after.id if after and after.count_retweet == 0 else LARGEST
        state, rest, size, exact = self._database.get_state(), list[Place](), limit, True
        while True:
            with self._database.reading() as connection:
                candidates = counted.list_candidates(connection, below, size)
            _, parts = self._index.pages(limit, after, _by_partition(candidates))
            exact = exact and _are_at(parts, state)
            rest += _uncounted(candidates, parts)
            found = _merged(parts, limit)
            if len(found) + len(rest) >= limit or len(candidates) < size:
                break
            below, size = candidates[-1].id, min(size * MORE, CANDIDATES_AT_MOST)
        counting = {place.id for place in found}  # in vain if all is of one instant
        whole = found + [place for place in rest if place.id not in counting]
        return whole[:limit], exact and self._database.get_state() == state


def _merged(parts: Mapping[int, Part], limit: int) -> list[Place]:
    return nlargest(limit, (place for part in parts.values() for place in part.places))


def _ranked(stands: Mapping[int, Stand]) -> int:
    return sum(stand.cardinality for stand in stands.values())


def _are_at(parts: Mapping[int, Part], state: LogState) -> bool:
    """Whether the index stands at *state* and nowhere else."""
    return parts.keys() == state.heads.keys() and all(
        equals(part.stand, state.store, state.heads[partition]) for partition, part in parts.items()
    )


def _by_partition(candidates: Iterable[Candidate]) -> dict[int, list[int]]:
    ids: dict[int, list[int]] = {}
    for candidate in candidates:
        ids.setdefault(candidate.partition, []).append(candidate.id)
    return ids


def _uncounted(candidates: Iterable[Candidate], parts: Mapping[int, Part]) -> list[Place]:
    """Those of *candidates* that the index does not have, as it has been asked about them."""
    ranked = {partition: iter(part.ranked) for partition, part in parts.items()}
    return [Place(0, each.id) for each in candidates if not next(ranked.get(each.partition, iter(())), False)]
