"""The limits below the service: the disk, SQLite and Redis by themselves; and what is read from the log alone."""

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from redis import Redis

from bench.options import Options
from bench.planting import Fields
from bench.report import Table
from bench.servers import CannotMeasure
from bench.workloads import TEXTS
from storage import ids, open_log, prepare_schema
from storage.cascade import read_cascade
from storage.changes import read_changes
from storage.fold import Change
from storage.index.embedded import EmbeddedServer
from storage.index.keys import keys_of
from storage.index.ranking import FoldRequest, fold_call
from storage.sql.database import Database
from storage.sql.log import Head
from storage.sql.sqlite import PRAGMAS, WRITER_CACHE_KIB
from storage.windows import Window, rank_tweets

ROW = ("id", "parent", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
INSERT = f"INSERT INTO tweets ({', '.join(ROW)}) VALUES ({', '.join('?' * len(ROW))})"
MOVE_HEAD = "UPDATE heads SET seq = ?, nonce = ?, last_id = ?, live = ? WHERE partition = 0"
TIMES = 2_000
VIRAL = ids.next_id(0, 1, 0)
DAY_MS = 86_400_000
NODES, LOOKED_AT = 12_906, 50
"""The cascade measured is the one nearest to so many tweets, of those so many tweets that were retweeted most."""

RAW_WINDOW = (
    "SELECT parent, count(*) FROM tweets WHERE id >= ? AND id < ? AND parent IS NOT NULL AND deleted_seq IS NULL "
    "GROUP BY parent"
)
RAW_CASCADE = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION ALL SELECT t.id FROM tree JOIN tweets t ON t.parent = tree.id) "
    "SELECT id FROM tree LIMIT 100000"
)
MOST_RETWEETED = "SELECT parent FROM tweets WHERE parent IS NOT NULL GROUP BY parent ORDER BY count(*) DESC LIMIT ?"
RAW_FEED = f"SELECT {', '.join(ROW)} FROM tweets WHERE partition = 0 AND seq > ? AND seq <= ? ORDER BY seq"


class RawLog:
    """A database of the service's schema, opened as the service opens it, by the driver alone."""

    def __init__(self, data_dir: Path) -> None:
        with closing(open_log(data_dir)) as database:
            prepare_schema(database, 1, embedded=True)
        self._connection = sqlite3.connect(data_dir / "tweets.db", isolation_level=None)
        for pragma in (*PRAGMAS, f"cache_size=-{WRITER_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")

    def append(self, rows: Sequence[Sequence[Any]], at_once: int) -> None:
        """Insert *rows*, of the columns `ROW`, in one transaction: so many in one call of the driver."""
        self._connection.execute("BEGIN IMMEDIATE")
        for first in range(0, len(rows), at_once):
            self._connection.executemany(INSERT, rows[first : first + at_once])
        last = rows[-1]
        self._connection.execute(MOVE_HEAD, (last[4], last[5], last[0], last[4]))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def redis_alone() -> Iterator[Any]:
    """A client of an embedded server of its own, which is empty."""
    with TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        try:
            with closing(Redis(unix_socket_path=str(server.socket))) as client:
                yield client
        finally:
            server.stop()


def measure_limits(options: Options, tables: list[Table]) -> None:
    """Each again and again by one thread: what a single client of the service has to wait for at least."""
    columns = ("limit", "tweets a call", "p50 us", "p99 us", "tweets /s")
    note = "One thread, through the same drivers: the disk; SQLite with the service's schema and pragmas, a transaction"
    note += " with its fsync for each call; the embedded server, asked for a score, and running the fold script."
    table = Table("The limits below", note, columns)
    tables.append(table)
    times = TIMES // (10 if options.quick else 1)

    def add(limit: str, size: int, calls: Iterator[Callable[[], object]]) -> None:
        took_us = []
        for call in calls:
            began = time.perf_counter()
            call()
            took_us.append((time.perf_counter() - began) * 1e6)
        p99_us = quantiles(took_us, n=100)[-1]
        rate = size * len(took_us) / sum(took_us) * 1e6
        table.add(limit, size, f"{median(took_us):,.0f}", f"{p99_us:,.0f}", f"{rate:,.0f}")

    with TemporaryFile() as file:

        def write() -> None:
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())

        add("4 KiB written and synced", 1, repeat(write, times))
    for size in (1, 64):
        with TemporaryDirectory() as folder, closing(RawLog(Path(folder))) as log:
            batches = ([_row(number) for number in range(n * size + 1, (n + 1) * size + 1)] for n in range(times))
            add("SQLite, a transaction", size, (partial(log.append, batch, size) for batch in batches))
    with redis_alone() as client:
        client.zadd(keys_of("bench", 0).ranking, {ids.encode(VIRAL): 0})
        ask = partial(client.zscore, keys_of("bench", 0).ranking, ids.encode(VIRAL))
        add("Redis, a score", 1, repeat(ask, times))
        for size in (1, 64):
            client.set(keys_of("bench", 0).position, "bench 0 0 0")
            folds = [fold_call("bench", _request(size, n)) for n in range(times)]
            client.script_load(folds[0].script.text)
            add("Redis, the fold script", size, (partial(_fold, client, *fold) for fold in folds))


