"""PostgreSQL is recovered to a point in time, under a service that runs: docs/scaling.md has these commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, migrate, open_storage
from storage.errors import TweetNotFound
from storage.sql.database import open_database
from storage.tools.health import get_health
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.faults.services import eventually
from tests.faults.stored import is_gapless
from tests.postgresql import PostgreSQL


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """A server that archives its log."""
    made = PostgreSQL(
        archive_mode="on",
        archive_command="mkdir -p ../archive && cp %p ../archive/%f",
        default_transaction_isolation="read committed",  # a standby refuses another one
    )
    yield made
    made.close()


def test_a_recovery_to_a_point_in_time(server: PostgreSQL, data_dir: Path) -> None:
    """What came after the point is gone from log and ranking; a service that ran through it goes on by itself."""
    database = open_database(server.url("postgres"))
    migrate.up(database, 1)
    database.close()
    command = ("-D", "copy", "-h", str(server.folder), "-U", "postgres", "-c", "fast")
    assert server._run("pg_basebackup", *command, output=None).wait() == 0
    with open_storage(data_dir, server.url("postgres")) as tweets:
        root = post(tweets, body="root")
        kept = retweet(tweets, root)
        server.execute("SELECT pg_create_restore_point('before')")
        lost = [retweet(tweets, root) for _ in range(3)]
        assert whole_ranking(tweets)[0] == (4, root.id)
        segment = server.execute("SELECT pg_walfile_name(pg_switch_wal())")[0][0]
        archived = f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver"
        eventually(lambda: server.execute(archived) == [(True,)])
        server.crash()
        recover(server.folder)
        server.start()
        eventually(lambda: is_writable(server))
        eventually(lambda: is_back(tweets))
        with pytest.raises(TweetNotFound):
            tweets.get(lost[0].id).result()
        assert whole_ranking(tweets) == [(1, root.id), (0, kept.id)]
        last = retweet(tweets, root)
        assert whole_ranking(tweets) == [(2, root.id), (0, last.id), (0, kept.id)]
        assert is_gapless(tweets)
        assert verify(tweets) == []


def recover(folder: Path) -> None:
    """Put the base backup in the place of the data, to be recovered up to the point."""
    (folder / "data").rename(folder / "old")
    (folder / "copy").rename(folder / "data")
    with (folder / "data" / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            "restore_command = 'cp ../archive/%f %p'\n"
            "recovery_target_name = 'before'\n"
            "recovery_target_action = 'promote'\n"
        )
    (folder / "data" / "recovery.signal").touch()


def is_writable(server: PostgreSQL) -> bool:
    """Whether the recovery has ended."""
    return server.execute("SELECT pg_is_in_recovery()") == [(False,)]


def is_back(tweets: Tweets) -> bool:
    """Whether both parts answer, and the index is where the log is."""
    health = get_health(tweets)
    return health.store and health.index and health.lag == 0 and tweets.reconciler.is_current(0)
