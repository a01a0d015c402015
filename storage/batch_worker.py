"""
Group commit: one thread that handles all items submitted so far as one batch.

While a batch is under way the next one gathers, so the load itself makes batches as large as they need to be. Batches
are never delayed by a timer: `flush` starts one, and the server calls it when a turn of its loop ends.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

from storage.errors import Overloaded, StorageError

WAIT_AT_MOST_S = 10.0
"""How long an item may wait for the batch that it belongs to."""

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


POSTPONED: Final = StorageError("postponed")
"""In the place of an outcome: the item waits for the next batch, before all others. Not for all items of a batch."""

Outcomes = Sequence[Outcome | Future[Outcome] | StorageError]


class BatchFuture(Future[Outcome], Generic[Item, Outcome]):
    """
    The outcome of a submitted item. Completed by the worker's thread, in which the callbacks run as well.

    `result` and `exception` flush the worker before they wait; `concurrent.futures.wait` and `as_completed` do not, and
    would wait in vain. It cannot be cancelled: the item may be in a transaction.
    """

    def __init__(self, worker: "BatchWorker[Item, Outcome]", item: Item) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self.item = item
        self.submitted_at = time.monotonic()
        self._worker = worker

    def result(self, timeout: float | None = None) -> Outcome:
        """
        Wait for the outcome; raise the error that took its place, or TimeoutError after *timeout* seconds.

        Without a timeout an item that was not begun within ten seconds ends as Overloaded.
        """
        error = self.exception(timeout)
        if error is None:
            return super().result()
        # A copy: one error may be the outcome of many, and what the future keeps must hold no frame of its reader.
        raise type(error)(*error.args) from error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result` does and return the error, None when there was none. Raise it by `result` only."""
        if not self.done():
            self._worker.flush()
            if timeout is None:
                with suppress(TimeoutError):
                    return super().exception(WAIT_AT_MOST_S)
                self._worker.expire()
        return super().exception(timeout)


class BatchWorker(Generic[Item, Outcome]):
    """
    A thread and the queue of what it handles next.

    *handle* takes a batch and returns an outcome for each item, in order: a value, the StorageError in its place, a
    Future that has it later, or POSTPONED. *rest*, if given, is called at the start, after each batch and when the
    seconds that it returned last have passed (None: not before the next batch); submitting does not wait for it.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], Outcomes[Outcome]],
        *,
        batch_limit: int,
        queue_limit: int,
        rest: Callable[[], float | None] | None = None,
    ) -> None:
        self._handle = handle
        self._rest = rest
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._waiting: deque[BatchFuture[Item, Outcome]] = deque()
        self._arrival = threading.Condition(threading.Lock())
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to handle what is submitted."""
        self._thread.start()

    def submit(self, item: Item) -> BatchFuture[Item, Outcome]:
        """Queue *item* for the next batch. Raises Overloaded when the queue is full or the worker is closed."""
        future = BatchFuture(self, item)
        with self._arrival:
            if self._closing or len(self._waiting) >= self._queue_limit:
                raise Overloaded("too many calls wait")
            self._waiting.append(future)
        return future

    def flush(self) -> None:
        """Start a batch of what was submitted, or let it be the next one when one is under way."""
        if self._waiting:
            with self._arrival:
                self._arrival.notify()

    def expire(self) -> None:
        """End as Overloaded what has waited for its batch for ten seconds."""
        oldest = time.monotonic() - WAIT_AT_MOST_S
        expired = []
        with self._arrival:
            while self._waiting and self._waiting[0].submitted_at <= oldest:
                expired.append(self._waiting.popleft())
        for future in expired:
            future.set_exception(Overloaded("the call waited too long"))

    def waiting(self) -> int:
        """How many items wait for the next batch."""
        return len(self._waiting)

    def close(self) -> None:
        """Refuse further items, handle those that wait, and end the thread."""
        with self._arrival:
            self._closing = True
            self._arrival.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        # Here, in the one frame that never ends, are the futures kept: the traceback of an error leads to the frames it
        # came through and to their callers, so that a future in one of those would be part of a circle.
        while True:
            rest_s = self._rest() if self._rest else None
            with self._arrival:
                if not self._waiting and not self._closing:
                    self._arrival.wait(rest_s)
                if not self._waiting and self._closing:
                    return
                futures = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_limit))]
            if futures:
                outcomes = self._outcomes([future.item for future in futures])
                postponed = [future for future, each in zip(futures, outcomes, strict=True) if each is POSTPONED]
                with self._arrival:
                    self._waiting.extendleft(reversed(postponed))
                _complete(futures, outcomes)
                del outcomes, postponed
            del futures

    def _outcomes(self, items: list[Item]) -> Outcomes[Outcome]:
        try:
            return self._handle(items)
        except StorageError as error:
            return [error] * len(items)
        except Exception:  # noqa: BLE001  # each future must be completed
            _log.exception("a batch failed")
            return [StorageError("a batch failed")] * len(items)


def _complete(futures: Sequence[Future[Outcome]], outcomes: Outcomes[Outcome]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if isinstance(outcome, Future):
            outcome.add_done_callback(partial(_pass_on, future))
        elif not isinstance(outcome, StorageError):
            future.set_result(outcome)
        elif outcome is not POSTPONED:
            future.set_exception(outcome)


def _pass_on(future: Future[Any], source: Future[Any]) -> None:
    """Complete *future* as *source* was completed."""
    if (error := source.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(source.result())
