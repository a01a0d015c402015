"""Locks between processes: held by an open file, so the kernel frees them when the holder dies."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import StoreBusy
from storage.files import real

POLL_S = 0.00025
"""How often a waiter tries at first: a small fraction of what a batch takes. Later a tenth of what it has waited."""

POLL_SLOWLY_S = 0.02


class FileLock:
    """
    A lock on *path*, between threads as well as processes; not reentrant.

    The file is made when missing and never removed: removing it would let two holders lock two different files.
    """

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        # Not inheritable, or a child process would hold the lock on after us.
        self.fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def hold(self, within_s: float) -> Iterator[None]:
        """
        Hold the lock in the block. Raises StoreBusy when others hold it for longer than *within_s*.

        It polls, because `flock` has no time limit and is not interrupted by a signal; a sleep is.
        """
        began = time.monotonic()
        if not self._threads.acquire(timeout=within_s):
            raise StoreBusy("The database is busy: another thread is writing.")
        try:
            while not self.try_hold():
                waited_s = time.monotonic() - began
                if waited_s >= within_s:
                    raise StoreBusy("The database is busy: another process is writing.")
                time.sleep(max(POLL_S, min(waited_s / 10, POLL_SLOWLY_S)))
            try:
                yield
            finally:
                fcntl.flock(self.fileno, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def try_hold(self, operation: int = fcntl.LOCK_EX) -> bool:
        """Take the lock for as long as it stays open, unless another holder has it. Returns whether it was taken."""
        try:
            fcntl.flock(self.fileno, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_share(self) -> bool:
        """As `try_hold`, but any number of holders may share the lock."""
        return self.try_hold(fcntl.LOCK_SH)

    def close(self) -> None:
        """Close the file, which frees the lock."""
        os.close(self.fileno)


def lock_of_users(database: Path) -> FileLock:
    """
    The lock of the SQLite file *database*: shared by every process that has it open, held by one that replaces it.

    What is written to a file that was replaced under it is lost without an error.
    """
    return FileLock(Path(f"{real(database)}.open.lock"))
