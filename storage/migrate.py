"""
Migrations of the schema, up and down, and the check whether this version can use it.

The check runs at every start, so it does without Alembic, whose import takes 200 ms. A migration is one
transaction: it is done, or nothing of it is. Any number of processes may migrate at once: one does it, the others wait.
"""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, inspect, text

from storage.errors import CannotOpen, ToolRefused
from storage.ids import PARTITIONS
from storage.sql import log, schema
from storage.sql.database import Database
from storage.sql.statements import rows

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
BASE = "base"
"""What a database is called that has no schema yet."""

FOUND = {"add": "missing:", "remove": "not declared:", "modify": "different:"}
"""What Alembic would do to the database, turned into what the database has now."""


def list_numbers() -> list[str]:
    """The numbers of all revisions, oldest first."""
    return sorted(file.name.partition("_")[0] for file in FOLDER.glob("versions/[0-9]*.py"))


def find_number(connection: Connection) -> str | None:
    """The revision that the database is at, None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check_usable(connection: Connection) -> None:
    """Raise CannotOpen, saying what to do, unless the database is at the latest revision, or a later one suits."""
    present, latest = find_number(connection) or BASE, list_numbers()[-1]
    if present == latest:
        return
    if present == BASE or present in list_numbers():
        raise CannotOpen(
            f"The database is at revision {present}, and this version needs {latest}: run `simple-twitter migrate up`."
        )
    seen = inspect(connection)  # it may be the database of another program
    if seen.has_table("store") and "usable_from" in {each["name"] for each in seen.get_columns("store")}:
        usable_from = connection.execute(text("SELECT usable_from FROM store")).scalar()
        if usable_from is not None and usable_from <= latest:
            return
    raise CannotOpen(
        f"The database is at revision {present}, which a version whose latest is {latest} cannot use: "
        "run the version of the service that migrated it."
    )


def prepare_schema(database: Database, partitions: int, *, embedded: bool) -> None:
    """Bring an *embedded* database to the latest revision. Raises CannotOpen when another one is not there."""
    with database.reading() as connection:
        try:
            check_usable(connection)
        except CannotOpen:
            if not embedded:
                raise
        else:
            return
    up(database, partitions)


def up(database: Database, partitions: int) -> None:
    """Bring *database* to the latest revision; nothing if it is there. A new one gets its name and its *partitions*."""
    with database.writing("migrating") as connection:
        if find_number(connection) in {None, *list_numbers()}:
            command, config = _alembic(connection)
            command.upgrade(config, "head")
        check_usable(connection)
        _found(connection, partitions)


def _found(connection: Connection, partitions: int) -> None:
    """Give a freshly migrated database its name and its *partitions* (1 to 1024); nothing if it has them."""
    if rows(connection, log.STATE):
        return
    if not 1 <= partitions <= PARTITIONS:
        raise CannotOpen(f"PARTITIONS must be from 1 to {PARTITIONS}.")
    connection.execute(insert(schema.store).values(id=secrets.token_hex(8), partitions=partitions))
    nothing = log.Head(0, 0, 0, 0)._asdict()
    connection.execute(insert(schema.heads), [{"partition": partition, **nothing} for partition in range(partitions)])


def down(database: Database, number: str | None = None) -> str:
    """
    Take *database* back to revision *number*, `base` for none; by default by one. What those made is dropped.

    Returns the number it is at now. Raises ToolRefused, with nothing changed.
    """
    with database.writing("migrating") as connection:
        numbers = [BASE, *list_numbers()]
        present = find_number(connection) or BASE
        if present not in numbers or present == BASE:
            raise ToolRefused(f"The database is at revision {present}: there is nothing here to take back.")
        earlier = numbers[: numbers.index(present)]
        goal = number or earlier[-1]
        if goal not in earlier:
            raise ToolRefused(f"{goal} is no revision before {present}; there are {', '.join(earlier)}.")
        command, config = _alembic(connection)
        command.downgrade(config, goal)
        return goal


def list_revisions(database: Database) -> list[dict[str, Any]]:
    """All revisions, oldest first: `number`, as in the file's name, `title`, and whether it is `applied`."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's first lines

    with database.reading() as connection:
        present = find_number(connection) or BASE
        script = ScriptDirectory.from_config(_alembic(connection)[1])
    known = [script.get_revision(number) for number in list_numbers()]
    return [
        {"number": each.revision, "title": each.doc, "applied": present != BASE and each.revision <= present}
        for each in known
    ]


def list_differences(database: Database) -> list[str]:
    """In what the tables of *database* are not the declared ones, a line for each; empty when they are."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - as above
    from alembic.migration import MigrationContext  # noqa: PLC0415 - as above

    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, schema.metadata)
    return [_in_words(difference) for difference in found]


def _in_words(difference: Any) -> str:
    """One difference of Alembic's: an act and what it is done to; changes of a column come as a list of such."""
    if isinstance(difference, list):
        return "; ".join(_in_words(change) for change in difference)
    act, *subjects = difference
    kind, _, what = act.partition("_")
    names = [subject if isinstance(subject, str) else getattr(subject, "name", None) for subject in subjects]
    return f"{FOUND[kind]} {what} {'.'.join(name for name in names if name)}"


def _alembic(connection: Connection) -> tuple[Any, "Config"]:
    """Its module of commands, and their configuration."""
    from alembic import command  # noqa: PLC0415 - as above
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return command, config
