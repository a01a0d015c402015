"""What the log needs of a database beside SQL: how its transactions begin, and what its errors mean."""

from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Protocol

from sqlalchemy import URL, Connection, Engine

from storage.errors import StorageError
from storage.sql.quick import QuickReads


class Kind(Enum):
    """What a transaction is for; the execution option `kind` of its connection says so, and READING is the default."""

    READING = auto()
    """Selects that need not be of one instant: the cheapest there is."""

    SNAPSHOT = auto()
    """Selects that are all of one instant, and may take minutes."""

    WRITING = auto()
    """One batch, in milliseconds."""

    WRITING_AT_LENGTH = auto()
    """An import, or a comparison for which the log stands still: other writers wait, or are refused meanwhile."""

    MIGRATING = auto()
    """DDL: one process at a time, whatever their number."""

    NONE = auto()
    """Statements that must stand outside of any transaction."""


class Dialect(Protocol):
    """One database system. Only these classes know which one it is."""

    version_question: str
    """Gives the version of the server as a text."""

    advice: str
    """What to check when it cannot be opened."""

    has_wal_file: bool
    """Whether there is a write-ahead log that this program copies back and truncates."""

    @staticmethod
    def check_url(url: URL) -> None:
        """Check that *url* can be used, before anything is made. Raises CannotOpen."""

    def write_lock(self, within_s: float) -> AbstractContextManager[None]:
        """Hold what writers of all processes take turns by. Raises StoreBusy after *within_s*."""

    def reader(self) -> Engine:
        """Connections for those who read."""

    def writer(self) -> Engine:
        """Connections for those who write."""

    def quick_reads(self, reader: Engine) -> QuickReads:
        """The shortest way to read a little."""

    def check(self, connection: Connection) -> None:
        """See that the database is one that we can use. Raises CannotOpen."""

    def integrity_check(self, connection: Connection, at_most_bytes: int | None) -> str | None:
        """
        What is wrong with how all is stored, None for nothing; None also for what is larger than *at_most_bytes*.

        Raises StoreDamaged where that is all there is to say.
        """

    def error_class(self, error: BaseException | None) -> type[StorageError] | None:
        """What an error of the driver means; None for a statement that is wrong, to be raised as it is."""

    def checkpoint(self, connection: Connection) -> None:
        """Copy the write-ahead log into the database, as far as no reader needs the old pages; waits for no reader."""

    def truncate_wal(self, connection: Connection) -> bool:
        """Remove deleted texts from the write-ahead log. False when a reader still uses it."""

    @staticmethod
    def describe(url: URL) -> str:
        """*url* for a person, without anything secret."""

    def close(self) -> None:
        """Let go of what is held beside connections."""
