"""
The writer: one thread through which all writes of this process go.

It stores each batch (see `storage.batch_worker`) in one transaction with one commit to disk, folds it into the index in
one round trip, and completes its futures. Between two batches it runs checkpoints.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from storage.ancestry import ANCESTORS_LIMIT, AncestorCache
from storage.batch import Batch, Command, Outcome, target_of
from storage.batch_worker import POSTPONED, BatchWorker, Outcomes
from storage.errors import IndexUnavailable, Retryable, StorageError, StoreBusy, StoreConflict, StoreFull
from storage.fold import change
from storage.index.ranking import FoldRequest, IndexState, RankingIndex
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
        ancestors: AncestorCache,
        find: Callable[[int], Future[Posted | None] | StorageError],
        *,
        max_ancestors: int,
        queue_limit: int,
    ) -> None:
        self._database = database
        self._index = index
        self._reconciler = reconciler
        self._store = store
        self._ancestors = ancestors
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
        with self._reconciler.batch_on_its_way():
            outcomes = self._outcomes(commands)
        stored = sum(outcome is not POSTPONED for outcome in outcomes)
        self._not_copied += stored
        try:  # before the futures are done: a client that has its answer finds its write counted
            self.on_batch(stored, self.worker.waiting(), time.monotonic() - began)
        except Exception:  # noqa: BLE001  # what is stored is stored
            _log.exception("a batch was not counted in the metrics")
        return [self._find(outcome) if isinstance(outcome, int) else outcome for outcome in outcomes]

    def _outcomes(self, commands: list[Command]) -> list[Outcome]:
        """
        Store *commands* in one transaction; if that is refused, each in its own.

        A batch whose commit has an unknown outcome is not tried again: all of it may have been stored. Each of its
        writes ends as StoreUnavailable, and a client that gave an idempotency key can find out by asking again.
        """
        try:
            return self._store_batch(commands)
        except (Retryable, StoreFull) as error:
            return [error] * len(commands)
        except Exception as error:  # noqa: BLE001  # each future must be completed
            if not isinstance(error, StorageError):
                _log.exception("a batch failed; each of its writes is tried alone")
            self._ancestors.clear()
            return [self._outcome_alone(command) for command in commands]

    def _outcome_alone(self, command: Command) -> Outcome:
        try:
            try:
                return self._store_batch([command])[0]
            except StoreConflict:
                # Another host stored its key since we looked. The refusal came of its commit: now the key is found.
                return self._store_batch([command])[0]
        except (Retryable, StoreFull) as error:
            return error
        except Exception as error:  # noqa: BLE001  # as above
            _log.exception("a write failed")
            return error if isinstance(error, StorageError) else StorageError("a write failed")

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
        with self._database.writing() as connection:
            ancestries, left_out = self._ancestors.load(connection, targets, ANCESTORS_LIMIT)
            batch = Batch(connection, self._store, ancestries, self._max_ancestors)
            now = [each for each in commands if target_of(each) not in left_out] if left_out else commands
            batch.lock(now)
            for partition, head in batch.before.items():
                left = self._heads.get(partition, head)
                if left != head and log.find_nonce(connection, partition, left.seq) != left.nonce:
                    # What is in memory may be of tweets that are gone, whose ids others have now.
                    self._heads = {}
                    raise StoreConflict("the log went back to an earlier entry")  # each is tried again, without them
            outcomes = batch.append(now, time.time_ns() // 1_000_000)
            if left_out:
                decided = iter(outcomes)
                outcomes = [POSTPONED if target_of(each) in left_out else next(decided) for each in commands]
            return outcomes, batch

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
            answers = self._index.fold_all(requests)
            requests = [each for each, answer in zip(requests, answers, strict=True) if self._must_wait(each, answer)]
            if requests:
                time.sleep(ON_ITS_WAY_S)
        for request in requests:
            self._reconciler.mark_stale(request.partition)

    def _must_wait(self, request: FoldRequest, answer: IndexState | IndexUnavailable) -> bool:
        """Whether a batch before this one is under way; where the index is otherwise not as it should be, say so."""
        if isinstance(answer, IndexUnavailable):
            _log.warning("a batch was stored but not folded yet: %s", answer.__cause__)
            self._reconciler.mark_unavailable(request.partition, answer)
            return False
        if answer.matches(request.after):  # beyond it the index may be on a timeline that the log has left
            return False
        if answer.is_before(request.before):
            return True
        self._reconciler.mark_stale(request.partition)
        return False

    def _rest(self) -> float | None:
        """Run the checkpoints that are due; not within the commits, for which clients wait."""
        if self._not_copied >= CHECKPOINT_EACH:
            self._not_copied = 0
            try:
                self._database.checkpoint()
            except StorageError as error:
                _log.warning("no checkpoint of the write-ahead log: %s", error.__cause__)
        if self._truncate_at is None:
            return None
        if (wait_s := self._truncate_at - time.monotonic()) > 0:
            return wait_s
        self._truncate_at = time.monotonic() + TRUNCATE_AGAIN_S
        try:
            if self._database.checkpoint(truncate=True):
                self._truncate_at = None
        except StoreBusy:
            pass  # another process writes
        except StorageError as error:
            _log.warning("deleted texts are still in the write-ahead log: %s", error.__cause__)
        return None if self._truncate_at is None else TRUNCATE_AGAIN_S
