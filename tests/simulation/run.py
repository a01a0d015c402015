"""One seed from the beginning to rest."""

import gc
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.simulation.clients import Client, FeedReader, Hosts, Up
from tests.simulation.drivers import Calls, Chances, SqliteLog, close_connections, driven
from tests.simulation.hosts import (
    LIMITS,
    Host,
    StorageError,
    find_server,
    migrate,
    on_postgresql,
    open_host,
    product_modules,
    script_names,
    small_limits,
    with_one_compiler,
)
from tests.simulation.ledger import Ledger
from tests.simulation.postgres import PostgresConnection, PostgresLog, PostgresServer
from tests.simulation.primitives import World, close_descriptors, substituted
from tests.simulation.scheduler import Killed, Life, Scheduler, Task
from tests.simulation.seeds import is_on_postgresql
from tests.simulation.weather import Weather

STEPS_AT_MOST = 20_000
"""Switches while there are faults: some hundreds as a rule."""

AT_REST_WITHIN_S = 30.0
AT_REST_WITHIN_STEPS = 6_000
"""After the faults: everything is current, and everybody is answered."""

IDLE_S, CALLS_WHEN_IDLE_A_SECOND = 2.0, 12
"""When nothing is asked and all is current, each host looks at the log and at Redis once a second."""

STOPPED_WITHIN_S = 15.0
"""As docs/operations.md promises."""

GUARDED = """
(
    trap 'kill -9 $V; exit' TERM
    while :; do "$1" --port 0 --unixsocket "$0/s" --save "" --dir "$0" & V=$!; wait $V; done
) &
cat >/dev/null; kill $!; wait $!; rm -rf "$0"
"""
"""
A valkey, which is started again when it is killed.

It ends with all of its files when our end of the pipe is closed, whatever becomes of us.
"""

FAULTS = (
    "dump", "older dump", "emptied", "evicted member", "evicted key", "read-only", "without room", "loading", "away",
    "foreign index", "foreign staging", "late", "cut", "sql busy", "sql full", "copy", "failover", "older copy", "kill",
    "restart", "rebuilds", "verify", "import",
)  # fmt: skip
"""As `Weather.faults` has them; and those that a third of the seeds with faults have besides."""

BESIDES = ("redis restarted", "stalled import")

CACHES = (None, 0, 3, 8)


@dataclass
class Shape:
    """What the seed makes of a simulation, before anything happens."""

    hosts: int
    partitions: int
    clients: int
    operations: int
    max_ancestors: int
    cache: int | None
    small: list[bool]
    owns: bool
    faults: list[str]
    fault_count: int
    fault_each_s: float


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    verdict: tuple[str, str] | None
    steps: int
    calls: int
    writes: int
    checks: int
    faults: set[str] = field(default_factory=set)
    trace: list[str] = field(default_factory=list)


