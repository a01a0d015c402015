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
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple
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
"""Rows that wait in memory for the temporary file: one by one they took twice as long."""

RECENT = 500_000
"""Names that are looked up in memory, some 75 MB. Older ones are in a temporary file, which takes 6 us for each."""

CACHE_KIB = 64_000
"""Memory for the names of an import in a temporary file."""

DAY_MS = 86_400_000
"""How far ahead of our clock another machine's may be."""

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


class ImportTree(AbstractContextManager["ImportTree"]):
    """
    The tweets of an import, parents before their retweets, checked and waiting to be stored.

    They wait in two temporary files in *folder*, rows and names, which have no name and are gone with the process; in
    memory a tweet takes 6 bytes. Use it with `with`.
    """

    def __init__(self, folder: Path, partitions: int, max_ancestors: int, now_ms: int) -> None:
        self._partitions_in_all = partitions
        self._max_ancestors = max_ancestors
        self._latest_ms = now_ms + DAY_MS
        self.depths = array("i")
        self.partitions = array("h")
        self.last_entry: tuple[int, int, int] | None = None
        """Partition, seq and nonce of the last entry, once the transaction is about to commit."""
        self._recent: dict[int | str, int] = {}  # the number of each name, counted from 0
        self._has_older = False
        self._waiting: list[tuple[Any, ...]] = []
        self._sizes = array("q")  # of what was written at once, in bytes
        path = folder / f".import.{os.getpid()}.part"
        try:
            self._rows: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
            self._names = sqlite3.connect(path, isolation_level=None)
            self._names.execute("PRAGMA journal_mode=OFF")
            self._names.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._names.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._names.execute("BEGIN EXCLUSIVE")
            self._names.execute("CREATE TABLE names (name PRIMARY KEY NOT NULL, number) WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise CannotOpen(f"A temporary file in {folder} cannot be written ({error}).") from error
        finally:
            path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self.depths)

    def __exit__(self, *_: object) -> None:
        self._names.close()
        self._rows.close()

    def add(self, row: ImportRow) -> None:
        """Add a tweet below its parent. Raises ImportRefused."""
        line, name, parent, created_at, *rest = row
        above, depth, number = None, 0, len(self.depths)
        if not 0 <= created_at <= self._latest_ms:
            raise ImportRefused(line, "created_at is before 1970, or more than a day ahead.", name)
        if isinstance(name, int) and ids.time_of(name) > self._latest_ms:
            raise ImportRefused(line, "its id is of a time more than a day ahead.")
        if parent is None:
            hashed = ids.hash_of(name) if isinstance(name, int) else crc32(name.encode())
            partition = hashed % self._partitions_in_all
        else:
            above = self._above(line, name, parent)
            depth, partition = self.depths[above] + 1, self.partitions[above]
        if (same := self._recent.setdefault(name, number)) != number:
            self._refuse_double(line, same)
        self._waiting.append((above, name, line, created_at, *rest))
        self.depths.append(depth)
        self.partitions.append(partition)
        if len(self._waiting) == WRITTEN_AT_ONCE:
            self._write_rows()
        if len(self._recent) == RECENT:
            self._write_names()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """
        All tweets as (above, name, line, created_at, user_name, title, body, base).

        `above` is the number of the parent, counted from 0, None for an original. Raises ImportRefused.
        """
        if self._has_older:
            self._write_names()
        self._write_rows()
        self._rows.seek(0)
        for size in self._sizes:
            yield from marshal.loads(self._rows.read(size))  # noqa: S302  # nothing else can write to the file

    def _above(self, line: int, name: int | str, parent: int | str) -> int:
        """The number of the *parent* of the tweet *name*. Raises ImportRefused."""
        above = self._recent.get(parent)
        if above is None and (above := self._find_older(parent)) is None:
            reason = "the tweet it retweets is in no line above it; a tweet comes before its retweets."
            raise ImportRefused(line, reason, name)
        if isinstance(name, int) and isinstance(parent, int) and name <= parent:
            raise ImportRefused(line, "its id is not greater than that of the tweet it retweets.")
        if self.depths[above] >= self._max_ancestors:
            raise ImportRefused(line, f"it has more than {self._max_ancestors} ancestors (MAX_ANCESTORS).", name)
        return above

    def _find_older(self, name: int | str) -> int | None:
        """The number of the tweet of that name, None if there is none in the temporary file."""
        if not self._has_older:
            return None
        found = self._names.execute("SELECT number FROM names WHERE name = ?", (name,)).fetchone()
        return found and int(found[0])

    def _write_rows(self) -> None:
        try:
            self._sizes.append(self._rows.write(marshal.dumps(self._waiting)))
        except OSError as error:
            raise CannotOpen(f"The temporary file of the import cannot be written ({error}).") from error
        self._waiting = []

    def _write_names(self) -> None:
        """Write the names that are in memory. Raises ImportRefused when an older tweet has one of them."""
        recent, self._recent = self._recent, {}
        try:
            self._names.executemany("INSERT INTO names VALUES (?, ?)", recent.items())
        except sqlite3.IntegrityError:
            for name, number in recent.items():
                older = self._find_older(name)
                if older is not None and older != number:
                    self._refuse_double(self._line_of(number), older)
            raise
        except sqlite3.Error as error:
            raise CannotOpen(f"The temporary file of the import cannot be written ({error}).") from error
        self._has_older = True

    def _refuse_double(self, line: int, first: int) -> None:
        raise ImportRefused(line, f"the tweet of line {self._line_of(first)} has the same id or key.")

    def _line_of(self, number: int) -> int:
        """The line of the tweet of that number; reads all before it, as only a refusal asks."""
        self._has_older = False
        line: int = next(islice(self.rows(), number, None))[2]
        return line


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
        store = log.get_state(connection).store
        # The heads as [seq, nonce, last_id, live], which move with every row.
        heads = {p: [*head] for p, head in log.lock_heads(connection, store, range(store.partitions)).items()}
        highest_before = max(head[2] for head in heads.values())
        new_id = _new_ids(connection)
        tell_id = on_id or (lambda *_: None)
        given = array("q")
        rows: list[tuple[Any, ...]] = []
        deleted_rows: list[tuple[Any, ...]] = []  # apart, for two more columns in each row cost a tenth
        doubtful: dict[int, int] = {}  # ids that the store may have, and their lines

        for number, (above, name, line, created_at, user_name, title, body, base) in enumerate(tree.rows()):
            if number % AT_ONCE == 0:
                nonces = log.new_nonces(2 * AT_ONCE)
            partition = tree.partitions[number]
            if isinstance(name, str):
                tweet_id = new_id(line, name, partition, (created_at, user_name, title, body))
            else:
                tweet_id = name
                if tweet_id <= highest_before:
                    doubtful[tweet_id] = line
            given.append(tweet_id)
            head = heads[partition]
            head[0] += 1
            head[1] = nonces.pop()
            parent = None if above is None else given[above]
            place = (tweet_id, parent, partition, tree.depths[number], head[0], head[1])
            entry = (*place, base, created_at, user_name, title, body)
            if body is None:
                head[0] += 1
                head[1] = nonces.pop()
                deleted_rows.append((*entry, head[0], head[1]))
            else:
                head[3] += 1
                rows.append(entry)
            # An id may be one that another partition would give: that one must give greater ones from now on.
            head[2] = max(head[2], tweet_id)
            namesake = heads.get(tweet_id % ids.PARTITIONS, head)
            namesake[2] = max(namesake[2], tweet_id)
            tree.last_entry = (partition, head[0], head[1])
            tell_id(name, tweet_id)
            if (number + 1) % AT_ONCE == 0:
                _send(connection, rows, deleted_rows, doubtful)
                on_progress(number + 1)
        _send(connection, rows, deleted_rows, doubtful)
        log.move_heads(connection, {partition: Head(*head) for partition, head in heads.items()})
    on_progress(len(tree))


