"""What a batch costs Redis: increments counted as they run, and the time of the script."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeout

from bench.load import run_wrk
from bench.options import Options
from bench.planting import Fields
from bench.report import Table, Target
from bench.staging import Stage, staged
from bench.workloads import WORKLOADS
from storage.index.embedded import socket_of

ONE = Target(at_most=1.0, text="1")
PER_BATCH = Target(at_most=2.0, text="≤ 2 times that of one client's batch")
"""A batch of 64 retweets at depth 1,000 touches 1,064 tweets, one of a single retweet 1,001."""

COLUMNS = (
    *("workload", "clients", "batches", "tweets a batch", "increments a batch", "Redis us a batch", "us a tweet"),
    *("target", "holds"),
)

_RAN = re.compile(r"^(\w+)(?: (\S+))?")


def count_batches(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Increments of a batch of retweets of one tweet; Redis' time for a batch at depth 1,000."""
    table = Table(
        "What a batch costs Redis",
        "Increments as MONITOR showed them inside the script, while one viral tweet was retweeted; and the time of the "
        "script by INFO commandstats, while the last tweet of a chain of 1,000 was retweeted.",
        COLUMNS,
    )
    tables.append(table)
    connections = options.connections[-1]
    with staged(fields, WORKLOADS["viral"], options.tweets[-1]) as stage:
        seen = _monitored(stage, lambda: run_wrk(stage.contestant(), connections=connections, seconds=1))
    increments = seen["increment"] / max(seen["batch"], 1)
    each = f"{seen['added'] / max(seen['batch'], 1):.1f}"
    batches = f"{seen['batch']:,}"
    title = WORKLOADS["viral"].title
    table.add(title, connections, batches, each, f"{increments:.2f}", "", "", *_judged(ONE, increments, connections))
    _time_batches(options, fields, table)


def _time_batches(options: Options, fields: Fields, table: Table) -> None:
    alone_us = 0.0
    for connections in sorted({1, options.connections[-1]}):
        with staged(fields, WORKLOADS["deep"], options.tweets[-1]) as stage, _client(stage) as client:
            before, ranked = _stats(client), stage.total()
            run_wrk(stage.contestant(), connections=connections, seconds=options.seconds)
            after, tweets = _stats(client), stage.total() - ranked
        batches = max(after["batches"] - before["batches"], 1)
        took_us = after["script_us"] - before["script_us"]
        each_us = took_us / batches
        alone_us = alone_us or each_us
        table.add(
            WORKLOADS["deep"].title,
            connections,
            f"{batches:,}",
            f"{tweets / batches:.1f}",
            "",
            f"{each_us:,.0f}",
            f"{took_us / max(tweets, 1):,.0f}",
            *_judged(PER_BATCH, each_us / alone_us, connections),
        )


def _judged(target: Target, figure: float, connections: int) -> tuple[Target | str, str]:
    """The target and whether it holds; neither for one client, whose batches are of one tweet and cannot miss it."""
    return (target, target.verdict(figure)) if connections > 1 else ("", "")


def _client(stage: Stage) -> "closing[Any]":
    path: Path = socket_of(stage.data_dir / "redis")
    return closing(Redis(unix_socket_path=str(path), socket_timeout=2))


def _stats(client: Any) -> dict[str, float]:
    """How many batches were folded so far (each sets the position once), and the time of all scripts."""
    stats = client.info("commandstats")
    batches = stats.get("cmdstat_set", {}).get("calls", 0)
    return {"batches": batches, "script_us": stats["cmdstat_evalsha"]["usec"]}


def _monitored(stage: Stage, act: Callable[[], object]) -> Counter[str]:
    """What scripts did while *act* ran: `batch`, `added` and `increment`."""
    seen: Counter[str] = Counter()
    ended = threading.Event()
    with _client(stage) as client, client.monitor() as monitor:

        def look() -> None:
            while not ended.is_set():
                try:
                    command = monitor.next_command()
                except RedisTimeout:
                    continue
                if command["client_type"] == "lua":
                    seen.update(_done_by(command["command"]))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            act()
        finally:
            ended.set()
            looking.join()
    return seen


def _done_by(command: str) -> dict[str, int]:
    ran = _RAN.match(command)
    name, key = (ran[1].upper(), ran[2] or "") if ran else ("", "")
    if name == "SET" and "position" in key:
        return {"batch": 1}
    if name == "ZADD" and " XX " in command:
        return {"increment": (len(command.split()) - 3) // 2}  # after the key and XX come pairs of score and member
    return {"added" if name == "ZADD" else "other": 1}
