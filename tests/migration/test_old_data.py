"""Data of version 0.1 opens under this version, and this version goes on with what a later one has made of it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import migrate, open_storage
from storage.errors import CannotOpen, ToolRefused
from storage.sql.database import Database, open_database
from storage.sql.heads import list_wrong_heads
from storage.tools.health import get_health
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.faults.services import eventually
from tests.planted import PlantedLog, plant
from tests.postgresql import PostgreSQL

OLD = "0003"
"""The revision of version 0.1."""

OLD_SCHEMA = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE tweets (
    id {id} NOT NULL, parent BIGINT, partition INTEGER NOT NULL, depth INTEGER NOT NULL, seq BIGINT NOT NULL,
    nonce BIGINT NOT NULL, base BIGINT NOT NULL, created_at BIGINT NOT NULL, user_name VARCHAR(64), title TEXT,
    body TEXT, deleted_seq BIGINT, deleted_nonce BIGINT, key_digest {bytes}, call_digest {bytes}, PRIMARY KEY (id),
    CONSTRAINT parent_is_older CHECK (parent IS NULL OR parent < id),
    CONSTRAINT deleted_has_no_text CHECK ((deleted_seq IS NULL) = (body IS NOT NULL))
);
CREATE UNIQUE INDEX tweets_by_seq ON tweets (partition, seq);
CREATE UNIQUE INDEX tweets_by_deleted_seq ON tweets (partition, deleted_seq) WHERE deleted_seq IS NOT NULL;
CREATE INDEX tweets_by_parent ON tweets (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX tweets_by_user ON tweets (user_name, id) WHERE user_name IS NOT NULL;
CREATE UNIQUE INDEX tweets_by_key ON tweets (key_digest) WHERE key_digest IS NOT NULL;
CREATE TABLE heads (
    partition INTEGER NOT NULL, seq BIGINT NOT NULL, nonce BIGINT NOT NULL, last_id BIGINT NOT NULL,
    live BIGINT NOT NULL, PRIMARY KEY (partition)
);
CREATE TABLE store (
    id VARCHAR(32) NOT NULL, partitions INTEGER NOT NULL, ranked VARCHAR(8) DEFAULT 'all' NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE tokens (
    id VARCHAR(12) NOT NULL, user_name VARCHAR(64) NOT NULL, admin BOOLEAN NOT NULL, digest {bytes} NOT NULL,
    created_at BIGINT NOT NULL, revoked_at BIGINT, PRIMARY KEY (id)
);
CREATE UNIQUE INDEX tokens_by_digest ON tokens (digest);
CREATE TABLE unordered (partition INTEGER NOT NULL, to_seq BIGINT NOT NULL, PRIMARY KEY (partition));
INSERT INTO alembic_version VALUES ('0003');
INSERT INTO unordered VALUES (0, 2)
"""
"""The schema as version 0.1 has made it, on both databases."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[str]:
    """A database without a table; that of SQLite is where a service with `data_dir` has it."""
    if request.param == "sqlite":
        data_dir.mkdir()
        yield f"sqlite:///{data_dir}/tweets.db"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    with server.database() as name:
        yield server.url(name)


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """A database with the schema of version 0.1, and nothing else."""
    database = open_database(database_url)
    on_sqlite = database_url.startswith("sqlite")
    kinds = {"id": "INTEGER", "bytes": "BLOB"} if on_sqlite else {"id": "BIGINT", "bytes": "BYTEA"}
    with database.writing() as connection:
        for statement in OLD_SCHEMA.format(**kinds).split(";\n"):
            connection.exec_driver_sql(statement)
    yield database
    database.close()


def fill(database: Database, partitions: int, ranked: str) -> PlantedLog:
    """Found the store as version 0.1 did, and write a log into it."""
    with database.writing() as connection:
        connection.execute(
            text("INSERT INTO store VALUES ('0123456789abcdef', :n, :r)"), {"n": partitions, "r": ranked}
        )
        for partition in range(partitions):
            connection.execute(text("INSERT INTO heads VALUES (:p, 0, 0, 0, 0)"), {"p": partition})
    return plant(database, random.Random(partitions), 300)


def counts_of(planted: PlantedLog) -> list[tuple[int, int]]:
    """The ranking, by counting each retweet for each of its ancestors."""
    counts = {tweet.id: tweet.base for tweet in planted.values()}
    for tweet in planted.values():
        for ancestor in planted.ancestors(tweet.id):
            counts[ancestor.id] += not tweet.deleted
    live = [(count, tweet_id) for tweet_id, count in counts.items() if not planted[tweet_id].deleted]
    return sorted(live, reverse=True)


@pytest.mark.parametrize("ranked", ["all", "counted"])
@pytest.mark.parametrize("partitions", [1, 3])
def test_data_of_the_first_version(
    old: Database, database_url: str, data_dir: Path, partitions: int, ranked: str
) -> None:
    """It is migrated in the ordinary way, every count is right, and it can be written; `down` gives the old schema."""
    planted = fill(old, partitions, ranked)
    if database_url.startswith("sqlite"):
        database_url = ""
    else:
        with pytest.raises(CannotOpen, match=r"at revision 0003, .*: run `simple-twitter migrate up`"):
            open_storage(data_dir, database_url)
        migrate.up(old, partitions)

    with open_storage(data_dir, database_url) as tweets:
        eventually(lambda: get_health(tweets).lag == 0)
        assert whole_ranking(tweets) == counts_of(planted)
        root = post(tweets)
        retweet(tweets, root)
        assert tweets.get(root.id).result().count_retweet == 1
        assert verify(tweets) == []
        assert (tweets.store.id, tweets.store.partitions) == ("0123456789abcdef", partitions)
        with tweets.database.reading() as connection:
            assert list_wrong_heads(connection) == {}
    assert migrate.list_differences(old) == []

    assert migrate.down(old, OLD) == OLD
    with old.reading() as connection:
        assert connection.execute(text("SELECT * FROM store")).one() == ("0123456789abcdef", partitions, "all")
        assert connection.execute(text("SELECT count(*) FROM tweets")).scalar_one() == len(planted) + 2
    migrate.up(old, partitions)
    assert migrate.list_differences(old) == []


# What a later version may do to the schema while copies of this one run: it adds. What is dropped was not used any more
# by the version before.
LATER = """
ALTER TABLE tweets ADD COLUMN language VARCHAR(8);
ALTER TABLE store ADD COLUMN region VARCHAR(8) DEFAULT 'here' NOT NULL;
ALTER TABLE heads ADD COLUMN changed_at BIGINT;
ALTER TABLE tokens ADD COLUMN note TEXT;
CREATE TABLE words (word VARCHAR(64) PRIMARY KEY);
CREATE INDEX tweets_by_time ON tweets (created_at);
UPDATE alembic_version SET version_num = '9999'
"""


def test_a_later_schema_suits_this_version(database_url: str, data_dir: Path) -> None:
    """After a later version's `migrate up` a copy of this one goes on, and can be started again."""
    database = open_database(database_url)
    migrate.up(database, 2)
    with open_storage(data_dir, database_url) as running:
        root = post(running)
        with database.writing() as connection:
            for statement in LATER.split(";\n"):
                connection.exec_driver_sql(statement)
        for each in range(2):
            retweet(running, root)
            with open_storage(data_dir, database_url, attach=True) as restarted:
                child = retweet(restarted, root)
                restarted.delete(child.id).result()
                assert restarted.get(root.id).result().count_retweet == each + 1
                assert restarted.list_chain(child.id, 100).tweets
                assert restarted.list_retweets(root.id, 10)
                assert restarted.list_by_user("bob", 10)
        assert verify(running) == []
    migrate.up(database, 2)
    with database.reading() as connection:
        assert migrate.find_number(connection) == "9999"
    database.close()


def test_a_later_schema_that_does_not_suit(database_url: str, data_dir: Path) -> None:
    """A schema that dropped what this version uses says so, and this version does not start."""
    database = open_database(database_url)
    migrate.up(database, 1)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE store SET usable_from = '9998'"))
    with pytest.raises(CannotOpen, match="at revision 9999, which a version whose latest is"):
        open_storage(data_dir, database_url)
    with pytest.raises(ToolRefused, match="at revision 9999"):
        migrate.down(database)
    database.close()
