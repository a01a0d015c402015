"""
The ranking of a partition, rebuilt from the log beside the old one and swapped for it.

One process at a time rebuilds a partition: it holds a lease in Redis, which it renews while it works. The swap is
refused when the partition has moved meanwhile, because another process brought it up to date; unless the caller
insists: then the partition goes back to where the rebuild began, count and position together, and what was folded
meanwhile is folded again.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from storage.errors import IndexUnavailable, StoreConflict
from storage.index.ranking import LEASE_S, STAGING_LOST, IndexState, RankingIndex
from storage.sql.database import Database
from storage.sql.log import Store

STAGE_AT_ONCE = 10_000
"""Counts in one call: it keeps Redis busy for some 20 ms."""

OnProgress = Callable[[int], None]
"""Called often, with how many tweets were counted so far; what it raises aborts the counting."""


def rebuild(
    database: Database,
    index: RankingIndex,
    store: Store,
    partition: int,
    is_needed: Callable[[IndexState], bool] = lambda _found: True,
    on_progress: OnProgress = lambda _counted: None,
    *,
    insist: bool = False,
) -> int | None:
    """
    Rebuild *partition* if *is_needed* where it stands once its lease is held; returns how many tweets were counted.

    None while another process holds the lease, or was quicker. *on_progress* is called often; what it raises aborts the
    rebuild, with nothing changed. Raises StoreUnavailable and IndexUnavailable, the last also when the lease is lost,
    or when the log has other entries than its head says.
    """
    token = index.acquire(partition)
    if token is None:
        return None
    try:
        with _renewed(index, partition, token):
            found = index.counts(partition).state
            head = database.get_state().checked(store).heads[partition]
            if not is_needed(found):
                return None
            staged = 0
            counts = count_tweets(database.stream_tweets(partition, head.seq), {})
            while portion := [*islice(counts, STAGE_AT_ONCE)]:
                staged += len(portion)
                if index.stage(partition, token, portion) != staged:
                    raise IndexUnavailable(STAGING_LOST)
                on_progress(staged)
            if staged != head.live:
                raise IndexUnavailable(
                    f"partition {partition} has {staged} live tweets, and its head says {head.live}; "
                    "run `simple-twitter rebuild`, which mends it"
                )
            while not (swapped := index.swap(partition, token, found, head)) and insist:
                found = index.counts(partition).state
            return staged if swapped else None
    finally:
        with suppress(IndexUnavailable):
            index.release(partition, token)


@contextmanager
def _renewed(index: RankingIndex, partition: int, token: str) -> Iterator[None]:
    """Renew the lease during the block, however long the log takes to answer. One that is lost is seen by its use."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_S / 4):
            with suppress(IndexUnavailable):
                index.stage(partition, token)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()


def count_tweets(rows: Iterable[tuple[int, int | None, int, int]], gained: Any) -> Iterator[tuple[int, int]]:
    """
    The live ones of *rows*, which are whole chains as `Database.stream_tweets` gives them, as (id, count).

    It is the fold from place zero, without a heap: each row comes after all that it gains by. *gained*, empty at first,
    is a dict, which takes some 100 bytes for each tweet whose retweets were read before itself, or something smaller
    that acts as one.
    """
    for tweet_id, parent, base, live in rows:
        gain = gained.pop(tweet_id, 0)
        if live:
            yield tweet_id, base + gain
        if parent is not None:
            gained[parent] = gained.get(parent, 0) + gain + live
    for tweet_id in gained:
        raise StoreConflict(f"tweet {tweet_id} has retweets but is not in the log")
