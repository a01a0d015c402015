"""
A seed on PostgreSQL: a server for each process, empty tables for each seed, and connections that never wait for a lock.

Only one thread runs, so a statement that waits for a lock of another host would never end. It is left to the server,
and its task waits in simulated time. A task that releases a lock waits until the server has given it to the next.
"""

import select
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.waiting import Ready, Wait

from tests.postgresql import PostgreSQL
from tests.simulation.drivers import HostConnection, calls_now
from tests.simulation.hosts import BoundedConnection, migrate
from tests.simulation.scheduler import Scheduler, Task

LOCK_WITHIN_S = 4.0
"""As the product's `lock_timeout`, in simulated time."""

TIMED_OUT = "canceling statement due to lock timeout"

LOOK_EVERY_MS = 2
"""How long an answer may take before it is asked whether the statement waits for a lock."""

OF_SQLALCHEMY = ("select ", "show ")
"""What it asks on its first connection, in small letters; the lock that it holds meanwhile is a real one."""

HOSTS = "datname LIKE 'sim_' AND application_name = 'simple-twitter'"

RESET = "TRUNCATE tweets, heads, store; INSERT INTO heads TABLE first.heads; INSERT INTO store TABLE first.store"
"""A tenth of the time of a database that is created."""


class Truth(psycopg.Connection[Any]):
    """A connection of the simulation's own, with the places of parameters as SQLite writes them."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement."""
        return super().execute(query.replace("?", "%s"), params, **options)


class PostgresServer:
    """A server with a database for each number of partitions; `open_log` empties it."""

    def __init__(self) -> None:
        self._server = PostgreSQL(autovacuum="off", deadlock_timeout="1h")
        self._admin = self._connect("postgres")
        for partitions in (1, 2, 3):
            self._admin.execute(f"CREATE DATABASE sim{partitions}")
            migrate(self._server.url(f"sim{partitions}"), partitions)
            with self._connect(f"sim{partitions}") as database:
                database.execute("UPDATE store SET id = ?", [f"simulated{partitions:07}"])  # it is random
                database.execute("CREATE SCHEMA first")
                for table in ("heads", "store"):
                    database.execute(f"CREATE TABLE first.{table} AS TABLE {table}")

    def _connect(self, name: str) -> Truth:
        return Truth.connect(host=str(self._server.folder), user="postgres", dbname=name, autocommit=True)

    def open_log(self, partitions: int, scheduler: Scheduler) -> "PostgresLog":
        """An empty database."""
        name = f"sim{partitions}"
        log = PostgresLog(self._server.url(name), self._admin, lambda: self._connect(name), scheduler)
        log.cut()  # the hosts of the seed before
        log.truth.execute(RESET)
        return log

    def close(self) -> None:
        """End the server."""
        self._admin.close()
        self._server.close()


