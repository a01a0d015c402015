"""All tweets at once, beside the plainest way to do it: rebuild, import, verify; memory, and the time to start."""

import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from bench.convert import check_counts, convert
from bench.limits import ROW, RawLog, redis_alone
from bench.load import Contestant, run_wrk
from bench.options import Options
from bench.planting import Fields, staged, write_field
from bench.report import Table, Target
from bench.servers import CannotMeasure, Ended, memory_mb, run_command, service, wait_for
from bench.workloads import WORKLOADS, ask, post, write_requests
from storage import ids
from storage.index.embedded import socket_of

REBUILD = Target(at_most=1.5)
REBUILD_MB = Target(at_most=300, text="≤ 300 MB")
IMPORT = Target(at_least=20_000, text="≥ 20,000 /s")
IMPORT_MB = Target(at_most=500, text="≤ 500 MB")
VERIFY_BYTES = Target(at_most=20, text="≤ 20")
REDIS_BYTES = Target(at_most=100, text="≤ 100")
RESIDENT_MB = Target(at_most=100, text="≤ 100 MB")
WRITES_S, CURRENT_S = Target(at_most=1.5, text="≤ 1.5 s"), Target(at_most=12, text="≤ 12 s")
ROUNDS = 3
AT_ONCE = 10_000

SELECT = "SELECT id, parent, partition, base, deleted_seq IS NULL FROM tweets ORDER BY id DESC"
_IMPORTED = re.compile(r"Imported ([\d,]+) tweets in ([\d.]+) s\W+(?:and r|R)anked them in ([\d.]+) s")
_REBUILT = re.compile(r"Rebuilt .* in ([\d.]+) s")


def measure_rebuild(options: Options, fields: Fields, tables: list[Table]) -> None:
    """`rebuild` beside a SELECT and pipelined ZADD of the same rows."""
    table = _new_table(tables, "Rebuild")
    tweets = options.tweets[-1]
    for checkout in options.checkouts:
        name = options.name_of(checkout)
        with fields.copied(tweets, checkout) as (data_dir, _):
            ran: list[tuple[float, float, float]] = []
            for _ in range(min(options.pairs, ROUNDS)):
                ended = run_command(data_dir, "rebuild", checkout=checkout)
                ran.append((float(_found(_REBUILT, ended)[1]), _rebuild_raw(data_dir), ended.peak_mb))
            said = run_command(data_dir, "verify", checkout=checkout).said
        if ", 0 wrong" not in said:
            raise CannotMeasure(f"rebuild: a fast wrong answer is no answer. {said}")
        ours_s, raw_s, ratio = (
            median(values) for values in zip(*((ours, raw, ours / raw) for ours, raw, _ in ran), strict=True)
        )
        limit = f"{raw_s:.2f} s: SELECT, pipelined ZADD"
        _add(table, f"rebuild, {tweets:,} tweets{name}", f"{ours_s:.2f} s", REBUILD, ratio, limit, f"{ratio:.2f}")
        peak_mb = max(peak for *_, peak in ran)
        _add(table, f"... its peak memory{name}", f"{peak_mb:.0f} MB", REBUILD_MB, peak_mb)


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


def measure_import(options: Options, tables: list[Table]) -> None:
    """An import of the cascades beside raw inserts of the rows that it gave, and one of tweets with ids."""
    table = _new_table(tables, "Import")
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        if not options.beside:
            with lines.open("wb") as converted:
                converted.writelines(convert(options.cascades))
            ran = [_import(lines, options, options.checkouts[0]) for _ in range(min(options.pairs, ROUNDS))]
            _add_import(table, options.cascades.name, ran)
        write_field(options.tweets[-1], lines)
        sides: dict[Path, list[tuple[int, float, float, float, float]]] = {each: [] for each in options.checkouts}
        for _ in range(min(options.pairs, ROUNDS)):
            for checkout, runs in sides.items():
                runs.append(_import(lines, options, checkout))
        for checkout, runs in sides.items():
            _add_import(table, f"invented ones{options.name_of(checkout)}", runs)


def _add_import(table: Table, what: str, ran: list[tuple[int, float, float, float, float]]) -> None:
    tweets = ran[0][0]
    rate, stored, raw = (median(tweets / each[side] for each in ran) for side in (1, 2, 3))
    _add(table, f"import, {tweets:,} tweets, {what}", f"{rate:,.0f} /s, stored and ranked", IMPORT, rate)
    ratio = f"{median(each[3] / each[2] for each in ran):.2f}"
    table.add("... stored", f"{stored:,.0f} /s", f"{raw:,.0f} /s: raw inserts", ratio, "", "")
    peak_mb = max(each[4] for each in ran)
    _add(table, "... its peak memory", f"{peak_mb:.0f} MB", IMPORT_MB, peak_mb)


