"""
PostgreSQL: how the log's server is reached, and what holds in each transaction whatever the server's own settings are.

Each connection is in autocommit mode, so a single select costs one round trip; transactions are begun here by hand.
Writers run in READ COMMITTED: a select that comes after the lock on a head sees everything committed before that lock.
"""

import select
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError

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

AT_LENGTH_KINDS = {Kind.SNAPSHOT, Kind.WRITING_AT_LENGTH, Kind.MIGRATING}

# What the SQLSTATEs mean, or the classes that their first two characters name.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
FAULTS = {
    "53100": Fault.FULL,
    "42501": Fault.FORBIDDEN,
    **dict.fromkeys(("40001", "40P01", "55P03"), Fault.CONFLICT),  # serialization, deadlock, lock timeout
    **dict.fromkeys(("08", "25P03", "53300", "57P01", "57P02", "57P03", "57P05"), Fault.AWAY),
    "23": Fault.REFUSED,
    **dict.fromkeys(("22", "42"), Fault.MISTAKE),
}


class PostgreSQL:
    """A database on a server."""

    version_question = "SHOW server_version"
    advice = "check DATABASE_URL, and that the server runs and lets you in"
    turn = nullcontext()

    @staticmethod
    def check_url(url: URL) -> None:
        """See that its driver is ours."""
        if url.drivername not in DRIVERS:
            raise CannotOpen(f"DATABASE_URL names the driver {url.get_driver_name()}; use postgresql+psycopg://.")

    def __init__(self, url: URL) -> None:
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

    def find_damage(self, connection: Connection, at_most_bytes: int | None) -> str | None:  # noqa: ARG002  # nothing is read
        """Nothing: the server looks after its files by itself, with checksums."""
        return None

    def fault(self, error: BaseException | None) -> Fault:
        """What an error of the driver means: by its SQLSTATE, which it has if the server said it."""
        state: str | None = getattr(error, "sqlstate", None)
        if state is None:  # the server was not reached, or it said nothing before it went
            return Fault.MISTAKE if _is_own(error) else Fault.AWAY
        return FAULTS.get(state) or FAULTS.get(state[:2], Fault.OTHER)

    def copy_back(self, connection: Connection) -> None:
        """Nothing: the server does it by itself."""

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


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Add *rows*, of the values of *columns*, to *table*: nine times as fast as INSERT. Raises the driver's errors."""
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        if driver.closed:
            connection.invalidate()


def _is_own(error: BaseException | None) -> bool:
    """Whether the driver itself refused a statement or a value."""
    import psycopg  # noqa: PLC0415  # takes 60 ms, which nobody waits for who does not use it

    return isinstance(error, (psycopg.ProgrammingError, psycopg.DataError))


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
            execution_options={"copy_rows": copy_rows},
        )
    except ImportError as error:
        raise CannotOpen(
            f"DATABASE_URL names PostgreSQL, whose driver is missing ({error}); pip install 'psycopg[binary]'."
        ) from error

    for name, listener in LISTENERS:
        event.listen(engine, name, listener)
    return engine


def _connect(_dialect: object, _record: object, arguments: Any, parameters: Any) -> Any:
    from storage.sql.bounded import BoundedConnection  # noqa: PLC0415  # see there

    return BoundedConnection.connect(*arguments, **parameters)


def _connected(connection: Any, _record: object) -> None:
    connection.execute(SETTINGS)


def _taken(connection: Any, _record: object, _proxy: object) -> None:
    # Between transactions a server speaks only to take its leave: so one that was restarted is noticed without a round
    # trip, and before a request is lost on it.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server closed the connection")


def _begun(connection: Connection) -> None:
    kind = connection.get_execution_options().get("kind", Kind.READING)
    driver: Any = connection.connection.driver_connection
    driver.at_length = kind in AT_LENGTH_KINDS
    for statement in BEGIN.get(kind, ()):
        connection.exec_driver_sql(statement)


def _executing(connection: Connection, cursor: Any, *_rest: object) -> None:
    if hasattr(cursor, "scrollable"):
        connection.info.setdefault("streams", []).append(cursor)


def _returned(connection: Any, record: Any, _state: object) -> None:
    connection.at_length = False
    # A stream that its reader gave up is closed with its transaction, not when its memory is freed: that may be later,
    # in the middle of somebody else's transaction.
    for stream in record.info.pop("streams", ()):
        stream.close()


LISTENERS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("do_connect", _connect),
    ("connect", _connected),
    ("checkout", _taken),
    ("begin", _begun),
    ("before_cursor_execute", _executing),
    ("reset", _returned),
    ("invalidate", _returned),
)
