"""
The index, asked so that its answer is never older than the log was when the question came.

The log's heads are read first, by whichever process wrote them last; an answer counts if the index stands at them or
beyond. So whoever was told that his tweet is posted sees it in the next answer, from every copy of the service.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from storage.errors import IndexUnavailable
from storage.follow import LOOKS, ON_ITS_WAY_S, Follower
from storage.index.ranking import Counts, Part, RankingIndex
from storage.records import Place
from storage.sql.engine import Database
from storage.sql.log import Head
from storage.together import Together

CATCH_UP_WITHIN_S = 1.0
"""How long a reader waits for the index to be brought in step before it is told that it cannot be asked."""

Answer = TypeVar("Answer", Part, Counts)
Heads = dict[int, Head]


class FreshIndex:
    """Answers of the index that hold all that was acknowledged before. Each call may raise IndexUnavailable."""

    def __init__(self, database: Database, index: RankingIndex, follower: Follower) -> None:
        self._database = database
        self._index = index
        self._follower = follower
        self._together = Together(self._ask_counts)

    def pages(self, limit: int, after: Place | None = None) -> list[Part]:
        """At most *limit* places below *after* of each partition."""
        heads = self._database.list_heads()
        return [self._ask(heads, partition, partial(self._index.page, partition, limit, after)) for partition in heads]

    def count(self, partition: int, tweet_id: int) -> int | None:
        """The count of a tweet, None when it is not ranked. Questions that come at the same time share one call."""
        return self._together.ask((partition, tweet_id))

    def counts(self, wanted: Sequence[tuple[int, int]]) -> list[int | None]:
        """The counts of tweets, given as (partition, id), in their order; None for one that is not ranked."""
        return self._ask_counts(wanted)

    def _ask_counts(self, wanted: Sequence[tuple[int, int]]) -> list[int | None]:
        heads = self._database.list_heads()
        found: dict[int, int | None] = {}
        for partition in {partition for partition, _ in wanted}:
            ids = [tweet_id for where, tweet_id in wanted if where == partition]
            answer = self._ask(heads, partition, partial(self._index.counts, partition, ids))
            found.update(zip(ids, answer.counts, strict=True))
        return [found[tweet_id] for _, tweet_id in wanted]

    def _ask(self, heads: Heads, partition: int, question: Callable[[], Answer]) -> Answer:
        """Ask until the answer reaches *heads*: again while a batch may be on its way, then with the index mended."""
        for mended in (False, True):
            for _ in range(LOOKS):
                if self._follower.away or not self._follower.in_step:
                    break
                answer = question()
                if self._follower.reaches(answer.stand, heads[partition]):
                    return answer
                time.sleep(ON_ITS_WAY_S)
            if mended or self._follower.away or not self._follower.catch_up(CATCH_UP_WITHIN_S):
                break
        raise IndexUnavailable(f"partition {partition} of the index is away or being brought in step")