def _import(lines: Path, options: Options, checkout: Path) -> tuple[int, float, float, float, float]:
    """Tweets; the seconds to store and rank them, to store them, and to insert the same rows; the peak memory in MB."""
    with TemporaryDirectory() as ours, TemporaryDirectory() as plain:
        ended = run_command(Path(ours), "import", str(lines), checkout=checkout)
        imported = _found(_IMPORTED, ended)
        verified = run_command(Path(ours), "verify", checkout=checkout).said
        if ", 0 wrong" not in verified:
            raise CannotMeasure(f"import: {ended.said} {verified}")
        if not options.beside and b'"key"' in lines.open("rb").readline():
            with service(Path(ours)) as server:
                check_counts(options.cascades, server)
        with closing(sqlite3.connect(Path(ours) / "tweets.db")) as connection:
            rows = connection.execute(f"SELECT {', '.join(ROW)} FROM tweets ORDER BY seq").fetchall()
        with closing(RawLog(Path(plain))) as log:
            began = time.perf_counter()
            log.append(rows, AT_ONCE)
            raw_s = time.perf_counter() - began
    stored_s, ranked_s = float(imported[2]), float(imported[3])
    return int(imported[1].replace(",", "")), stored_s + ranked_s, stored_s, raw_s, ended.peak_mb


def measure_memory(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Redis' bytes for a tweet, the memory of the service after each workload was run, that of `verify`; the start."""
    table = _new_table(tables, "Memory and start")
    tweets = options.tweets[-1]
    with redis_alone() as client:
        empty = int(client.info("memory")["used_memory"])
    for checkout in options.checkouts:
        name = options.name_of(checkout)
        with staged(fields, WORKLOADS["mixed"], tweets, checkout) as stage:
            with closing(Redis(unix_socket_path=str(socket_of(stage.data_dir / "redis")))) as client:
                info: Any = client.info("memory")
            each = (int(info["used_memory"]) - empty) / stage.total()
            _add(table, f"Redis, bytes a tweet of {tweets:,}{name}", f"{each:.0f}", REDIS_BYTES, each)
            for workload in WORKLOADS.values():
                file = write_requests(workload, stage.requests.parent, stage.planted, "")
                run_wrk(Contestant(stage.server, file), connections=options.connections[-1], seconds=options.seconds)
            resident_mb = memory_mb(stage.server.pid)
            _add(table, f"service, after all workloads{name}", f"{resident_mb:.0f} MB", RESIDENT_MB, resident_mb)
        with fields.copied(tweets, checkout) as (data_dir, _), TemporaryDirectory() as nothing:
            least_mb = run_command(Path(nothing), "verify", checkout=checkout).peak_mb
            peak_mb = run_command(data_dir, "verify", checkout=checkout).peak_mb
            each = (peak_mb - least_mb) * 1e6 / tweets
            _add(table, f"verify, bytes a tweet{name}", f"{each:.0f} ({peak_mb:.0f} MB in all)", VERIFY_BYTES, each)
        for what in ("after a clean stop", "without an index"):
            with fields.copied(tweets, checkout) as (data_dir, _):
                if what == "without an index":
                    shutil.rmtree(data_dir / "redis")
                live_s, writes_s, current_s = _start(data_dir, checkout)
            said = f"{live_s:.2f} s, {writes_s:.2f} s"
            _add(table, f"start {what}: /livez, a write{name}", said, WRITES_S, max(live_s, writes_s))
            _add(table, f"... the ranking is current{name}", f"{current_s:.2f} s", CURRENT_S, current_s)


def _start(data_dir: Path, checkout: Path) -> tuple[float, float, float]:
    """Seconds from the command until the service lives, has taken a write, and has a ranking that is up to date."""
    began = time.perf_counter()
    with service(data_dir, checkout) as server:
        wait_for(lambda: server.get("/livez"))
        live_s = time.perf_counter() - began
        wait_for(lambda: ask(server.url, post(0))[0] == 201)
        writes_s = time.perf_counter() - began
        if not wait_for(lambda: server.get("/readyz")["lag"] == 0):
            raise CannotMeasure("The service does not become ready after its start.")
        return live_s, writes_s, time.perf_counter() - began


def _found(pattern: "re.Pattern[str]", ended: Ended) -> "re.Match[str]":
    found = pattern.search(ended.said)
    if ended.code != 0 or found is None:
        raise CannotMeasure(f"A command failed: {ended.said}")
    return found


def _new_table(tables: list[Table], title: str) -> Table:
    note = "Medians of runs in turn, each in a process of its own on data of its own."
    tables.append(Table(title, note, ("what", "measured", "limit beside it", "ratio", "target", "holds")))
    return tables[-1]


def _add(
    table: Table, what: str, measured: str, target: Target, value: float, limit: str = "", ratio: str = ""
) -> None:
    table.add(what, measured, limit, ratio, target, target.verdict(value))
