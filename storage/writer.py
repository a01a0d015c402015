"""
The writer: one thread through which all writes of this process go.

It stores each batch (see `storage.batch_worker`) in one transaction with one commit to disk, folds it into the index in
one round trip, and completes its futures. Between two batches it runs checkpoints.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from storage.ancestry import ANCESTORS_LIMIT, load_ancestries
from storage.batch import Batch, Command, Outcome, target_of
from storage.batch_worker import POSTPONED, BatchWorker, Outcomes
from storage.errors import IndexUnavailable, Retryable, StorageError, StoreBusy, StoreConflict, StoreFull
from storage.fold import Ancestry, change
from storage.index.ranking import FoldRequest, RankingIndex
from storage.reconciler import LOOKS, ON_ITS_WAY_S, Reconciler
from storage.records import Posted
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head, Store

BATCH_LIMIT = 512
"""Writes in one transaction. With the limits of their ancestors and texts it bounds how long the others wait."""

CHECKPOINT_EACH = 32
"""Writes after which SQLite's write-ahead log is copied into its file."""

TRUNCATE_AGAIN_S = 0.5
"""When to try again to truncate the write-ahead log, which holds deleted texts, after a reader was in the way."""

_log = logging.getLogger(__name__)


class Writer:
    """Stores writes in batches and folds them into the index."""

    def __init__(
        self,
        database: Database,
        index: RankingIndex,
        reconciler: Reconciler,
        store: Store,
        find: Callable[[int], Future[Posted | None] | StorageError],
        *,
        max_ancestors: int,
        queue_limit: int,
        ancestries_kept: int,
    ) -> None:
        self._database = database
        self._index = index
        self._reconciler = reconciler
        self._store = store
        self._ancestries: dict[int, Ancestry] = {}  # of each tweet there those of all its ancestors too
        self._ancestries_kept = ancestries_kept
        self._find = find
        self._max_ancestors = max_ancestors
        self.on_batch: Callable[[int, int, float], None] = lambda *_: None
        """See `Tweets.observe`."""
        self._heads: dict[int, Head] = {}  # of the partitions that this process has locked, as it left them
        self._not_copied = 0
        self._truncate_at: float | None = time.monotonic()  # the last writer may have been killed before it did
        """When to truncate the write-ahead log; None while it holds no deleted text."""
        self.worker: BatchWorker[Command, Posted | None] = BatchWorker(
            "writer", self._handle, batch_limit=BATCH_LIMIT, queue_limit=queue_limit, rest=self._rest
        )

    def _handle(self, commands: list[Command]) -> Outcomes[Posted | None]:
        """Store a batch and fold it. The outcome of a repeated call is a future of the reader, which finds it."""
        began = time.monotonic()
        with self._reconciler.batch:
            outcomes = self._outcomes(commands)
        stored = sum(outcome is not POSTPONED for outcome in outcomes)
        self._not_copied += stored
        try:  # before the futures are done: a client that has its answer finds its write counted
            self.on_batch(stored, self.worker.waiting(), time.monotonic() - began)
        except Exception:  # noqa: BLE001  # what is stored is stored
            _log.exception("a batch was not counted in the metrics")
        return [self._find(outcome) if isinstance(outcome, int) else outcome for outcome in outcomes]

    def _outcomes(self, commands: list[Command], tries: int = 3) -> list[Outcome]:
        """
        Store *commands* in one transaction; if that is refused, each in its own, and again, *tries* in all.

        Another host may store a key of theirs after we looked: the refusal came of its commit, and the next try finds
        the key. A batch whose commit has an unknown outcome is not tried again: all of it may have been stored. Each
        of its writes ends as StoreUnavailable, and a client that gave an idempotency key can find out by asking again.
        """
        try:
            return self._store_batch(commands)
        except (Retryable, StoreFull) as error:
            return [error] * len(commands)
        except Exception as error:  # noqa: BLE001  # each future must be completed
            if tries == 1 or not isinstance(error, StorageError):
                _log.exception("a batch failed")
            if tries == 1:
                return [error if isinstance(error, StorageError) else StorageError("a write failed")] * len(commands)
            self._ancestries = {}  # the log may have gone back, and give these ids to other tweets
            return [outcome for command in commands for outcome in self._outcomes([command], tries - 1)]

    def _store_batch(self, commands: list[Command]) -> list[Outcome]:
        """Commit *commands* and fold them. What it raises was raised before the commit, or by it."""
        outcomes, batch = self._database.keep_trying(lambda: self._append(commands))
        # It is stored, and that is the answer whatever happens now: a second try would store it twice.
        try:
            self._heads |= batch.heads
            if self._truncate_at is None and any(isinstance(command, int) for command in commands):
                self._truncate_at = time.monotonic()
            batch.ancestries.update(batch.posted)
            self._fold(batch)
        except Exception:  # noqa: BLE001  # the reconciler folds it
            _log.exception("a batch was stored but not folded yet")
            for partition in batch.entries:
                self._reconciler.mark_stale(partition)
        return outcomes

    def _append(self, commands: list[Command]) -> tuple[list[Outcome], Batch]:
        targets = [target for command in commands if (target := target_of(command)) is not None]
        if len(self._ancestries) > self._ancestries_kept:
            self._ancestries = {}
        with self._database.writing() as connection:
            left_out = load_ancestries(connection, self._ancestries, targets, ANCESTORS_LIMIT)
            batch = Batch(connection, self._store, self._ancestries, left_out, self._max_ancestors)
            batch.lock(commands)
            for partition, head in batch.before.items():
                left = self._heads.get(partition, head)
                if left != head and log.find_nonce(connection, partition, left.seq) != left.nonce:
                    # What is in memory may be of tweets that are gone, whose ids others have now.
                    self._heads = {}
                    raise StoreConflict("the log went back to an earlier entry")  # each is tried again, without them
            return batch.append(commands, time.time_ns() // 1_000_000), batch

    def _fold(self, batch: Batch) -> None:
        """
        Fold what *batch* appended, and see that the index stands where it ends, with as many tweets as the log.

        Another process may have stored its batch before ours and be about to fold it: then ours waits its turn.
        """
        requests = [
            FoldRequest(
                partition,
                batch.before[partition],
                batch.heads[partition],
                change(entries, lambda tweet_id: batch.ancestries[tweet_id].parent),
            )
            for partition, entries in batch.entries.items()
            if self._reconciler.is_current(partition)
        ]
        for _ in range(LOOKS):
            if not requests:
                return
            early = []
            for request, answer in zip(requests, self._index.fold_all(requests), strict=True):
                if isinstance(answer, IndexUnavailable):
                    _log.warning("a batch was stored but not folded yet: %s", answer.__cause__)
                    self._reconciler.mark_unavailable(request.partition, answer)
                elif answer.nonce is not None and answer.seq < request.before.seq:
                    early.append(request)
                elif not answer.matches(request.after):  # beyond it, it may be on a timeline that the log has left
                    self._reconciler.mark_stale(request.partition)
            requests = early
            if requests:
                time.sleep(ON_ITS_WAY_S)
        for request in requests:
            self._reconciler.mark_stale(request.partition)

    def _rest(self) -> float | None:
        """Run the checkpoints that are due; not within the commits, for which clients wait."""
        now = time.monotonic()
        truncate = self._truncate_at is not None and self._truncate_at <= now
        if truncate or self._not_copied >= CHECKPOINT_EACH:
            self._not_copied = 0
            is_done = False
            try:
                is_done = self._database.checkpoint(truncate=truncate)
            except StoreBusy:
                pass  # another process writes
            except StorageError as error:
                _log.warning("no checkpoint of the write-ahead log: %s", error.__cause__)
            if truncate:
                self._truncate_at = None if is_done else now + TRUNCATE_AGAIN_S
        return None if self._truncate_at is None else max(0.0, self._truncate_at - now)
