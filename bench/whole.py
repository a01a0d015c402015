"""
The service beside the plainest way to do the same, without HTTP: rebuild, import, what is read from the log alone.

And memory, and the time to start.
"""

import json
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from bench.convert import convert
from bench.load import run_wrk
from bench.options import Options
from bench.planting import Fields, staged, write_field
from bench.report import Table, verdict
from bench.servers import ROOT, CannotMeasure, Ended, memory_mb, run_command, service, wait_for
from bench.workloads import WORKLOADS, ask, post, write_requests
from storage import ids, open_log, prepare_schema
from storage.index.embedded import EmbeddedServer, socket_of
from storage.sql.cascades import read_cascade
from storage.sql.changes import read_changes
from storage.sql.database import Database
from storage.sql.sqlite import PRAGMAS, WRITER_CACHE_KIB
from storage.sql.windows import Window, rank_tweets

ROUNDS = 3
AT_ONCE = 10_000

ROW = ("id", "parent", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
INSERT = f"INSERT INTO tweets ({', '.join(ROW)}) VALUES ({', '.join('?' * len(ROW))})"
SELECT = "SELECT id, parent, partition, base, deleted_seq IS NULL FROM tweets ORDER BY id DESC"
_IMPORTED = r"Imported ([\d,]+) tweets in ([\d.]+) s(?:\W+(?:and r|R)anked them in ([\d.]+) s)?"  # by older versions
_REBUILT = r"Rebuilt .* in ([\d.]+) s"

DAY_MS = 86_400_000
NODES = 12_906
"""Tweets in the cascade that is measured: each but the first retweets any earlier one."""

RAW_WINDOW = (
    "SELECT parent, count(*) FROM tweets WHERE id >= ? AND id < ? AND parent IS NOT NULL AND deleted_seq IS NULL "
    "GROUP BY parent"
)
RAW_CASCADE = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION ALL SELECT t.id FROM tree JOIN tweets t ON t.parent = tree.id) "
    "SELECT id FROM tree LIMIT 100000"
)
RAW_FEED = f"SELECT {', '.join(ROW)} FROM tweets WHERE partition = 0 AND seq > ? AND seq <= ? ORDER BY seq"


