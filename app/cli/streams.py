"""
The standard streams of a command: closed, full, or with a reader that is gone.

A closed one would be None in Python, and its number would be given to the next file opened: to the database, whose file
every print would then write into. What cannot be said on stderr is dropped; all other failures are one sentence.
"""

import io
import os
import sys
from typing import TYPE_CHECKING

from app import CommandError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

NAMES = ("Standard input cannot be read", "Standard output cannot be written")


class _Stream(io.FileIO):
    """A standard stream; one that was closed fails as any file does that is opened for the other direction."""

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise CommandError(f"{NAMES[0]} ({error.strerror}).") from error

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data) or 0
        except BlockingIOError:
            raise
        except OSError as error:
            if self.fileno() == 2:
                return memoryview(data).nbytes
            if isinstance(error, BrokenPipeError):
                raise
            raise CommandError(f"{NAMES[1]} ({error.strerror}).") from error


def open_streams() -> None:
    """Give the process its three streams. Call it before anything else opens a file."""
    for fileno, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fileno)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # it gets the lowest free number, which is this one
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Stream(0, "r", closefd=False)), "utf-8", "surrogateescape")
    out = io.BufferedWriter(_Stream(1, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(out, "utf-8", "backslashreplace", line_buffering=out.isatty())
    raw = _Stream(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


def finish_output() -> None:
    """Write what was printed, or drop it where that fails: else the interpreter would fail once more as it ends."""
    try:
        sys.stdout.flush()
    except (CommandError, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
