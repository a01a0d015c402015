"""
The ranking of a partition, rebuilt from the log beside the old one and swapped for it.

One process at a time rebuilds a partition: it holds a lease in Redis, which it renews while it works. The swap is
refused when the partition has moved meanwhile, because another process brought it up to date; unless the caller
insists: then the partition goes back to where the rebuild began, count and position together, and what was folded
meanwhile is folded again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count as counting
from itertools import islice

from storage.errors import HeadsDisagree, IndexUnavailable, LeaseLost
from storage.index.ranking import LEASE_LOST, LEASE_S, STAGING_LOST, IndexState, RankingIndex
from storage.recount import OnProgress, count_all, no_progress, with_progress
from storage.sql.database import Database
from storage.sql.log import Head, Store

STAGE_AT_ONCE = 10_000
"""Counts in one call: it keeps Redis busy for some 20 ms."""


def rebuild(
    database: Database,
    index: RankingIndex,
    store: Store,
    partition: int,
    *,
    is_needed: Callable[[IndexState, Head], bool] = lambda _state, _head: True,
    insist: bool = False,
    on_progress: OnProgress = no_progress,
) -> bool:
    """
    Rebuild *partition* if *is_needed* once its lease is held; False while another process holds it, or was quicker.

    *on_progress* is called often; what it raises aborts the rebuild, with nothing changed. Raises IndexUnavailable,
    LeaseLost, StoreUnavailable, HeadsDisagree when the log has other entries than its head says.
    """
    try:
        server = index.run_id(partition)
    except IndexUnavailable:  # INFO is forbidden: then a restart of Redis is not noticed
        server = ""
    token = index.acquire(partition, server)
    if token is None:
        return False
    try:
        with _renewed(index, partition, token) as check_lease:
            found = index.counts(partition).state
            head = database.get_state().checked(store).heads[partition]
            if not is_needed(found, head):
                return False
            staged = 0
            counts_of_all = count_all(database, {partition: head.seq})
            with closing(with_progress(counts_of_all, on_progress, counting())) as counts:
                while portion := [(tweet_id, count) for tweet_id, _, count in islice(counts, STAGE_AT_ONCE)]:
                    check_lease()
                    staged += len(portion)
                    if index.stage(partition, token, portion) != staged:
                        raise IndexUnavailable(STAGING_LOST)
            if staged != head.live:
                raise HeadsDisagree(f"partition {partition} has {staged} live tweets, and its head says {head.live}")
            while not (swapped := index.swap(partition, token, found, head, server)) and insist:
                found = index.counts(partition).state
            return swapped
    finally:
        with suppress(IndexUnavailable):
            index.release(partition, token)


@contextmanager
def _renewed(index: RankingIndex, partition: int, token: str) -> Iterator[Callable[[], None]]:
    """Renew the lease during the block, however long the log takes to answer; yields what raises once it is lost."""
    ended, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_S / 4):
            try:
                index.stage(partition, token)
            except LeaseLost:
                lost.set()
                return
            except IndexUnavailable:  # the next call may reach it in time
                continue

    def check() -> None:
        if lost.is_set():
            raise LeaseLost(LEASE_LOST)

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield check
    finally:
        ended.set()
        renewing.join()
