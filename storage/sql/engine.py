"""
Connections to the log. The only module that asks which database it is.

SQLite is read and written through two engines, because a transaction that will write must begin as one: a deferred
transaction that has read cannot always be raised to a writing one, and then fails at once whatever its timeout.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import CannotOpen, StorageError, StoreConflict, StoreFull, StoreUnavailable
from storage.locks import FileLock
from storage.sql.log import Head
from storage.sql.quick import QuickReads
from storage.sql.reads import Row

BUSY_TIMEOUT_S = 5
"""How long SQLite waits for another program's lock. Our own writers take turns by a lock and never wait here."""

READERS = 64
"""Connections that may read at once."""

# secure_delete: a deleted text is overwritten, not only unlinked (https://www.sqlite.org/pragma.html#pragma_secure_delete).
# synchronous FULL: a commit is on disk before it is answered; NORMAL would lose the last ones in a power cut.
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "cache_size=-16000",
    "journal_size_limit=67108864",
)

SQLITE_FULL = 13
POSTGRESQL_FULL = "53100"


class Database:
    """
    The database of the log: `reading()` and `writing()` open a transaction.

    Only StorageErrors leave a transaction: StoreFull, StoreConflict, StoreUnavailable. After any of them nothing of it
    is stored, except that a StoreUnavailable while committing to PostgreSQL leaves that open.
    """

    def __init__(self, url: str) -> None:
        self._reader = _engine(url, READERS, "BEGIN")
        self.is_sqlite = self._reader.dialect.name == "sqlite"
        self._writer = _engine(url, 1, "BEGIN IMMEDIATE") if self.is_sqlite else self._reader
        self._quick = QuickReads(_engine(url, 0, "BEGIN"))
        self._driver_error: type[Exception] = self._reader.dialect.loaded_dbapi.Error
        # SQLite 3.7.0 to 3.51.2 can corrupt its write-ahead log when one connection writes while another copies the log
        # back (https://www.sqlite.org/wal.html#walresetbug), so all who write or copy back take turns.
        self._turn: FileLock | None = None
        if self.is_sqlite:
            self._turn = FileLock(Path(f"{self._writer.url.database}.lock"))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot to read from."""
        with _translated(), self._reader.connect() as connection:
            yield connection

    def find_row(self, tweet_id: int) -> Row | None:
        """The tweet, deleted or not, as of the latest commit; None when there never was one."""
        try:
            return self._quick.find_row(tweet_id)
        except self._driver_error as error:
            raise StoreUnavailable("the database did not answer") from error

    def list_heads(self) -> dict[int, Head]:
        """The head of every partition, as of the latest commit."""
        try:
            return self._quick.list_heads()
        except self._driver_error as error:
            raise StoreUnavailable("the database did not answer") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that commits at the end of the block, unless the block raises."""
        with self._my_turn(), _translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a connection for DDL; the caller commits. Other writers wait."""
        with self._my_turn(), _translated(), self._writer.connect() as connection:
            yield connection

    def forget_deleted(self) -> bool:
        """
        Take deleted texts out of the write-ahead log, where old pages live on; the database file has none already.

        Returns False when a reader still uses the old pages: then ask again.
        """
        if not self.is_sqlite:
            return True
        with self._my_turn(), _translated(), self._writer.connect() as connection:
            connection.execution_options(without_begin=True)  # SQLite copies back only outside a transaction
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
            return not busy

    def describe(self) -> str:
        """The URL for a person, without its password."""
        return self._reader.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self._quick.close()
        self._reader.dispose()
        self._writer.dispose()
        if self._turn:
            self._turn.close()

    def _my_turn(self) -> AbstractContextManager[None]:
        return self._turn or nullcontext()


def open_database(url: str) -> Database:
    """Connect to *url* and see that it answers. Raises CannotOpen."""
    try:
        kind = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise CannotOpen("DATABASE_URL is not a database URL; use sqlite:///FILE.") from error
    if kind != "sqlite":
        raise CannotOpen(f"DATABASE_URL names {kind}, which is not supported; use sqlite:///FILE.")
    try:
        database = Database(url)
        with database.reading() as connection:
            connection.execute(text("SELECT count(*) FROM sqlite_master"))
    except (StorageError, SQLAlchemyError, OSError) as error:
        cause = error.__cause__ or error
        reason = getattr(cause, "orig", None) or getattr(cause, "strerror", None) or cause
        name = make_url(url).render_as_string()
        raise CannotOpen(
            f"The database {name} cannot be opened ({reason}); check its path, its owner and DATABASE_URL."
        ) from error
    return database


def _engine(url: str, connections: int, begin: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "cached_statements": 256},
    )

    # The driver's own transactions begin late and leave DDL out; so they are switched off and begun here.
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if not connection.get_execution_options().get("without_begin"):
            connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise StoreConflict("a constraint refused a row") from error
    except ProgrammingError:  # our own mistake, and to be seen as one
        raise
    except DBAPIError as error:
        if _is_full(error.orig):
            raise StoreFull("the disk of the database is full") from error
        raise StoreUnavailable("the database did not answer") from error
    except PoolTimeout as error:
        raise StoreUnavailable("too many ask the database") from error


def _is_full(error: BaseException | None) -> bool:
    return (
        getattr(error, "sqlite_errorcode", None) == SQLITE_FULL or getattr(error, "sqlstate", None) == POSTGRESQL_FULL
    )
