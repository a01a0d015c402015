"""
Import and export: tweets that come from elsewhere, and tweets to be carried away.

What is carried is a tweet's id, parent, base, time and texts, and that it was deleted; not its idempotency key, and not
its place in the log. An import first reads and checks its whole input, into a temporary file. Only then it takes the
write lock, and stores all of it in one transaction, or nothing.
"""

import os
import sqlite3
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from sqlalchemy import Connection

from storage import ids
from storage.errors import CannotOpen, StorageError, ToolRefused, clause
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head, Row

AT_ONCE = 10_000
"""Rows in one statement of an import."""

EXPORTED_AT_ONCE = 1_000
"""Rows in one statement of an export, which take some milliseconds to read."""

CACHE_KIB = 64_000
"""Memory for the tweets of an import that wait in a temporary file."""

DAY_MS = 86_400_000
"""How far ahead of our clock another machine's may be."""

COLUMNS = (
    *("id", "parent", "partition", "depth", "seq", "nonce"),
    *("base", "created_at", "user_name", "title", "body", "deleted_seq", "deleted_nonce"),
)


def refusal(line: int, reason: str, name: int | str = "") -> ToolRefused:
    """The error that says why the input cannot be imported, and names its *line*, or the key where there is none."""
    return ToolRefused(f"line {line}: {reason}" if line else f"key {name}: {reason}")


class ImportRow(NamedTuple):
    """
    A tweet to import, of that `line`, counted from 1; 0 where there are no lines.

    `name` is the id that it keeps, or, as a text, its key in another system: then it gets an id of its time. `parent`
    is the name of the tweet that it retweets. A deleted tweet has neither `user_name`, `title` nor `body`.
    """

    line: int
    name: int | str
    parent: int | str | None
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None
    base: int = 0


class Staged(NamedTuple):
    """Tweets that wait in a temporary file, and of each the number of its parent, -1 for none, depth and partition."""

    file: sqlite3.Connection
    parents: "array[int]"
    depths: "array[int]"
    partitions: "array[int]"


@contextmanager
def staged_tweets(
    rows: Iterable[ImportRow],
    folder: Path,
    partitions: int,
    max_ancestors: int,
    now_ms: int,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Staged]:
    """
    *rows*, parents before their retweets, checked and waiting for `store_tweets`; in memory a tweet takes 14 bytes.

    The file is in *folder*, has no name, and is gone after the block or with the process. *on_progress* is called with
    how many were read. Raises ToolRefused, CannotOpen, and what *rows* raises.
    """
    latest_ms = now_ms + DAY_MS

    def numbered() -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(rows):
            if not 0 <= row.created_at <= latest_ms:
                raise refusal(row.line, "created_at is before 1970, or more than a day ahead.", row.name)
            if isinstance(row.name, int) and ids.time_of(row.name) > latest_ms:
                raise refusal(row.line, "its id is of a time more than a day ahead.")
            on_progress(number + 1)
            yield number, *row

    path = folder / f".import.{os.getpid()}.part"
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            for pragma in ("journal_mode=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{CACHE_KIB}"):
                file.execute(f"PRAGMA {pragma}")
            file.execute("BEGIN EXCLUSIVE")
            file.execute(f"CREATE TABLE tweets (number INTEGER PRIMARY KEY, {', '.join(ImportRow._fields)})")
            file.execute("CREATE INDEX by_name ON tweets (name)")
            path.unlink()
            file.executemany("INSERT INTO tweets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", numbered())
            staged = Staged(file, array("q"), array("i"), array("h"))
            _place(staged, partitions, max_ancestors)
            yield staged
    except sqlite3.Error as error:
        raise CannotOpen(f"The temporary file of an import in {folder} cannot be used ({error}).") from error
    finally:
        path.unlink(missing_ok=True)


def _place(staged: Staged, partitions: int, max_ancestors: int) -> None:
    """Check how the tweets of the file stand to each other, and give each its place. Raises ToolRefused."""
    double = staged.file.execute("SELECT name FROM tweets GROUP BY name HAVING count(*) > 1 LIMIT 1").fetchone()
    if double:
        (first,), (second,), *_ = staged.file.execute("SELECT line FROM tweets WHERE name = ? ORDER BY number", double)
        raise refusal(second, f"the tweet of line {first} has the same id or key.")
    for number, line, name, parent, above in staged.file.execute(
        "SELECT t.number, t.line, t.name, t.parent, p.number FROM tweets t LEFT JOIN tweets p ON p.name = t.parent "
        "ORDER BY t.number"
    ):
        if parent is None:
            above, depth = -1, 0  # noqa: PLW2901
            partition = (ids.hash_of(name) if isinstance(name, int) else crc32(name.encode())) % partitions
        else:
            if above is None or above >= number:
                reason = "the tweet it retweets is in no line above it; a tweet comes before its retweets."
                raise refusal(line, reason, name)
            if isinstance(name, int) and name <= parent:
                raise refusal(line, "its id is not greater than that of the tweet it retweets.")
            depth, partition = staged.depths[above] + 1, staged.partitions[above]
            if depth > max_ancestors:
                raise refusal(line, f"it has more than {max_ancestors} ancestors (MAX_ANCESTORS).", name)
        staged.parents.append(above)
        staged.depths.append(depth)
        staged.partitions.append(partition)


