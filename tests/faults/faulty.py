"""Calls of SQLite and Redis that fail where the drivers make them: the next one, the tenth one, one in fifty."""

import random
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

Fails = Callable[[], bool]
"""Whether the call that is about to be made fails."""


class Faults:
    """Decides for each call to *part*, "sql" or "redis", whether it fails; and whether it is made all the same."""

    def __init__(self, part: str, *, made: bool) -> None:
        self.part = part
        self.made = made
        """Whether a call that fails has taken effect: only its answer is lost."""
        self.fired = 0
        self._fails: Fails = lambda: False
        self._lock = threading.Lock()

    def let_fail(self, number: int) -> None:
        """Let the *number*-th call from now on fail, of those that the writer makes."""
        self.fired = calls = 0

        def fails() -> bool:
            nonlocal calls
            calls += threading.current_thread().name == "writer"
            return calls == number and not self.fired

        self._fails = fails

    def let_some_fail(self, seed: int, share: float) -> None:
        """Let *share* of all calls fail, whoever makes them."""
        rng = random.Random(seed)
        self.fired = 0
        self._fails = lambda: rng.random() < share

    def let_none_fail(self) -> None:
        """All is well."""
        self._fails = lambda: False

    def make(self, part: str, call: Callable[[], Any], error: Callable[[], Exception]) -> Any:
        """The answer of *call*, unless it fails with *error*."""
        with self._lock:
            fails = part == self.part and self._fails()
            self.fired += fails
        if not fails:
            return call()
        if self.made:
            call()
        raise error()


def disk_error() -> Exception:
    """What SQLite says of a disk that does not answer."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def put_into_drivers(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every new connection to SQLite, and every one to Redis, asks *faults* before each call."""

    class Cursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Any:
            return faults.make("sql", lambda: super(Cursor, self).execute(*arguments), disk_error)

        def executemany(self, *arguments: Any) -> Any:
            return faults.make("sql", lambda: super(Cursor, self).executemany(*arguments), disk_error)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            faults.make("sql", super().commit, disk_error)

    connect = sqlite3.dbapi2.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *a, **named: connect(*a, factory=Connection, **named))

    for name in ("send_packed_command", "read_response"):
        monkeypatch.setattr(redis.connection.AbstractConnection, name, _faulty(faults, name))


def _faulty(faults: Faults, name: str) -> Any:
    original = getattr(redis.connection.AbstractConnection, name)

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        def lost() -> Exception:
            self.disconnect()  # as the driver does before it says so
            return redis.exceptions.ConnectionError("Connection closed by server.")

        return faults.make("redis", lambda: original(self, *arguments, **named), lost)

    return called