class PostgresLog:
    """The database of one seed: see `SqliteLog`."""

    def __init__(self, url: str, admin: Truth, connect: Callable[[], Truth], scheduler: Scheduler) -> None:
        self.url = url
        self.truth = connect()
        self._admin = admin
        self._connect = connect
        self._scheduler = scheduler
        self._locking: Truth | None = None
        self._waiting: list[PostgresConnection] = []
        self._queue: list[Task] = []

    def lock(self) -> None:
        """Take the locks of all writers, if they are free."""
        if self._locking is None:
            self._locking = self._connect()
            try:
                self._locking.execute("BEGIN")
                self._locking.execute("SELECT * FROM heads FOR UPDATE NOWAIT")
            except psycopg.errors.LockNotAvailable:
                self.unlock()

    def unlock(self) -> None:
        """Let go of them."""
        if self._locking:
            self._locking.execute("ROLLBACK")
            self._locking.close()
            self._locking = None
            self.settle()

    def seize(self) -> bool:
        """Begin a transaction on `truth`, beside which there is no other one."""
        self.unlock()
        self.cut()
        self.truth.execute("BEGIN")
        return True

    def cut(self) -> None:
        """End all connections of hosts: first those that wait for a lock, or one might still be given it."""
        self.end([each.pgconn.backend_pid for each in self._waiting if not each.closed])
        self.end([pid for (pid,) in self._admin.execute(f"SELECT pid FROM pg_stat_activity WHERE {HOSTS}")])

    def close(self) -> None:
        """Close the connections of the simulation's own."""
        self.unlock()
        self.truth.close()

    def end(self, pids: Sequence[int]) -> None:
        """End sessions, and wait until the server has let go of what they held."""
        self._admin.execute("SELECT pg_terminate_backend(pid) FROM unnest(?::int[]) AS pid", [[*pids]])
        while self._admin.execute("SELECT FROM pg_stat_activity WHERE pid = ANY(?)", [[*pids]]).rowcount:
            time.sleep(0.0005)
        self.settle()

    def settle(self) -> None:
        """Locks may be free now: wait until the server has given them to those that are next, and wake all."""
        while True:
            open_ones = [each for each in self._waiting if not each.is_answered()]
            if all(self._is_waiting(each) for each in open_ones):
                break
            time.sleep(0.0005)
        self._scheduler.wake(self._queue)

    def _is_waiting(self, connection: "PostgresConnection") -> bool:
        pid = connection.pgconn.backend_pid
        return bool(self._admin.execute("SELECT FROM pg_locks WHERE pid = ? AND NOT granted", [pid]).rowcount)

    def wait_for_lock(self, connection: "PostgresConnection") -> bool:
        """Let others run as long as the statement of *connection* waits for a lock; False when that took too long."""
        if not self._is_waiting(connection):
            return True
        self._scheduler.note("  waits for a lock")
        deadline = self._scheduler.now + LOCK_WITHIN_S
        self._waiting.append(connection)
        try:
            while not connection.is_answered() and self._is_waiting(connection):
                left = deadline - self._scheduler.now
                if left <= 0:
                    self._admin.execute("SELECT pg_cancel_backend(?)", [connection.pgconn.backend_pid])
                    return False
                self._scheduler.block(self._queue, left)
        finally:
            self._waiting.remove(connection)
            self._scheduler.wake(self._queue)
        return True

    def wait_in_line(self) -> None:
        """
        Let no second statement wait for heads on the server.

        Of several that wait for a row which was updated meanwhile, PostgreSQL lets go first whichever is faster.
        """
        deadline = self._scheduler.now + LOCK_WITHIN_S
        while self._waiting:
            left = deadline - self._scheduler.now
            if left <= 0:
                raise psycopg.errors.LockNotAvailable(TIMED_OUT)
            self._scheduler.block(self._queue, left)


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        self.connection.before(query)  # type: ignore[attr-defined]
        return super().execute(query, *arguments, **options)

    def executemany(self, query: Any, *arguments: Any, **options: Any) -> Any:
        self.connection.before(query)  # type: ignore[attr-defined]
        return super().executemany(query, *arguments, **options)

    def copy(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        self.connection.before(statement)  # type: ignore[attr-defined]
        return super().copy(statement, *arguments, **options)


class _Waits(psycopg.Connection[Any]):
    """Waits for an answer as the driver does, but for a lock in simulated time."""

    def is_answered(self) -> bool:
        """Whether there is something to read."""
        return self.closed or bool(select.select([self.pgconn.socket], [], [], 0)[0])

    def wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:  # noqa: ARG002  # time does not pass
        calls, is_in_time = calls_now(), True
        if calls is None or calls.life() is None:
            return super().wait(gen, interval, None)
        poll = select.poll()
        try:
            state = next(gen)
            while True:
                poll.register(
                    self.pgconn.socket,
                    (select.POLLIN if state & Wait.R else 0) | (select.POLLOUT if state & Wait.W else 0),
                )
                while not (events := poll.poll(LOOK_EVERY_MS)):
                    is_in_time = is_in_time and calls.log.wait_for_lock(self)
                ready = Ready.W if events[0][1] & select.POLLOUT else 0
                state = gen.send(ready | (Ready.R if events[0][1] & ~select.POLLOUT else 0))
        except StopIteration as end:
            return end.value
        except psycopg.errors.QueryCanceled:
            if is_in_time:
                raise
            raise psycopg.errors.LockNotAvailable(TIMED_OUT) from None


class PostgresConnection(HostConnection, BoundedConnection, _Waits):
    """A connection of a host's."""

    switches_within = True

    @classmethod
    def connect(cls, *arguments: Any, **options: Any) -> Any:
        """As the driver's."""
        calls = calls_now()
        life = calls.life() if calls else None
        if calls is None or life is None:
            return super().connect(*arguments, **options)
        calls.check_alive()
        calls.count += 1
        calls.scheduler.pause("sql CONNECT")
        connection = super().connect(*arguments, **(options | {"cursor_factory": _Cursor}))
        calls.connections.append((life, connection))
        return connection

    def before(self, sql: str) -> None:
        """What happens before a statement."""
        if sql.startswith(OF_SQLALCHEMY):
            return
        super().before(sql)
        calls = calls_now()
        if calls and calls.life() and "FOR UPDATE" in sql:
            calls.log.wait_in_line()

    def is_begun(self) -> bool:
        """Whether a transaction is open."""
        return not self.closed and self.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def end_transaction(self, *, stored: bool) -> None:
        """Commit, or roll back."""
        psycopg.Connection.commit(self) if stored else psycopg.Connection.rollback(self)
        self._log().settle()

    def break_off(self, *, committing: bool) -> Exception:
        """What the driver raises when the server has ended the session, or the transaction to solve a deadlock."""
        calls = calls_now()
        if not committing and self.is_begun() and calls and calls.happens(0.5):
            return psycopg.errors.DeadlockDetected("deadlock detected")
        self.close()
        return psycopg.OperationalError("server closed the connection unexpectedly")

    def full(self) -> Exception:
        """What the driver raises when the server's disk is full."""
        return psycopg.errors.DiskFull("could not extend file: No space left on device")

    def rollback(self) -> None:
        """Roll back; a host that was killed says no more."""
        calls = calls_now()
        life = calls.life() if calls else None
        if calls and (calls.scheduler.verdict or (life and not life.is_alive)):
            self.close()
        elif self.is_begun():
            self.end_transaction(stored=False)

    def close(self) -> None:
        """Close it; what a transaction of it held is free then."""
        if self.closed:
            return
        pid, is_begun = self.pgconn.backend_pid, self.is_begun()
        super().close()
        if is_begun and calls_now():
            self._log().end([pid])

    def _log(self) -> PostgresLog:
        calls = calls_now()
        assert calls
        log: PostgresLog = calls.log
        return log
