"""What is read from the log alone: the top of a window, a cascade, the change feed; beside the SQL without the rest."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from statistics import median

from bench.options import Options
from bench.planting import Fields
from bench.report import Table
from storage import open_log
from storage.cascade import LARGEST, read_cascade
from storage.changes import read_changes
from storage.ids import first_of, time_of
from storage.sql.database import Database
from storage.windows import Window, rank_tweets

DAY_MS = 86_400_000
NODES = 12_906
"""The cascade that is as large as this, or nearest to it."""

RAW_WINDOW = (
    "SELECT parent, count(*) FROM tweets WHERE id >= ? AND id < ? AND parent IS NOT NULL AND deleted_seq IS NULL "
    "GROUP BY parent"
)
RAW_CASCADE = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION ALL SELECT t.id FROM tree JOIN tweets t ON t.parent = tree.id) "
    "SELECT id FROM tree"
)
RAW_FEED = (
    "SELECT seq, id, parent, base, created_at, user_name, title, body FROM tweets "
    "WHERE partition = 0 AND seq > ? AND seq <= ? ORDER BY seq"
)


def measure_log(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Each on the greatest number of tweets, in this process and without HTTP."""
    table = Table(
        "Read from the log alone",
        "Medians, in milliseconds unless it says otherwise; the SQL beside it is the plain statement by sqlite3 alone.",
        ("what", "measured", "SQL alone"),
    )
    tables.append(table)
    data_dir, _ = fields.copy(options.tweets[-1])
    with closing(open_log(data_dir)) as database, closing(sqlite3.connect(data_dir / "tweets.db")) as raw:
        (last,) = raw.execute("SELECT max(id) FROM tweets").fetchone()
        for name, days in (("day", 1), ("month", 30)):
            window = Window(time_of(last) - days * DAY_MS, time_of(last))
            bounds = (first_of(window.since_ms + 1), first_of(window.until_ms + 1))
            ours = _median_ms(options, lambda window=window: rank_tweets(database, window, lambda: None))  # type: ignore[misc]
            alone = _median_ms(options, lambda bounds=bounds: raw.execute(RAW_WINDOW, bounds).fetchall())  # type: ignore[misc]
            retweets = sum(count for _, count in raw.execute(RAW_WINDOW, bounds))
            table.add(f"top of a {name}, {retweets:,} retweets", f"{ours:.1f}", f"{alone:.1f}")
        top, nodes = _find_cascade(raw)
        ours = _median_ms(options, lambda: read_cascade(database, top))
        alone = _median_ms(options, lambda: raw.execute(RAW_CASCADE, (top,)).fetchall())
        table.add(f"cascade of {nodes:,} tweets", f"{ours:.1f}", f"{alone:.1f}")
        ours = _median_ms(options, lambda: _read_feed(database))
        alone = _median_ms(options, lambda: _read_raw(raw))
        entries = options.tweets[-1] / 1000
        table.add("change feed, pages of 1,000", f"{entries / ours * 1e6:,.0f} /s", f"{entries / alone * 1e6:,.0f} /s")
    fields.discard(data_dir)


def _median_ms(options: Options, act: Callable[[], object]) -> float:
    took = []
    for _ in range(options.pairs):
        began = time.perf_counter()
        act()
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def _find_cascade(raw: sqlite3.Connection) -> tuple[int, int]:
    """The tweet whose cascade is nearest to `NODES`, and the size of that."""
    size: dict[int, int] = {}
    for tweet_id, parent in raw.execute("SELECT id, parent FROM tweets ORDER BY id DESC"):
        size[tweet_id] = size.get(tweet_id, 0) + 1
        if parent is not None:
            size[parent] = size.get(parent, 0) + size[tweet_id]
    return min(size.items(), key=lambda each: abs(min(each[1], LARGEST) - NODES))


def _read_feed(database: Database) -> None:
    page = read_changes(database, None, 1000)
    while page.changes:
        page = read_changes(database, page.next, 1000)


def _read_raw(raw: sqlite3.Connection) -> None:
    seq = 0
    while raw.execute(RAW_FEED, (seq, seq + 1000)).fetchall():
        seq += 1000
