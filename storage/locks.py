"""Locks between processes: held by an open file, so the kernel frees them when the holder dies."""

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType


class FileLock:
    """
    A lock on *path*, between threads as well as processes; not reentrant. Use it with `with`, or hold it for long.

    The file is made when missing and never removed: removing it would let two holders lock two different files.
    """

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        # Not inheritable, or a child process would hold the lock on after us.
        self.fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        self._threads.acquire()
        fcntl.flock(self.fileno, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self.fileno, fcntl.LOCK_UN)
        self._threads.release()

    def try_hold(self) -> bool:
        """Take the lock for as long as it stays open, unless somebody else has it. Returns whether it was taken."""
        try:
            fcntl.flock(self.fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of the lock and the file."""
        os.close(self.fileno)
