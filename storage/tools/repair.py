"""Everything rebuilt from the log, though nothing looks wrong: what `simple-twitter rebuild` does."""

import logging
import time

from storage.rebuild import OnProgress, rebuild
from storage.sql.heads import list_wrong_heads, repair_heads
from storage.tweets import Tweets

OTHERS_TAKE_S = 0.2
"""How often a partition that another process rebuilds is asked for."""

_log = logging.getLogger(__name__)


def rebuild_all(tweets: Tweets, on_progress: OnProgress = lambda _counted: None) -> None:
    """
    Rebuild every ranking from the log, one partition after the other; readers and writers go on.

    Heads that disagree with their entries are mended, and the keys of version 0.1 removed. *on_progress* is called
    with how many tweets were counted so far; what it raises aborts the rebuild. Raises IndexUnavailable.
    """
    with tweets.database.reading() as connection:
        wrong = list_wrong_heads(connection)
    if wrong:
        with tweets.database.writing("writing at length") as connection:
            repair_heads(connection)
        _log.warning("mended the heads of partitions %s: their entries said otherwise", sorted(wrong))
    before = 0
    for partition in range(tweets.store.partitions):

        def show(counted: int, before: int = before) -> None:
            on_progress(before + counted)

        while True:
            counted = rebuild(tweets.database, tweets.index, tweets.store, partition, on_progress=show, insist=True)
            if counted is not None:
                break
            show(0)
            time.sleep(OTHERS_TAKE_S)  # another process is at it
        before += counted
        tweets.reconciler.note_rebuild(partition)
    tweets.index.remove_old(range(tweets.store.partitions))
    tweets.reconciler.catch_up()
