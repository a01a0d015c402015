"""Statements of SQLAlchemy's that run many times a second: compiled once, and run by the driver as they are."""

from collections.abc import Iterable, Mapping, Sequence
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
        self._compiled: dict[str, tuple[str, Sequence[str]]] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each of *rows*, which are mappings with all of its parameters."""
        sql, names = self._compile(connection, rows[0])
        connection.exec_driver_sql(sql, [*map(itemgetter(*names), rows)] if names else list(rows))

    def _compile(self, connection: Connection, columns: Iterable[str]) -> tuple[str, Sequence[str]]:
        """The statement, and the names of its parameters in order; none, when the driver takes them by name."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect, column_keys=list(columns))
            self._compiled[dialect.name] = (str(compiled), compiled.positiontup if compiled.positional else ())
        return self._compiled[dialect.name]


class Insertion(Prepared):
    """New rows of a table; by the database's own way for many rows, where it has one (see `storage.sql.postgresql`)."""

    def __init__(self, table: Table) -> None:
        super().__init__(insert(table))
        self._table = table.name

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows*, one or more, all with the same columns, and for one `Insertion` always the same."""
        if copy_rows := connection.get_execution_options().get("copy_rows"):
            names = tuple(rows[0])
            copy_rows(connection, self._table, names, map(itemgetter(*names), rows))
        else:
            super().run(connection, rows)

    def add(self, connection: Connection, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Add *rows*, one or more, of the values of *columns*, which are in the table's order: for very many rows."""
        if copy_rows := connection.get_execution_options().get("copy_rows"):
            copy_rows(connection, self._table, columns, rows)
        else:
            connection.exec_driver_sql(self._compile(connection, columns)[0], rows)
