"""
Backups: copies of the whole database, made while it is written, checked, and put back in its place.

For SQLite alone: what is copied is its file. PostgreSQL has tools of its own, which are named. The index needs no copy;
after a restore it sees by its position that the log is of another timeline, and is rebuilt.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from storage.errors import ToolRefused
from storage.files import real, replacing
from storage.locks import lock_of_users
from storage.migrate import list_numbers
from storage.sql.heads import COUNTED_HEADS

BUSY_TIMEOUT_S = 5.0
"""As in `storage.sql.sqlite`."""


def back_up(source: Path, goal: Path) -> str:
    """
    Copy the database file *source* to *goal* as of one instant, while others write to it; says what it holds.

    *goal* has its name only when the copy was found whole and is on disk, and replaces what had it; a symlink, a device
    or a pipe stays what it is. Raises ToolRefused.
    """
    if not source.is_file():
        raise ToolRefused(f"There is no database at {source}.")
    _check_apart(source, goal)
    with (
        _translated(f"{goal} cannot be written"),
        closing(lock_of_users(source)) as lock,
        replacing(goal, real(source).parent, 0o600) as part,
    ):
        if not lock.try_share():
            raise ToolRefused(f"The database {source} is being replaced by a `restore`.")
        return _copy(source, "rw", part)


def restore(copy: Path, goal: Path, *, force: bool) -> str:
    """
    Put *copy*, once it is found whole, in the place of the database file *goal*; with *force* also over another one.

    Says what it holds. While it runs no other process can open *goal*. Raises ToolRefused, also while one has it open:
    then, as after a crash at any moment, *goal* is what it was.
    """
    if not copy.is_file():
        raise ToolRefused(f"There is no file {copy}.")
    _check_apart(copy, goal)
    if goal.exists() and not force:
        check_copy(copy)
        raise ToolRefused(f"There is a database at {goal} already: add --force if it is to be replaced.")
    goal = real(goal)  # SQLite keeps its write-ahead log beside the file itself
    with _translated(f"{goal} cannot be written"), closing(lock_of_users(goal)) as lock:
        if not lock.try_hold():
            raise ToolRefused(f"The database {goal} is in use: stop the service first.")
        with replacing(goal, goal.parent, 0o600) as part:
            contents = _copy(copy, "ro", part)
            _settle(goal)
        return contents


def check_copy(file: Path, name: Path | None = None) -> str:
    """
    Look at the whole of *file*, which no process writes; says what it holds.

    Raises ToolRefused, saying what is wrong with it, or with the file *name* that it was copied from.
    """
    name = name or file
    with _translated(f"{name} is not whole"), closing(_connect(file, "ro")) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
        if found != ["ok"]:
            raise ToolRefused(f"{name} is damaged ({found[0].strip()}).")
        revision = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()[0]
        if revision not in list_numbers():
            raise ToolRefused(f"{name} is at revision {revision}, which this version does not know: use a later one.")
        (store,) = connection.execute("SELECT max(id) FROM store").fetchone()
        heads = connection.execute(COUNTED_HEADS).fetchall()
        for _, seq, _, _, live, entries, last_post, last_deletion, _, counted in heads:
            if not (seq == entries == max(last_post, last_deletion) and live == counted):
                raise ToolRefused(f"{name} is not whole: entries of its log are missing.")
    entries, live = sum(head[1] for head in heads), sum(head[4] for head in heads)
    return f"{live:,} tweets ({entries:,} log entries of store {store})"


def _copy(source: Path, mode: str, part: Path) -> str:
    try:
        with (
            _translated(f"{source} cannot be copied"),
            closing(_connect(source, mode)) as reading,
            closing(_connect(part, "rw")) as writing,
        ):
            writing.execute("PRAGMA synchronous=OFF")  # `replacing` sees that it is on disk
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode=DELETE")  # one file, whole without a write-ahead log beside it
        return check_copy(part, source)
    finally:
        Path(f"{part}-journal").unlink(missing_ok=True)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(real(file)))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)


def _check_apart(source: Path, goal: Path) -> None:
    if goal.is_dir():
        raise ToolRefused(f"{goal} is a folder; name a file.")
    if goal.exists() and goal.samefile(source):
        raise ToolRefused(f"{goal} is the database itself; name another file.")


def _settle(goal: Path) -> None:
    """
    Leave nothing beside *goal* that would be taken for a part of its successor.

    What its write-ahead log holds goes into it first, so that a crash right now leaves it whole; not if it is damaged.
    Raises ToolRefused when another program has it open.
    """
    if not goal.exists():
        return
    try:
        with closing(_connect(goal, "rw")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise ToolRefused(f"The database {goal} is in use by another program: close that first.") from error
    for name in (f"{goal}-wal", f"{goal}-shm", f"{goal}-journal"):
        Path(name).unlink(missing_ok=True)


@contextmanager
def _translated(what_failed: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ToolRefused(f"{what_failed} ({reason}).") from error
