"""
The calls of sqlite3 and redis-py as they leave the product: each is a switch point, may fail, or be its host's last.

A call takes effect at once, on the real file or the real server; whether its answer comes is what the seed decides.
"""

import functools
import math
import select
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.utils
from redis.connection import AbstractConnection

from tests.simulation.scheduler import Killed, Life, Scheduler

TIMEOUT_S = 2.0
"""How long the product waits for Redis."""

OF_A_REBUILD = (b":lease", b":staging")
NEVER_MS = 10**12
"""The time to live that the server knows of such a key: a lease without one is not held."""
MISSING = -2
"""What PTTL answers when there is no such key."""
LIFE = """
local found = {}
for number, key in ipairs(KEYS) do
    found[number] = redis.call('PTTL', key)
    if found[number] >= 0 and found[number] < ARGV[1] / 2 then
        redis.pcall('PEXPIRE', key, ARGV[1])
    end
end
return found
"""
KEY_BYTES = 100
"""No key is longer, but the text of a script is."""


@dataclass
class Chances:
    """How probable each fault of a single call is."""

    kill: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    cut_within: float = 0.0
    """Of a pipeline: only its first commands arrive."""
    duplicate: float = 0.0
    slow: float = 0.0
    """The answer takes a while, and others run meanwhile."""
    timeout: float = 0.0
    sql_error: float = 0.0
    unknown_commit: float = 0.0
    sql_full: float = 0.0


@dataclass
class Calls:
    """What becomes of the calls of all hosts."""

    scheduler: Scheduler
    chances: Chances = field(default_factory=Chances)
    is_away: bool = False
    is_loading: bool = False
    is_full: bool = False
    """The disk of the database."""
    late: list[tuple[bytes, int, set[bytes]]] = field(default_factory=list)
    """Requests that will arrive once more: their bytes, how many commands they are, and which keys of rebuilds."""
    refuses: bool = False
    """Whether Redis takes no writes."""
    redis: Any = None
    """A connection of the simulation's own."""
    log: Any = None
    """The database: see `SqliteLog`."""
    due: dict[bytes, float] = field(default_factory=dict)
    """When keys with a time to live end: they do so in simulated time."""
    staged: dict[bytes, list[Life]] = field(default_factory=dict)
    """Each key of a rebuild, and the hosts that have used it."""
    excused: set[bytes] = field(default_factory=set)
    """Keys of rebuilds that may be left until their time to live is over: a call with them was lost, or came twice."""
    script_names: dict[str, str] = field(default_factory=dict)
    count: int = 0
    connections: list[tuple[Life, Any]] = field(default_factory=list)
    on_kill: Callable[[Life], None] = lambda _life: None

    def happens(self, chance: float) -> bool:
        """Whether something of that probability happens now."""
        return chance > 0 and self.scheduler.rng.random() < chance

    def life(self) -> Life | None:
        """The host that makes the current call; None for the simulation itself, whose calls are left alone."""
        task = self.scheduler.current
        return task.life if task else None

    def check_alive(self) -> None:
        """Raise Killed in a host that was."""
        life = self.life()
        if life and not life.is_alive:
            raise Killed

    def expire(self) -> None:
        """Remove the keys whose time to live is over."""
        for key in [key for key, due in self.due.items() if due <= self.scheduler.now]:
            self.scheduler.note(f"  {key.decode()} expires")
            with _ours():
                self.redis.delete(key)
            del self.due[key]

    def note_life_of(self, keys: Iterable[bytes]) -> None:
        """Take note of when *keys* end, and take that away from the server, whose time is another one."""
        with _ours():
            known = sorted(keys)
            for key, left_ms in zip(known, self.redis.eval(LIFE, len(known), *known, NEVER_MS), strict=True):
                if 0 <= left_ms < NEVER_MS // 2:
                    self.due[key] = self.scheduler.now + math.ceil(left_ms / 1000)
                elif left_ms == MISSING:
                    self.due.pop(key, None)

    def excuse(self, keys: set[bytes]) -> None:
        """A call with *keys* of rebuilds was lost."""
        self.excused |= keys
        self.note_life_of(keys)

    def may_be_left(self, key: bytes) -> bool:
        """Whether a key may outlive its rebuild, until its time to live is over: its host could not help it."""
        is_excused = key in self.excused or any(life.was_killed for life in self.staged.get(key, []))
        return key in self.due and (is_excused or key not in self.staged)

    def kill(self, life: Life, when: str) -> None:
        """Kill the host that makes the current call."""
        self.scheduler.note(f"  KILLED {when}")
        self.scheduler.kill(life)
        self.on_kill(life)
        raise Killed


