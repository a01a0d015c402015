"""
PostgreSQL: how the log's server is reached, and what holds in each transaction whatever the server's own settings are.

Each connection is in autocommit mode, so a single select costs one round trip; transactions are begun here by hand.
Writers run in READ COMMITTED: a select that comes after the lock on a head sees everything committed before that lock.
"""

import select
from contextlib import nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, OperationalError, ProgrammingError

from storage.errors import CannotOpen
from storage.sql.dialect import Fault, Kind
from storage.sql.quick import PooledReads

DRIVERS = ("postgresql", "postgresql+psycopg")

READERS = 16
"""Connections that may read at once, in each process: a server allows 100 in all unless it is told otherwise."""

WRITERS = 4
"""Connections that may write at once: the writer's, and those of a verification or an import in the same process."""

WAIT_FOR_CONNECTION_S = 5

# What a URL may set otherwise. A server that does not answer is given up after about ten seconds.
DEFAULTS = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "simple-twitter",
}

# For each session. Weaker than `on` a commit might be lost after it was answered; only `remote_apply` promises more.
# A writer that was stopped in the middle of a batch keeps the heads locked for everybody: the server ends it.
SETTINGS = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply';
SET default_transaction_isolation = 'read committed';
SET statement_timeout = '10s';
SET lock_timeout = '4s';
SET idle_in_transaction_session_timeout = '10s'
"""

ADVISORY_LOCK = 7_304_218_511
"""Any number will do that no other program takes on the same PostgreSQL server."""

WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
AT_LENGTH = ("SET LOCAL statement_timeout = '10min'", "SET LOCAL idle_in_transaction_session_timeout = '10min'")
BEGIN = {
    Kind.SNAPSHOT: ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", *AT_LENGTH),
    Kind.WRITING: (WRITE,),
    Kind.WRITING_AT_LENGTH: (WRITE, *AT_LENGTH),
    Kind.MIGRATING: (
        WRITE,
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = '10min'",
        "SET LOCAL lock_timeout = '60s'",
        f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})",
        "SET LOCAL lock_timeout = '10s'",
    ),
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
FULL = "53100"
FORBIDDEN = "42501"
CONFLICTS = {"40001", "40P01", "55P03"}  # serialization, deadlock, lock timeout
AWAY = {"25P03", "53300", "57P01", "57P02", "57P03", "57P05"}  # ended or not let in by the server
AWAY_CLASS = "08"  # connection exceptions


class PostgreSQL:
    """A database on a server."""

    version_question = "SHOW server_version"
    advice = "check DATABASE_URL, and that the server runs and lets you in"
    turn = nullcontext()

    def __init__(self, url: URL) -> None:
        if url.drivername not in DRIVERS:
            raise CannotOpen(f"DATABASE_URL names the driver {url.get_driver_name()}; use postgresql+psycopg://.")
        self._url = url.set(drivername=DRIVERS[-1])

    def reader(self) -> Engine:
        """Connections for those who read."""
        return _engine(self._url, READERS)

    def writer(self) -> Engine:
        """Connections of their own for those who write: readers cannot keep them waiting."""
        return _engine(self._url, WRITERS)

    def quick_reads(self, reader: Engine) -> PooledReads:
        """One round trip on any connection of the pool: a connection for each thread would be too many."""
        return PooledReads(reader)

    def check(self, connection: Connection) -> None:
        """See that every text can be stored. Raises CannotOpen."""
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise CannotOpen(f"The database of DATABASE_URL is encoded in {encoding}; create one with ENCODING 'UTF8'.")

    def fault(self, error: DBAPIError) -> Fault:
        """What *error* means."""
        state = getattr(error.orig, "sqlstate", None)
        if state in {FULL, FORBIDDEN}:
            return Fault.FULL if state == FULL else Fault.FORBIDDEN
        if state in CONFLICTS:
            return Fault.CONFLICT
        if _is_away(error, state):
            return Fault.AWAY
        return Fault.MISTAKE if isinstance(error, (ProgrammingError, DataError)) else Fault.OTHER

    def forget_deleted(self, connection: Connection) -> bool:  # noqa: ARG002  # there is nothing to do with it
        """Nothing: what was deleted goes when the server vacuums, and its write-ahead log is the operator's."""
        return True

    @staticmethod
    def describe(url: URL) -> str:
        """*url* without its password, and of its parameters those alone that say where the server is."""
        where = {name: value for name, value in url.query.items() if name in {"host", "port"}}
        return url.set(query=where).render_as_string()

    def close(self) -> None:
        """Nothing is held beside connections."""


def _is_away(error: DBAPIError, state: str | None) -> bool:
    if error.connection_invalidated or state in AWAY:
        return True
    if state is None:  # the server was not reached, or it said nothing before it went
        return isinstance(error, OperationalError)
    return state.startswith(AWAY_CLASS)


def _engine(url: URL, connections: int) -> Engine:
    given = {name: value for name, value in DEFAULTS.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=WAIT_FOR_CONNECTION_S,
            connect_args={"autocommit": True, "client_encoding": "utf8", **given},
            hide_parameters=True,  # a text does not belong in a log
        )
    except ImportError as error:
        raise CannotOpen(
            f"DATABASE_URL names PostgreSQL, whose driver is missing ({error}); pip install 'psycopg[binary]'."
        ) from error

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.execute(SETTINGS)

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, _record: object, _proxy: object) -> None:
        # Between transactions a server speaks only to take its leave: so one that was restarted is noticed without
        # a round trip, and before a request is lost on it.
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            raise DisconnectionError("the server closed the connection")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        kind = connection.get_execution_options().get("kind", Kind.READING)
        for statement in BEGIN.get(kind, ()):
            connection.exec_driver_sql(statement)

    return engine
