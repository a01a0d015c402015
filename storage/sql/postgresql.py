"""
PostgreSQL: how the log's server is reached, and the settings of each transaction, independent of the server's own.

Nothing outlives a transaction in a session, so a pooler may give each transaction another one: settings are local to
the transaction, and no statement is prepared by name. Each connection is in autocommit mode, so a single select costs
one round trip; transactions are begun here by hand. Writers run in READ COMMITTED: a select that comes after the lock
on a head sees everything committed before that lock.
"""

import select
from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError

from storage.errors import (
    CannotOpen,
    StorageError,
    StoreBusy,
    StoreConflict,
    StoreForbidden,
    StoreFull,
    StoreUnavailable,
)
from storage.sql import database
from storage.sql.database import Kind

DRIVERS = ("postgresql", "postgresql+psycopg")

READERS = 16
"""Connections that may read at once, in each process: a server allows 100 in all unless it is configured otherwise."""

WRITERS = 4
"""Connections that may write at once: the writer's, and those of a verification or an import in the same process."""

WAIT_FOR_CONNECTION_S = 5

ANSWER_WITHIN_S = 15.0
"""Longer than the server lets a statement take: only one that does not answer at all is given up."""

LOOK_EVERY_S = 0.1
"""As in the driver: how soon a Ctrl-C is heeded."""

# What a URL may set otherwise. A server that does not answer is given up after about ten seconds. A standby is refused:
# of several hosts the next one is tried.
DEFAULTS = {
    "target_session_attrs": "primary",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "simple-twitter",
}

REPEATABLE = {"host", "port", "hostaddr"}
"""Options of which a URL may have several, one for each host."""

ADVISORY_LOCK = 7_304_218_511
"""Any number will do that no other program takes on the same PostgreSQL server."""


def _begin(mode: str, statement_timeout: str = "10s", idle_timeout: str = "10s", lock_timeout: str = "4s") -> str:
    """
    A transaction and its settings, which end with it: one round trip.

    Weaker than `on` a commit might be lost after it was answered; only `remote_apply` promises more. A writer that was
    stopped in the middle of a batch keeps the heads locked for all others: the server ends it. Every join here follows
    an index; the planner, which overestimates a recursion, would read the whole table to hash or merge it: 87 ms, not
    0.3, for the descendants of ten tweets among 600,000.
    """
    return f"""
BEGIN ISOLATION LEVEL {mode};
SELECT
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),
    set_config('statement_timeout', '{statement_timeout}', true),
    set_config('idle_in_transaction_session_timeout', '{idle_timeout}', true),
    set_config('lock_timeout', '{lock_timeout}', true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)
"""


BEGIN: dict[Kind, str] = {
    "reading": _begin("READ COMMITTED READ ONLY"),
    "writing": _begin("READ COMMITTED READ WRITE"),
    "writing at length": _begin("READ COMMITTED READ WRITE", "10min", "10min"),
    "migrating": _begin("READ COMMITTED READ WRITE", "0", "10min", "60s")
    + f"; SELECT pg_advisory_xact_lock({ADVISORY_LOCK}); SET LOCAL lock_timeout = '10s'",
}

AT_LENGTH: set[Kind] = {"writing at length", "migrating"}

READ_ONLY = "25006"
"""The server has become a standby, or refuses all writes."""

# What the SQLSTATEs mean, or the classes that their first two characters name; None for a statement that is wrong.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
ERRORS: dict[str, type[StorageError] | None] = {
    "53100": StoreFull,
    "42501": StoreForbidden,
    **dict.fromkeys(("40001", "40P01", "55P03"), StoreBusy),  # serialization, deadlock, lock timeout
    **dict.fromkeys(("08", READ_ONLY, "25P03", "53300", "57P01", "57P02", "57P03", "57P05"), StoreBusy),  # away
    "23": StoreConflict,
    **dict.fromkeys(("22", "42"), None),
}


