"""Where the time of a request goes: processor time by thread under load, and by layer in a single call."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from redis import Redis

from bench.calls import CALLED
from bench.inside import cpu_us
from bench.load import Contestant, Run, run_wrk
from bench.options import Options
from bench.planting import Fields
from bench.processes import ROOT, Server, environment, started
from bench.report import Table
from bench.staging import Stage, staged
from bench.workloads import WORKLOADS, Workload
from storage.index.embedded import socket_of

PARTS = ("server loop", "handlers", "writer", "other")
INDEX = "Redis"


def profile(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Both tables, on the greatest number of tweets."""
    _by_thread(options, fields, tables)
    _by_layer(options, fields, tables)


def _by_thread(options: Options, fields: Fields, tables: list[Table]) -> None:
    connections = options.connections[-1]
    table = Table(
        "Where the time goes, by thread",
        f"Processor time for each request, microseconds, at {connections} clients: the thread that runs the server, "
        "those that call the app, the one that writes, all others, and the Redis server.",
        ("workload", "server", "requests /s", *PARTS, INDEX, "all"),
    )
    tables.append(table)
    for name in CALLED:
        workload = WORKLOADS[name]
        with staged(fields, workload, options.tweets[-1], start=_inside_service) as stage:
            used, run = _spent(options, stage.server, stage.contestant(), stage.data_dir, stage)
            _add(table, workload, "service", used, run)
            with _inside_bare(stage.answers) as limit:
                contestant = Contestant(limit.url, stage.requests)
                used, run = _spent(options, limit, contestant, stage.answers.parent)
                _add(table, workload, "bare", used, run)


def _add(table: Table, workload: Workload, server: str, used: Counter[str], run: Run) -> None:
    named = {part: used[part] / run.requests for part in (*PARTS, INDEX)}
    unnamed = sum(used.values()) / run.requests - sum(named.values())
    named["other"] += max(0, unnamed)
    each = [f"{named[part]:,.0f}" for part in (*PARTS, INDEX)]
    table.add(workload.title, server, f"{run.rate:,.0f}", *each, f"{sum(named.values()):,.0f}")


def _spent(
    options: Options, server: Server, contestant: Contestant, data_dir: Path, stage: Stage | None = None
) -> tuple[Counter[str], Run]:
    """The processor time, in microseconds, that each part of *server* used in a run."""
    run_wrk(contestant, connections=options.connections[-1], seconds=1)
    before = cpu_us(server.pid, data_dir) + _index_us(stage)
    run = run_wrk(contestant, connections=options.connections[-1], seconds=options.seconds)
    after = cpu_us(server.pid, data_dir) + _index_us(stage)
    return after - before, run


def _index_us(stage: Stage | None) -> Counter[str]:
    if stage is None:
        return Counter()
    with closing(Redis(unix_socket_path=str(socket_of(stage.data_dir / "redis")))) as client:
        used = dict(client.info("cpu"))
    return Counter({INDEX: int((used["used_cpu_sys"] + used["used_cpu_user"]) * 1e6)})


def _by_layer(options: Options, fields: Fields, tables: list[Table]) -> None:
    table = Table(
        "Where the time goes, by layer",
        "A call of the app by one thread without a server, microseconds of processor time of that thread: to parse and "
        "check the body; the bare app; the service with its storage taken out; the service; and the time elapsed, in "
        "which the writer, Redis and the disk have worked as well.",
        ("workload", "decode", "bare app", "without storage", "service", "elapsed"),
    )
    tables.append(table)
    with staged(fields, WORKLOADS["post"], options.tweets[-1]) as stage:
        planted, answers = json.dumps(asdict(stage.planted)), stage.answers.read_bytes()
    data_dir, _ = fields.copy(options.tweets[-1])
    known = data_dir / "planted.json"
    known.write_text(planted)
    (data_dir / "answers.json").write_bytes(answers)
    command = [sys.executable, "-m", "bench.calls", str(data_dir), str(known), str(data_dir / "answers.json")]
    ended = subprocess.run(command, cwd=ROOT, env=environment(data_dir), stdout=subprocess.PIPE, text=True, check=True)
    fields.discard(data_dir)
    for name, figures in json.loads(ended.stdout).items():
        layers = ("decode", "bare", "without storage", "service", "elapsed")
        table.add(WORKLOADS[name].title, *(f"{figures[layer]:,.0f}" for layer in layers))


@contextmanager
def _inside_service(data_dir: Path, _workers: int) -> Iterator[Server]:
    with started([sys.executable, "-m", "bench.inside", "service"], environment(data_dir)) as server:
        yield server


@contextmanager
def _inside_bare(answers: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "bench.inside", "bare", str(answers)]
    with started(command, environment(answers.parent)) as server:
        yield server
