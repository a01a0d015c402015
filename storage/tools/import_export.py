"""
Import and export: tweets that come from elsewhere, and tweets to be carried away.

What is carried is a tweet's id, parent, base, time and texts, and that it was deleted; not its idempotency key, and not
its place in the log. An import first reads and checks its whole input, into a temporary file. Only then it takes the
write lock, and stores all of it in one transaction, or nothing.
"""

import marshal
import os
import sqlite3
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, NamedTuple, NoReturn, Self
from zlib import crc32

from sqlalchemy import Connection

from storage import ids
from storage.errors import CannotOpen, StorageError
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head, Row

AT_ONCE = 10_000
"""Rows in one statement of an import."""

EXPORTED_AT_ONCE = 1_000
"""Rows in one statement of an export, which take some milliseconds to read."""

WRITTEN_AT_ONCE = 1_000
"""Rows that wait in memory for the temporary files: one by one they took twice as long."""

RECENT = 50_000
"""Names that are looked up in memory, some 8 MB; older ones are in the temporary files."""

CACHE_KIB = 64_000
"""Memory for the names of an import in a temporary file."""

DAY_MS = 86_400_000
"""How far ahead of our clock another machine's may be."""

NO_PARENT = -1

COLUMNS = ("id", "parent", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
DELETED_COLUMNS = (*COLUMNS, "deleted_seq", "deleted_nonce")


class ImportRefused(StorageError):
    """The input cannot be imported; the message names the line, or the key, and says why. Nothing of it was stored."""

    def __init__(self, line: int, reason: str, name: int | str = "") -> None:
        super().__init__(f"line {line}: {reason}" if line else f"key {name}: {reason}")


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


@dataclass(slots=True)
class HeadCursor:
    """A head that moves with every entry, kept here until the import is over."""

    seq: int
    nonce: int
    last_id: int
    live: int

    def move(self, nonce: int, live: int) -> tuple[int, int]:
        """Move on by one entry, which makes *live* more tweets live; returns its seq and *nonce*."""
        self.seq += 1
        self.nonce = nonce
        self.live += live
        return self.seq, nonce


class ImportTree:
    """
    The tweets of an import, parents before their retweets, checked and waiting to be stored.

    They wait in two temporary files in *folder*, rows and names, which have no name and are gone with the process; in
    memory a tweet takes 14 bytes. Use it with `with`.
    """

    def __init__(self, folder: Path, partitions: int, max_ancestors: int, now_ms: int) -> None:
        self._partitions_in_all = partitions
        self._max_ancestors = max_ancestors
        self._latest_ms = now_ms + DAY_MS
        self.depths = array("i")
        self.partitions = array("h")
        self.last_entry: tuple[int, int, int] | None = None
        """Partition, seq and nonce of the last entry, once the transaction is about to commit."""
        self._recent: dict[int | str, int] = {}
        self._waiting: list[tuple[Any, ...]] = []
        self._written = 0
        self._sizes = array("q")  # of what was written at once, in bytes
        path = folder / f".import.{os.getpid()}.part"
        try:
            self._rows: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
            self._names = sqlite3.connect(path, isolation_level=None)
            self._names.execute("PRAGMA journal_mode=OFF")
            self._names.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._names.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._names.execute("BEGIN EXCLUSIVE")
            self._names.execute("CREATE TABLE names (name PRIMARY KEY NOT NULL, number, line) WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise CannotOpen(f"A temporary file in {folder} cannot be written ({error}).") from error
        finally:
            path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self.depths)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._names.close()
        self._rows.close()

    def add(self, row: ImportRow) -> None:
        """Add a tweet below its parent. Raises ImportRefused."""
        above, depth = NO_PARENT, 0
        if not 0 <= row.created_at <= self._latest_ms:
            raise ImportRefused(row.line, "created_at is before 1970, or more than a day ahead.", row.name)
        if isinstance(row.name, int) and ids.time_of(row.name) > self._latest_ms:
            raise ImportRefused(row.line, "its id is of a time more than a day ahead.")
        if row.parent is not None:
            found = self._recent.get(row.parent)
            if found is None:
                found, _ = self._find(row.parent)
            if found is None:
                reason = "the tweet it retweets is in no line above it; a tweet comes before its retweets."
                raise ImportRefused(row.line, reason, row.name)
            if isinstance(row.name, int) and isinstance(row.parent, int) and row.name <= row.parent:
                raise ImportRefused(row.line, "its id is not greater than that of the tweet it retweets.")
            above = found
            depth = self.depths[above] + 1
            if depth > self._max_ancestors:
                reason = f"it has more than {self._max_ancestors} ancestors (MAX_ANCESTORS)."
                raise ImportRefused(row.line, reason, row.name)
        self._wait(row, above)
        self.depths.append(depth)
        if above >= 0:
            self.partitions.append(self.partitions[above])
        else:
            hashed = ids.hash_of(row.name) if isinstance(row.name, int) else crc32(row.name.encode())
            self.partitions.append(hashed % self._partitions_in_all)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All tweets as (above, name, line, created_at, user_name, title, body, base); `above` counts rows from 0."""
        self._write()
        self._rows.seek(0)
        for size in self._sizes:
            yield from marshal.loads(self._rows.read(size))  # noqa: S302  # nothing else can write to the file

    def line_of(self, name: int | str) -> int:
        """The line of the tweet of that name."""
        self._write()
        return self._find(name)[1]

    def _find(self, name: int | str) -> tuple[int | None, int]:
        """Number and line of the tweet of that name; None and 0 if there is none in the temporary file."""
        found: tuple[int, int] | None
        found = self._names.execute("SELECT number, line FROM names WHERE name = ?", (name,)).fetchone()
        return found or (None, 0)

    def _wait(self, row: ImportRow, above: int) -> None:
        if row.name in self._recent:
            self._refuse_double(row.line, row.name)
        if len(self._recent) == RECENT:
            self._recent.clear()
        self._recent[row.name] = len(self)
        line, name, _, *rest = row
        self._waiting.append((above, name, line, *rest))
        if len(self._waiting) == WRITTEN_AT_ONCE:
            self._write()

    def _write(self) -> None:
        """Write the rows that wait. Raises ImportRefused when one has the name of an older one."""
        rows, self._waiting = self._waiting, []
        first = self._written
        self._written += len(rows)
        try:
            self._sizes.append(self._rows.write(marshal.dumps(rows)))
            self._names.executemany(
                "INSERT INTO names VALUES (?, ?, ?)",
                [(name, number, line) for number, (_, name, line, *_) in enumerate(rows, first)],
            )
        except sqlite3.IntegrityError:
            for number, (_, name, line, *_) in enumerate(rows, first):
                if self._find(name)[0] not in {None, number}:
                    self._refuse_double(line, name)
            raise
        except (sqlite3.Error, OSError) as error:
            raise CannotOpen(f"The temporary file of the import cannot be written ({error}).") from error

    def _refuse_double(self, line: int, name: int | str) -> NoReturn:
        raise ImportRefused(line, f"the tweet of line {self.line_of(name)} has the same id or key.")


def store_tweets(
    database: Database,
    tree: ImportTree,
    on_progress: Callable[[int], None] = lambda _: None,
    on_id: Callable[[int | str, int], object] | None = None,
) -> None:
    """
    Append the tweets of *tree* to the log, in one transaction; other writers wait until it ends.

    *on_progress* is called with how many are sent to the database. *on_id* is called for each with its name and its id.
    Raises ImportRefused when the store has one of them already, and what the callbacks raise, with nothing stored.
    """
    with database.writing("writing at length") as connection:
        storing = _Storing(connection, tree)
        for number, row in enumerate(tree.rows()):
            tweet_id = storing.add(number, row)
            if on_id:
                on_id(row[1], tweet_id)
            if (number + 1) % AT_ONCE == 0:
                storing.send()
                on_progress(number + 1)
        storing.finish()
    on_progress(len(tree))


def is_stored(database: Database, tree: ImportTree) -> bool:
    """Whether a `store_tweets` that ended with an error, or by a signal, had committed. Raises StorageError."""
    if tree.last_entry is None:
        return False
    partition, seq, nonce = tree.last_entry
    with database.reading() as connection:
        return log.find_nonce(connection, partition, seq) == nonce


class _Storing:
    """An import in its transaction: the heads as its rows move them, and what is not yet sent."""

    def __init__(self, connection: Connection, tree: ImportTree) -> None:
        self._connection = connection
        self._tree = tree
        store = log.get_store(connection)
        heads = log.lock_heads(connection, store, range(store.partitions))
        self._heads = {partition: HeadCursor(*head) for partition, head in heads.items()}
        self._known_ids: set[int] = set()  # of the store, up to the next
        self._known_to = -1
        self._highest_before = max(head.last_id for head in heads.values())
        self._ids = array("q")
        self._last_id = 0  # of those given here
        self._nonces: list[int] = []
        self._rows: list[tuple[Any, ...]] = []
        self._deleted_rows: list[tuple[Any, ...]] = []  # apart, for two more columns in each row cost a tenth
        self._doubtful: list[int] = []  # ids that the store may have

    def add(self, number: int, row: tuple[Any, ...]) -> int:
        """Give a row of the tree its id, which is returned, and the next place of the log, or the next two."""
        above, name, line, created_at, user_name, title, body, base = row
        partition = self._tree.partitions[number]
        if isinstance(name, int):
            tweet_id = name
            if tweet_id <= self._highest_before:
                self._doubtful.append(tweet_id)
        else:
            tweet_id = self._new_id(line, name, partition, (created_at, user_name, title, body))
        self._ids.append(tweet_id)
        if len(self._nonces) < 2:
            self._nonces = log.new_nonces(2 * AT_ONCE)
        head = self._heads[partition]
        parent = None if above == NO_PARENT else self._ids[above]
        place = (tweet_id, parent, partition, self._tree.depths[number], *head.move(self._nonces.pop(), 1))
        entry = (*place, base, created_at, user_name, title, body)
        if body is None:
            self._deleted_rows.append((*entry, *head.move(self._nonces.pop(), -1)))
        else:
            self._rows.append(entry)
        self._tree.last_entry = (partition, head.seq, head.nonce)
        head.last_id = max(head.last_id, tweet_id)
        # An id may be one that another partition would give: that one must give greater ones from now on.
        namesake = self._heads.get(tweet_id % ids.PARTITIONS, head)
        namesake.last_id = max(namesake.last_id, tweet_id)
        return tweet_id

    def send(self) -> None:
        """Give the rows to the database. Raises ImportRefused for a tweet that it has."""
        if self._doubtful:
            taken = log.list_ancestries(self._connection, self._doubtful)
            if lines := [self._tree.line_of(tweet_id) for tweet_id in taken]:
                raise ImportRefused(min(lines), "the store has a tweet of that id already.")
        if self._rows:
            log.insert_tweets(self._connection, COLUMNS, self._rows)
        if self._deleted_rows:
            log.insert_tweets(self._connection, DELETED_COLUMNS, self._deleted_rows)
        self._rows, self._deleted_rows, self._doubtful = [], [], []

    def finish(self) -> None:
        """Send what is left, and move the heads."""
        self.send()
        heads = {part: Head(each.seq, each.nonce, each.last_id, each.live) for part, each in self._heads.items()}
        log.move_heads(self._connection, heads)

    def _new_id(self, line: int, key: str, partition: int, content: tuple[Any, ...]) -> int:
        """
        An id of the time that *content* begins with, greater than all given here before, that the store does not have.

        The same input gets the same ids, so one that was stored before is met again: then it is refused.
        """
        self._last_id = ids.next_id(self._last_id, content[0], partition)
        while self._is_taken(self._last_id):
            row = log.list_rows(self._connection, [self._last_id])[self._last_id]
            if (row.created_at, row.user_name, row.title, row.body) == content:
                reason = f"the store has this tweet already, as {ids.encode(self._last_id)}: was it imported before?"
                raise ImportRefused(line, reason, key)
            self._last_id = ids.next_id(self._last_id, 0, partition)
        return self._last_id

    def _is_taken(self, tweet_id: int) -> bool:
        """Whether the store has a tweet of that id; for questions that rise from one to the next."""
        if tweet_id > self._known_to:
            found = log.list_ids_from(self._connection, tweet_id, AT_ONCE)
            self._known_ids = set(found)
            self._known_to = found[-1] if len(found) == AT_ONCE else ids.LARGEST
        return tweet_id in self._known_ids


def export_tweets(database: Database, at_once: int = EXPORTED_AT_ONCE) -> Generator[Row]:
    """
    Every tweet that is there at the beginning, in the order of ids; those deleted until they are read, as deleted ones.

    Read *at_once* so many: a reader of one instant would keep deleted texts on the disk until the caller has taken all.
    """
    heads = database.get_state().heads
    left, after = count_tweets(heads.values()), -1
    while left > 0:
        with database.reading() as connection:
            rows = log.list_rows_from(connection, after + 1, at_once)
        if not rows:
            return
        after = rows[-1][0].id
        # Those posted later have later places. Their ids need not be greater, where there are several partitions.
        exported = [row for row, seq in rows if seq <= heads[row.partition].seq]
        left -= len(exported)
        yield from exported


def count_tweets(heads: Iterable[Head]) -> int:
    """How many tweets the logs have: each has an entry, and a second one once it is deleted."""
    return sum((head.seq + head.live) // 2 for head in heads)
