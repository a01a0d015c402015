"""
SQLite: how the log's file is opened, locked and read.

It is read and written through two engines, because a transaction that will write must begin as one: a deferred
transaction that has read cannot always be raised to a writing one, and then fails at once, with any timeout.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from storage.errors import CannotOpen, StorageError, StoreBusy, StoreConflict, StoreDamaged, StoreFull, StoreUnavailable
from storage.files import real
from storage.locks import FileLock, lock_of_users
from storage.sql import database
from storage.sql.database import Kind

DRIVERS = ("sqlite", "sqlite+pysqlite")

BUSY_TIMEOUT_S = 4
"""How long to wait for another program's lock. Our own writers hold a lock of ours and never wait here."""

BUSY_POLL_S = 0.02
"""How often a writer tries meanwhile: SQLite does not wait for it, as no signal interrupts that."""

OTHERS_WAIT_MS = 20
"""How long emptying the write-ahead log waits for readers that use it still; it is tried again soon."""

READERS = 64
"""Connections that may read at once."""

# secure_delete: a deleted text is overwritten, not only unlinked (https://www.sqlite.org/pragma.html#pragma_secure_delete).
# wal_autocheckpoint: the writer copies the log back between two batches; this many pages, where SQLite's own number is
# 1,000, are for other programs that write, and for when a reader was in the way.
# synchronous FULL: a commit is on disk before it is answered; NORMAL would lose the last ones in a power cut.
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "journal_size_limit=67108864",
    "wal_autocheckpoint=4000",
)
WRITER_CACHE_KIB = 16_000
READER_CACHE_KIB = 512
"""For each of up to 128 connections; what they read again is in the system's own cache of the file."""

ERRORS: dict[int, type[StorageError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_CORRUPT: StoreDamaged,
    sqlite3.SQLITE_NOTADB: StoreDamaged,
    sqlite3.SQLITE_CONSTRAINT: StoreConflict,
    sqlite3.SQLITE_BUSY: StoreBusy,
}
"""What the primary result codes mean (https://www.sqlite.org/rescode.html)."""


class Backend(database.Backend):
    """A database in a file."""

    version_question = "SELECT sqlite_version()"
    advice = "check its path, its owner and DATABASE_URL"
    has_wal_file = True
    direct_connections = 8

    @staticmethod
    def check_url(url: URL) -> None:
        """Check that it names a file and says nothing else: in memory each connection would have its own database."""
        name, wrong = url.database or "", ""
        if url.drivername not in DRIVERS:
            wrong = f"names the driver {url.get_driver_name()}"
        elif url.host or name in {"", ":memory:"} or name.startswith("file:"):
            wrong = "names no file"
        elif url.query:
            wrong = "says more than a file"
        if wrong:
            raise CannotOpen(f"DATABASE_URL {wrong}; use sqlite:///FILE.")

    def __init__(self, url: URL) -> None:
        # One file has one lock, by any path that leads to it.
        self._file = real(Path(url.database or ""))
        super().__init__(url.set(database=str(self._file)))
        self._users = lock_of_users(self._file)
        if not self._users.try_share():
            self._users.close()
            raise CannotOpen(f"The database {self._file} is being replaced by a `restore`; try again later.")
        # Private from the first moment on; SQLite gives its other files the mode of this one. One that exists is not
        # opened: to close it would free the locks that another connection of this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(self._file, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # SQLite 3.7.0 to 3.51.2 can corrupt its write-ahead log when one connection writes while another copies the log
        # back (https://www.sqlite.org/wal.html#walresetbug), so every writer and every checkpoint holds the lock.
        self._lock = FileLock(Path(f"{self._file}.lock"))

    def write_lock(self, within_s: float) -> AbstractContextManager[None]:
        """Hold the lock of the file."""
        return self._lock.hold(within_s)

    def engine(self, *, writes: bool) -> Engine:
        """Many connections that read, or the one that writes."""
        if writes:
            return _engine(self._url, 1, WRITER_CACHE_KIB, 0)
        return _engine(self._url, READERS, READER_CACHE_KIB, BUSY_TIMEOUT_S * 1000)

    def check(self, connection: Connection) -> None:
        """Check that the file is a database."""
        connection.execute(text("SELECT count(*) FROM sqlite_master"))

    def integrity_check(self, connection: Connection, at_most_bytes: int | None) -> str | None:
        """Read the whole file: 0.7 s for the 280 MB of a million tweets, when the system has them in memory."""
        if at_most_bytes is not None and self._file.stat().st_size > at_most_bytes:
            return None
        found: str = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        return None if found == "ok" else " ".join(found.split())

    def error_class(self, error: BaseException | None) -> type[StorageError] | None:
        """By its result code; None for an error of the driver's own."""
        if isinstance(error, sqlite3.ProgrammingError):
            return None
        code: int = getattr(error, "sqlite_errorcode", 0)
        return ERRORS.get(code & 0xFF, StoreUnavailable)  # the upper bits say more exactly where

    def checkpoint(self, connection: Connection, *, truncate: bool) -> bool:
        """Run a checkpoint. Writers wait for one that truncates, so it does not wait for readers for long."""
        if not truncate:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
            return True
        connection.exec_driver_sql(f"PRAGMA busy_timeout={OTHERS_WAIT_MS}")
        try:
            return not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
        finally:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")

    def close(self) -> None:
        """Close the files of the locks."""
        self._lock.close()
        self._users.close()


def insert_rows(driver: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add *rows*, of the values of *columns*, to *table*."""
    places = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # names of ours
    driver.executemany(insert, rows)


def _engine(url: URL, connections: int, cache_kib: int, busy_ms: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "cached_statements": 256},
        hide_parameters=True,  # a text does not belong in a log
        execution_options={"insert_rows": insert_rows},
    )

    # The driver's own transactions begin late and leave DDL out; so they are switched off and begun here.
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        connection.execute(f"PRAGMA busy_timeout={busy_ms}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        kind: Kind = connection.get_execution_options().get("kind", "reading")
        driver: Any = connection.connection.driver_connection  # 15 us less than by SQLAlchemy, and its errors are known
        if kind == "reading":
            driver.execute("BEGIN")
        elif kind != "none":
            _begin_to_write(driver)

    return engine


def _begin_to_write(driver: Any) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_POLL_S)
        else:
            return
