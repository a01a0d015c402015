"""The limits below the service: SQLite storing the same rows, Redis running the same script, and nothing else."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from bench.options import Options
from bench.report import Table
from bench.workloads import TEXTS
from storage import ids, open_log, prepare_schema
from storage.fold import Change
from storage.index.embedded import EmbeddedServer
from storage.index.keys import keys_of
from storage.index.ranking import FoldRequest, fold_call
from storage.sql.log import Head
from storage.sql.sqlite import PRAGMAS, WRITER_CACHE_KIB

ROW = ("id", "parent", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
INSERT = f"INSERT INTO tweets ({', '.join(ROW)}) VALUES ({', '.join('?' * len(ROW))})"
MOVE_HEAD = "UPDATE heads SET seq = ?, nonce = ?, last_id = ?, live = ? WHERE partition = 0"

BATCHES = {1: 2_000, 64: 64 * 500, 10_000: 100_000}
"""Tweets stored in batches of each size: some seconds."""

FOLDS = {1: 10_000, 64: 64 * 1_000}
ADDED = 200_000
VIRAL = ids.next_id(0, 1, 0)


class RawLog:
    """A database of the service's schema, opened as the service opens it, by the driver alone."""

    def __init__(self, data_dir: Path) -> None:
        with closing(open_log(data_dir)) as database:
            prepare_schema(database, 1, embedded=True)
        self._connection = sqlite3.connect(data_dir / "tweets.db", isolation_level=None)
        for pragma in PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")

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


def measure_limits(options: Options, tables: list[Table]) -> None:
    """SQLite and Redis by themselves, in batches of 1, 64 and more."""
    table = Table(
        "The limits below",
        "One thread, through the same drivers: SQLite with the service's schema, pragmas and fsync, a transaction for "
        "each batch; the embedded server running the fold script with the arguments of a batch of retweets of one "
        "tweet; and plain ZADD, pipelined. Medians.",
        ("limit", "tweets a batch", "tweets /s", "us a batch"),
    )
    tables.append(table)
    rounds = min(options.pairs, 3)
    for size, tweets in BATCHES.items():
        rate = median(store_raw(size, tweets) for _ in range(rounds))
        table.add("SQLite", size, f"{rate:,.0f}", f"{size / rate * 1e6:,.0f}")
    for size, tweets in FOLDS.items():
        rate = median(fold_raw(size, tweets) for _ in range(rounds))
        table.add("Redis, fold script", size, f"{rate:,.0f}", f"{size / rate * 1e6:,.0f}")
    rate = median(add_raw() for _ in range(rounds))
    table.add("Redis, pipelined ZADD", 10_000, f"{rate:,.0f}", f"{10_000 / rate * 1e6:,.0f}")


def store_raw(size: int, tweets: int) -> float:
    """Tweets a second, stored in transactions of *size*."""
    with TemporaryDirectory() as folder, closing(RawLog(Path(folder))) as log:
        rows = [_row(number) for number in range(1, tweets + 1)]
        return _rate(tweets, lambda: _each(rows, size, lambda batch: log.append(batch, size)))


def fold_raw(size: int, tweets: int) -> float:
    """Tweets a second, folded by the service's script in calls of *size*."""
    folds = [fold_call("bench", delivery) for delivery in _deliveries(size, tweets)]
    with redis_alone() as client:
        client.zadd(keys_of("bench", 0).ranking, {ids.encode(VIRAL): 0})
        client.set(keys_of("bench", 0).position, "bench 0 0 0")
        client.script_load(folds[0].script.text)

        def run() -> None:
            for script, keys, arguments in folds:
                applied, *_ = client.evalsha(script.sha, len(keys), *keys, *arguments)
                if not applied:
                    raise AssertionError("the script refused a batch")

        return _rate(tweets, run)


def add_raw() -> float:
    """Tweets a second, by ZADD in pipelines of 10,000."""
    members = [(ids.encode(_id(number)), 0) for number in range(ADDED)]
    with redis_alone() as client:

        def add(batch: Sequence[tuple[str, int]]) -> None:
            pipeline = client.pipeline(transaction=False)
            pipeline.zadd("bench", dict(batch))
            pipeline.execute()

        return _rate(ADDED, lambda: _each(members, 10_000, add))


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


def _each(items: Sequence[Any], size: int, act: Callable[[Sequence[Any]], None]) -> None:
    for first in range(0, len(items), size):
        act(items[first : first + size])


def _rate(tweets: int, act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return tweets / (time.perf_counter() - began)


def _id(number: int) -> int:
    return ids.next_id(0, 1_700_000_000_000 + number, 0)


def _row(number: int) -> tuple[Any, ...]:
    parts = (_id(number), None, 0, 0, number, secrets.randbits(62), 0, 1_700_000_000_000 + number)
    return (*parts, f"user{number % 10_000}", TEXTS["title"], TEXTS["body"])


def _deliveries(size: int, tweets: int) -> Iterator[FoldRequest]:
    for first in range(0, tweets, size):
        added = {_id(number): 0 for number in range(first, first + size)}
        at, to = Head(first, 0, 0, 0), Head(first + size, 0, 0, 0)
        yield FoldRequest(0, at, to, Change(added, {VIRAL: size}, []))
