"""Statements of SQLAlchemy's that run many times a second: compiled once, and run by the driver as they are."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Executable, Select, Table, insert

LENGTHS = (1, 4, 16, 64, 256)
"""How many values a `Lookup` is written for."""


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


class Lookup:
    """
    A select by a list of values, which is its one parameter and expanding.

    SQLAlchemy writes such a statement anew for each list, which takes longer than to run it; here it is written for a
    few lengths, and the last value stands there again until one of them is reached.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        (self._parameter,) = statement.compile().params
        self._written: dict[tuple[str, int], str] = {}

    def rows(self, connection: Connection, values: Collection[Any]) -> list[Sequence[Any]]:
        """The rows for *values*, each of which may be there once; for many, in parts. Raises the driver's errors."""
        parts = self.parts(connection.dialect, values)
        return [row for sql, parameters in parts for row in _ask_driver(connection, sql, parameters)]

    def parts(self, dialect: Dialect, values: Collection[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
        """Statements with the parameters that the driver takes for them, which together give the rows for *values*."""
        left = list(values)
        while left:
            part, left = left[: LENGTHS[-1]], left[LENGTHS[-1] :]
            length = next(length for length in LENGTHS if length >= len(part))
            part += part[-1:] * (length - len(part))
            yield self._write(dialect, length), part

    def _write(self, dialect: Dialect, length: int) -> str:
        key = (dialect.name, length)
        if key not in self._written:
            # By position: any value stands for all, as it is the number of them that is written down.
            positional: Any = type(dialect)
            style = "qmark" if dialect.paramstyle == "qmark" else "format"
            filled = self._statement.params({self._parameter: list(range(length))})
            compiled = filled.compile(dialect=positional(paramstyle=style), compile_kwargs={"render_postcompile": True})
            self._written[key] = str(compiled)
        return self._written[key]


def _ask_driver(connection: Connection, sql: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
    driver: Any = connection.connection.driver_connection
    try:
        rows: Sequence[Sequence[Any]] = driver.execute(sql, parameters).fetchall()
    finally:
        if getattr(driver, "closed", False):
            connection.invalidate()
    return rows
