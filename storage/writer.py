"""
The writer: one thread through which all writes of this process go.

It takes whatever waits as one batch: one transaction, one commit to disk, one round trip to Redis. While a batch is on
its way the next one gathers (see `storage.batch_worker`).
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from storage.append import Appended, Batch, Command, DeleteTweet, Outcome, Replay, Step, targets_of
from storage.batch_worker import BatchWorker
from storage.errors import (
    IndexUnavailable,
    Retryable,
    StorageError,
    StoreConflict,
    StoreFull,
)
from storage.fold import Link, change
from storage.index.keys import Position
from storage.index.ranking import FoldRequest, FoldResult, RankingIndex
from storage.links import Links
from storage.observer import Observer
from storage.reconciler import Reconciler
from storage.records import Posted
from storage.sql.engine import Database
from storage.sql.log import Store
from storage.standing import LOOKS, ON_ITS_WAY_S, is_before, reaches

BATCH_AT_MOST = 512
"""Writes in one transaction: bounds how long it takes."""

COPY_BACK_EACH = 32
"""Writes after which what they have left in SQLite's write-ahead log is copied back into its file."""

FORGET_AGAIN_S = 0.5
"""When to try again to take deleted texts out of the write-ahead log, after a reader was in the way."""

_log = logging.getLogger(__name__)


class Writer:
    """Stores writes in batches and folds them into the index."""

    def __init__(
        self,
        database: Database,
        index: RankingIndex,
        reconciler: Reconciler,
        store: Store,
        find: Callable[[Replay], Future[Posted | None] | StorageError],
        *,
        max_ancestors: int,
        queue_limit: int,
    ) -> None:
        self._database = database
        self._index = index
        self._reconciler = reconciler
        self._store = store
        self._find = find
        self.observer = Observer()
        self._links = Links(database)
        self._max_ancestors = max_ancestors
        self._not_copied = 0
        self._forget_at: float | None = time.monotonic()  # whoever wrote before us may have been killed before he did
        """When to take deleted texts out of the write-ahead log; None while there are none."""
        self.worker: BatchWorker[Command, Posted | None] = BatchWorker(
            "writer", self._handle, batch_limit=BATCH_AT_MOST, queue_limit=queue_limit, rest=self._rest
        )

    def _handle(self, commands: list[Command]) -> list[Posted | Future[Posted | None] | StorageError | None]:
        """Store a batch and fold it. The outcome of a repeated call is a Future: the reader finds its tweet."""
        began = time.monotonic()
        with self._reconciler.batch_on_its_way():
            outcomes = self._outcomes(commands)
        # First: whoever has an answer is to find his write counted.
        self.observer.wrote(len(commands), self.worker.waiting(), time.monotonic() - began)
        self._not_copied += len(commands)
        return [self._find(outcome) if isinstance(outcome, Replay) else outcome for outcome in outcomes]

    def _rest(self) -> float | None:
        self._copy_back_if_due()
        self._forget_if_due()
        return None if self._forget_at is None else max(0.0, self._forget_at - time.monotonic())

    def _outcomes(self, commands: list[Command]) -> list[Outcome]:
        """
        Store *commands* in one transaction; if that is refused, each in its own.

        A batch whose commit has an unknown outcome is not tried again: all of it may have been stored. Each of its
        writes ends as StoreUnavailable, and whoever gave an idempotency key can find out by asking again.
        """
        try:
            return self._store_batch(commands)
        except (Retryable, StoreFull) as error:
            return [error] * len(commands)
        except Exception:  # noqa: BLE001  # each one who waits must get an answer
            return [self._outcome_alone(command) for command in commands]  # one of them spoils it

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
        appended = self._database.keep_trying(lambda: self._append(commands))
        if self._forget_at is None and any(isinstance(command, DeleteTweet) for command in commands):
            self._forget_at = time.monotonic()
        self._remember(appended)
        self._fold(appended.steps)
        return appended.outcomes

    def _append(self, commands: list[Command]) -> Appended:
        with self._database.writing() as connection:
            self._links.load(targets_of(commands), connection)
            batch = Batch(connection, self._store, self._links, self._max_ancestors)
            return batch.append(commands, now_ms=time.time_ns() // 1_000_000)

    def _remember(self, appended: Appended) -> None:
        for partition, step in appended.steps.items():
            for entry in step.entries:
                if entry.sign > 0:
                    above = self._links.find(entry.parent) if entry.parent is not None else None
                    self._links.add(entry.id, Link(entry.parent, partition, above.depth + 1 if above else 0))

    def _fold(self, steps: dict[int, Step]) -> None:
        """Bring the batch into the index. It is stored already: where this fails, the reconciler does it."""
        ready = {partition: step for partition, step in steps.items() if self._reconciler.is_current(partition)}
        try:
            self._deliver(ready)
        except Exception:  # noqa: BLE001  # it is stored, and that is the answer
            _log.exception("a batch was stored but not folded yet")
            for partition in ready:
                self._reconciler.mark_stale(partition)

    def _deliver(self, steps: dict[int, Step]) -> None:
        """
        Fold *steps*, and see that the index stands where they end, with as many tweets as the log.

        Another process may have stored its batch before ours and be about to fold it: then ours waits its turn.
        """
        waiting = {partition: self._delivery(partition, step) for partition, step in steps.items()}
        for _ in range(LOOKS):
            answers = self._index.fold_all(waiting.values())
            waiting = {
                partition: delivery
                for (partition, delivery), answer in zip(waiting.items(), answers, strict=True)
                if self._must_wait(partition, steps[partition], answer)
            }
            if not waiting:
                return
            time.sleep(ON_ITS_WAY_S)
        for partition in waiting:
            self._reconciler.mark_stale(partition)

    def _must_wait(self, partition: int, step: Step, answer: FoldResult | IndexUnavailable) -> bool:
        """Whether a batch before this one is on its way; where the index is otherwise not as it should be, say so."""
        if isinstance(answer, IndexUnavailable):
            _log.warning("a batch was stored but not folded yet: %s", answer.__cause__)
            self._reconciler.mark_unavailable(partition, answer)
            return False
        if reaches(answer.state, self._store, step.after):
            return False
        if is_before(answer.state, self._store, step.before):
            return True
        self._reconciler.mark_stale(partition)
        return False

    def _delivery(self, partition: int, step: Step) -> FoldRequest:
        at = Position(self._store.id, step.before.seq, step.before.nonce)
        to = Position(self._store.id, step.after.seq, step.after.nonce)
        return FoldRequest(partition, at, to, change(step.entries, self._links.parent_of))

    def _copy_back_if_due(self) -> None:
        # Not left to the commits, by which all would wait for it: now the server has answers to send.
        if self._not_copied < COPY_BACK_EACH:
            return
        self._not_copied = 0
        try:
            self._database.checkpoint()
        except StorageError as error:
            _log.warning("the write-ahead log was not copied back: %s", error.__cause__)

    def _forget_if_due(self) -> None:
        if self._forget_at is None or self._forget_at > time.monotonic():
            return
        self._forget_at = time.monotonic() + FORGET_AGAIN_S
        try:
            if self._database.truncate_wal():
                self._forget_at = None
        except StorageError as error:
            _log.warning("deleted texts are still in the write-ahead log: %s", error.__cause__)