@contextmanager
def redis_alone() -> Iterator[Any]:
    """A client of an embedded server of its own, which is empty."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        server = EmbeddedServer(Path(folder))
        stack.callback(server.stop)
        yield stack.enter_context(closing(Redis(unix_socket_path=str(server.socket))))


def measure_rebuild(options: Options, fields: Fields, tables: list[Table]) -> None:
    """`rebuild` beside a SELECT and pipelined ZADD of the same rows."""
    table = _new_table(tables, "Rebuild")
    tweets = options.tweets[-1]
    for checkout, name in options.checkouts.items():
        with fields.copied(tweets, checkout) as (data_dir, _):
            ran: list[tuple[float, float, float]] = []
            for _ in range(min(options.pairs, ROUNDS)):
                ended = run_command(data_dir, "rebuild", checkout=checkout)
                ran.append((float(_found(_REBUILT, ended)[1]), _rebuild_raw(data_dir), ended.peak_mb))
            _found(", 0 wrong", run_command(data_dir, "verify", checkout=checkout))
        ours_s, raw_s = (median(each[side] for each in ran) for side in (0, 1))
        ratio = median(ours / raw for ours, raw, _ in ran)
        limit = f"{raw_s:.2f} s: SELECT, pipelined ZADD"
        _add(table, f"rebuild, {tweets:,} tweets{name}", f"{ours_s:.2f} s", "≤ 1.50", ratio, limit, f"{ratio:.2f}")
        peak_mb = max(peak for *_, peak in ran)
        _add(table, f"... its peak memory{name}", f"{peak_mb:.0f} MB", "≤ 300 MB", peak_mb)


def _rebuild_raw(data_dir: Path) -> float:
    """The seconds to read the rows and add them to an empty sorted set."""
    with closing(sqlite3.connect(data_dir / "tweets.db")) as connection, redis_alone() as client:
        began = time.perf_counter()
        rows = connection.execute(SELECT)
        while part := rows.fetchmany(AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            pipeline.zadd("bench", {ids.encode(row[0]): row[3] for row in part})
            pipeline.execute()
        return time.perf_counter() - began


def measure_import(options: Options, _fields: Fields, tables: list[Table]) -> None:
    """An import of the cascades beside raw inserts of the rows that it gave, and one of tweets with ids."""
    table = _new_table(tables, "Import")
    rounds = range(min(options.pairs, ROUNDS))
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        if not options.beside:
            with lines.open("wb") as converted:
                converted.writelines(convert(options.cascades))
            _add_import(table, options.cascades.name, [_import(lines, ROOT) for _ in rounds])
        write_field(options.tweets[-1], lines)
        ran = [[_import(lines, checkout) for checkout in options.checkouts] for _ in rounds]
        for name, runs in zip(options.checkouts.values(), zip(*ran, strict=True), strict=True):
            _add_import(table, f"invented ones{name}", list(runs))


def _add_import(table: Table, what: str, ran: list[tuple[int, float, float, float, float]]) -> None:
    tweets = ran[0][0]
    rate, stored, raw = (median(tweets / each[side] for each in ran) for side in (1, 2, 3))
    said = f"{rate:,.0f} /s"
    _add(table, f"import, {tweets:,} tweets, {what}", said, "≥ 20,000 /s", rate)
    ratio = f"{median(each[3] / each[2] for each in ran):.2f}"
    table.add("... stored", f"{stored:,.0f} /s", f"{raw:,.0f} /s: raw inserts", ratio, "", "")
    peak_mb = max(each[4] for each in ran)
    _add(table, "... its peak memory", f"{peak_mb:.0f} MB", "≤ 500 MB", peak_mb)


def _import(lines: Path, checkout: Path) -> tuple[int, float, float, float, float]:
    """Tweets; the seconds to store and rank them, to store them, and to insert the same rows; the peak memory in MB."""
    with TemporaryDirectory() as ours, TemporaryDirectory() as plain:
        ended = run_command(Path(ours), "import", str(lines), checkout=checkout)
        imported = _found(_IMPORTED, ended)
        _found(", 0 wrong", run_command(Path(ours), "verify", checkout=checkout))
        with closing(sqlite3.connect(Path(ours) / "tweets.db")) as connection:
            raw_s = _insert_raw(Path(plain), connection.execute(f"SELECT {', '.join(ROW)} FROM tweets ORDER BY seq"))
    stored_s, ranked_s = float(imported[2]), float(imported[3] or 0)
    return int(imported[1].replace(",", "")), stored_s + ranked_s, stored_s, raw_s, ended.peak_mb


def _insert_raw(data_dir: Path, source: sqlite3.Cursor) -> float:
    """
    The seconds to insert the rows of *source* in one transaction, by the driver alone; reading them does not count.

    Schema and pragmas are the service's.
    """
    took_s = 0.0
    with closing(open_log(data_dir)) as database:
        prepare_schema(database, 1, embedded=True)
    with closing(sqlite3.connect(data_dir / "tweets.db", isolation_level=None)) as connection:
        for pragma in (*PRAGMAS, f"cache_size=-{WRITER_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")
        while rows := source.fetchmany(AT_ONCE):
            began = time.perf_counter()
            connection.executemany(INSERT, rows)
            took_s += time.perf_counter() - began
        began = time.perf_counter()
        connection.execute("COMMIT")
    return took_s + time.perf_counter() - began


def measure_memory(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Redis' bytes for a tweet, the memory of the service after each workload was run, that of `verify`; the start."""
    table = _new_table(tables, "Memory and start")
    tweets = options.tweets[-1]
    with redis_alone() as client:
        empty = int(client.info("memory")["used_memory"])
    for checkout, name in options.checkouts.items():
        with staged(fields, WORKLOADS["mixed"], tweets, checkout) as stage:
            with closing(Redis(unix_socket_path=str(socket_of(stage.data_dir / "redis")))) as client:
                info: Any = client.info("memory")
            each = (int(info["used_memory"]) - empty) / stage.total()
            _add(table, f"Redis, bytes a tweet of {tweets:,}{name}", f"{each:.0f}", "≤ 100", each)
            for workload in WORKLOADS.values():
                file = write_requests(workload, stage.requests.parent, stage.planted, "")
                run_wrk(stage.server, file, connections=options.connections[-1], seconds=options.seconds)
            resident_mb = memory_mb(stage.server.pid)
            _add(table, f"service, after all workloads{name}", f"{resident_mb:.0f} MB", "≤ 100 MB", resident_mb)
        with fields.copied(tweets, checkout) as (data_dir, _), TemporaryDirectory() as nothing:
            least_mb = run_command(Path(nothing), "verify", checkout=checkout).peak_mb
            peak_mb = run_command(data_dir, "verify", checkout=checkout).peak_mb
            each = (peak_mb - least_mb) * 1e6 / tweets
            _add(table, f"verify, bytes a tweet{name}", f"{each:.0f} ({peak_mb:.0f} MB in all)", "≤ 20", each)
        for what in ("after a clean stop", "without an index"):
            with fields.copied(tweets, checkout) as (data_dir, _):
                if what == "without an index":
                    shutil.rmtree(data_dir / "redis")
                live_s, writes_s, current_s = _start(data_dir, checkout)
            said = f"{live_s:.2f} s, {writes_s:.2f} s"
            _add(table, f"start {what}: /livez, a write{name}", said, "≤ 1.5 s", max(live_s, writes_s))
            _add(table, f"... the ranking is current{name}", f"{current_s:.2f} s", "≤ 12 s", current_s)


