"""What another thread does for someone who waits for it, or who is told when it is done."""

import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, cast

from storage.errors import StorageError

Asked = TypeVar("Asked")
Outcome = TypeVar("Outcome")
Result = TypeVar("Result")

Tell = Callable[[], None]

FOREVER = -1


class Ticket(Generic[Asked, Outcome]):
    """Something asked, and its outcome once that is there: then *tell* is called, by the thread that has found it."""

    __slots__ = ("_done", "_tell", "asked", "outcome", "since")

    def __init__(self, asked: Asked, tell: Tell | None = None) -> None:
        self.asked = asked
        self.outcome: Outcome | StorageError | None = None
        self.since = time.monotonic()
        self._tell = tell
        # A bare lock is the quickest thing in Python to wait for: released once, when the outcome is there.
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome; False when it did not come in time."""
        is_there = self._done.acquire(timeout=timeout_s)
        if is_there:
            self._done.release()  # for the next one who waits
        return is_there

    def answer(self, outcome: Outcome | StorageError) -> None:
        """Give the outcome to the one who waits."""
        self.outcome = outcome
        self._done.release()
        if self._tell:
            self._tell()

    def result(self) -> Outcome:
        """The outcome, once it is there. Raises the StorageError that came in its place."""
        if isinstance(self.outcome, StorageError):
            # Its own copy for each thread: one error may be the outcome of many.
            raise type(self.outcome)(*self.outcome.args) from self.outcome
        return cast("Outcome", self.outcome)


class Pending(NamedTuple, Generic[Result]):
    """
    What was begun. `get` waits for its result, or raises why there is none.

    Once its owner was told and it `is_ready`, `get` does not wait; if it is not ready even then, there is more to do.
    """

    get: Callable[[], Result]
    is_ready: Callable[[], bool]
