"""Connections to the log: transactions of every kind, and what a driver raises turned into a StorageError."""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import (
    CannotOpen,
    StorageError,
    StoreBusy,
    StoreConflict,
    StoreDamaged,
    StoreForbidden,
    StoreFull,
    StoreUnavailable,
)
from storage.sql.dialect import Dialect, Kind
from storage.sql.log import LogState
from storage.sql.postgresql import PostgreSQL, prepare_url
from storage.sql.reads import Row
from storage.sql.sqlite import SQLite

DIALECTS: dict[str, type[SQLite] | type[PostgreSQL]] = {"sqlite": SQLite, "postgresql": PostgreSQL}

TRY_FOR_S = 4.0
"""No new try begins later than this after the first; those who wait for the outcome have a limit of their own."""

FIRST_PAUSE_S = 0.02

LOCK_WITHIN_S = 4.0
"""How long a writer waits for the writers of other processes; as `lock_timeout` on PostgreSQL."""

LOCK_TO_MIGRATE_WITHIN_S = 60.0
LOCK_TO_CHECKPOINT_WITHIN_S = 0.5
"""Who writes meanwhile does the same soon."""

USE = "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, with the password percent-encoded"

RESTORE = "put a backup in its place with `simple-twitter restore --force FILE`"
"""What to do about a damaged database."""

Result = TypeVar("Result")


class Database:
    """
    The database of the log: `reading()` and `writing()` open a transaction.

    Only StorageErrors leave a transaction: StoreFull, StoreConflict, StoreForbidden, StoreBusy, StoreUnavailable; a
    statement that is wrong leaves it as it is. After any of them nothing is stored, except that a StoreUnavailable
    which is neither StoreBusy nor StoreForbidden leaves that open when it comes of the commit: its answer was lost.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._reader = dialect.reader()
        self._writer = dialect.writer()
        self._quick = dialect.quick_reads(self._reader)
        self._driver_error: type[Exception] = self._reader.dialect.loaded_dbapi.Error
        self._patient = True
        self._probing = threading.Lock()
        self._probe: Future[LogState] | None = None

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """
        Open a connection to read from.

        With *snapshot* all that is read is of one instant, and may be streamed for minutes; without it, only what one
        statement reads is.
        """
        with self._opened(self._reader, Kind.SNAPSHOT if snapshot else Kind.READING) as connection:
            yield connection

    def find_row(self, tweet_id: int) -> Row | None:
        """The tweet, deleted or not, as of the latest commit; None when there never was one."""
        return self.find_rows([tweet_id]).get(tweet_id)

    def find_rows(self, ids: Collection[int]) -> dict[int, Row]:
        """Those of *ids* that name a tweet, deleted or not, as of the latest commit."""
        with self._translated():
            return self._quick.find_rows(ids)

    def get_state(self) -> LogState:
        """Where the log stands, as of the latest commit."""
        with self._translated():
            return self._quick.get_state()

    def probe(self, within_s: float) -> LogState:
        """
        Where the log stood a moment ago; for a health check. Raises StoreUnavailable after *within_s*.

        The thread that asks is left behind then, and the next call waits for the same answer.
        """
        with self._probing:
            if self._probe is None or self._probe.done():
                self._probe = Future()
                threading.Thread(target=self._answer, args=(self._probe,), name="probe", daemon=True).start()
            probe = self._probe
        try:
            return probe.result(within_s)
        except TimeoutError as error:
            raise StoreUnavailable("the database did not answer") from error

    def _answer(self, probe: "Future[LogState]") -> None:
        try:
            probe.set_result(self.get_state())
        except Exception as error:  # noqa: BLE001  # the caller has it
            probe.set_exception(error)

    @contextmanager
    def writing(self, *, at_length: bool = False) -> Iterator[Connection]:
        """
        Open a transaction that commits at the end of the block, unless the block raises.

        With *at_length* it may take minutes, while other writers wait or are refused.
        """
        kind = Kind.WRITING_AT_LENGTH if at_length else Kind.WRITING
        with self._dialect.write_lock(LOCK_WITHIN_S), self._opened(self._writer, kind) as connection:
            yield connection
            with self._translated(committing=True):
                try:
                    connection.commit()
                except BaseException:
                    connection.invalidate()  # SQLite may have left the transaction open, and nothing else would end it
                    raise

    def keep_trying(self, act: Callable[[], Result]) -> Result:
        """
        What *act* returns, which opens transactions and is called again, some times, after a StoreBusy.

        That says that nothing was stored. A commit whose outcome is unknown raises another error and is not repeated,
        for it may have been stored. Once the tries were in vain, the next ones are single until one succeeds.
        """
        deadline = time.monotonic() + TRY_FOR_S
        pause = FIRST_PAUSE_S
        while True:
            try:
                result = act()
            except StoreBusy:
                if not self._patient or time.monotonic() + pause > deadline:
                    self._patient = False
                    raise
                time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # so that two do not meet again
                pause *= 2
            else:
                self._patient = True
                return result

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a transaction for DDL; the caller commits. Others that migrate wait, and on SQLite all writers."""
        lock = self._dialect.write_lock(LOCK_TO_MIGRATE_WITHIN_S)
        with lock, self._opened(self._writer, Kind.MIGRATING) as connection:
            yield connection

    def checkpoint(self) -> None:
        """
        Run a PASSIVE checkpoint of SQLite's write-ahead log: it waits for no reader.

        Raises StoreBusy, and nothing was copied, while another process writes.
        """
        if self._dialect.has_wal_file:
            with self._outside_transactions() as connection:
                self._dialect.checkpoint(connection)

    def truncate_wal(self) -> bool:
        """
        Remove deleted texts from SQLite's write-ahead log, where old pages live on; the database file has none.

        Returns False when a reader still uses the old pages, or another process writes: then call it again.
        """
        if not self._dialect.has_wal_file:
            return True
        try:
            with self._outside_transactions() as connection:
                return self._dialect.truncate_wal(connection)
        except StoreBusy:
            return False

    def check(self) -> None:
        """Check that the database answers and can be used. Raises CannotOpen, StorageError."""
        with self.reading() as connection:
            self._dialect.check(connection)

    def check_whole(self, at_most_bytes: int | None = None) -> None:
        """Check that all is as it was written, unless it takes more than *at_most_bytes*. Raises StoreDamaged."""
        with self.reading() as connection:
            damage = self._dialect.integrity_check(connection, at_most_bytes)
        if damage:
            raise StoreDamaged(f"The database {self.describe()} is damaged ({damage}); {RESTORE}.")

    def server_version(self) -> str:
        """The system and its version, as in "postgresql 18.1"."""
        with self.reading() as connection:
            version = connection.execute(text(self._dialect.version_question)).scalar_one()
        return f"{self._reader.dialect.name} {version}"

    def describe(self) -> str:
        """The URL for a person, without its password."""
        return self._dialect.describe(self._reader.url)

    def close(self) -> None:
        """Close all connections."""
        self._quick.close()
        self._reader.dispose()
        self._writer.dispose()
        self._dialect.close()

    @contextmanager
    def _opened(self, engine: Engine, kind: Kind) -> Iterator[Connection]:
        with self._translated(), engine.connect() as connection:
            connection.execution_options(kind=kind)
            connection.begin()  # now, and not with options that the caller may set
            yield connection

    @contextmanager
    def _outside_transactions(self) -> Iterator[Connection]:
        lock = self._dialect.write_lock(LOCK_TO_CHECKPOINT_WITHIN_S)
        with lock, self._opened(self._writer, Kind.NONE) as connection:
            yield connection

    @contextmanager
    def _translated(self, *, committing: bool = False) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, self._driver_error) as error:
            kind = self._dialect.error_class(error.orig if isinstance(error, DBAPIError) else error)
            if kind is None:
                raise
            if committing and kind is StoreBusy and getattr(error, "connection_invalidated", True):
                kind = StoreUnavailable  # the connection was lost: the commit may have taken effect
            raise kind(_sentence(kind, error)) from error
        except PoolTimeout as error:
            raise StoreBusy("too many ask the database") from error


