"""The product as the simulation uses it: the only module here that names its parts, and follows when they change."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, create_engine

import storage.index
import storage.locks
import storage.reader
import storage.rebuild
import storage.reconciler
import storage.writer
from storage import Tweets, ids, open_log, open_storage, prepare_schema
from storage.ancestry import load_ancestries
from storage.errors import (
    CannotOpen,
    ChainTooLong,
    KeyReused,
    OtherTimeline,
    Overloaded,
    StorageError,
    StoreBusy,
    StoreConflict,
    StoreForbidden,
    StoreFull,
    StoreUnavailable,
    ToolRefused,
    TweetDeleted,
    TweetNotFound,
)
from storage.fold import Ancestry
from storage.ids import encode as member
from storage.index import ranking
from storage.index.embedded import find_server
from storage.index.keys import keys_of, read_position
from storage.records import NewTweet, Place, Posted
from storage.sql import log, postgresql, sqlite
from storage.sql.changes import read_changes
from storage.sql.database import Database, open_database
from storage.sql.postgresql import BoundedConnection
from storage.tools.import_export import ImportRow, staged_tweets, store_tweets
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from storage.tweets import CACHE_SIZES
from tests.builders import import_tweets

__all__ = ["BoundedConnection", "CannotOpen", "StorageError", "find_server", "keys_of", "member", "read_position"]

NOTHING_STORED = (
    TweetNotFound, TweetDeleted, ChainTooLong, KeyReused, Overloaded, StoreBusy, StoreForbidden, StoreFull,
    StoreConflict, ToolRefused,
)  # fmt: skip
"""After one of these, nothing of the write is stored; after any other error it may be."""


class Write(NamedTuple):
    """A write that a client asks for: a tweet, a retweet of *target*, or with `deletes` the deletion of *target*."""

    user: str
    title: str
    target: int | None = None
    deletes: bool = False
    base: int = 0
    key: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a write: `ok` with the id of a post, or an error; `stored` is None when that is not known."""

    stored: bool | None
    id: int | None = None
    replayed: bool = False
    error: str = ""


class Shown(NamedTuple):
    """A tweet as it was shown, None as its count when it is a tombstone."""

    id: int
    count_retweet: int | None
    title: str | None


class Page(NamedTuple):
    """A page of the ranking as it was shown."""

    tweets: list[Shown]
    next: Any
    is_stale: bool


class Change(NamedTuple):
    """An entry of the log as the change feed gives it: `sign` is 1 for a post, -1 for a deletion."""

    partition: int
    seq: int
    nonce: int
    id: int
    sign: int


class Host:
    """One copy of the service on the shared database and Redis, opened by `open_host`."""

    def __init__(self, tweets: Tweets) -> None:
        self._tweets = tweets

    def write_all(self, writes: Sequence[Write]) -> list[Outcome]:
        """Let *writes* be stored, all submitted before the first is waited for."""
        submitted = [self._submit(write) for write in writes]
        self._tweets.flush()
        return [_outcome(each) for each in submitted]

    def _submit(self, write: Write) -> Future[Any] | StorageError:
        try:
            if write.deletes:
                assert write.target is not None
                return self._tweets.delete(write.target)
            body = "body" if write.target is None else None
            return self._tweets.post(NewTweet(write.user, write.title, body, write.target, write.base, write.key))
        except StorageError as error:
            return error

    def get(self, tweet_id: int) -> Shown:
        """A tweet. Raises the product's errors, as all reads do."""
        tweet = self._tweets.get(tweet_id).result()
        return Shown(tweet.id, tweet.count_retweet, tweet.title)

    def top(self, limit: int, after: Any = None) -> Page:
        """A page of the ranking; *after* is a pair of count and id, or None."""
        page = self._tweets.top(limit, Place(*after) if after else None).result()
        return Page([Shown(tweet.id, tweet.count_retweet, tweet.title) for tweet in page.tweets], page.next, page.stale)

    def rank(self, tweet_id: int) -> tuple[int, int, int]:
        """The rank of a tweet, its count, and how many are ranked."""
        rank = self._tweets.rank(tweet_id)
        return rank.rank, rank.count_retweet, rank.total

    def chain(self, tweet_id: int) -> list[Shown]:
        """A tweet and its ancestors."""
        return [
            Shown(tweet.id, tweet.count_retweet, tweet.title)
            for tweet in self._tweets.list_chain(tweet_id, limit=100).tweets
        ]

    def changes(self, cursor: str | None, limit: int) -> tuple[list[Change], str]:
        """A page of the change feed, and the cursor after it. Raises LookupError for a cursor of another timeline."""
        try:
            page = read_changes(self._tweets.database, cursor, limit)
        except OtherTimeline as error:
            raise LookupError(cursor) from error
        return [
            Change(entry.partition, entry.seq, entry.nonce, entry.id, entry.sign) for entry in page.changes
        ], page.next

    def rebuild(self) -> None:
        """Build the index from the log."""
        rebuild_all(self._tweets)

    def verify(self) -> int:
        """How many counts of the index are wrong."""
        return len(verify(self._tweets))

    def import_chain(self, titles: Sequence[str], now_ms: int, folder: Path) -> int:
        """Import a root and a chain of retweets below it."""
        return import_tweets(self._tweets.database, _chain_of(titles, now_ms), folder, 1000, now_ms)

    def tick(self) -> None:
        """What the server does once a second."""
        self._tweets.tick()

    def close(self) -> None:
        """End in order."""
        self._tweets.close()


