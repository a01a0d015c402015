"""
How the statements of the log are run: texts that are written once, on the driver's own connection.

A list is one parameter. It is sent as one text, which SQLite takes apart with `json_each` and PostgreSQL as an array:
the statement is the same for any number of values, and goes by the index.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, text

# A list of digests: JSON has no bytes, so for SQLite it is all of them, one after the other.
_CUT = "SELECT 1 UNION ALL SELECT at + 16 FROM cut WHERE at + 16 <= length(:keys)"

PARTS = {
    "sqlite": {
        "in_ids": "IN (SELECT value FROM json_each(:ids))",
        "in_keys": f"IN (WITH RECURSIVE cut(at) AS ({_CUT}) SELECT substr(:keys, at, 16) FROM cut)",  # noqa: S608  # constants
        "for_update_of_heads": "",
    },
    "postgresql": {
        "in_ids": "= ANY (CAST(:ids AS BIGINT[]))",
        "in_keys": "= ANY (CAST(:keys AS BYTEA[]))",
        "for_update_of_heads": "FOR UPDATE OF heads",
    },
}
"""What a statement has in {braces}, by the name of the dialect: `id {in_ids}` is whether an id is one of `ids`."""

_compiled: dict[tuple[str, str], tuple[str, Sequence[str]]] = {}


def run(driver: Any, dialect: Dialect, statement: str, each: Iterable[Mapping[str, Any]] = ({},)) -> Any:
    """
    Run *statement*, a constant, on a *driver*'s connection, once with each of *each* parameters; the last cursor.

    `ids` and `keys` are lists, of integers and of 16 bytes. SQLAlchemy takes some 50 us more to run a statement, and a
    batch has five. Raises the driver's errors.
    """
    key = statement, dialect.name
    if (found := _compiled.get(key)) is None:
        compiled: Any = text(statement.format(**PARTS[dialect.name])).compile(dialect=dialect)
        found = _compiled[key] = str(compiled), compiled.positiontup or ()
    sql, names = found
    is_sqlite = dialect.name == "sqlite"
    cursor = None
    for values in each:
        if "ids" in values:
            joined = ",".join(map(str, values["ids"]))
            values = {**values, "ids": f"[{joined}]" if is_sqlite else f"{{{joined}}}"}  # noqa: PLW2901
        elif "keys" in values:
            keys: Any = b"".join(values["keys"])
            if not is_sqlite:
                keys = "{" + ",".join(f'"\\\\x{key.hex()}"' for key in values["keys"]) + "}"
            values = {"keys": keys}  # noqa: PLW2901
        cursor = driver.execute(sql, [values[name] for name in names] if names else values)
    return cursor


def rows(connection: Connection, statement: str, **parameters: Any) -> list[Any]:
    """The rows of *statement*, as tuples, in the transaction of *connection*: see `run`."""
    driver = connection.connection.driver_connection
    found: list[Any] = run(driver, connection.dialect, statement, (parameters,)).fetchall()
    return found
