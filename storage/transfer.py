"""
Tweets from elsewhere become entries of the log.

An import is one transaction: all of it is stored, or nothing. What is carried is a tweet's id, parent, base, time and
texts, and that it was deleted; not its idempotency key, and not its place in the log, which it gets anew.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from storage import ids
from storage.errors import StorageError
from storage.forest import Forest, Node
from storage.sql import log
from storage.sql.engine import Database
from storage.sql.prepared import Insertion
from storage.sql.tables import tweets
from storage.tails import draw_nonces, lock_tails

AT_ONCE = 10_000
"""Rows in one statement."""

DAY_MS = 86_400_000
"""How far ahead of our clock another machine's may be."""

COLUMNS = ("id", "parent", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
DELETED_COLUMNS = (*COLUMNS, "deleted_seq", "deleted_nonce")
Row = tuple[int | str | None, ...]
"""The values of `COLUMNS`, or of `DELETED_COLUMNS`."""


class ImportRefused(StorageError):
    """The file cannot be imported; the message names the line and says why. Nothing of it was stored."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


class Given(NamedTuple):
    """
    A tweet to import.

    `name` is what its retweets call it, `parent` the name of the tweet that it retweets. `id` is None when it has none
    yet. A deleted one has neither `user_name`, `title` nor `body`. `count_retweet` is what its count must be when all
    are imported, None when nobody knows.
    """

    line: int
    name: int
    parent: int | None
    id: int | None
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None
    base: int = 0
    count_retweet: int | None = None


def import_tweets(
    database: Database, given: Iterable[Given], max_ancestors: int, now_ms: int, on_stored: Callable[[int], None]
) -> int:
    """
    Append *given*, in which a parent comes before its retweets, to the log; returns how many tweets these were.

    *on_stored* is told now and then, and at the end, how many there are so far. Other writers wait until all are
    stored. Raises ImportRefused, and what *given* raises, with nothing stored.
    """
    rows = iter(given)
    with database.writing(at_length=True) as connection:
        running = _Import(connection, max_ancestors, now_ms + DAY_MS)
        for row in rows:
            running.append(row, rows)
            if running.is_full():
                running.send()
                on_stored(len(running.forest))
        running.finish()
    on_stored(len(running.forest))
    return len(running.forest)


class _Import:
    """An import under way: the chains so far, and the tails of the logs as its rows move them."""

    def __init__(self, connection: Connection, max_ancestors: int, latest_ms: int) -> None:
        self._connection = connection
        self._tails = lock_tails(connection)
        self._taken = _TakenIds(connection)
        self._highest_before: int = connection.execute(_HIGHEST).scalar() or 0
        self._max_ancestors = max_ancestors
        self._latest_ms = latest_ms
        self._last_id = 0  # of those given here
        self._nonces = draw_nonces()
        self._rows: list[Row] = []  # not yet sent
        self._deleted_rows: list[Row] = []  # nor these; apart, for two more columns in each row cost a tenth
        self._doubtful: list[int] = []  # the ids among both that the store may have
        self.forest = Forest()

    def append(self, given: Given, rest: Iterator[Given]) -> None:
        """Add a row; *rest*, those after it, is read only to say more of one that is refused."""
        above = None
        if given.parent is not None:
            above = self.forest.find(given.parent)
            if above is None:
                raise ImportRefused(given.line, _why_unknown(given, rest))
        node = self._place(given, above)
        self.forest.add(given.name, above, node, given.line)
        self.forest.weigh(live=given.body is not None, base=given.base, announced=given.count_retweet)
        self._keep(given, node)

    def is_full(self) -> bool:
        """Whether it is time to `send`."""
        return len(self._rows) + len(self._deleted_rows) >= AT_ONCE

    def send(self) -> None:
        """Give the rows to the database."""
        if self._doubtful:
            taken = self._connection.execute(_IDS_AMONG, {"ids": self._doubtful}).scalars()
            places = (self.forest.find(tweet_id) for tweet_id in taken)  # such a row's id is its name
            first = min((self.forest.line_of(place) for place in places if place is not None), default=None)
            if first is not None:
                raise ImportRefused(first, "the store has a tweet of that id already.")
        if self._rows:
            _APPEND.add(self._connection, COLUMNS, self._rows)
        if self._deleted_rows:
            _APPEND_DELETED.add(self._connection, DELETED_COLUMNS, self._deleted_rows)
        self._rows, self._deleted_rows, self._doubtful = [], [], []

    def finish(self) -> None:
        """Send what is left, check the counts that were announced, and move the heads."""
        self.send()
        wrong = min(self.forest.wrong_counts(), default=None)
        if wrong:
            reason = f"count_retweet is {wrong.announced}, but the rows of this file make it {wrong.counted}."
            raise ImportRefused(wrong.line, reason)
        log.move_heads(self._connection, {partition: tail.head() for partition, tail in self._tails.items()})

    def _place(self, given: Given, above: int | None) -> Node:
        """The node of *given*, below the tweet at *above*. Raises ImportRefused."""
        if (same := self.forest.find(given.name)) is not None:
            line = self.forest.line_of(same)
            raise ImportRefused(given.line, f"the tweet of line {line} has the same number or id.")
        if not 0 <= given.created_at <= self._latest_ms:
            raise ImportRefused(given.line, "created_at is before 1970, or more than a day ahead.")
        if above is None:
            partition = self._partition_of_root(given.id)
            node = Node(self._id_of(given, partition), None, partition, 0)
        else:
            node = self.forest.hang(self._id_of(given, self.forest.partition_of(above)), above)
            if node.parent is not None and node.id <= node.parent:
                raise ImportRefused(given.line, "its id is not greater than that of the tweet it retweets.")
        if node.depth > self._max_ancestors:
            raise ImportRefused(given.line, f"it has more than {self._max_ancestors} ancestors (MAX_ANCESTORS).")
        return node

    def _partition_of_root(self, tweet_id: int | None) -> int:
        """One for each root in turn, or by the hash of its id, so that every partition gets about as many chains."""
        number = len(self.forest) if tweet_id is None else ids.hash_of(tweet_id)
        return number % len(self._tails)

    def _id_of(self, given: Given, partition: int) -> int:
        """The id that *given* has, or a new one of its time, greater than all that were given here before."""
        if given.id is not None:
            if ids.time_of(given.id) > self._latest_ms:
                raise ImportRefused(given.line, "its id is of a time more than a day ahead.")
            if given.id <= self._highest_before:
                self._doubtful.append(given.id)
            return given.id
        self._last_id = ids.next_id(self._last_id, given.created_at, partition)
        while self._taken.has(self._last_id):
            self._last_id = ids.next_id(self._last_id, 0, partition)
        return self._last_id

    def _keep(self, given: Given, node: Node) -> None:
        """Make a row of *given*, at the next place of the log, or the next two."""
        tail = self._tails[node.partition]
        place = tail.move(next(self._nonces), 1)
        row = (*node, *place, given.base, given.created_at, given.user_name, given.title, given.body)
        if given.body is None:
            self._deleted_rows.append((*row, *tail.move(next(self._nonces), -1)))
        else:
            self._rows.append(row)
        tail.see(node.id)
        if (named := self._tails.get(node.id % ids.PARTITIONS, tail)) is not tail:
            named.see(node.id)


class _TakenIds:
    """Which ids the store has, for questions that rise from one to the next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: set[int] = set()
        self._known_to = -1

    def has(self, tweet_id: int) -> bool:
        """Whether the store has a tweet of that id."""
        if tweet_id > self._known_to:
            found = self._connection.execute(_IDS_FROM, {"first": tweet_id}).scalars().all()
            self._known = set(found)
            self._known_to = found[-1] if len(found) == AT_ONCE else ids.LARGEST
        return tweet_id in self._known


def _why_unknown(given: Given, rest: Iterable[Given]) -> str:
    """What is wrong with a parent that no earlier row names: it comes later, in a circle even, or never."""
    later = {given.name: given}
    with suppress(Exception):  # the first fault is the one to tell; that of a later row is not
        for row in rest:
            later.setdefault(row.name, row)
    above, seen = later.get(given.parent or 0), set[int]()
    if above is None:
        return "the tweet it retweets is not in this file."
    first = above
    while above is not None and above.name not in seen:
        if above.name == given.name:
            return "it retweets itself, directly or in a circle."
        seen.add(above.name)
        above = later.get(above.parent) if above.parent is not None else None
    return f"the tweet it retweets comes later, in line {first.line}; a tweet comes before its retweets."


_APPEND = Insertion(tweets)
_APPEND_DELETED = Insertion(tweets)
_HIGHEST = select(func.max(tweets.c.id))
_IDS_FROM = select(tweets.c.id).where(tweets.c.id >= bindparam("first")).order_by(tweets.c.id).limit(AT_ONCE)
_IDS_AMONG = select(tweets.c.id).where(tweets.c.id.in_(bindparam("ids", expanding=True)))
