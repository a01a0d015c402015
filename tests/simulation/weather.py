"""The faults: what happens to Redis, to the database and to the hosts while they work."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from tests.simulation.clients import Hosts, NoAnswer, Up, within
from tests.simulation.drivers import NEVER_MS, OF_A_REBUILD, Calls, deliver_late
from tests.simulation.hosts import LEASE_S, StorageError, Write, import_by_command, keys_of, member, new_id, new_nonce
from tests.simulation.ledger import Ledger
from tests.simulation.primitives import EPOCH_S
from tests.simulation.scheduler import Life, Scheduler

TABLES = ("tweets", "heads", "store")

FOUND_OUT_AFTER_S = 2.5
"""When each host knows that the log went back: it looks once a second, and a rebuild takes a moment."""

COMMAND_WITHIN_S = 300.0
"""A command waits for the rebuilds of others."""

STAGING_TTL_S = 60.0
"""How long what a rebuild has staged outlives its process."""


class Weather:
    """Draws faults; which of them a simulation has, and how many, is drawn first."""

    def __init__(
        self, scheduler: Scheduler, calls: Calls, hosts: Hosts, ledger: Ledger, redis: Redis, folder: Path
    ) -> None:
        self._scheduler = scheduler
        self._rng = scheduler.rng
        self._calls = calls
        self._hosts = hosts
        self._ledger = ledger
        self._redis: Any = redis
        self._log = calls.log
        self._folder = folder
        self._dumps: list[dict[bytes, bytes]] = []
        self._copies: list[dict[str, list[tuple[Any, ...]]]] = []
        self._imports = 0
        self.restart: Callable[[Life], None] = lambda _life: None
        """Let a host end in order and start again."""
        self.kill: Callable[[Life], None] = lambda _life: None
        self.bury: Callable[[Life], None] = lambda _life: None
        """Close what the process of a command that has ended had open."""
        self.restart_redis: Callable[[], None] = lambda: None
        self.evicted = False
        self.happened: set[str] = set()
        self.running = 0
        """Acts that hosts still do."""

    def faults(self) -> dict[str, Callable[[], None]]:
        """Every fault by its name."""
        return {
            "dump": self._dump,
            "older dump": self._restore,
            "emptied": self._empty,
            "evicted member": self._evict_member,
            "evicted key": self._evict_key,
            "read-only": self._read_only,
            "without room": self._without_room,
            "loading": self._loading,
            "away": self._away,
            "foreign index": self._foreign_index,
            "foreign staging": self._foreign_staging,
            "late": self._deliver,
            "cut": self._cut,
            "sql busy": self._sql_busy,
            "sql full": self._sql_full,
            "copy": self._copy,
            "failover": self._failover,
            "older copy": self._older_copy,
            "kill": self._kill,
            "restart": self._restart,
            "sql cut": self._log.cut,
            "rebuilds": self._rebuilds,
            "verify": self._verify,
            "import": self._import,
            "redis restarted": self._redis_restarted,
            "stalled import": self._stalled_import,
        }

    def blow(self, names: list[str], times: int, longest_s: float) -> None:
        """So many faults out of *names*, with some time between them."""
        faults = self.faults()
        for _ in range(times):
            self._scheduler.sleep(self._rng.uniform(0.001, longest_s))
            name = self._rng.choice(names)
            self._scheduler.note(f"* {name}")
            self.happened.add(name)
            faults[name]()
            self._ledger.check_index(self._redis, must_be_current=False, may_lack=self.evicted)
            self._ledger.check_log()

    def calm(self) -> None:
        """The faults end: what was delayed arrives, and everything answers."""
        self._scheduler.note("* calm")
        while self._calls.late:
            self._deliver()
        self._calls.chances.__init__()  # type: ignore[misc]
        self._calls.is_away = self._calls.is_loading = self._calls.is_full = self._calls.refuses = False
        self._redis.execute_command("REPLICAOF", "NO", "ONE")
        self._redis.config_set("maxmemory", 0)
        self._log.unlock()

    # Redis.

    def _dump(self) -> None:
        self._dumps.append({key: self._redis.dump(key) for key in sorted(self._redis.keys("*"))})

    def _restore(self) -> None:
        if self._dumps:
            self._writable(lambda: self._put_back(self._rng.choice(self._dumps)))

    def _put_back(self, dump: dict[bytes, bytes]) -> None:
        self._redis.flushall()
        for key, value in dump.items():
            self._redis.restore(key, 0, value)
            if key.endswith(OF_A_REBUILD):
                self._plant(key)

    def _redis_restarted(self) -> None:
        """Its process is killed and started again, on a file with all, with what was there earlier, or with nothing."""
        self._dump()
        self.restart_redis()
        self._put_back(self._rng.choice((self._dumps[-1], self._rng.choice(self._dumps), {})))

    def _empty(self) -> None:
        self._writable(self._redis.flushall)

    def _evict_member(self) -> None:
        keys = [key for key in sorted(self._redis.keys("*:ranking")) if self._redis.type(key) == b"zset"]
        if keys:
            key = self._rng.choice(keys)
            members = self._redis.zrange(key, 0, -1)
            self.evicted = True
            self._writable(lambda: self._redis.zrem(key, self._rng.choice(members)))

    def _evict_key(self) -> None:
        keys = sorted(self._redis.keys("*"))
        if keys:
            self.evicted = True
            self._writable(lambda: self._redis.delete(self._rng.choice(keys)))

    def _writable(self, act: Callable[[], Any]) -> None:
        """Do what no client of a server that refuses writes can do, but a restart of it can."""
        role, room = self._redis.info("replication")["role"], self._redis.config_get("maxmemory")["maxmemory"]
        self._redis.execute_command("REPLICAOF", "NO", "ONE")
        self._redis.config_set("maxmemory", 0)
        act()
        self._redis.config_set("maxmemory", room)
        if role == "slave":
            self._redis.execute_command("REPLICAOF", "127.0.0.1", "1")

    def _let(self, name: str) -> None:
        """Let a state of the calls last for a while."""
        self._for_a_while(lambda: setattr(self._calls, name, True), lambda: setattr(self._calls, name, False))

    def _for_a_while(self, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        begin()
        self._scheduler.sleep(self._rng.choice((0.01, 0.05, 0.3, 3.0)))
        self._scheduler.note("* and that ends")
        end()

    def _read_only(self) -> None:
        self._refuse(
            lambda: self._redis.execute_command("REPLICAOF", "127.0.0.1", "1"),
            lambda: self._redis.execute_command("REPLICAOF", "NO", "ONE"),
        )

    def _without_room(self) -> None:
        self._refuse(lambda: self._redis.config_set("maxmemory", 1), lambda: self._redis.config_set("maxmemory", 0))

    def _refuse(self, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        self._calls.refuses = True
        self._for_a_while(begin, end)
        self._calls.refuses = False

    def _loading(self) -> None:
        self._let("is_loading")

    def _away(self) -> None:
        self._let("is_away")

    def _foreign_index(self) -> None:
        """Keys of ours hold what is of another store, and another store has keys of its own."""

        def put() -> None:
            log = self._ledger.log()
            for partition in log.heads:
                for store in (log.store, "another"):
                    keys = keys_of(store, partition)
                    self._redis.delete(keys.ranking)
                    self._redis.zadd(keys.ranking, {member(self._rng.randrange(2**60)): 3, member(7): 1})
                    self._redis.set(keys.position, f"another {self._rng.choice((2, 1000))} 7")

        self._writable(put)

    def _foreign_staging(self) -> None:
        """Another process was killed in a rebuild."""

        def put() -> None:
            log = self._ledger.log()
            keys = keys_of(log.store, self._rng.choice([*log.heads]))
            for key in (keys.staging, keys.lease):
                self._redis.delete(key)
                self._plant(key.encode())
            self._redis.zadd(keys.staging, {member(7): 3})
            self._redis.set(keys.lease, f"{self._redis.info('server')['run_id']} of another", px=NEVER_MS)

        self._writable(put)

    def _plant(self, key: bytes) -> None:
        """Let *key*, of a rebuild of which no host knows, end in time."""
        self._calls.due[key] = self._scheduler.now + (LEASE_S if key.endswith(b":lease") else STAGING_TTL_S)
        self._calls.excused.add(key)

    def _deliver(self) -> None:
        if self._calls.late:
            deliver_late(self._calls)

    def _cut(self) -> None:
        self._redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    # The database.

    def _sql_busy(self) -> None:
        self._for_a_while(self._log.lock, self._log.unlock)

    def _sql_full(self) -> None:
        self._let("is_full")

    def _copy(self) -> None:
        truth = self._ledger.truth
        self._copies.append({table: truth.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES})

    def _failover(self) -> None:
        """The database continues from a copy that lacks the last entries, and the hosts are connected to that."""
        if not self._copies or self._rng.random() < 0.6:
            self._copy()
            before = self._ledger.log().heads
            for _ in range(50):
                self._scheduler.sleep(0.002)
                if self._ledger.log().heads != before:
                    break
            self._scheduler.sleep(self._rng.uniform(0, 0.005))
        self._put_log_back(self._draw_copy())

    def _draw_copy(self) -> dict[str, list[tuple[Any, ...]]]:
        return self._copies[-1] if self._rng.random() < 0.5 else self._rng.choice(self._copies)

    def _older_copy(self) -> None:
        """All hosts are stopped, and an older copy is put in the place of the database."""
        if self._copies:
            for up in [*self._hosts.up.values()]:
                self.kill(up.life)
            self._scheduler.sleep(0.001)
            self._put_log_back(self._draw_copy())

    def _put_log_back(self, copy: dict[str, list[tuple[Any, ...]]]) -> None:
        truth, before = self._ledger.truth, self._ledger.log().heads
        for _ in range(100):
            if not self._log.seize():
                self._scheduler.sleep(0.001)  # some client writes, and will have been answered
                continue
            for table, rows in copy.items():
                truth.execute(f"DELETE FROM {table}")
                for row in rows:
                    truth.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            truth.execute("COMMIT")
            self._scheduler.now += 0.002  # ids of that millisecond are given to other tweets otherwise
            self._ledger.went_back(FOUND_OUT_AFTER_S)
            if self._rng.random() < 0.5:
                self._write_elsewhere(before)
            return

    def _write_elsewhere(self, before: Mapping[int, tuple[int, int, int]]) -> None:
        """Let a host that we do not simulate write as many entries to the new timeline as were lost."""
        truth, now_ms = self._ledger.truth, int((EPOCH_S + self._scheduler.now) * 1000)
        for partition, (seq, _, live) in self._ledger.log().heads.items():
            for number in range(1, before[partition][0] - seq + 1):
                title, tweet_id, nonce = (
                    f"elsewhere-{partition}-{now_ms}-{number}",
                    new_id(now_ms, number, partition),
                    new_nonce(),
                )
                truth.execute(
                    "INSERT INTO tweets (id, partition, depth, seq, nonce, base, created_at, user_name, title, body)"
                    " VALUES (?, ?, 0, ?, ?, 0, ?, 'elsewhere', ?, 'body')",
                    (tweet_id, partition, seq + number, nonce, now_ms, title),
                )
                truth.execute(
                    "UPDATE heads SET seq = ?, nonce = ?, last_id = ?, live = ? WHERE partition = ?",
                    (seq + number, nonce, tweet_id, live + number, partition),
                )
                asked = self._ledger.expect(Write("elsewhere", title))
                asked.stored, asked.id = True, tweet_id

    # Hosts.

    def _up(self) -> Up | None:
        return self._rng.choice([*self._hosts.up.values()]) if self._hosts.up else None

    def _kill(self) -> None:
        if up := self._up():
            self.kill(up.life)

    def _restart(self) -> None:
        if up := self._up():
            self.restart(up.life)

    def _rebuilds(self) -> None:
        for up in self._rng.sample([*self._hosts.up.values()], self._rng.randint(0, len(self._hosts.up))):
            self._begin("rebuild", up, up.host.rebuild)

    def _verify(self) -> None:
        if up := self._up():
            self._begin("verify", up, up.host.verify)

    def _begin(self, name: str, up: Up, act: Callable[[], object], at_end: Callable[[], object] = lambda: None) -> None:
        self.running += 1

        def run() -> None:
            try:
                within(self._scheduler, up, act, COMMAND_WITHIN_S)
            except (NoAnswer, StorageError) as error:
                self._scheduler.note(f"= {name} ended by {type(error).__name__}")
            finally:
                at_end()
                self.running -= 1

        self._scheduler.spawn(f"{up.life.name}.{name}", run)

    def _import(self) -> None:
        if up := self._up():
            self._begin("import", up, self._importing(up.host.import_chain))

    def _stalled_import(self) -> None:
        """A command that imports waits in its transaction, and all others with it, while a host is to end."""
        if up := self._up():
            life, longest_s = Life(f"importer{self._imports}"), self._rng.choice((0.3, 0.3, 3.0, 20.0))
            self.restart(up.life)

            def stall() -> None:
                self._scheduler.note("* stalled in its transaction")
                self._scheduler.sleep(longest_s)

            def run(titles: Sequence[str], now_ms: int, folder: Path) -> None:
                import_by_command(folder / life.name, self._log.url, titles, now_ms, stall)

            self._begin("import", Up(life, up.host), self._importing(run), lambda: self.bury(life))

    def _importing(self, act: Callable[[Sequence[str], int, Path], object]) -> Callable[[], None]:
        """What imports a chain of some titles by *act*, and looks whether all of it is there then."""
        self._imports += 1
        number, count = self._imports, self._rng.randint(1, 4)
        titles = [f"import-{number}-{each}" for each in range(count)]
        now_ms = int((EPOCH_S + self._scheduler.now) * 1000)

        def run() -> None:
            began = self._ledger.since()
            asked = [self._ledger.expect(Write("importer", title)) for title in titles]
            act(titles, now_ms, self._folder)
            if self._ledger.timeline != began.timeline:
                return
            rows = {row.title: row.id for row in self._ledger.log().rows.values()}
            for each in asked:
                each.stored, each.id = True, rows.get(each.write.title)
                if each.id is None:
                    self._scheduler.fail("lost", f"{each.write} was imported, and is not in the log")

        return run
