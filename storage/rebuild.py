"""
Rankings built anew from the log, beside the old ones, and swapped for them.

One pass through the log serves all partitions that need it. What somebody else brought in order meanwhile is left as
it is: the swap is refused when a partition has moved. Unless the caller insists: then the partition goes back to where
the rebuild began, count and position together, and what was folded meanwhile is folded again.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from itertools import count as counting

from storage.errors import IndexUnavailable
from storage.index.keys import Position
from storage.index.ranking import RankingIndex
from storage.recount import Breathe, breathing, count_all, no_rest
from storage.sql.database import Database
from storage.sql.log import Store

FILL_AT_ONCE = 10_000
"""Counts held before they are sent."""

FILL_AT_LEAST = 200
"""Counts worth a round trip, however many partitions are built together."""


def rebuild(
    database: Database,
    index: RankingIndex,
    store: Store,
    found: Mapping[int, Position | None],
    *,
    insist: bool = False,
    breathe: Breathe = no_rest,
) -> dict[int, IndexUnavailable]:
    """
    Build the partitions named in *found*, one or more, anew, each unless it moves from the position found there.

    With *insist* also then. *breathe* is called often; what it raises ends the rebuild, with nothing changed. Returns
    those that could not be reached. Raises StoreUnavailable, StoreReplaced.
    """
    lost: dict[int, IndexUnavailable] = {}
    staging = {partition: index.stage(partition) for partition in found}
    sizes = dict.fromkeys(found, 0)
    heads = database.get_state().checked(store).heads
    places = {partition: heads[partition].seq for partition in found}
    counts_of_all = breathing(count_all(database, places), breathe, counting())
    with closing(_in_portions(counts_of_all, len(found))) as portions:
        for partition, counts in portions:
            if partition not in lost:
                try:
                    index.fill(staging[partition], counts)
                    sizes[partition] += len(counts)
                except IndexUnavailable as error:
                    lost[partition] = error
    for partition in found.keys() - lost.keys():
        head = heads[partition]
        to = Position(store.id, head.seq, head.nonce)
        try:
            swap = partial(index.swap, partition, staging[partition])
            swapped = swap(found[partition], to, sizes[partition])
            while insist and not swapped:
                swapped = swap(index.counts(partition).state.position, to, sizes[partition])
        except IndexUnavailable as error:
            lost[partition] = error
    return lost


def _in_portions(
    ranked: Iterable[tuple[int, int, int]], partitions: int
) -> Generator[tuple[int, list[tuple[int, int]]]]:
    """Of *ranked*, which is (id, partition, count), the (id, count) of each partition in portions worth sending."""
    enough = max(FILL_AT_LEAST, FILL_AT_ONCE // partitions)
    waiting: dict[int, list[tuple[int, int]]] = {}
    for tweet_id, partition, count in ranked:
        portion = waiting.setdefault(partition, [])
        portion.append((tweet_id, count))
        if len(portion) == enough:
            yield partition, waiting.pop(partition)
    yield from waiting.items()