class _Now:
    """The calls of the simulation that runs now."""

    calls: Calls | None = None
    is_ours = False
    """Whether a call is of the simulation or of a connection that introduces itself: then it is left alone."""


def calls_now() -> Calls | None:
    """The calls of the simulation that runs now."""
    return _Now.calls


@contextmanager
def _ours() -> Iterator[None]:
    before, _Now.is_ours = _Now.is_ours, True
    try:
        yield
    finally:
        _Now.is_ours = before


class HostConnection:
    """A connection of a host's to its database: what comes of its statements and commits."""

    switches_within = False
    """Whether others may run between two statements of a transaction."""

    def is_begun(self) -> bool:
        """Whether a transaction is open."""
        raise NotImplementedError

    def end_transaction(self, *, stored: bool) -> None:
        """Commit, or roll back."""
        raise NotImplementedError

    def break_off(self, *, committing: bool) -> Exception:
        """Let the connection break; what the driver raises then."""
        raise NotImplementedError

    def full(self) -> Exception:
        """Let the disk be full; what the driver raises then."""
        raise NotImplementedError

    def before(self, sql: str) -> None:
        """What happens before a statement."""
        calls = _Now.calls
        if calls is None or (life := calls.life()) is None:
            return
        calls.check_alive()
        if sql.startswith("PRAGMA") and "wal_checkpoint" not in sql:
            return
        is_begun = self.is_begun()
        calls.count += not is_begun
        if not is_begun or self.switches_within:
            calls.scheduler.pause(f"sql {_shorten(sql)}")
            if calls.happens(calls.chances.kill):
                calls.kill(life, "before the statement")
        if calls.happens(calls.chances.sql_error):
            error = self.break_off(committing=False)
            calls.scheduler.note(f"  FAILS: {error}")
            raise error
        if is_begun and _writes(sql) and (calls.is_full or calls.happens(calls.chances.sql_full)):
            calls.scheduler.note(f"  DISK FULL at {_shorten(sql)}")
            raise self.full()

    def commit(self) -> None:
        """Commit, if it comes to that."""
        calls = _Now.calls
        life = calls.life() if calls else None
        if calls is None or life is None or not self.is_begun():
            self.end_transaction(stored=True)
            return
        calls.check_alive()
        calls.count += 1
        calls.scheduler.pause("sql COMMIT")
        if calls.happens(calls.chances.kill):
            calls.kill(life, "before the commit")
        if calls.happens(calls.chances.unknown_commit):
            is_stored = calls.happens(0.5)
            calls.scheduler.note(f"  NO ANSWER to the commit, which is {'done' if is_stored else 'not done'}")
            self.end_transaction(stored=is_stored)
            raise self.break_off(committing=True)
        if calls.is_full:
            self.end_transaction(stored=False)
            raise self.full()
        self.end_transaction(stored=True)
        if calls.happens(calls.chances.slow):
            calls.scheduler.pause("sql committed")
        if calls.happens(calls.chances.kill):
            calls.kill(life, "after the commit")


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, *arguments: Any) -> Any:
        self.connection.before(sql)  # type: ignore[attr-defined]
        # Nothing moves while SQLite itself waits: so it never does.
        return super().execute("PRAGMA busy_timeout=0" if "busy_timeout" in sql else sql, *arguments)

    def executemany(self, sql: str, *arguments: Any) -> Any:
        self.connection.before(sql)  # type: ignore[attr-defined]
        return super().executemany(sql, *arguments)


class _Connection(HostConnection, sqlite3.Connection):
    """A connection of a host's. It may be rolled back when it is closed: the pool of a host that was killed does so."""

    is_closed = False

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, *arguments: Any) -> Any:
        return self.cursor().execute(sql, *arguments)

    def executemany(self, sql: str, *arguments: Any) -> Any:
        return self.cursor().executemany(sql, *arguments)

    def rollback(self) -> None:
        if not self.is_closed:
            super().rollback()

    def close(self) -> None:
        self.is_closed = True
        super().close()

    def is_begun(self) -> bool:
        return self.in_transaction

    def end_transaction(self, *, stored: bool) -> None:
        sqlite3.Connection.commit(self) if stored else sqlite3.Connection.rollback(self)

    def break_off(self, *, committing: bool) -> Exception:  # noqa: ARG002  # the disk is the same for both
        return _error("disk I/O error", sqlite3.SQLITE_IOERR)

    def full(self) -> Exception:
        calls = _Now.calls
        if self.in_transaction and calls and calls.happens(0.5):
            super().rollback()  # as SQLite may do (https://www.sqlite.org/lang_transaction.html)
        return _error("database or disk is full", sqlite3.SQLITE_FULL)


