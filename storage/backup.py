"""
Copies of the log as a whole: made while it is written, checked, and put back in the place of another.

For SQLite alone: what is copied is its file. PostgreSQL comes with tools of its own, which are named. The index needs
no copy; after a restore it sees by its position that the log is another one, and is built anew.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from storage.data_dir import database_file, make_data_dir
from storage.errors import StorageError
from storage.locks import FileLock
from storage.migrate import list_numbers
from storage.sql.engine import read_url

PAGES_AT_ONCE = 2_000
"""Pages of 4 KiB in one step: some milliseconds, between which a signal is heard."""

BUSY_TIMEOUT_S = 5.0
"""As in `storage.sql.sqlite`."""

SHARED_FIRST, SHARED_SIZE = 0x40000002, 510
"""
The bytes of a database file that a connection has locked for as long as it is open: in WAL mode without a pause.

See https://www.sqlite.org/fileformat2.html#the_lock_byte_page and https://www.sqlite.org/src/file/src/os_unix.c.
"""

Told = Callable[[int, int], None]
"""Hears how many pages of how many are copied."""


class BackupRefused(StorageError):
    """A copy cannot be made or put back; the message is one sentence for a person. What was there is as it was."""


class Contents(NamedTuple):
    """What a copy holds: of which store, how many log entries, and tweets that are not deleted."""

    store: str
    entries: int
    live: int


def file_of(data_dir: Path, database_url: str, tool: str) -> Path:
    """The file of the database. Raises BackupRefused for one that is no file, naming *tool* for it, and CannotOpen."""
    if not database_url:
        return database_file(data_dir)
    url = read_url(database_url)
    if url.get_backend_name() != "sqlite":
        raise BackupRefused(f"DATABASE_URL names {url.get_backend_name()}, which has its own tool: use {tool}.")
    return Path(url.database or "")


def back_up(source: Path, goal: Path, told: Told) -> Contents:
    """
    Copy the database file *source* to *goal* as of one instant, while others write to it; a *goal* there is replaced.

    *goal* stands under its name only when the copy was found whole and is on disk. Raises BackupRefused.
    """
    if not source.is_file():
        raise BackupRefused(f"There is no database at {source}.")
    _check_apart(source, goal)
    with _part_of(goal) as part:
        contents = _copy(source, "rw", part, told)
        _put(part, goal)
    return contents


def restore(copy: Path, goal: Path, owner_lock: Path, told: Told, *, force: bool) -> Contents:
    """
    Put *copy*, once it is found whole, in the place of the database file *goal*; with *force* also over another one.

    *owner_lock* is held by a service whose index is embedded. Raises BackupRefused, also while anybody has the
    database open: then, as after a crash at any moment, *goal* is what it was.
    """
    if not copy.is_file():
        raise BackupRefused(f"There is no file {copy}.")
    _check_apart(copy, goal)
    if goal.exists() and not force:
        raise BackupRefused(f"There is a database at {goal} already: add --force if it is to be replaced.")
    with _nobody_there(goal, owner_lock), _part_of(goal) as part:
        contents = _copy(copy, "ro", part, told)
        _settle(goal)
        _put(part, goal)
    return contents


def check_copy(file: Path, name: Path | None = None) -> Contents:
    """
    Look at the whole of *file*, which nobody writes.

    Raises BackupRefused, saying what is wrong with it, or with the file *name* that it was copied from.
    """
    name = name or file
    with _translated(f"{name} is not whole"), closing(_connect(file, "ro")) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
        if found != ["ok"]:
            raise BackupRefused(f"{name} is damaged ({found[0].strip()}).")
        return _check_counts(name, connection)


def _check_counts(file: Path, connection: sqlite3.Connection) -> Contents:
    """See that the heads of the log say what is in it."""
    revision = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()[0]
    if revision not in list_numbers():
        raise BackupRefused(f"{file} is at revision {revision}, which this version does not know: use a later one.")
    (store,) = connection.execute("SELECT max(id) FROM store").fetchone()
    heads = connection.execute(HEADS).fetchall()
    if heads != connection.execute(COUNTED).fetchall():
        raise BackupRefused(f"{file} is not whole: entries of its log are missing.")
    return Contents(store, sum(seq for _, seq, _, _ in heads), sum(live for _, _, _, live in heads))


HEADS = "SELECT partition, seq, seq, live FROM heads WHERE seq > 0 ORDER BY partition"
COUNTED = """
SELECT partition, count(*) + count(deleted_seq), max(max(seq, coalesce(deleted_seq, 0))), sum(deleted_seq IS NULL)
FROM tweets GROUP BY partition ORDER BY partition
"""
"""Of each partition: how many entries, the number of the last one, live tweets; as the heads say and as counted."""


def _copy(source: Path, mode: str, part: Path, told: Told) -> Contents:
    with (
        _translated(f"{source} cannot be copied"),
        closing(_connect(source, mode)) as reading,
        closing(_connect(part, "rw")) as writing,
    ):
        # One transaction around all steps: without it each commit of others would begin the copy anew.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchall()
        writing.execute("PRAGMA synchronous=OFF")  # `_put` sees that it is on disk
        reading.backup(writing, pages=PAGES_AT_ONCE, progress=lambda _, left, total: told(total - left, total))
        writing.execute("PRAGMA journal_mode=DELETE")  # one file, whole without a write-ahead log beside it
    return check_copy(part, source)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(file.resolve()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)


@contextmanager
def _part_of(goal: Path) -> Iterator[Path]:
    """A file beside *goal* to be filled first; gone at the end."""
    part = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    with _translated(f"{goal} cannot be written"):
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield part
    finally:
        for leftover in (part, Path(f"{part}-journal")):
            leftover.unlink(missing_ok=True)


def _put(part: Path, goal: Path) -> None:
    """Give *part* the name of *goal*, at once and for good."""
    with _translated(f"{goal} cannot be written"):
        for path in (part, part.parent):
            opened = os.open(path, os.O_RDONLY)
            try:
                os.fsync(opened)
                if path is part:
                    part.replace(goal)
            finally:
                os.close(opened)


def _check_apart(source: Path, goal: Path) -> None:
    if goal.is_dir():
        raise BackupRefused(f"{goal} is a folder; name a file.")
    if goal.exists() and goal.samefile(source):
        raise BackupRefused(f"{goal} is the database itself; name another file.")


@contextmanager
def _nobody_there(goal: Path, owner_lock: Path) -> Iterator[None]:
    """Refuse while a service or a verb uses the database; an embedded service cannot start in this block."""
    with _translated(f"{goal} cannot be written"):
        make_data_dir(owner_lock.parent.parent)
        owner_lock.parent.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(owner_lock)
    with closing(lock):
        if not lock.try_hold() or _is_open(goal):
            raise BackupRefused(f"The database {goal} is in use: stop the service first.")
        yield


def _is_open(file: Path) -> bool:
    """Whether a process has *file* open as a database."""
    try:
        with file.open("r+b") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _settle(goal: Path) -> None:
    """
    Leave nothing beside *goal* that would be taken for a part of its successor.

    What its write-ahead log holds goes into it first, so that a crash right now leaves it whole; not if it is damaged.
    """
    if not goal.exists():
        return
    with suppress(sqlite3.Error), closing(_connect(goal, "rw")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    for name in (f"{goal}-wal", f"{goal}-shm", f"{goal}-journal"):
        Path(name).unlink(missing_ok=True)


@contextmanager
def _translated(what_failed: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BackupRefused(f"{what_failed} ({reason}).") from error
