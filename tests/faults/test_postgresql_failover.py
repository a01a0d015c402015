"""A primary fails and its standby is promoted: the pool goes to where writes are taken, and never stays elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, migrate, open_storage
from storage.errors import CannotOpen, StoreUnavailable
from storage.sql.database import open_database
from tests.builders import post, retweet
from tests.faults.services import eventually
from tests.faults.stored import bodies, is_gapless
from tests.postgresql import PostgreSQL


@pytest.fixture
def primary() -> Iterator[PostgreSQL]:
    """A server of its own, which a test may end."""
    server = PostgreSQL(synchronous_commit="on", default_transaction_isolation="read committed")
    yield server
    server.close()


@pytest.fixture
def standby(primary: PostgreSQL) -> Iterator[PostgreSQL]:
    """A server that follows it."""
    database = open_database(primary.url("postgres"))
    migrate.up(database, 1)
    database.close()
    server = primary.standby()
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    yield server
    server.close()


def both(primary: PostgreSQL, standby: PostgreSQL) -> str:
    """The URL that names the two, the standby first."""
    return f"postgres://postgres@/postgres?host={standby.folder}&host={primary.folder}"


def follow(tweets: Tweets, body: str) -> None:
    """Post until it is stored."""

    def is_posted() -> bool:
        try:
            post(tweets, body=body)
        except StoreUnavailable:
            return False
        return True

    eventually(is_posted)


def test_a_promotion(primary: PostgreSQL, standby: PostgreSQL, data_dir: Path) -> None:
    """Writes go on at the server that was promoted; all that was answered is there, and counts are right."""
    with open_storage(data_dir, both(primary, standby)) as tweets:
        root = post(tweets, body="root")
        retweet(tweets, root)
        primary.crash()
        with pytest.raises(StoreUnavailable):
            post(tweets, body="while there is no primary")
        standby.promote()
        standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
        standby.execute("SELECT pg_reload_conf()")
        follow(tweets, "after")
        assert bodies(tweets) == ["root", "root", "after"]
        assert tweets.get(root.id).result().count_retweet == 1
        assert is_gapless(tweets)
        primary.start()  # for its fixture; now there are two, and ours is named first


def test_a_restart_of_the_primary(primary: PostgreSQL, standby: PostgreSQL, data_dir: Path) -> None:
    """While the primary is away no connection is made to the standby, though it answers; later all is as before."""
    with open_storage(data_dir, both(primary, standby)) as tweets:
        post(tweets, body="before")
        primary.crash()
        with pytest.raises(StoreUnavailable):
            tweets.list_by_user("ann", 10)
        primary.start()
        follow(tweets, "after")
        question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'simple-twitter'"
        assert standby.execute(question) == [(0,)]
        assert bodies(tweets) == ["before", "after"]


def test_a_standby_alone_is_refused(standby: PostgreSQL) -> None:
    """A service with the URL of a standby does not start, and says why."""
    with pytest.raises(CannotOpen, match="server is in hot standby mode"):
        open_database(standby.url("postgres"))
