"""
The database of the log: transactions of every kind, the most frequent reads, and drivers' errors as StorageErrors.

What differs between the databases is in `storage.sql.sqlite` and `storage.sql.postgresql`; each is imported when a URL
names it, because its driver takes 60 ms.
"""

import random
import re
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, Literal, TypeVar

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
    clause,
)
from storage.sql import log, statements
from storage.sql.log import LogState, Row

BACKENDS = {"sqlite": "storage.sql.sqlite", "postgresql": "storage.sql.postgresql"}
"""The modules whose `Backend` is that of a database system."""

TRY_FOR_S = 4.0
"""No further try begins later than this after the first."""

FIRST_PAUSE_S = 0.02

LOCK_WITHIN_S = 4.0
"""How long a writer waits for the writers of other processes; as `lock_timeout` on PostgreSQL."""

LOCK_TO_MIGRATE_WITHIN_S = 60.0
LOCK_TO_CHECKPOINT_WITHIN_S = 0.5
"""The process that writes meanwhile runs a checkpoint soon."""

READ_AT_ONCE = 10_000
"""Rows that `Database.stream_tweets` reads in one statement: some 10 ms."""

USE = "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, with the password percent-encoded"

RESTORE = "put a backup in its place with `simple-twitter restore --force FILE`"
"""What to do about a damaged database."""

Result = TypeVar("Result")

Kind = Literal["reading", "writing", "writing at length", "migrating", "none"]
"""
What a transaction is for; the execution option `kind` of its connection says so.

A batch is written in milliseconds, an import in minutes, while other writers wait or are refused; DDL is run by one
process at a time, for which the others wait, on SQLite all writers. With `none` statements stand outside of any
transaction.
"""


class Backend:
    """One database system: only its subclasses know which one it is. What a server does by itself does nothing here."""

    version_question: str
    """Gives the version of the server as a text."""

    advice: str
    """What to check when it cannot be opened."""

    direct_connections = 0
    """How many connections the reads outside of transactions may keep to themselves."""

    has_wal_file = False
    """Whether there is a write-ahead log that this program copies back and truncates."""

    def __init__(self, url: URL) -> None:
        """Nothing is opened yet."""
        self._url = url

    @staticmethod
    def check_url(url: URL) -> None:
        """Check that *url* can be used, before anything is made. Raises CannotOpen."""

    def write_lock(self, within_s: float) -> AbstractContextManager[None]:  # noqa: ARG002  # a server needs none
        """Hold the lock that the writers of all processes share. Raises StoreBusy after *within_s*."""
        return nullcontext()

    def engine(self, *, writes: bool) -> Engine:
        """Connections for those who read, or for those who write: readers cannot keep these waiting."""
        raise NotImplementedError

    def check(self, connection: Connection) -> None:
        """Check that the database is one that can be used. Raises CannotOpen."""

    def integrity_check(self, connection: Connection, at_most_bytes: int | None) -> str | None:  # noqa: ARG002
        """What is wrong with how all is stored, None for nothing; None for what is larger than *at_most_bytes*."""
        return None

    def error_class(self, error: BaseException | None) -> type[StorageError] | None:
        """What an error of the driver means; None for a statement that is wrong, to be raised as it is."""
        raise NotImplementedError

    def checkpoint(self, connection: Connection, *, truncate: bool) -> bool:  # noqa: ARG002
        """Copy the write-ahead log into the database, and *truncate* it. False when a reader was in the way."""
        return True

    @staticmethod
    def describe(url: URL) -> str:
        """*url* for a person, without anything secret."""
        return url.render_as_string()

    def close(self) -> None:
        """Let go of what is held beside connections."""