def _error(sentence: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(sentence)
    error.sqlite_errorcode = code
    return error


class SqliteLog:
    """The database of a seed, as the simulation itself sees it and disturbs it."""

    def __init__(self, file: Path) -> None:
        self.url = f"sqlite:///{file}"
        self.truth = sqlite3.connect(file, isolation_level=None, timeout=0)
        self._file = file
        self._locking: sqlite3.Connection | None = None

    def lock(self) -> None:
        """As another program that writes to the file."""
        if self._locking is None:
            self._locking = sqlite3.connect(self._file, isolation_level=None, timeout=0)
            try:
                self._locking.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self.unlock()

    def unlock(self) -> None:
        """As that program when it ends."""
        if self._locking:
            self._locking.close()
            self._locking = None

    def seize(self) -> bool:
        """Begin a transaction on `truth`, beside which there is no other one that writes; False when there is one."""
        try:
            self.truth.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    def cut(self) -> None:
        """End all connections of hosts: there are none."""

    def close(self) -> None:
        """Close what is open."""
        self.unlock()
        self.truth.close()


def _shorten(sql: str) -> str:
    return " ".join(sql.split())[:60]


def _writes(sql: str) -> bool:
    return sql.lstrip()[:6].upper() in {"INSERT", "UPDATE", "COPY T"}


_connect_sqlite = sqlite3.dbapi2.connect


def _connect(*arguments: Any, **named: Any) -> Any:
    """As sqlite3.connect; one that finds the file locked fails at once, as no time passes while it would wait."""
    calls = _Now.calls
    life = calls.life() if calls else None
    if calls is None or life is None:
        return _connect_sqlite(*arguments, **named)
    connection = _connect_sqlite(*arguments, **(named | {"timeout": 0, "factory": _Connection}))
    calls.connections.append((life, connection))
    return connection


# Each connection asks for the version of its library, whose file is read each time.
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)

_send: Any = AbstractConnection.send_packed_command
_read: Any = AbstractConnection.read_response
_handshake: Any = AbstractConnection.connect_check_health


def _connect_redis(self: Any, *arguments: Any, **named: Any) -> None:
    calls = _Now.calls
    life = calls.life() if calls else None
    if calls is None or life is None or _Now.is_ours:
        _handshake(self, *arguments, **named)
        return
    calls.check_alive()
    if self._sock:
        return
    if calls.is_away:
        calls.count += 1
        calls.scheduler.pause("redis CONNECT")
        if calls.is_away:
            calls.scheduler.note("  REFUSED")
            raise redis.exceptions.ConnectionError("Connection refused.")
    calls.connections.append((life, self))
    self.driver_info = None  # two round trips
    with _ours():
        _handshake(self, *arguments, **named)


def _send_packed(self: Any, command: Any, check_health: bool = True) -> None:
    calls = _Now.calls
    life = calls.life() if calls else None
    if calls is None or life is None or _Now.is_ours:
        _send(self, command, check_health)
        return
    calls.check_alive()
    raw = command.encode() if isinstance(command, str) else b"".join(map(_bytes, command))
    parts = [*_split(raw)]
    calls.count += 1
    calls.scheduler.pause(f"redis {_describe(calls, parts)}")
    calls.expire()
    _call(self, calls, life, raw, parts)


def _call(self: Any, calls: Calls, life: Life, raw: bytes, parts: Sequence[tuple[bytes, list[bytes]]]) -> None:
    """Make the call, unless it fails before; only its answer is not read yet."""
    chances = calls.chances
    if calls.happens(chances.kill):
        calls.kill(life, "before the call")
    kept = {word for _, words in parts for word in words if word.endswith(OF_A_REBUILD) and len(word) < KEY_BYTES}
    kept |= {key.rpartition(b":")[0] + each for key in kept for each in OF_A_REBUILD}  # what becomes of both is one
    for key in kept:
        calls.staged.setdefault(key, []).append(life)
    try:
        _fail(self, calls, raw, parts, kept)
    except redis.exceptions.RedisError:
        calls.excuse(kept)
        raise
    is_late = calls.happens(chances.duplicate)
    if is_late:
        calls.scheduler.note("  will arrive once more")
        calls.late.append((raw, len(parts), kept))
    if is_late or calls.refuses:
        calls.excused |= kept
    _send(self, [raw], check_health=False)
    if kept:
        select.select([self._sock], [], [])  # what is asked next comes after it
        calls.note_life_of(kept)
    if calls.happens(chances.kill):
        _drain(self, len(parts))
        calls.kill(life, "after the call")
    if calls.happens(chances.slow):
        select.select([self._sock], [], [])  # and what others call
        calls.scheduler.pause("redis answers")