def _outcome(submitted: Future[Any] | StorageError) -> Outcome:
    try:
        if isinstance(submitted, StorageError):
            raise submitted
        posted = submitted.result()
    except NOTHING_STORED as error:
        return Outcome(False, error=type(error).__name__)
    except StorageError as error:
        return Outcome(None, error=type(error).__name__)
    return Outcome(True, posted.tweet.id, posted.replayed) if isinstance(posted, Posted) else Outcome(True)


def kind_of(error: StorageError) -> str:
    """What an error says of a read: "missing", "deleted", or "unavailable"."""
    if isinstance(error, TweetNotFound):
        return "missing"
    if isinstance(error, TweetDeleted):
        return "deleted"
    if type(error) is StorageError:  # "a question was not answered": a mistake that was caught
        return "error"
    return "unavailable"


def open_host(
    data_dir: Path, database_url: str, socket: Path, *, max_ancestors: int, cache: int | None, owns: bool
) -> Host:
    """
    Open a host, with caches that hold *cache* entries. Raises CannotOpen.

    One that *owns* its data rebuilds the index at its start, if it did not end in order before.
    """
    opened = open_storage(
        data_dir,
        database_url,
        f"unix://{socket}",
        max_ancestors=max_ancestors,
        queue_limit=16,
        cache_sizes=CACHE_SIZES if cache is None else (cache, cache),
        attach=not owns,
    )
    return Host(opened)


def _chain_of(titles: Sequence[str], now_ms: int) -> list[ImportRow]:
    return [
        ImportRow(number, title, titles[number - 2] if number > 1 else None, now_ms, "importer", title, "body")
        for number, title in enumerate(titles, 1)
    ]


def import_by_command(
    data_dir: Path, database_url: str, titles: Sequence[str], now_ms: int, stall: Callable[[], None]
) -> None:
    """As `Host.import_chain`, by a process without an index, which calls *stall* for each tweet in its transaction."""
    data_dir.mkdir(exist_ok=True)
    with closing(open_log(data_dir, database_url)) as opened:
        partitions = opened.get_state().store.partitions
        with staged_tweets(_chain_of(titles, now_ms), data_dir, partitions, 1000, now_ms) as staged:
            store_tweets(opened, staged, on_id=lambda *_: stall())


def migrate(url: str, partitions: int) -> None:
    """Give an empty database the present schema."""
    with closing(open_database(url)) as database:
        prepare_schema(database, partitions, embedded=True)


def new_id(now_ms: int, number: int, partition: int) -> int:
    """The id of a tweet, the *number*-th of that millisecond."""
    return ids.next_id(ids.next_id(0, now_ms, partition) + number * ids.PARTITIONS, 0, partition)


def new_nonce() -> int:
    """The nonce of an entry."""
    return log.new_nonces(1)[0]


def product_modules() -> list[ModuleType]:
    """All modules that are to run in simulated time."""
    names = [name for name in sys.modules if name == "storage" or name.startswith("storage.")]
    return [sys.modules[name] for name in [*sorted(names), "concurrent.futures._base"] if name in sys.modules]