def _fold(client: Any, script: Any, keys: Sequence[Any], arguments: Sequence[Any]) -> None:
    applied, *_ = client.evalsha(script.sha, len(keys), *keys, *arguments)
    if not applied:
        raise CannotMeasure("The fold script refused a batch.")


def _row(number: int) -> tuple[Any, ...]:
    tweet_id = ids.next_id(0, 1_700_000_000_000 + number, 0)
    parts = (tweet_id, None, 0, 0, number, secrets.randbits(62), 0, 1_700_000_000_000 + number)
    return (*parts, f"user{number % 10_000}", TEXTS["title"], TEXTS["body"])


def _request(size: int, number: int) -> FoldRequest:
    """Batch *number* of so many retweets of one tweet."""
    first = number * size
    added = {ids.next_id(0, 1_700_000_000_000 + each, 0): 0 for each in range(first, first + size)}
    return FoldRequest(0, Head(first, 0, 0, 0), Head(first + size, 0, 0, 0), Change(added, {VIRAL: size}, []))


def measure_log(options: Options, fields: Fields, tables: list[Table]) -> None:
    """What the log alone answers, on the greatest number of tweets, in this process and without HTTP."""
    table = Table(
        "Read from the log alone",
        "Medians, in milliseconds unless it says otherwise; the SQL beside it is the plain statement by sqlite3 alone.",
        ("what", "measured", "SQL alone", "ratio"),
    )
    tables.append(table)

    def add(what: str, ours: Callable[[], object], alone: Callable[[], object], entries: int = 0) -> None:
        took: list[list[float]] = [[], []]
        for _ in range(options.pairs):
            for side, act in zip(took, (ours, alone), strict=True):
                began = time.perf_counter()
                act()
                side.append(1000 * (time.perf_counter() - began))
        cells = [f"{entries / median(side) * 1000:,.0f} /s" if entries else f"{median(side):.1f}" for side in took]
        table.add(what, *cells, f"{median(one / other for one, other in zip(*took, strict=True)):.1f}")

    with (
        fields.copied(options.tweets[-1]) as (data_dir, _),
        closing(open_log(data_dir)) as database,
        closing(sqlite3.connect(data_dir / "tweets.db")) as raw,
    ):

        def select(statement: str, *arguments: int) -> list[Any]:
            return raw.execute(statement, arguments).fetchall()

        ((newest, entries),) = select("SELECT max(id), count(*) FROM tweets")
        for name, days in (("day", 1), ("month", 30)):
            window = Window(ids.time_of(newest) - days * DAY_MS, ids.time_of(newest))
            bounds = (ids.first_of(window.since_ms + 1), ids.first_of(window.until_ms + 1))
            retweets = sum(count for _, count in select(RAW_WINDOW, *bounds))
            ours = partial(rank_tweets, database, window, lambda: None)
            add(f"top of a {name}, {retweets:,} retweets", ours, partial(select, RAW_WINDOW, *bounds))
        sizes = {top: len(select(RAW_CASCADE, top)) for (top,) in select(MOST_RETWEETED, LOOKED_AT)}
        top, nodes = min(sizes.items(), key=lambda each: abs(each[1] - NODES))
        if len(read_cascade(database, top).nodes) != nodes:
            raise CannotMeasure("The cascade has not the size that SQL alone finds.")
        add(f"cascade of {nodes:,} tweets", partial(read_cascade, database, top), partial(select, RAW_CASCADE, top))

        alone = partial(_each, range(0, entries, 1000), lambda seq: select(RAW_FEED, seq, seq + 1000))
        add("change feed, pages of 1,000", partial(_read_feed, database, entries), alone, entries)


def _read_feed(database: Database, entries: int) -> None:
    read, page = 0, read_changes(database, None, 1000)
    while page.changes:
        read, page = read + len(page.changes), read_changes(database, page.next, 1000)
    if read != entries:
        raise CannotMeasure(f"The change feed has {read:,} entries of {entries:,}.")


def _each(items: Iterable[int], act: Callable[[int], object]) -> None:
    for item in items:
        act(item)
