"""Databases that version 0.1 has written open under this one, with every count right."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import text

from storage import migrate, open_log, open_storage
from storage.ids import encode
from storage.tools.verify import verify
from tests.builders import whole_ranking

# id, parent, partition, depth, seq, deleted_seq: a chain whose middle was deleted, and a second root, imported late.
ROWS = [
    (1000, None, 0, 0, 1, None),
    (2000, 1000, 0, 1, 2, 4),
    (3000, 2000, 0, 2, 3, None),
    (900, None, 0, 0, 5, None),
]
RANKING = [(1, 1000), (0, 3000), (0, 900)]


@pytest.fixture(params=[1, 3])
def partitions(request: pytest.FixtureRequest) -> int:
    """One partition or some."""
    count: int = request.param
    return count


@pytest.fixture(params=["all", "counted"])
def old_url(request: pytest.FixtureRequest, data_dir: Path, database_url: str, partitions: int) -> Iterator[str]:
    """The URL of a database with the schema of version 0.1, its rows, and either choice of ranked tweets."""
    database = open_log(data_dir, database_url)
    migrate.up(database, partitions)
    migrate.down(database, "0003")
    with database.writing() as connection:
        connection.execute(text(f"UPDATE store SET ranked = '{request.param}'"))
        connection.execute(text("UPDATE heads SET seq = 5, nonce = 15, last_id = 3000, live = 3 WHERE partition = 0"))
        connection.execute(text("INSERT INTO unordered (partition, to_seq) VALUES (0, 5)"))
        for tweet, parent, partition, depth, seq, deleted in ROWS:
            words = "'ann', 't', 'b', NULL, NULL" if deleted is None else f"NULL, NULL, NULL, {deleted}, {10 + deleted}"
            connection.execute(
                text(
                    "INSERT INTO tweets (id, parent, partition, depth, seq, nonce, base, created_at, "
                    "user_name, title, body, deleted_seq, deleted_nonce) VALUES "
                    f"({tweet}, {parent or 'NULL'}, {partition}, {depth}, {seq}, {10 + seq}, 0, 1, {words})"
                )
            )
        store = connection.execute(text("SELECT id FROM store")).scalar()
    database.close()
    with open_storage(data_dir / "other") as other:
        assert other.server
        client = Redis(unix_socket_path=str(other.server.socket))
        kept = "+1 " if request.param == "counted" else ""
        members = {encode(1000): 1} if kept else {encode(each): count for count, each in RANKING}
        client.zadd("twitter:{0}:ranking", members)
        client.set("twitter:{0}:position", f"{kept}{store} 5 15")
        client.close()
        yield f"unix://{other.server.socket}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A file, or a database of PostgreSQL."""
    url: str = "" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    return url


def test_a_database_of_0_1_opens_with_every_count_right(data_dir: Path, database_url: str, old_url: str) -> None:
    """After the ordinary migration all tweets are ranked, whichever of them the old index held."""
    if database_url:
        database = open_log(data_dir, database_url)
        migrate.up(database, 1)
        database.close()
    with open_storage(data_dir, database_url, old_url) as tweets:
        tweets.reconciler.catch_up()  # on a busy machine a reader does not wait until it is rebuilt
        assert whole_ranking(tweets) == RANKING
        assert verify(tweets) == []
        assert [tweet.count_retweet for tweet in tweets.list_chain(3000, 100).tweets] == [0, None, 1]
    database = open_log(data_dir, database_url)
    assert migrate.list_differences(database) == []
    database.close()
