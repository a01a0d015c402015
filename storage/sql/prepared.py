"""Statements of SQLAlchemy's that run many times a second: compiled once, and run by the driver as they are."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Executable


class Prepared:
    """
    A statement for many rows at once.

    SQLAlchemy prepares the parameters of each row anew, which takes as long as storing the row; here they are handed on
    as they come, so they must be what the driver takes: integers, texts, bytes and None.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, tuple[str, Any]] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each of *rows*, which are mappings with all of its parameters."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect, column_keys=list(rows[0]))
            order = itemgetter(*compiled.positiontup) if compiled.positional else None
            self._compiled[dialect.name] = (str(compiled), order)
        sql, order = self._compiled[dialect.name]
        connection.exec_driver_sql(sql, [order(row) for row in rows] if order else list(rows))
