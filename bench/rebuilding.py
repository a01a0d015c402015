"""
One rebuild in a process of its own, so that its memory can be told: `python -m bench.rebuilding DATA_DIR HOW`.

HOW is `service`, or `raw`: a plain SELECT and pipelined ZADD of the same rows with the same scores. Prints JSON.
"""

import json
import resource
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from redis import Redis

from storage import ids, open_storage
from storage.index.embedded import EmbeddedServer

AT_ONCE = 10_000
SELECT = "SELECT id, parent, partition, base, deleted_seq IS NULL FROM tweets ORDER BY id DESC"
STAGING = "bench:staging"


def rebuild(data_dir: Path) -> float:
    """The seconds that the service's rebuild takes."""
    with open_storage(data_dir) as tweets:
        return _seconds(tweets.reconciler.rebuild)


def rebuild_raw(data_dir: Path) -> float:
    """The seconds that reading the rows and adding them to a sorted set take, with scores that are known already."""
    server = EmbeddedServer(data_dir / "redis")
    try:
        with (
            closing(Redis(unix_socket_path=str(server.socket))) as client,
            closing(sqlite3.connect(data_dir / "tweets.db")) as connection,
        ):
            (name,) = client.keys("twitter:*:ranking")
            ranked: Any = client.zrange(name, 0, -1, withscores=True)
            scores = {name.decode(): score for name, score in ranked}
            took_s = _seconds(lambda: _copy(connection, client, scores))
            client.delete(STAGING)
            return took_s
    finally:
        server.stop()


def _copy(connection: sqlite3.Connection, client: Any, scores: dict[str, float]) -> None:
    rows = connection.execute(SELECT)
    while part := rows.fetchmany(AT_ONCE):
        members = [ids.encode(row[0]) for row in part]
        pipeline = client.pipeline(transaction=False)
        pipeline.zadd(STAGING, {name: scores[name] for name in members})
        pipeline.execute()


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def peak_mb() -> float:
    """The most memory that this process had."""
    status = Path("/proc/self/status")
    if status.exists():  # the other figure begins with that of the process which started this one: getrusage(2)
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    measure = {"service": rebuild, "raw": rebuild_raw}[sys.argv[2]]
    print(json.dumps({"seconds": measure(Path(sys.argv[1])), "peak_mb": peak_mb()}))