class Database:
    """
    The database of the log: `reading()` and `writing()` open a transaction.

    Only StorageErrors leave a transaction: StoreFull, StoreConflict, StoreForbidden, StoreBusy, StoreUnavailable; a
    statement that is wrong leaves it as it is. After any of them nothing is stored, except that a StoreUnavailable
    which is neither StoreBusy nor StoreForbidden leaves that open when it comes of the commit: its answer was lost.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._reader = backend.engine(writes=False)
        self._writer = backend.engine(writes=True)
        self._free: deque[Any] = deque(maxlen=backend.direct_connections)
        self._driver_error: type[Exception] = self._reader.dialect.loaded_dbapi.Error
        self._patient = True
        self._probing = threading.Lock()
        self._probe: Future[LogState] | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """
        Open a connection to read from; what one statement reads is of one instant.

        A statement must not run for seconds: meanwhile SQLite cannot empty its write-ahead log.
        """
        with self._opened(self._reader, "reading") as connection:
            yield connection

    def find_row(self, tweet_id: int) -> Row | None:
        """The tweet, deleted or not, as of the latest commit; None when there never was one."""
        return self.find_rows([tweet_id]).get(tweet_id)

    def find_rows(self, ids: Collection[int]) -> dict[int, Row]:
        """Those of *ids* that name a tweet, deleted or not, as of the latest commit."""
        return {row[0]: Row._make(row) for row in self._read(log.BY_IDS, ids=ids)}

    def get_state(self) -> LogState:
        """Where the log stands, as of the latest commit."""
        return log.read_state(self._read(log.STATE))

    def _read(self, statement: str, **parameters: Any) -> Sequence[Any]:
        """
        The rows of a statement outside of a transaction: of the reads that nearly every request makes.

        Some connections stay out of the pool, which takes 8 us for one, and a transaction of SQLAlchemy's 30.
        """
        with self._translated():
            try:
                connection = self._free.pop()
            except IndexError:
                connection = self._reader.raw_connection()
            try:
                cursor = statements.run(connection.driver_connection, self._reader.dialect, statement, (parameters,))
                rows: Sequence[Any] = cursor.fetchall()
            except BaseException:
                connection.invalidate()  # its state is unknown
                raise
        # Two threads may see the same room: the connection that falls out goes back to the pool when it is collected.
        if self._free.maxlen and len(self._free) < self._free.maxlen:
            self._free.append(connection)
        else:
            connection.close()
        return rows

    def stream_tweets(self, partition: int, seq: int) -> Iterator[tuple[int, int | None, int, int]]:
        """
        The tweets of *partition* as they were when *seq* was that of its last entry, last posted first.

        As (id, parent, base, live); plain tuples, as there may be millions. A retweet comes before its
        parent. A row says when it was posted and deleted, so no snapshot is held: on SQLite that would keep deleted
        texts in the write-ahead log, and on PostgreSQL a server busy for as long as the reader takes.
        """
        below = seq + 1
        while below > 1:
            rows = self._read(log.CHUNK, partition=partition, below=below, limit=READ_AT_ONCE)
            for tweet_id, parent, base, posted, deleted in rows:
                below = posted
                yield tweet_id, parent, base, int(deleted is None or deleted > seq)
            if len(rows) < READ_AT_ONCE:
                return

    def list_parents(self) -> "array[int]":
        """The ids of all tweets that have retweets, deleted ones too, rising: read from an index alone."""
        with self.reading() as connection:
            statement = text("SELECT DISTINCT parent FROM tweets WHERE parent IS NOT NULL ORDER BY parent")
            rows = connection.execute(statement, execution_options={"yield_per": READ_AT_ONCE})
            return array("q", rows.scalars())

    def probe(self, within_s: float) -> LogState:
        """
        Where the log stood a moment ago; for a health check. Raises StoreUnavailable after *within_s*.

        The thread that asks is left behind then, and the next call waits for the same answer.
        """

        def answer(probe: "Future[LogState]") -> None:
            try:
                probe.set_result(self.get_state())
            except Exception as error:  # noqa: BLE001  # the caller has it
                probe.set_exception(error)

        with self._probing:
            if self._probe is None or self._probe.done():
                self._probe = Future()
                threading.Thread(target=answer, args=(self._probe,), name="probe", daemon=True).start()
            probe = self._probe
        try:
            return probe.result(within_s)
        except TimeoutError as error:
            raise StoreUnavailable("the database did not answer") from error

    @contextmanager
    def writing(self, kind: Kind = "writing") -> Iterator[Connection]:
        """Open a transaction that commits at the end of the block, unless the block raises."""
        lock = self._backend.write_lock(LOCK_TO_MIGRATE_WITHIN_S if kind == "migrating" else LOCK_WITHIN_S)
        with lock, self._opened(self._writer, kind) as connection:
            yield connection
            with self._translated(committing=True):
                try:
                    connection.commit()
                except BaseException:
                    connection.invalidate()  # SQLite may have left the transaction open, and nothing else would end it
                    raise

    def keep_trying(self, act: Callable[[], Result]) -> Result:
        """
        What *act* returns, which opens transactions; after a StoreBusy, nothing is stored, and it is called again.

        A commit whose outcome is unknown raises another error and is not repeated. After `TRY_FOR_S` the StoreBusy is
        raised, and later calls try only once until one succeeds.
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

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """
        Run a PASSIVE checkpoint of SQLite's write-ahead log: it waits for no reader.

        With *truncate* it also removes deleted texts from that log, where old pages live on; the database file has
        none. False when a reader still uses the old pages: then call it again. Raises StoreBusy, and nothing was
        copied, while another process writes.
        """
        if not self._backend.has_wal_file:
            return True
        lock = self._backend.write_lock(LOCK_TO_CHECKPOINT_WITHIN_S)
        with lock, self._opened(self._writer, "none") as connection:
            return self._backend.checkpoint(connection, truncate=truncate)

    def check(self) -> None:
        """Check that the database answers and can be used. Raises CannotOpen, StorageError."""
        with self.reading() as connection:
            self._backend.check(connection)

    def check_whole(self, at_most_bytes: int | None = None) -> None:
        """Check that all is as it was written, unless it takes more than *at_most_bytes*. Raises StoreDamaged."""
        with self.reading() as connection:
            damage = self._backend.integrity_check(connection, at_most_bytes)
        if damage:
            raise StoreDamaged(f"The database {self.describe()} is damaged ({damage}); {RESTORE}.")

    def server_version(self) -> str:
        """The system and its version, as in "postgresql 18.1"."""
        with self.reading() as connection:
            version = connection.execute(text(self._backend.version_question)).scalar_one()
        return f"{self._reader.dialect.name} {version}"

    def describe(self) -> str:
        """The URL for a person, without its password."""
        return self._backend.describe(self._reader.url)

    def close(self) -> None:
        """Close all connections."""
        while self._free:
            self._free.pop().close()
        self._reader.dispose()
        self._writer.dispose()
        self._backend.close()

    @contextmanager
    def _opened(self, engine: Engine, kind: Kind) -> Iterator[Connection]:
        with self._translated(), engine.connect() as connection:
            connection.execution_options(kind=kind)
            connection.begin()  # now, and not with options that the caller may set
            try:
                yield connection
            except BaseException:
                # Of statements that are run on the driver's connection SQLAlchemy does not see that it was lost.
                if not connection.invalidated and getattr(connection.connection.driver_connection, "closed", False):
                    connection.invalidate()
                raise

    @contextmanager
    def _translated(self, *, committing: bool = False) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, self._driver_error) as error:
            kind = self._backend.error_class(error.orig if isinstance(error, DBAPIError) else error)
            if kind is None:
                raise
            if committing and kind is StoreBusy and getattr(error, "connection_invalidated", True):
                kind = StoreUnavailable  # the connection was lost: the commit may have taken effect
            raise kind(_sentence(kind, error)) from error
        except PoolTimeout as error:
            raise StoreBusy("all connections to the database are in use") from error