def store_tweets(
    database: Database,
    staged: Staged,
    on_progress: Callable[[int, float], object] = lambda _done, _share: None,
    on_id: Callable[[int | str, int], object] = lambda _name, _id: None,
) -> int:
    """
    Append the tweets that are *staged* to the log, in one transaction; returns how many. Other writers wait meanwhile.

    *on_progress* is called with how many are sent to the database, and which share of all that is. *on_id* is called
    for each with its name and its id. Raises ToolRefused when the store has one of them already, and what the
    callbacks raise, with nothing stored; a StorageError that says so where that is not known.
    """
    last: tuple[int, int, int] | None = None  # partition, seq and nonce of the last entry
    given, total = array("q"), len(staged.depths)
    try:
        with database.writing("writing at length") as connection:
            store = log.get_state(connection).store
            heads = log.lock_heads(connection, store, range(store.partitions))
            highest = max(head.last_id for head in heads.values())
            waiting = staged.file.execute(
                "SELECT number, name, line, created_at, user_name, title, body, base FROM tweets ORDER BY number"
            )
            while some := waiting.fetchmany(AT_ONCE):
                new_ids = _give_ids(connection, some, staged, given[-1] if given else 0, highest)
                given.extend(new_ids)
                nonces = iter(log.new_nonces(2 * len(some)))
                rows = []
                for tweet_id, (number, name, _, *texts, base) in zip(new_ids, some, strict=True):
                    above, depth, partition = staged.parents[number], staged.depths[number], staged.partitions[number]
                    head, is_live = heads[partition], texts[-1] is not None
                    seq, nonce = head.seq + 1, next(nonces)
                    deleted = (None, None) if is_live else (seq + 1, next(nonces))
                    parent = None if above < 0 else given[above]
                    rows.append((tweet_id, parent, partition, depth, seq, nonce, base, *texts, *deleted))
                    last = (partition, *((seq, nonce) if is_live else deleted))
                    heads[partition] = Head(*last[1:], max(head.last_id, tweet_id), head.live + is_live)
                    # An id may be one that another partition would give: that one must give greater ones from now on.
                    namesake = heads.get(tweet_id % ids.PARTITIONS)
                    if namesake and namesake.last_id < tweet_id:
                        heads[tweet_id % ids.PARTITIONS] = namesake._replace(last_id=tweet_id)
                    on_id(name, tweet_id)
                log.insert_tweets(connection, COLUMNS, rows)
                on_progress(len(given), len(given) / total)
            log.move_heads(connection, heads)
        on_progress(total, 1)
    except (StorageError, SystemExit) as error:
        if not _is_stored(database, last, error):
            raise
    return total


def _is_stored(database: Database, last: tuple[int, int, int] | None, error: BaseException) -> bool:
    """Whether the *last* entry is there although *error* came: the answer to a commit may be lost, or a signal come."""
    if last is None:
        return False
    partition, seq, nonce = last

    def find() -> bool:
        with database.reading() as connection:
            return log.find_nonce(connection, partition, seq) == nonce

    try:
        return database.keep_trying(find)
    except StorageError:
        raise StorageError(
            f"The database went away while it stored the tweets ({clause(error)}), so they are stored all, or not at "
            "all. Import them again later: if they are stored they are refused."
        ) from error


def _give_ids(connection: Connection, rows: Sequence[Any], staged: Staged, last_id: int, highest: int) -> list[int]:
    """
    The ids that *rows* keep, or, where they have keys, new ones: of their time, above *last_id*, not of the store.

    The store has none above *highest*. The same input gets the same ids, so one that was stored before is met again:
    then it raises ToolRefused, as for an id that the store has.
    """
    taken: dict[int, Row] = {}  # the tweets of the store that are in the way
    while True:
        given, after = [], last_id
        for number, name, line, *content, _base in rows:
            if isinstance(name, int):
                if name in taken:
                    raise refusal(line, "the store has a tweet of that id already.")
                given.append(name)
                continue
            partition = staged.partitions[number]
            after = ids.next_id(after, content[0], partition)
            while (row := taken.get(after)) is not None:
                if [row.created_at, row.user_name, row.title, row.body] == content:
                    reason = f"the store has this tweet already, as {ids.encode(after)}: was it imported before?"
                    raise refusal(line, reason, name)
                after = ids.next_id(after, 0, partition)
            given.append(after)
        found = log.list_rows(connection, [tweet_id for tweet_id in given if tweet_id <= highest])
        if not found:
            return given
        taken |= found


def export_tweets(database: Database, at_once: int = EXPORTED_AT_ONCE) -> Generator[Row]:
    """
    Every tweet that is there at the beginning, in the order of ids; those deleted until they are read, as deleted ones.

    Read *at_once* so many: a reader of one instant would keep deleted texts on the disk until the caller has taken all.
    """
    heads, after = database.get_state().heads, -1
    while True:
        with database.reading() as connection:
            rows = log.list_rows_from(connection, after + 1, at_once)
        if not rows:
            return
        after = rows[-1][0].id
        # Those posted later have later places. Their ids need not be greater, where there are several partitions.
        yield from (row for row, seq in rows if seq <= heads[row.partition].seq)
