"""Work on all tweets at once, beside the plainest way to do it: rebuild, import; memory, and the time to start."""

import json
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from redis import Redis

from bench import processes
from bench.convert import convert
from bench.limits import ROW, RawLog, redis_alone
from bench.load import CannotMeasure, Contestant, run_wrk
from bench.options import CASCADES, Options
from bench.planting import Fields
from bench.processes import ROOT, environment, run_verb
from bench.report import Machine, Table, Target
from bench.staging import staged
from bench.workloads import WORKLOADS, write_requests
from storage.index.embedded import socket_of

REBUILD = Target(at_most=1.5)
PEAK_MB = Target(at_most=300, text="< 300 MB")
IMPORT = Target(at_least=20_000, text="≥ 20,000 /s on 4 cores")
REDIS_BYTES = Target(at_most=100, text="< 100")
RESIDENT_MB = Target(at_most=150, text="< 150 MB")
READY_S = Target(at_most=1.5, text="≤ 1.5 s")
ROUNDS = 3

_IMPORTED = re.compile(r"Imported ([\d,]+) tweets in ([\d.]+) s\.\nRanked them in ([\d.]+) s\.")


def measure_rebuild(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Rebuild beside a SELECT and pipelined ZADD of the same rows."""
    table = _new_table(tables, "Rebuild")
    tweets = options.tweets[-1]
    data_dir, _ = fields.copy(tweets)
    ran = [(_rebuild(data_dir, "service"), _rebuild(data_dir, "raw")) for _ in range(min(options.pairs, ROUNDS))]
    said = run_verb(data_dir, "verify")
    if ", 0 wrong" not in said:
        raise CannotMeasure(f"rebuild: a fast wrong answer is no answer. {said}")
    fields.discard(data_dir)
    ratio = median(ours["seconds"] / raw["seconds"] for ours, raw in ran)
    ours_s, raw_s = (median(pair[side]["seconds"] for pair in ran) for side in (0, 1))
    limit = f"{raw_s:.2f} s: SELECT, pipelined ZADD"
    table.add(f"rebuild, {tweets:,} tweets", f"{ours_s:.2f} s", limit, f"{ratio:.2f}", REBUILD, REBUILD.verdict(ratio))
    peak_mb = max(ours["peak_mb"] for ours, _ in ran)
    table.add("... its peak memory", f"{peak_mb:.0f} MB", "", "", PEAK_MB, PEAK_MB.verdict(peak_mb))


def _rebuild(data_dir: Path, how: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.rebuilding", str(data_dir), how]
    ended = subprocess.run(command, cwd=ROOT, env=environment(data_dir), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(ended.stdout))


def measure_import(options: Options, machine: Machine, tables: list[Table]) -> None:
    """The import of a file beside raw inserts of the rows that it gave."""
    table = _new_table(tables, "Import")
    if not options.cascades.exists():
        raise CannotMeasure(f"There is no {options.cascades}; name the file by --cascades.")
    ran = [_import(options.cascades) for _ in range(min(options.pairs, ROUNDS))]
    tweets = ran[0][0]
    rate, stored, raw = (median(tweets / each[side] for each in ran) for side in (1, 2, 3))
    ratio = median(each[3] / each[2] for each in ran)
    judged = options.cascades == CASCADES and machine.cores >= 4
    verdict = IMPORT.verdict(rate) if judged else "" if options.cascades != CASCADES else "too few cores"
    what = f"import, {tweets:,} tweets of {options.cascades.name}"
    table.add(what, f"{rate:,.0f} /s, stored and ranked", "", "", IMPORT, verdict)
    table.add("... the storing alone", f"{stored:,.0f} /s", f"{raw:,.0f} /s: raw inserts", f"{ratio:.2f}", "", "")


def _import(file: Path) -> tuple[int, float, float, float]:
    """How many tweets, and the seconds to store and rank them, to store them, and to insert the same rows."""
    with TemporaryDirectory() as ours, TemporaryDirectory() as plain:
        lines = Path(plain) / "lines.jsonl"
        with lines.open("wb") as converted:
            converted.writelines(convert(file))
        said = run_verb(Path(ours), "import", str(lines))
        imported = _IMPORTED.match(said)
        verified = run_verb(Path(ours), "verify")
        if imported is None or ", 0 wrong" not in verified:
            raise CannotMeasure(f"import: {said} {verified}")
        with closing(sqlite3.connect(Path(ours) / "tweets.db")) as connection:
            rows = connection.execute(f"SELECT {', '.join(ROW)} FROM tweets ORDER BY seq").fetchall()
        with closing(RawLog(Path(plain))) as log:
            began = time.perf_counter()
            log.append(rows, 10_000)
            raw_s = time.perf_counter() - began
    stored_s, ranked_s = float(imported[2]), float(imported[3])
    return len(rows), stored_s + ranked_s, max(stored_s, 0.05), raw_s


def measure_memory(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Redis' bytes for a tweet, the service's memory after each workload was run, and the time to start."""
    table = _new_table(tables, "Memory and start")
    tweets = options.tweets[-1]
    with redis_alone() as client:
        empty = int(client.info("memory")["used_memory"])
    with staged(fields, WORKLOADS["mixed"], tweets) as stage:
        path = socket_of(stage.data_dir / "redis")
        with closing(Redis(unix_socket_path=str(path))) as client:
            full = int(dict(client.info("memory"))["used_memory"])
        each = (full - empty) / stage.total()
        table.add(f"Redis, bytes a tweet of {tweets:,}", f"{each:.0f}", "", "", REDIS_BYTES, REDIS_BYTES.verdict(each))
        for workload in WORKLOADS.values():
            file = write_requests(workload, stage.requests.parent, stage.planted, "")
            contestant = Contestant(stage.server.url, file)
            run_wrk(contestant, connections=options.connections[-1], seconds=options.seconds)
        resident_mb = processes.resident_mb(stage.server.pid)
    verdict = RESIDENT_MB.verdict(resident_mb)
    table.add("service, resident after all workloads", f"{resident_mb:.0f} MB", "", "", RESIDENT_MB, verdict)
    _measure_start(options, fields, table)


def _measure_start(options: Options, fields: Fields, table: Table) -> None:
    tweets = options.tweets[-1]
    data_dir, _ = fields.copy(tweets)
    ready_s = median(_start(data_dir) for _ in range(options.pairs))
    fields.discard(data_dir)
    table.add(f"start to ready, {tweets:,} tweets", f"{ready_s:.2f} s", "", "", READY_S, READY_S.verdict(ready_s))


def _start(data_dir: Path) -> float:
    """Seconds from the command to the first answer that both parts are there."""
    began = time.perf_counter()
    with processes.service(data_dir) as server:
        ready = server.get("/readyz")
        took_s = time.perf_counter() - began
    if ready["lag"] != 0:
        raise CannotMeasure(f"The service is not ready after its start: {ready}")
    return took_s


def _new_table(tables: list[Table], title: str) -> Table:
    table = Table(
        title,
        "Medians of interleaved runs, each in a process of its own on data of its own.",
        ("what", "measured", "limit beside it", "ratio", "target", "holds"),
    )
    tables.append(table)
    return table