def _start(data_dir: Path, checkout: Path) -> tuple[float, float, float]:
    """Seconds from the command until the service lives, has taken a write, and has a ranking that is up to date."""
    began = time.perf_counter()
    took_s = []
    with service(data_dir, checkout) as server:
        for look in (
            lambda: server.get("/livez"),
            lambda: ask(server.url, post(0))[0] == 201,
            lambda: server.get("/readyz")["lag"] == 0,
        ):
            wait_for(look)
            took_s.append(time.perf_counter() - began)
    return took_s[0], took_s[1], took_s[2]


def measure_log(options: Options, fields: Fields, tables: list[Table]) -> None:
    """
    What the log alone answers, in this process and without HTTP.

    Windows and feed are of the greatest number of planted tweets, whose times are spread over 28 days; the cascade lies
    beside those of the cascades file.
    """
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

    @contextmanager
    def opened(data_dir: Path) -> Iterator[tuple[Database, Callable[..., list[Any]]]]:
        with closing(open_log(data_dir)) as database, closing(sqlite3.connect(data_dir / "tweets.db")) as raw:
            yield database, lambda statement, *arguments: raw.execute(statement, arguments).fetchall()

    with fields.copied(options.tweets[-1]) as (data_dir, _), opened(data_dir) as (database, select):
        ((newest, entries),) = select("SELECT max(id), count(*) FROM tweets")
        for name, days in (("day", 1), ("month", 30)):
            window = Window(ids.time_of(newest) - days * DAY_MS, ids.time_of(newest))
            bounds = (ids.first_of(window.since_ms + 1), ids.first_of(window.until_ms + 1))
            retweets = sum(count for _, count in select(RAW_WINDOW, *bounds))
            ours = partial(rank_tweets, database, window, lambda: None)
            add(f"top of a {name}, {retweets:,} retweets", ours, partial(select, RAW_WINDOW, *bounds))

        def select_feed() -> None:
            for seq in range(0, entries, 1000):
                select(RAW_FEED, seq, seq + 1000)

        add("change feed, pages of 1,000", partial(_read_feed, database, entries), select_feed, entries)
    with TemporaryDirectory() as folder:
        data_dir, lines, parents = Path(folder) / "data", Path(folder) / "lines.jsonl", random.Random(1)
        with lines.open("wb") as file:
            file.writelines(convert(options.cascades))
            for node in range(NODES):
                line = {"key": f"node {node}", "retweet": f"node {parents.randrange(node)}" if node else None}
                said = {"user_name": "measured", "title": str(node), "body": ".", "created_at": "2020-01-01T00:00:00Z"}
                file.write(json.dumps(line | said).encode() + b"\n")
        _found(_IMPORTED, run_command(data_dir, "import", str(lines)))
        with opened(data_dir) as (database, select):
            ((top,),) = select("SELECT min(id) FROM tweets WHERE user_name = 'measured'")
            if not len(read_cascade(database, top).nodes) == len(select(RAW_CASCADE, top)) == NODES:
                raise CannotMeasure("The cascade has not the size that it was imported with.")
            add(f"cascade of {NODES:,} tweets", partial(read_cascade, database, top), partial(select, RAW_CASCADE, top))


def _read_feed(database: Database, entries: int) -> None:
    read, page = 0, read_changes(database, None, 1000)
    while page.changes:
        read, page = read + len(page.changes), read_changes(database, page.next, 1000)
    if read != entries:
        raise CannotMeasure(f"The change feed has {read:,} entries of {entries:,}.")


def _found(pattern: str, ended: Ended) -> "re.Match[str]":
    found = re.search(pattern, ended.said)
    if ended.code != 0 or found is None:
        raise CannotMeasure(f"A fast wrong answer is no answer: {ended.said}")
    return found


def _new_table(tables: list[Table], title: str) -> Table:
    note = "Medians of runs in turn, each in a process of its own on data of its own."
    tables.append(Table(title, note, ("what", "measured", "limit beside it", "ratio", "target", "holds")))
    return tables[-1]


def _add(table: Table, what: str, measured: str, target: str, value: float, limit: str = "", ratio: str = "") -> None:
    table.add(what, measured, limit, ratio, target, verdict(target, value))