def read_url(url: str | URL) -> URL:
    """*url* taken apart, if it may name a database. Raises CannotOpen, with no part of a password in its message."""
    try:
        chosen = make_url(_prepared(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError) as error:
        raise CannotOpen(f"DATABASE_URL is not a database URL; {USE}.") from error
    _backend_of(chosen).check_url(chosen)
    return chosen


def open_database(url: str | URL) -> Database:
    """Connect to *url* and check that it answers. Raises CannotOpen."""
    chosen = read_url(url)
    backend = _backend_of(chosen)
    try:
        database = Database(backend(chosen))
        try:
            database.check()
        except BaseException:
            database.close()
            raise
    except CannotOpen:
        raise
    except (StorageError, SQLAlchemyError, OSError) as error:
        advice = RESTORE if isinstance(error, StoreDamaged) else backend.advice
        raise CannotOpen(
            f"The database {backend.describe(chosen)} cannot be opened ({_reason(error)}); {advice}."
        ) from error
    return database


def _prepared(url: str) -> str:
    """
    *url* in the form that SQLAlchemy reads, if it is one of PostgreSQL's: `postgres://`, or with several hosts.

    Raises CannotOpen, with no part of it in the message, where a password may have been taken for something else.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgres"):
        return url
    if rest.count("@") > 1:
        raise CannotOpen(
            "DATABASE_URL has more than one @: percent-encode the user name and the password, with %40 for an @."
        )
    # As libpq has it, host:port,host:port; SQLAlchemy takes them as parameters.
    if several := re.fullmatch(r"((?:[^@]*@)?)([^/?@]*,[^/?@]*)(/[^?]*)?(?:\?(.*))?", rest):
        before, hosts, name, query = several.groups(default="")
        given = [f"host={host}" for host in hosts.split(",")]
        rest = f"{before}{name or '/'}?{'&'.join([*given, query] if query else given)}"
    return f"{'postgresql' if scheme == 'postgres' else scheme}://{rest}"


def _backend_of(url: URL) -> type[Backend]:
    module = BACKENDS.get(url.get_backend_name())
    if module is None:
        raise CannotOpen(f"DATABASE_URL names {url.get_backend_name()}, which is not supported; {USE}.")
    try:
        backend: type[Backend] = import_module(module).Backend
    except ImportError as error:
        raise CannotOpen(
            f"DATABASE_URL names PostgreSQL, whose driver is missing ({error}); pip install 'psycopg[binary]'."
        ) from error
    return backend


def _reason(error: Exception) -> str:
    """What the driver said, in one line."""
    cause = error if isinstance(error, DBAPIError) else error.__cause__ or error
    said = getattr(cause, "orig", None) or getattr(cause, "strerror", None) or cause
    return clause(said)


_MESSAGES: dict[type[StorageError], str] = {
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
    return _MESSAGES[kind]
