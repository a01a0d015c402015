"""The migrations: up, down, several at once, and that they give what the tables declare."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import ProgrammingError

from storage import migrate
from storage.errors import CannotOpen, StoreUnavailable, ToolRefused
from storage.sql import schema
from storage.sql.database import Database, open_database
from tests.postgresql import PostgreSQL

MIGRATE = """
import sys
from storage import migrate
from storage.sql.database import open_database
database = open_database(sys.argv[1])
migrate.up(database, 4)
database.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that does not exist yet, or, in PostgreSQL, one without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tweets.db"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    with server.database() as name:
        yield server.url(name)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An empty database, without a schema."""
    opened = open_database(url)
    yield opened
    opened.close()


def described(connection: Connection) -> dict[str, Any]:
    """All that a schema says, in a form in which equal schemas are equal."""
    seen = inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(table)],
            seen.get_pk_constraint(table)["constrained_columns"],
            sorted((check["name"], check["sqltext"]) for check in seen.get_check_constraints(table)),
            sorted(
                (index["name"], index["column_names"], bool(index["unique"]), _condition(index))
                for index in seen.get_indexes(table)
            ),
        )
        for table in seen.get_table_names()
        if table != "alembic_version"
    }


def _condition(index: Any) -> str:
    """The condition of a partial index, empty for a whole one."""
    return next((str(value) for name, value in index["dialect_options"].items() if name.endswith("_where")), "")


def present(database: Database) -> dict[str, Any]:
    with database.reading() as connection:
        return described(connection)


def test_up_gives_the_declared_schema(database: Database) -> None:
    """All migrations together give exactly the tables, constraints and indexes that `tables` declares."""
    with database.writing() as connection:
        schema.metadata.create_all(connection)
        expected = described(connection)
        connection.rollback()
    assert present(database) == {}

    migrate.up(database, 1)

    assert present(database) == expected
    assert set(expected) == set(schema.metadata.tables)
    assert [condition for *_, condition in expected["tweets"][3]].count("") == 1


def test_down_and_up_again(database: Database) -> None:
    """Taken back one by one to none and brought up again, the schema is the same."""
    migrate.up(database, 1)
    whole = present(database)
    for number in [*reversed(migrate.list_numbers()[:-1]), migrate.BASE]:
        assert migrate.down(database) == number
    assert present(database) == {}
    with database.reading() as connection:
        assert migrate.find_number(connection) is None

    migrate.up(database, 1)

    assert present(database) == whole


def test_down_to_a_revision_that_is_none(database: Database) -> None:
    """Going down to a number that is no earlier revision, or from no schema at all, changes nothing and says so."""
    with pytest.raises(ToolRefused, match="at revision base: there is nothing"):
        migrate.down(database)
    migrate.up(database, 1)
    latest = migrate.list_numbers()[-1]
    for number in (latest, "7", "head"):
        with pytest.raises(ToolRefused, match=f"{number} is no revision before {latest}; there are base"):
            migrate.down(database, number)
    with database.reading() as connection:
        migrate.check_usable(connection)


def test_half_a_migration_leaves_nothing(database: Database) -> None:
    """A migration that fails midway is taken back whole: SQLite's DDL is inside the transaction as well."""
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE heads (mine INTEGER)"))

    with pytest.raises((StoreUnavailable, ProgrammingError)):
        migrate.up(database, 1)

    assert set(present(database)) == {"heads"}


def test_many_at_once(url: str, database: Database) -> None:
    """Eight processes that migrate one database at the same time all end well, and it is founded once."""
    command = [sys.executable, "-W", "error", "-c", MIGRATE, url]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    ended = [(process.communicate()[1], process.returncode) for process in started]

    assert ended == [("", 0)] * 8
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*), max(partitions) FROM store")).one() == (1, 4)
        assert connection.execute(text("SELECT count(*) FROM heads")).scalar() == 4


def test_up_keeps_what_is_there(database: Database) -> None:
    """Migrating a current database changes nothing: neither its name nor its number of partitions."""
    migrate.up(database, 2)
    with database.reading() as connection:
        before = connection.execute(schema.store.select()).all()

    migrate.up(database, 3)

    with database.reading() as connection:
        assert connection.execute(schema.store.select()).all() == before


def test_the_way_back_knows_a_log_out_of_order(database: Database) -> None:
    """Version 0.1 must know up to where tweets of an import stand after newer ones: the way down finds that out."""
    migrate.up(database, 2)
    ids = {0: [10, 20, 30], 1: [50, 11, 40, 60, 70]}
    row = "INSERT INTO tweets (id, partition, depth, seq, nonce, base, created_at, user_name, title, body) VALUES "
    with database.writing() as connection:
        for partition, those in ids.items():
            for seq, tweet in enumerate(those, 1):
                connection.execute(text(f"{row} ({tweet}, {partition}, 0, {seq}, 1, 0, 1, 'ann', 't', 'b')"))

    migrate.down(database, "0003")

    with database.reading() as connection:
        assert connection.execute(text("SELECT * FROM unordered")).all() == [(1, 3)]
        assert connection.execute(text("SELECT ranked FROM store")).scalar() == "all"


def test_an_old_schema_is_named(database: Database) -> None:
    """A database without the latest revision is refused with the command that helps."""
    said = r"at revision base, .* run `simple-twitter migrate up`"
    with database.reading() as connection, pytest.raises(CannotOpen, match=said):
        migrate.check_usable(connection)


def test_the_list_of_revisions(database: Database) -> None:
    """Every revision has a title and is said to be applied or not."""
    assert not any(revision["applied"] for revision in migrate.list_revisions(database))
    migrate.up(database, 1)
    revisions = migrate.list_revisions(database)
    assert [revision["number"] for revision in revisions] == migrate.list_numbers()
    assert all(revision["applied"] and revision["title"] for revision in revisions)


def test_differences_are_named(database: Database) -> None:
    """A table that was changed by hand differs from the declared one."""
    migrate.up(database, 1)
    assert migrate.list_differences(database) == []
    with database.writing() as connection:
        connection.execute(text("DROP INDEX tweets_by_key"))
        connection.execute(text("ALTER TABLE heads ADD COLUMN mine INTEGER"))

    assert sorted(migrate.list_differences(database)) == [
        "missing: index tweets_by_key",
        "not declared: column heads.mine",
    ]


def test_a_start_does_not_import_alembic(url: str) -> None:
    """Asking whether the schema is current, which every start does, leaves Alembic alone."""
    ask = (
        "import sys; from contextlib import suppress; from storage import errors, migrate\n"
        "from storage.sql.database import open_database\n"
        "with suppress(errors.CannotOpen), open_database(sys.argv[1]).reading() as connection:\n"
        "    migrate.check_usable(connection)\n"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", ask, url], check=False).returncode == 0
