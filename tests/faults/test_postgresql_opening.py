"""Opening PostgreSQL: what a wrong DATABASE_URL says, and what holds with any defaults of the server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from storage import migrate, open_storage
from storage.errors import CannotOpen, StoreForbidden
from storage.sql.database import Database, open_database, read_url
from storage.tools.verify import verify
from tests.builders import at_once, post
from tests.postgresql import PostgreSQL

WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from storage.errors import CannotOpen
from storage.sql.database import open_database
try:
    open_database("postgresql+psycopg://ann:open-sesame@127.0.0.1/tweets")
except CannotOpen as error:
    sys.exit(str(error))
"""


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """A PostgreSQL database with the present schema."""
    opened = open_database(postgresql_url)
    yield opened
    opened.close()


def sentence(url: str) -> str:
    """What is said instead of opening *url*: one line, which names the setting and holds no secret."""
    with pytest.raises(CannotOpen) as caught:
        open_database(url)
    said = str(caught.value)
    assert "DATABASE_URL" in said
    assert said.endswith(".")
    assert "\n" not in said
    assert "open-sesame" not in said
    return said


def test_wrong_password(postgresql: PostgreSQL) -> None:
    """A password that is refused; neither it nor one among the parameters is shown."""
    folder = postgresql.folder
    for url in (
        f"postgresql+psycopg://locked:open-sesame@/postgres?host={folder}",
        f"postgresql+psycopg://locked@/postgres?host={folder}&password=open-sesame",
    ):
        assert "password authentication failed" in sentence(url)
    open_database(f"postgresql://locked:secret@/postgres?host={folder}").close()


def test_missing_database(postgresql: PostgreSQL) -> None:
    """A database that is not there is named."""
    assert 'database "nowhere" does not exist' in sentence(postgresql.url("nowhere"))


def test_nobody_answers() -> None:
    """A port without a listener, a socket that is none, a parameter that there is not."""
    at = "postgresql+psycopg://ann:open-sesame@"
    said = sentence(f"{at}127.0.0.1:1/tweets")
    assert "refused" in said
    assert "postgresql+psycopg://ann:***@127.0.0.1:1/tweets" in said
    assert "No such file" in sentence(f"{at}/tweets?host=/no-such-folder")


def test_options_that_do_not_fit() -> None:
    """An option that there is not, one of the driver's own that is no text, or one given twice, is named."""
    at = "postgresql+psycopg://ann:open-sesame@127.0.0.1:1/tweets"
    for name in ("colour", "prepare_threshold", "autocommit", "row_factory", "plugin"):
        assert f"sets {name}, which is not an option" in sentence(f"{at}?{name}=0")
    assert "sets sslmode more than once" in sentence(f"{at}?sslmode=require&sslmode=disable")
    assert "connect_timeout" in sentence(f"{at}?connect_timeout=soon")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_passwords_that_are_not_encoded(scheme: str) -> None:
    """A password with a character that means something in a URL is refused or used, and no part of it is shown."""
    for character in "@/?#:%[] ,&=":
        for place in ("open{}sesame", "{}opensesame", "opensesame{}", "open{}@sesame", "open@{}sesame"):
            password = place.format(character)
            for rest in ("127.0.0.1:1/tweets", "127.0.0.1:1", "/tweets?host=/no-such-folder", "127.0.0.1:x/tweets"):
                said = sentence(f"{scheme}://ann:{password}@{rest}")
                assert "sesame" not in said
                assert "open" not in said.replace("opened", "")
    assert "%40" in sentence(f"{scheme}://ann:open@sesame@127.0.0.1/tweets")


def test_the_ways_to_write_a_url(postgresql: PostgreSQL) -> None:
    """The scheme may be the short one, and several hosts may stand in the place of one."""
    folder = postgresql.folder
    for url in (
        f"postgres://postgres@/postgres?host={folder}",
        f"postgresql://postgres@/postgres?host=/no-such-folder&host={folder}",
        f"postgres://postgres@127.0.0.1:1,127.0.0.1:2/postgres?host={folder}",
    ):
        open_database(url).close()
    several = read_url("postgres://ann:open-sesame@one:5001,two:5002/tweets?sslmode=require")
    assert several.query == {"host": ("one:5001", "two:5002"), "sslmode": "require"}
    assert (several.username, several.password, several.database) == ("ann", "open-sesame", "tweets")


