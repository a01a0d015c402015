"""
Answers that cost much, computed one at a time by one thread, and kept for a multiple of the time they took.

So they never use more than a fiftieth of a process, however often they are asked for, and never a thread that others
wait for.
"""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from storage.errors import Overloaded, Retryable, StorageError, StoreBusy

KEPT_TIMES = 50
"""How many times as long as it took to compute an answer is kept."""

BURST_S = 30.0
"""Seconds of computing that may have accumulated: different questions share the fiftieth of the time as well."""

MOST_KEPT = 64
MOST_WAITING = 16
REST_S = 0.0005
"""See `KeptAnswers.rest`."""


class KeptAnswers:
    """Computes answers in a thread of its own. Safe to use from any thread; close it when done."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[Future[Any], float]] = {}
        """The answers, and when each expires, by the clock: never while it is being computed."""
        self._credit_s = BURST_S
        self._credited_at = clock()

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Future[Any]:
        """
        The answer that is kept for *key*, or the one that *compute* will return, computed once for all who ask.

        An error of *compute* that asking again will not help is kept like an answer. Raises Overloaded when too many
        answers are being computed, or were lately.
        """
        with self._lock:
            now = self._clock()
            for old in [each for each, (_, expires_at) in self._kept.items() if expires_at <= now]:
                del self._kept[old]
            if key not in self._kept:
                self._credit_s = min(BURST_S, self._credit_s + (now - self._credited_at) / KEPT_TIMES)
                self._credited_at = now
                waiting = sum(not future.done() for future, _ in self._kept.values())
                if self._credit_s <= 0 or waiting >= MOST_WAITING or self._closing.is_set():
                    raise Overloaded("answers of this kind take too much of the time")
                if len(self._kept) >= MOST_KEPT:
                    del self._kept[next(each for each, (future, _) in self._kept.items() if future.done())]
                answer: Future[Any] = Future()
                answer.set_running_or_notify_cancel()  # it is shared, so that nothing may cancel it
                self._kept[key] = answer, float("inf")
                self._executor.submit(self._compute, key, answer, compute)
            return self._kept[key][0]

    def rest(self) -> None:
        """For *compute* to call after each thousand rows: lets other threads run. Raises StoreBusy when closing."""
        if self._closing.wait(REST_S):
            raise StoreBusy("the service is stopping")

    def close(self) -> None:
        """Stop what is being computed, and wait for that."""
        self._closing.set()
        self._executor.shutdown()

    def _compute(self, key: Hashable, future: Future[Any], compute: Callable[[], Any]) -> None:
        began, keeps = self._clock(), True
        try:
            self.rest()
            complete = partial(future.set_result, compute())
        except BaseException as error:  # noqa: BLE001  # it is for those who asked
            keeps = isinstance(error, StorageError) and not isinstance(error, Retryable)
            # Without its traceback, which would keep all that *compute* had read.
            complete = partial(future.set_exception, error.with_traceback(None) if keeps else error)
        took_s = self._clock() - began
        with self._lock:
            self._credit_s -= took_s
            self._kept[key] = future, began + took_s + KEPT_TIMES * took_s * keeps
        complete()
