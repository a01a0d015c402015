"""
The reads that nearly every request makes, by the shortest way: tweets by their ids, and where the log stands.

SQLAlchemy writes the statements, but the driver's own connection runs them: SQLAlchemy takes 150 us to run one, SQLite
7 us and PostgreSQL 50 us to answer it. All raise the driver's errors.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Engine, Select

from storage.sql import log
from storage.sql.log import STATE, LogState
from storage.sql.reads import BY_IDS, Row


class QuickReads(ABC):
    """Single reads, each of the latest commit."""

    def __init__(self, engine: Engine, paramstyle: str) -> None:
        self._engine = engine
        dialect: Any = type(engine.dialect)

        def text(statement: Select[Any]) -> str:
            return str(statement.compile(dialect=dialect(paramstyle=paramstyle)))

        self._state = text(STATE)

    def find_rows(self, ids: Collection[int]) -> dict[int, Row]:
        """Those of *ids* that name a tweet, deleted or not."""
        parts = BY_IDS.parts(self._engine.dialect, ids)
        return {row[0]: Row(*row) for sql, parameters in parts for row in self._run(sql, parameters)}

    def get_state(self) -> LogState:
        """Where the log stands."""
        return log.read_state(self._run(self._state))

    @abstractmethod
    def close(self) -> None:
        """Close connections of its own."""

    @abstractmethod
    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]: ...


class ThreadReads(QuickReads):
    """One connection for each thread: the quickest, where a connection costs next to nothing."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "qmark")
        self._mine = threading.local()
        self._opened: list[Any] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._opened:
            connection.close()
        self._engine.dispose()  # which has kept them, for the next one who asks

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        cursor = getattr(self._mine, "cursor", None)
        if cursor is None:
            connection = self._engine.raw_connection()
            self._opened.append(connection)
            cursor = self._mine.cursor = connection.cursor()
        rows: Sequence[Any] = cursor.execute(sql, parameters).fetchall()
        return rows


class PooledReads(QuickReads):
    """Any connection of a pool: for a server that allows so many and no more."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "format")

    def close(self) -> None:
        """Nothing: the pool belongs to somebody else."""

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        connection: Any = self._engine.raw_connection()
        try:
            rows: Sequence[Any] = connection.driver_connection.execute(sql, parameters).fetchall()
        except BaseException:
            connection.invalidate()  # whatever state it is in
            raise
        finally:
            connection.close()
        return rows
