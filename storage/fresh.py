"""
The index, asked so that its answer is never older than the log was when the question came.

The log's heads are read first, by whichever process wrote them last; an answer counts if the index stands at them or
beyond. So whoever was told that his tweet is posted sees it in the next answer, from every copy of the service.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from storage.errors import IndexUnavailable
from storage.index.ranking import Counts, RankingIndex, RankingPage
from storage.reconciler import Reconciler
from storage.records import Place
from storage.sql.engine import Database
from storage.sql.log import LogState
from storage.standing import LOOKS, reaches

CATCH_UP_WITHIN_S = 1.0
"""How long a reader waits for the index to be brought in step before it is told that it cannot be asked."""

Answer = TypeVar("Answer", RankingPage, Counts)
Count = int | None | IndexUnavailable
"""The count of a tweet, None when it is not live there, or why nobody can say."""


class FreshIndex:
    """Answers of the index that hold all that was acknowledged before."""

    def __init__(self, database: Database, index: RankingIndex, reconciler: Reconciler) -> None:
        self._database = database
        self._index = index
        self._reconciler = reconciler

    def pages(self, limit: int, after: Place | None = None, state: LogState | None = None) -> dict[int, RankingPage]:
        """
        At most *limit* places below *after* of each partition, as of *state*, just read, or later.

        Raises IndexUnavailable.
        """
        state = state or self._database.get_state()
        parts = self._ask(state, state.heads, lambda chosen: self._index.pages(chosen, limit, after))
        if len(parts) < len(state.heads):
            raise IndexUnavailable("the index is away or being brought in step, or a part of it")
        return parts

    def count(self, partition: int, tweet_id: int) -> int | None:
        """The count of a tweet, None when it is not live there. Raises IndexUnavailable."""
        (count,) = self.counts([(partition, tweet_id)])
        if isinstance(count, IndexUnavailable):
            raise IndexUnavailable(*count.args) from count
        return count

    def counts(self, wanted: Sequence[tuple[int, int]], state: LogState | None = None) -> list[Count]:
        """The counts of tweets, given as (partition, id), in their order; as of *state*, just read, or later."""
        state = state or self._database.get_state()
        ids: dict[int, list[int]] = {}
        for partition, tweet_id in wanted:
            ids.setdefault(partition, []).append(tweet_id)
        answers = self._ask(state, ids, lambda chosen: self._index.counts_all({p: ids[p] for p in chosen}))
        found: dict[int, Count] = {}
        for partition, those in ids.items():
            if partition in answers:
                found.update(zip(those, answers[partition].counts, strict=True))
            else:
                found.update(dict.fromkeys(those, IndexUnavailable(f"partition {partition} of the index cannot say")))
        return [found.get(tweet_id) for _, tweet_id in wanted]

    def _ask(
        self,
        state: LogState,
        partitions: Collection[int],
        question: Callable[[list[int]], list[Answer | IndexUnavailable]],
    ) -> dict[int, Answer]:
        """The answers of those partitions that reach *state*, if need be with the index mended."""
        found = self._look(state, partitions, question)
        missing = [partition for partition in partitions if partition not in found]
        if any(not self._reconciler.is_unavailable(partition) for partition in missing):
            with suppress(IndexUnavailable):  # some other part of it may be away
                self._reconciler.catch_up(CATCH_UP_WITHIN_S)
            found |= self._look(state, missing, question)
        return found

    def _look(
        self,
        state: LogState,
        partitions: Collection[int],
        question: Callable[[list[int]], list[Answer | IndexUnavailable]],
    ) -> dict[int, Answer]:
        """Ask, again while a batch may be on its way, for answers that reach *state*."""
        found: dict[int, Answer] = {}
        for _ in range(LOOKS):
            asked = [p for p in partitions if p not in found and self._reconciler.is_current(p)]
            for partition, answer in zip(asked, question(asked), strict=True):
                if isinstance(answer, IndexUnavailable):
                    self._reconciler.mark_unavailable(partition, answer)
                elif reaches(answer.state, state.store, state.heads[partition]):
                    found[partition] = answer
            if len(found) == len(partitions) or not asked:
                break
            self._reconciler.wait_for_batch()
        return found
