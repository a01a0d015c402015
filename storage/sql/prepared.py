"""Statements of SQLAlchemy's that run many times a second: compiled once, and run by the driver as they are."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Executable, Table, insert


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


class Insertion(Prepared):
    """New rows of a table; by the database's own way for many rows, where it has one (see `storage.sql.postgresql`)."""

    def __init__(self, table: Table) -> None:
        super().__init__(insert(table))
        self._table = table.name

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows*, one or more, all with the same columns, and for one `Insertion` always the same."""
        copy_rows = connection.get_execution_options().get("copy_rows")
        if copy_rows:
            copy_rows(connection, self._table, rows)
        else:
            super().run(connection, rows)