def _fail(
    connection: Any, calls: Calls, raw: bytes, parts: Sequence[tuple[bytes, list[bytes]]], kept: set[bytes]
) -> None:
    """Raise what the driver raises when a call fails, if it does: before it arrived, after some commands, after all."""
    chances = calls.chances
    if calls.is_away or calls.happens(chances.lost_before):
        _lose(connection, calls, "LOST before it arrived")
    if calls.is_loading:
        calls.scheduler.note("  LOADING")
        raise redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory")
    if len(parts) > 1 and calls.happens(chances.cut_within):
        arrived = calls.scheduler.rng.randrange(1, len(parts))
        _exchange(connection, b"".join(part for part, _ in parts[:arrived]), arrived)
        _lose(connection, calls, f"CUT after {arrived} of {len(parts)} commands")
    if calls.happens(chances.lost_after):
        _exchange(connection, raw, len(parts))
        _lose(connection, calls, "answer LOST")
    if calls.happens(chances.timeout):
        _exchange(connection, raw, len(parts))
        calls.excuse(kept)  # now: the host may be killed while it waits
        connection.disconnect()
        calls.scheduler.note("  no answer in time")
        calls.scheduler.sleep(TIMEOUT_S)
        raise redis.exceptions.TimeoutError("Timeout reading from socket")


def _bytes(item: Any) -> bytes:
    return item if isinstance(item, bytes) else bytes(item)


def _lose(connection: Any, calls: Calls, what: str) -> None:
    calls.scheduler.note(f"  {what}")
    connection.disconnect()
    raise redis.exceptions.ConnectionError("Connection closed by server.")


def _exchange(connection: Any, raw: bytes, count: int) -> None:
    """Send requests and wait until the server has answered each."""
    _send(connection, [raw], check_health=False)
    _drain(connection, count)


def _drain(connection: Any, count: int) -> None:
    for _ in range(count):
        try:
            _read(connection)
        except redis.exceptions.ResponseError:
            continue


def deliver_late(calls: Calls) -> None:
    """Let one of the late requests arrive, by a connection of the simulation's own."""
    raw, count, kept = calls.late.pop(calls.scheduler.rng.randrange(len(calls.late)))
    connection = calls.redis.connection_pool.get_connection()
    try:
        _exchange(connection, raw, count)
    finally:
        calls.redis.connection_pool.release(connection)
    calls.note_life_of(kept)


def _split(raw: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """The commands of a request in the protocol of Redis: the bytes of each, and its words."""
    at = 0
    while at < len(raw):
        start, end = at, raw.index(b"\r\n", at)
        words, at = [], end + 2
        for _ in range(int(raw[start + 1 : end])):
            end = raw.index(b"\r\n", at)
            length = int(raw[at + 1 : end])
            words.append(raw[end + 2 : end + 2 + length])
            at = end + length + 4
        yield raw[start:at], words


def _describe(calls: Calls, parts: list[tuple[bytes, list[bytes]]]) -> str:
    named = []
    for _, words in parts:
        name = words[0].decode()
        if name in {"EVALSHA", "EVAL"}:
            script = words[1].decode()
            name = calls.script_names.get(script, script.strip().splitlines()[0][:40])
            key = words[3].decode()
        else:
            key = words[1].decode("latin-1") if len(words) > 1 else ""
        named.append(f"{name} {key}".rstrip())
    return ", ".join(named)


@contextmanager
def driven(calls: Calls) -> Iterator[None]:
    """Let all calls of the drivers go through *calls*."""
    names = ("send_packed_command", "connect_check_health")
    before = [getattr(AbstractConnection, name) for name in names]
    _Now.calls = calls
    sqlite3.dbapi2.connect = _connect
    AbstractConnection.send_packed_command = _send_packed  # type: ignore[method-assign]
    AbstractConnection.connect_check_health = _connect_redis  # type: ignore[method-assign]
    try:
        yield
    finally:
        _Now.calls = None
        sqlite3.dbapi2.connect = _connect_sqlite
        for name, value in zip(names, before, strict=True):
            setattr(AbstractConnection, name, value)


def close_connections(calls: Calls, life: Life) -> None:
    """Close what a host that was killed had open."""
    for owner, connection in calls.connections:
        if owner is life:
            if isinstance(connection, AbstractConnection):
                connection.disconnect()
            else:
                connection.close()
    calls.connections[:] = [pair for pair in calls.connections if pair[0] is not life]