class Backend(database.Backend):
    """A database on a server."""

    version_question = "SHOW server_version"
    advice = "check DATABASE_URL, and that the server runs and lets you in"

    @staticmethod
    def check_url(url: URL) -> None:
        """Check that its driver is ours, and that no password is in a wrong place."""
        if url.drivername not in DRIVERS:
            raise CannotOpen(f"DATABASE_URL names the driver {url.get_driver_name()}; use postgresql+psycopg://.")
        if "@" in f"{url.host}{url.database}":
            raise CannotOpen("DATABASE_URL has an @ after the host; percent-encode it as %40.")
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
        for name, value in url.query.items():
            if name not in known:
                raise CannotOpen(f"DATABASE_URL sets {name}, which is not an option of a PostgreSQL connection.")
            if not isinstance(value, str) and name not in REPEATABLE:
                raise CannotOpen(f"DATABASE_URL sets {name} more than once.")

    def __init__(self, url: URL) -> None:
        super().__init__(url.set(drivername=DRIVERS[-1]))
        self._generation = 0  # of connections: those of an earlier one lead to a server that only reads

    def engine(self, *, writes: bool) -> Engine:
        """A pool of connections."""
        given = {name: value for name, value in DEFAULTS.items() if name not in self._url.query}
        engine = create_engine(
            self._url,
            pool_size=WRITERS if writes else READERS,
            max_overflow=0,
            pool_timeout=WAIT_FOR_CONNECTION_S,
            connect_args={"autocommit": True, "client_encoding": "utf8", "prepare_threshold": None, **given},
            hide_parameters=True,  # a text does not belong in a log
            execution_options={"insert_rows": insert_rows},
        )

        @event.listens_for(engine, "do_connect")
        def _connect(_dialect: object, _record: object, arguments: Any, parameters: Any) -> Any:
            return BoundedConnection.connect(*arguments, **parameters)

        @event.listens_for(engine, "begin")
        def _begun(connection: Connection) -> None:
            kind: Kind = connection.get_execution_options().get("kind", "reading")
            driver: Any = connection.connection.driver_connection
            driver.at_length = kind in AT_LENGTH
            connection.exec_driver_sql(BEGIN[kind])

        @event.listens_for(engine, "reset")
        def _returned(connection: Any, _record: object, _state: object) -> None:
            connection.at_length = False

        @event.listens_for(engine, "connect")
        def _connected(_connection: object, record: Any) -> None:
            record.info["generation"] = self._generation

        @event.listens_for(engine, "checkout")
        def _checked_out(connection: Any, record: Any, _proxy: object) -> None:
            # Between transactions a server sends only that it ends: so one that was restarted is noticed without a
            # round trip, and before a request is lost on it.
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if record.info["generation"] != self._generation or poll.poll(0):
                raise DisconnectionError("the server closed the connection, or no longer takes writes")

        return engine

    def check(self, connection: Connection) -> None:
        """Check that every text can be stored. Raises CannotOpen."""
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise CannotOpen(f"The database of DATABASE_URL is encoded in {encoding}; create one with ENCODING 'UTF8'.")

    def error_class(self, error: BaseException | None) -> type[StorageError] | None:
        """By its SQLSTATE, which an error has if the server reported it."""
        state: str | None = getattr(error, "sqlstate", None)
        if state is None:  # the server was not reached, or it said nothing before it went
            return None if isinstance(error, (psycopg.ProgrammingError, psycopg.DataError)) else StoreBusy
        if state == READ_ONLY:
            self._generation += 1
        return ERRORS[state] if state in ERRORS else ERRORS.get(state[:2], StoreUnavailable)

    @staticmethod
    def describe(url: URL) -> str:
        """*url* without its password, and of its parameters those alone that say where the server is."""
        where = {name: value for name, value in url.query.items() if name in REPEATABLE}
        return url.set(query=where).render_as_string()


class BoundedConnection(psycopg.Connection[Any]):
    """
    Gives up a server that keeps the connection and says nothing, as one does that was stopped or whose disk hangs.

    It is closed then, and raises an OperationalError. With `at_length` set it waits as long as it takes.
    """

    at_length = False

    def wait(self, gen: Any, interval: float = LOOK_EVERY_S, timeout: float | None = None) -> Any:
        """As the driver's own, with our bound where it gives none."""
        if timeout is None and not self.at_length:
            timeout = ANSWER_WITHIN_S
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.Error as error:
            if error.diag.message_primary:  # without DETAIL and CONTEXT, which quote rows: they do not belong in a log
                error.args = (error.diag.message_primary,)
            elif error.sqlstate is None and isinstance(error, psycopg.OperationalError):  # not of the server's saying
                self.close()
            raise


def insert_rows(driver: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add *rows*, of the values of *columns*, to *table* by COPY: 45 rows in 0.6 ms, by INSERT in 1.3."""
    try:
        with driver.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except (ValueError, psycopg.ProgrammingError) as error:
        if getattr(error, "sqlstate", None):
            raise
        # A pooler whose server has gone sends two errors for one command, of which the driver knows nothing.
        driver.close()
        raise psycopg.OperationalError("the server went away during a COPY") from error