def test_another_driver_or_system() -> None:
    """Drivers and systems that are not ours are refused, with those that are."""
    assert "use postgresql+psycopg://" in sentence("postgresql+psycopg2://ann:open-sesame@127.0.0.1/tweets")
    assert "postgresql://" in sentence("mysql://ann:open-sesame@127.0.0.1/tweets")
    assert "postgresql://" in sentence("postgresql+psycopg://ann:open-sesame@127.0.0.1:port/tweets")


def test_missing_driver() -> None:
    """Without the package psycopg the sentence says how to get it."""
    ended = subprocess.run([sys.executable, "-c", WITHOUT_DRIVER], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "pip install 'psycopg[binary]'" in ended.stderr


def test_encoding_that_cannot_hold_every_text(postgresql: PostgreSQL) -> None:
    """A database in another encoding than UTF-8 is refused before a text is."""
    with postgresql.database("ENCODING 'LATIN1'") as name:
        assert "LATIN1" in sentence(postgresql.url(name))


def test_schema_is_not_made_unasked(postgresql: PostgreSQL, data_dir: Path) -> None:
    """A database on a server is migrated by a command, and not by a start."""
    with postgresql.database() as name:
        with pytest.raises(CannotOpen, match="simple-twitter migrate up"):
            open_storage(data_dir, postgresql.url(name))
        assert postgresql.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name=name) == [(0,)]


def test_a_schema_of_its_own(postgresql: PostgreSQL, data_dir: Path) -> None:
    """With a search_path in the URL, or in the settings of the role behind a pooler, all tables are in that schema."""
    with postgresql.database() as name:
        postgresql.execute("CREATE SCHEMA twitter", name=name)
        url = f"{postgresql.url(name)}&options=-csearch_path%3Dtwitter"
        database = open_database(url)
        migrate.up(database, 1)
        database.close()
        with open_storage(data_dir, url) as tweets:
            post(tweets)
            assert verify(tweets) == []
        postgresql.execute(f"ALTER DATABASE {name} SET search_path = twitter")
        with open_storage(data_dir, postgresql.url(name)) as tweets:
            post(tweets)
        count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert postgresql.execute(count, name=name) == [(0,)]
        assert postgresql.execute("SELECT count(*) FROM twitter.tweets", name=name) == [(2,)]


def test_missing_right_is_one_sentence(postgresql: PostgreSQL) -> None:
    """The refusal of a user who may not make tables is a sentence for the operator."""
    with postgresql.database() as name:
        database = open_database(f"postgresql+psycopg://locked:secret@/{name}?host={postgresql.folder}")
        with pytest.raises(StoreForbidden, match=r"permission denied for schema public.*grant"):
            migrate.up(database, 1)
        database.close()


def shown(connection: Connection, name: str) -> str:
    """The value of a setting in this session."""
    value: str = connection.execute(text(f"SHOW {name}")).scalar_one()
    return value


def test_promises_do_not_rest_on_the_server(
    database: Database, postgresql: PostgreSQL, postgresql_name: str, postgresql_url: str
) -> None:
    """Our sessions commit to disk, in the isolation we mean, though the server's defaults are others; not weaker."""
    assert postgresql.execute("SHOW synchronous_commit", name=postgresql_name) == [("off",)]
    assert postgresql.execute("SHOW default_transaction_isolation", name=postgresql_name) == [("serializable",)]
    with database.writing() as connection:
        assert shown(connection, "synchronous_commit") == "on"
        assert shown(connection, "transaction_isolation") == "read committed"
        assert shown(connection, "lock_timeout") == "4s"
    with database.reading() as connection:
        assert shown(connection, "transaction_isolation") == "read committed"
        assert shown(connection, "transaction_read_only") == "on"
        assert shown(connection, "statement_timeout") == "10s"
        outside = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout' AND source = 'session'"
        connection.exec_driver_sql("ROLLBACK")
        assert connection.exec_driver_sql(outside).all() == [], "a setting is left to the next user of the session"
    postgresql.execute(f"ALTER DATABASE {postgresql_name} SET synchronous_commit = remote_apply")
    stricter = open_database(postgresql_url)
    with stricter.writing() as connection:
        assert shown(connection, "synchronous_commit") == "remote_apply"
    stricter.close()


def test_more_readers_than_connections(postgresql_url: str, data_dir: Path) -> None:
    """Those who read while all connections are taken wait for one."""
    with open_storage(data_dir, postgresql_url) as tweets:
        root = post(tweets)

        def read(_number: int) -> None:
            for _ in range(5):
                assert tweets.list_chain(root.id, 100).tweets
                assert tweets.get(root.id).result()

        at_once(64, read)