def script_names() -> dict[str, str]:
    """The names of the scripts by their digests and by the first line of their texts, for the trace."""
    names: dict[str, str] = {}
    folder = Path(storage.index.__file__).parent / "scripts"
    texts = {file.stem: file.read_text() for file in sorted(folder.glob("*.lua"))}
    for name, text in texts.items():
        names[hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()] = name
        names[text] = f"{name} (text)"
    return names


@contextmanager
def _patched(target: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, before)


LIMITS: tuple[tuple[ModuleType, str, int], ...] = (
    (storage.writer, "ANCESTORS_LIMIT", 4),
    (storage.writer, "CHECKPOINT_EACH", 2),
    (storage.reconciler, "FOLD_AT_ONCE", 2),
    (storage.reconciler, "REBUILT_FROM", 5),
    (storage.rebuild, "STAGE_AT_ONCE", 2),
)
"""What a simulation has too few tweets to reach, and a small value for each."""


LEASE_S = 2.0
"""How long the lease of a rebuild outlives a process that was killed: less than in fact, as all others wait for it."""

POLLS = (("POLL_S", 0.002), ("POLL_SLOWLY_S", 0.1))
"""How often one tries who waits for the lock of another process: less often than in fact, as each try is a switch."""


@contextmanager
def small_limits(chosen: Sequence[bool]) -> Iterator[None]:
    """Let those of `LIMITS` that are *chosen* have their small values."""
    with ExitStack() as patched:
        for module in (ranking, storage.rebuild):
            patched.enter_context(_patched(module, "LEASE_S", LEASE_S))
        for name, pause_s in POLLS:
            patched.enter_context(_patched(storage.locks, name, pause_s))
        for (module, name, small), is_small in zip(LIMITS, chosen, strict=True):
            if is_small:
                patched.enter_context(_patched(module, name, small))
        yield


@contextmanager
def on_postgresql(connection: type[BoundedConnection]) -> Iterator[None]:
    """Let the product's connections to PostgreSQL be of that class, and no time limit be that of the real clock."""
    begin = {kind: re.sub(r"(_timeout'?(?:,| =) )'\w+'", r"\1'0'", text) for kind, text in postgresql.BEGIN.items()}
    with _patched(postgresql, "BEGIN", begin), _patched(postgresql, "BoundedConnection", connection):
        yield


_first: list[Engine] = []


def _create_engine(*arguments: Any, **options: Any) -> Engine:
    """As SQLAlchemy's, but a statement is compiled once and not by each host again."""
    engine = create_engine(*arguments, **options)
    _first[:] = _first or [engine]
    engine.dialect, engine._compiled_cache = _first[0].dialect, _first[0]._compiled_cache
    return engine


def with_one_compiler() -> AbstractContextManager[None]:
    """Let the product's engines for SQLite share what they compile."""
    return _patched(sqlite, "create_engine", _create_engine)


@contextmanager
def _without_position_check() -> Iterator[None]:
    text = ranking.SCRIPTS["fold"].replace("if at ~= ARGV[1] then", "if false then")
    assert text != ranking.SCRIPTS["fold"]
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    with (
        _patched(ranking, "SCRIPTS", ranking.SCRIPTS | {"fold": text}),
        _patched(ranking, "_SHAS", ranking._SHAS | {"fold": sha}),
    ):
        yield


def _without_nonce() -> AbstractContextManager[None]:
    return _patched(log, "new_nonces", lambda count: [7] * count)


def _without_freshness() -> AbstractContextManager[None]:
    return _patched(ranking.IndexState, "includes", lambda *_: True)


def _with_repeated_commits() -> AbstractContextManager[None]:
    keep_trying = Database.keep_trying

    def repeat(self: Database, act: Callable[[], Any]) -> Any:
        try:
            return keep_trying(self, act)
        except StoreUnavailable:
            return keep_trying(self, act)

    return _patched(Database, "keep_trying", repeat)


def _with_evicting_cache() -> AbstractContextManager[None]:
    def evict(connection: Connection, known: dict[int, Ancestry], *arguments: Any) -> set[int]:
        left_out = load_ancestries(connection, known, *arguments)
        while len(known) > 3:
            del known[next(iter(known))]
        return left_out

    return _patched(storage.writer, "load_ancestries", evict)


MUTATIONS = {
    "no position check": _without_position_check,
    "no nonce": _without_nonce,
    "old reads": _without_freshness,
    "repeated commits": _with_repeated_commits,
    "evicting cache": _with_evicting_cache,
}
"""Ways to break what the design rests on, each of which the simulation must find."""