class Bench:
    """A valkey and empty databases, used for one seed after the other."""

    def __init__(self) -> None:
        # In memory, where there is such a folder: a commit need not wait for the disk.
        self.folder = Path(tempfile.mkdtemp(prefix="sim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.socket = self.folder / "s"
        self._server = subprocess.Popen(
            ["sh", "-c", GUARDED, str(self.folder), find_server()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.redis: Any = Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0))
        self._run_id = self._wait_for_server()
        for partitions in (1, 2, 3):
            template = self.folder / f"template-{partitions}"
            migrate(f"sqlite:///{template}", partitions)
            with closing(sqlite3.connect(template, isolation_level=None)) as database:
                database.execute("UPDATE store SET id = ?", (f"simulated{partitions:07}",))  # it is random
        self._postgres: PostgresServer | None = None

    def restart_redis(self) -> None:
        """Kill the server, and wait until another process has started, which is empty."""
        os.kill(self.redis.info("server")["process_id"], signal.SIGKILL)
        self._run_id = self._wait_for_server(unlike=self._run_id)

    def _wait_for_server(self, unlike: str = "") -> str:
        deadline = time.monotonic() + 30
        while True:
            with suppress(RedisError):
                run_id: str = self.redis.info("server")["run_id"]
                if run_id != unlike:
                    return run_id
            assert time.monotonic() < deadline, "valkey does not start"
            time.sleep(0.005)

    def close(self) -> None:
        """End the server, remove the files."""
        if self._postgres:
            self._postgres.close()
        self.redis.close()
        self._server.communicate()

    def prepare(self, seed: int, partitions: int, scheduler: Scheduler) -> tuple[Path, SqliteLog | PostgresLog]:
        """An empty Redis, an empty folder, and an empty database: of every twentieth seed on PostgreSQL."""
        self.redis.execute_command("REPLICAOF", "NO", "ONE")
        self.redis.config_set("maxmemory", 0)
        self.redis.flushall()
        self.redis.script_flush()
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        if is_on_postgresql(seed):
            self._postgres = self._postgres or PostgresServer()
            return data, self._postgres.open_log(partitions, scheduler)
        return data, SqliteLog(Path(shutil.copy(self.folder / f"template-{partitions}", data / "tweets.db")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Simulation:
    """The hosts, clients and faults of one seed."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self.seed = seed
        self._rng = random.Random(f"schedule {seed}")
        self.scheduler = Scheduler(self._rng)
        self.shape = _draw_shape(self._rng)
        more = random.Random(f"besides {seed}")
        if self.shape.faults and more.random() < 1 / 3:
            # Often, as there may be many others.
            self.shape.faults += more.choices(BESIDES, k=1 + len(self.shape.faults) // 4)
        if self.shape.faults and is_on_postgresql(seed):
            self.shape.faults += ["sql cut"] * (1 + len(self.shape.faults) // 8)
        self._bench = bench
        self._data, self._database = bench.prepare(seed, self.shape.partitions, self.scheduler)
        self.calls = Calls(self.scheduler, redis=bench.redis, log=self._database, script_names=script_names())
        self.ledger = Ledger(self._database.truth, self.scheduler.fail, lambda: self.scheduler.now)
        self.hosts = Hosts()
        self.feed = FeedReader(self.scheduler, self.hosts, self.ledger)
        self.weather = Weather(self.scheduler, self.calls, self.hosts, self.ledger, bench.redis, self._data)
        self.weather.kill, self.weather.bury, self.weather.restart = self._kill, self._bury, self._restart
        self.weather.restart_redis = bench.restart_redis
        self.calls.on_kill = self._note_killed
        self._closing = False
        self._down: list[Task] = []
        self._restarts: set[Life] = set()
        self._working = 0
        self._log = _Log(self.scheduler)

    def run(self) -> Result:
        """Run until everything is at rest, or something is wrong."""
        World.scheduler, World.randomness = self.scheduler, random.Random(f"product {self.seed}")
        World.flock_queue, World.descriptors = [], {}
        self.scheduler.note(f"{self.shape}")
        with ExitStack() as opened:
            opened.enter_context(self._log.listening())
            opened.enter_context(small_limits(self.shape.small))
            opened.enter_context(substituted(product_modules()))
            opened.enter_context(with_one_compiler())
            opened.enter_context(driven(self.calls))
            opened.enter_context(on_postgresql(PostgresConnection))
            try:
                self._run()
            finally:
                self.scheduler.end_all()
                for owner in {id(life): life for life, _ in self.calls.connections}.values():
                    close_connections(self.calls, owner)
                for life in list(World.descriptors):
                    if life:
                        close_descriptors(life)
                self._database.close()
        verdict = self.scheduler.verdict
        return Result(
            self.seed,
            None if verdict and verdict[0] == "ended" else verdict,
            self.scheduler.steps,
            self.calls.count,
            self.ledger.writes,
            self.ledger.checks,
            self.weather.happened,
            [
                f"{step:6} {now:9.4f} {name:14} {what}".replace(str(self._bench.folder), "FOLDER")
                for step, now, name, what in self.scheduler.trace
            ],
        )

    def _run(self) -> None:
        shape, scheduler = self.shape, self.scheduler
        names = [chr(ord("a") + number) for number in range(shape.hosts)]
        skews = [self._rng.choice((0.0, self._rng.uniform(-1, 1))) for _ in names]
        if {"failover", "older copy"} & set(shape.faults):
            skews = [0.0] * len(names)  # or a lost id might be given again, to another tweet
        for name, skew in zip(names, skews, strict=True):
            scheduler.spawn(name, lambda name=name, skew=skew: self._keep_host(name, skew))  # type: ignore[misc]
        clients = [
            Client(f"client{number}", scheduler, self.hosts, self.ledger, partitions=shape.partitions)
            for number in range(shape.clients)
        ]
        self._working = len(clients) + 1 + bool(shape.faults)
        for client in clients:
            scheduler.spawn(client.name, lambda client=client: self._work(lambda: client.work(shape.operations)))  # type: ignore[misc]
        scheduler.spawn("feed", lambda: self._work(lambda: self.feed.work(shape.operations)))
        if shape.faults:
            blow = lambda: self.weather.blow(shape.faults, shape.fault_count, shape.fault_each_s)  # noqa: E731
            scheduler.spawn("weather", lambda: self._work(blow))
        if not scheduler.run_until(lambda: not self._working and not self.weather.running, STEPS_AT_MOST):
            scheduler.fail("slow", f"the clients are not done after {scheduler.steps} switches")
            return
        self.weather.calm()
        scheduler.haste = 0.0
        judge = Judge(self)
        task = scheduler.spawn("judge", judge.judge)
        if not scheduler.run_until(lambda: task.is_done, AT_REST_WITHIN_STEPS + STEPS_AT_MOST):
            scheduler.fail("not at rest", f"not at rest after {scheduler.steps} switches: {judge.doing}")

    def _work(self, act: Any) -> None:
        try:
            act()
        finally:
            self._working -= 1

    def _kill(self, life: Life) -> None:
        self.scheduler.note(f"  KILLED {life.name}")
        self.scheduler.kill(life)
        self._note_killed(life)

    def _restart(self, life: Life) -> None:
        self._restarts.add(life)
        self.scheduler.wake(self._down)

    def _note_killed(self, life: Life) -> None:
        self.hosts.up.pop(life.name, None)
        self.weather.happened.add("killed")
        self.scheduler.wake(self._down)

    def _keep_host(self, name: str, skew: float) -> None:
        """Start a host, again and again, as a supervisor does, until all is over."""
        task, scheduler = self.scheduler.current, self.scheduler
        assert task
        while not self._closing:
            life = Life(name, skew)
            task.life = life
            host = None
            try:
                host = open_host(
                    self._data / name,
                    self._database.url,
                    self._bench.socket,
                    max_ancestors=self.shape.max_ancestors,
                    cache=self.shape.cache,
                    owns=self.shape.owns,
                )
            except Killed:
                if scheduler.verdict:
                    raise
            except StorageError as error:
                if life.is_alive:
                    scheduler.note(f"= cannot start: {error}")
                life.is_alive = False
            task.life = None
            if host and life.is_alive:
                scheduler.note(f"= {name} serves")
                self.hosts.up[name] = Up(life, host)
                self._serve(life)
                if life.is_alive:
                    self._stop(life, host, task)
            self._bury(life)
            if not self._closing:
                scheduler.sleep(self._rng.choice((0.001, 0.05, 1.0)))

    def _serve(self, life: Life) -> None:
        """Wait until the host is killed or is to end."""
        while life.is_alive and not self._closing and life not in self._restarts:
            self.scheduler.block(self._down, None)
        self.hosts.up.pop(life.name, None)

    def _stop(self, life: Life, host: Host, task: Task) -> None:
        """End a host in order."""
        began, task.life = self.scheduler.now, life
        self.scheduler.note("stopping")
        try:
            host.close()
        except Killed:
            if self.scheduler.verdict:
                raise
        finally:
            task.life = None
        if life.is_alive and self.scheduler.now - began > STOPPED_WITHIN_S:
            self.scheduler.fail("slow stop", f"{life.name} took {self.scheduler.now - began:.1f} s to end")

    def _bury(self, life: Life) -> None:
        life.is_alive = False
        close_connections(self.calls, life)
        close_descriptors(life)

    def stop_hosts(self) -> None:
        """Let all hosts end in order."""
        self._closing = True
        self.scheduler.wake(self._down)


class Judge:
    """Looks, when the faults have ended, whether everything comes to rest."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._scheduler = simulation.scheduler
        self.doing = ""

    def judge(self) -> None:
        """Wait until all is current, read and write everywhere, idle, stop, and look at everything once more."""
        simulation, scheduler, ledger = self._simulation, self._scheduler, self._simulation.ledger
        redis = simulation._bench.redis
        names = simulation.shape.hosts
        self._within("all hosts serve", lambda: len(simulation.hosts.up) == names)
        self._within("the index is current", lambda: ledger.check_index(redis, must_be_current=False, may_lack=True))
        scheduler.sleep(2.0)  # each host has looked, also one whose last call has hung
        client = Client("judge", scheduler, simulation.hosts, ledger, partitions=1)
        for name, up in sorted(simulation.hosts.up.items()):
            self._within(f"{name} is current", lambda up=up: client.read_top(up, 10))
        for name, up in sorted(simulation.hosts.up.items()):
            self._within(f"{name} writes", lambda up=up: client.write([client.draw()], up)[0].stored is not None)
            if not client.read_top(up, 10):
                scheduler.fail("not at rest", f"{name} answers no reader after a write, without any fault")
        _, up = min(simulation.hosts.up.items())
        self._within("the feed is read", lambda: simulation.feed.read(up))
        simulation.feed.check()
        scheduler.sleep(0.5)
        self._idle()
        ledger.check_index(redis, must_be_current=True, may_lack=False)
        ledger.check_log()
        simulation.calls.expire()
        for key in sorted(redis.keys("*:staging") + redis.keys("*:lease")):
            if not simulation.calls.may_be_left(key):
                scheduler.fail("staging", f"of a rebuild that has ended there is left {key}")
        simulation.stop_hosts()
        self._within("all hosts have ended", lambda: [task.name for task in scheduler.tasks] == ["judge"])
        ledger.check_log()
        ledger.check_index(redis, must_be_current=True, may_lack=False)

    def _within(self, what: str, is_so: Any) -> None:
        self.doing = f"waiting until {what}"
        last_s, last_step = self._scheduler.now + AT_REST_WITHIN_S, self._scheduler.steps + AT_REST_WITHIN_STEPS
        while not is_so():
            if self._scheduler.now > last_s or self._scheduler.steps > last_step:
                self._scheduler.fail("not at rest", f"{what}: not so after {AT_REST_WITHIN_S} s without any fault")
            self._scheduler.sleep(0.25)

    def _idle(self) -> None:
        self.doing = "idling"
        before = self._simulation.calls.count
        self._scheduler.sleep(IDLE_S)
        calls = self._simulation.calls.count - before
        if calls > IDLE_S * CALLS_WHEN_IDLE_A_SECOND * self._simulation.shape.hosts:
            self._scheduler.fail("no pause", f"{calls} calls in {IDLE_S} s, though nothing is asked and all is current")


def _draw_shape(rng: random.Random) -> Shape:
    names = list(FAULTS)
    chosen = rng.sample(names, rng.choice((0, 2, 4, 8, len(names))))
    chosen += rng.choices(("failover", "older dump", "kill"), k=rng.choice((0, 1, 2))) if chosen else []
    for needed, first in (("older dump", "dump"), ("failover", "copy"), ("older copy", "copy")):
        if needed in chosen and first not in chosen:
            chosen.append(first)
    return Shape(
        hosts=rng.choice((2, 2, 2, 3, 4)),
        partitions=rng.choice((1, 1, 2, 3)),
        clients=rng.randint(2, 3),
        operations=rng.randint(2, 6),
        max_ancestors=rng.choice((3, 50, 1000)),
        cache=rng.choice(CACHES),
        small=[rng.random() < 0.3 for _ in LIMITS],
        owns=rng.random() < 0.2,
        faults=chosen,
        fault_count=rng.randint(2, 8),
        fault_each_s=rng.choice((0.01, 0.05, 0.2)),
    )


def _draw_chances(rng: random.Random) -> Chances:
    def some(*several: float) -> float:
        return rng.choice((0.0, 0.0, *several))

    return Chances(
        kill=some(0.003, 0.01),
        lost_before=some(0.02, 0.1),
        lost_after=some(0.02, 0.1),
        cut_within=some(0.1, 0.3),
        duplicate=some(0.05, 0.2),
        slow=some(0.1, 0.5),
        timeout=some(0.01, 0.05),
        sql_error=some(0.005, 0.02),
        unknown_commit=some(0.02, 0.1),
        sql_full=some(0.02, 0.1),
    )


class _Log(logging.Handler):
    """Hears what the product logs: a mistake that it caught is a finding."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def emit(self, record: logging.LogRecord) -> None:
        self._scheduler.note(f"  log: {record.getMessage()[:200]}")
        error = record.exc_info[1] if record.exc_info else None
        life = self._scheduler.current.life if self._scheduler.current else None
        if life and not life.is_alive:
            return  # its files are closed, as those of a process that was killed
        if error and not isinstance(error, StorageError):
            self._scheduler.fail("error", f"{record.getMessage()}: {type(error).__name__}: {error}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record all of it, and pass nothing on."""
        logger = logging.getLogger("storage")
        before = logger.propagate, logger.level
        logger.addHandler(self)
        logger.propagate, logger.level = False, logging.INFO
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate, logger.level = before


def simulate(seed: int, bench: Bench) -> Result:
    """What comes of *seed*."""
    simulation = Simulation(seed, bench)
    rng = simulation._rng
    simulation.calls.chances = _draw_chances(rng) if simulation.shape.faults else Chances(slow=0.2)
    simulation.scheduler.stickiness = rng.choice((0.0, 0.5, 0.9))
    simulation.scheduler.haste = rng.choice((0.0, 0.01, 0.05))
    gc.disable()
    try:
        return simulation.run()
    finally:
        gc.enable()