def read_url(url: str | URL) -> URL:
    """*url* taken apart, if it names a database that there may be. Raises CannotOpen, without a part of a password."""
    try:
        chosen = make_url(prepare_url(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError) as error:
        raise CannotOpen(f"DATABASE_URL is not a database URL; {USE}.") from error
    known = DIALECTS.get(chosen.get_backend_name())
    if known is None:
        raise CannotOpen(f"DATABASE_URL names {chosen.get_backend_name()}, which is not supported; {USE}.")
    known.check_url(chosen)
    return chosen


def open_database(url: str | URL) -> Database:
    """Connect to *url* and see that it answers. Raises CannotOpen."""
    chosen = read_url(url)
    known = DIALECTS[chosen.get_backend_name()]
    try:
        return _opened(known, chosen)
    except CannotOpen:
        raise
    except (StorageError, SQLAlchemyError, OSError) as error:
        advice = RESTORE if isinstance(error, StoreDamaged) else known.advice
        raise CannotOpen(
            f"The database {known.describe(chosen)} cannot be opened ({_reason(error)}); {advice}."
        ) from error


def _opened(known: type[SQLite] | type[PostgreSQL], url: URL) -> Database:
    database = Database(known(url))
    try:
        database.check()
    except BaseException:
        database.close()
        raise
    return database


def _reason(error: Exception) -> str:
    """What the driver said, in one line."""
    cause = error if isinstance(error, DBAPIError) else error.__cause__ or error
    said = getattr(cause, "orig", None) or getattr(cause, "strerror", None) or cause
    return " ".join(str(said).split())


_SAID: dict[type[StorageError], str] = {
    StoreConflict: "a constraint refused a row",
    StoreFull: "the disk of the database is full",
    StoreBusy: "the database is away, or others were in the way",
    StoreUnavailable: "the database did not answer",
}


def _sentence(kind: type[StorageError], error: Exception) -> str:
    if kind is StoreDamaged:
        return f"The database is damaged ({_reason(error)}); {RESTORE}."
    if kind is StoreForbidden:
        return f"The user of the database may not do this ({_reason(error)}); grant it the right to."
    return _SAID[kind]
