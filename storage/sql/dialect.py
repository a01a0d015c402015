"""What the log needs of a database beside SQL: how its transactions begin, and what its errors mean."""

from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Protocol

from sqlalchemy import URL, Connection, Engine

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


class Fault(Enum):
    """What an error of the driver means."""

    FULL = auto()
    """The disk of the database is full."""

    CONFLICT = auto()
    """Another transaction was in the way; this one was taken back whole, and may be tried again."""

    AWAY = auto()
    """The connection was lost or cannot be made; a transaction that was not committing is taken back whole."""

    FORBIDDEN = auto()
    """The user of the database may not do this."""

    REFUSED = auto()
    """A constraint refused a row."""

    DAMAGED = auto()
    """What the database holds is not as it left it."""

    MISTAKE = auto()
    """A statement is wrong: our own fault, to be seen as it is."""

    OTHER = auto()
    """Anything else that kept the database from answering."""


class Dialect(Protocol):
    """One database system. Only these classes know which one it is."""

    version_question: str
    """Gives the version of the server as a text."""

    advice: str
    """What to check when it cannot be opened."""

    @staticmethod
    def check_url(url: URL) -> None:
        """See that *url* is one that we can use, before anything is made. Raises CannotOpen."""

    @property
    def turn(self) -> AbstractContextManager[None]:
        """Held while writing."""

    def reader(self) -> Engine:
        """Connections for those who read."""

    def writer(self) -> Engine:
        """Connections for those who write."""

    def quick_reads(self, reader: Engine) -> QuickReads:
        """The shortest way to read a little."""

    def check(self, connection: Connection) -> None:
        """See that the database is one that we can use. Raises CannotOpen."""

    def find_damage(self, connection: Connection, at_most_bytes: int | None) -> str | None:
        """
        What is wrong with how all is stored, None for nothing; None also for what is larger than *at_most_bytes*.

        Raises StoreDamaged where that is all there is to say.
        """

    def fault(self, error: BaseException | None) -> Fault:
        """What an error of the driver means."""

    def copy_back(self, connection: Connection) -> None:
        """Bring what was written lately to where it is kept, outside of a transaction, without waiting for readers."""

    def forget_deleted(self, connection: Connection) -> bool:
        """Take deleted texts out of what the database keeps beside its tables. False when a reader is in the way."""

    @staticmethod
    def describe(url: URL) -> str:
        """*url* for a person, without anything secret."""

    def close(self) -> None:
        """Let go of what is held beside connections."""