def _send(
    connection: Connection,
    rows: list[tuple[Any, ...]],
    deleted_rows: list[tuple[Any, ...]],
    doubtful: dict[int, int],
) -> None:
    """Give what waits to the database, and empty it. Raises ImportRefused for a tweet that it has."""
    if taken := doubtful and log.list_ancestries(connection, doubtful):
        raise ImportRefused(min(map(doubtful.__getitem__, taken)), "the store has a tweet of that id already.")
    log.insert_tweets(connection, COLUMNS, rows)
    log.insert_tweets(connection, DELETED_COLUMNS, deleted_rows)
    for sent in (rows, deleted_rows, doubtful):
        sent.clear()


def _new_ids(connection: Connection) -> Callable[[int, str, int, tuple[Any, ...]], int]:
    """
    What gives ids to tweets with keys: of their time, greater than all given before, and not those of the store.

    It is called with line, key, partition, and (created_at, user_name, title, body). The same input gets the same ids,
    so one that was stored before is met again: then it raises ImportRefused.
    """
    last_id, known, known_to = 0, set[int](), -1  # the ids of the store from the last to `known_to`

    def new_id(line: int, key: str, partition: int, content: tuple[Any, ...]) -> int:
        nonlocal last_id, known, known_to
        last_id = ids.next_id(last_id, content[0], partition)
        while True:
            if last_id > known_to:
                found = log.list_ids_from(connection, last_id, AT_ONCE)
                known, known_to = set(found), found[-1] if len(found) == AT_ONCE else ids.LARGEST
            if last_id not in known:
                return last_id
            row = log.list_rows(connection, [last_id])[last_id]
            if (row.created_at, row.user_name, row.title, row.body) == content:
                reason = f"the store has this tweet already, as {ids.encode(last_id)}: was it imported before?"
                raise ImportRefused(line, reason, key)
            last_id = ids.next_id(last_id, 0, partition)

    return new_id


def is_stored(database: Database, tree: ImportTree) -> bool:
    """Whether a `store_tweets` that ended with an error, or by a signal, had committed. Raises StorageError."""
    if tree.last_entry is None:
        return False
    partition, seq, nonce = tree.last_entry
    with database.reading() as connection:
        return log.find_nonce(connection, partition, seq) == nonce


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
