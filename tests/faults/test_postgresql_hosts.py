"""Several hosts write to one PostgreSQL and one Redis: gapless, exact, without an error."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import Tweets, migrate, open_storage
from storage.sql import log
from storage.sql.database import Database, open_database
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.cluster import Cluster
from tests.faults.hosts import ROUNDS, THREADS, run_hosts
from tests.postgresql import PostgreSQL
from tests.system import FindProgram


@pytest.fixture(params=["1", "4", "4 pooled"])
def several(request: pytest.FixtureRequest, postgresql: PostgreSQL, program: FindProgram) -> Iterator[str]:
    """The DATABASE_URL of a PostgreSQL database with one partition, with four, and behind a pooler."""
    partitions, _, pooled = request.param.partition(" ")
    with postgresql.database() as name, ExitStack() as stack:
        url = postgresql.url(name)
        if pooled:
            url += stack.enter_context(postgresql.pooler(program("pgbouncer")))
        database = open_database(url)
        migrate.up(database, int(partitions))
        database.close()
        yield url


def seqs(tweets: Tweets, partition: int) -> list[int]:
    """All places that were given in a partition, by posting or deleting."""
    question = text(
        "SELECT seq FROM tweets WHERE partition = :p UNION ALL "
        "SELECT deleted_seq FROM tweets WHERE partition = :p AND deleted_seq IS NOT NULL ORDER BY 1"
    )
    with tweets.database.reading() as connection:
        return list(connection.execute(question, {"p": partition}).scalars())


def test_two_hosts_with_eight_threads_each(several: str, data_dir: Path, tmp_path: Path) -> None:
    """
    Two processes write at once, also to the same tweet, with the same keys, deleting the same tweets.

    No call fails; places are gapless; a key names one tweet for both; a victim is deleted once; counts are exact.
    """
    with open_storage(data_dir, several) as tweets:
        assert tweets.server
        root = post(tweets)
        victims = [retweet(tweets, root).id for _ in range(40)]
        urls = (several, f"unix://{tweets.server.socket}")
        reports = run_hosts(2, tmp_path, urls, root.id, victims)

        assert reports[0].keyed == reports[1].keyed
        assert len(set(reports[0].keyed.values())) == THREADS * ROUNDS
        assert sorted(reports[0].deleted + reports[1].deleted) == sorted(victims)
        posted = reports[0].posted + reports[1].posted
        assert len(set(posted)) == len(posted) == 2 * THREADS * (1 + 2 * ROUNDS)
        with tweets.database.reading() as connection:
            heads = log.get_state(connection).heads
        assert all(seqs(tweets, partition) == list(range(1, head.seq + 1)) for partition, head in heads.items())
        assert sum(head.live for head in heads.values()) == 1 + len(posted) + THREADS * ROUNDS
        assert tweets.get(root.id).result().count_retweet == 2 * THREADS * ROUNDS + THREADS * ROUNDS // 2
        assert verify(tweets) == []


def test_an_index_for_each_host(several: str, cluster: Cluster, data_dir: Path, tmp_path: Path) -> None:
    """While hosts move from one Redis to a cluster, each has an index of its own, and sees what the others write."""
    with open_storage(data_dir, several) as old, open_storage(tmp_path / "new", several, cluster.url) as new:
        root = post(old)
        for expected, (writer, reader) in enumerate([(old, new), (new, old)] * 5, 1):
            made = retweet(writer, root)
            assert reader.get(root.id).result().count_retweet == expected
            assert whole_ranking(reader)[0] == (expected, root.id)
            assert reader.rank(made.id).total == expected + 1
        old.reconciler.catch_up()
        new.reconciler.catch_up()
        assert verify(old) == verify(new) == []


def test_a_sequence_would_be_read_past(postgresql: PostgreSQL) -> None:
    """The control: with numbers of a sequence a reconciler passes by a row that commits late, and never sees it."""
    with postgresql.database() as name:
        database = open_database(postgresql.url(name))
        with database.writing() as connection:
            connection.execute(text("CREATE TABLE control (seq bigserial PRIMARY KEY)"))
        with database.writing() as late:
            late.execute(text("INSERT INTO control DEFAULT VALUES"))
            with database.writing() as quick:
                quick.execute(text("INSERT INTO control DEFAULT VALUES"))
            seen = followed(database, 0)
        seen += followed(database, max(seen))
        assert seen == [2], "nothing was passed by: this test does not race"
        database.close()


def followed(database: Database, after: int) -> list[int]:
    """What a reconciler finds that has read up to *after*."""
    with database.reading() as connection:
        return list(connection.execute(text(f"SELECT seq FROM control WHERE seq > {after} ORDER BY seq")).scalars())


def test_a_late_commit_is_not_read_past(postgresql_url: str, data_dir: Path) -> None:
    """Ours: the next writer waits for the one that holds the head, so that no place is read past."""
    with open_storage(data_dir, postgresql_url) as tweets:
        post(tweets)
        with tweets.database.writing() as late:
            head = log.lock_heads(late, tweets.store, [0])[0]
            other = threading.Thread(target=post, args=(tweets,))
            other.start()
            other.join(0.5)
            assert other.is_alive(), "it did not wait"
            assert tweets.database.get_state().heads[0] == head
        other.join()
        assert seqs(tweets, 0) == [1, 2]
        assert len(tweets.top(10).result().tweets) == 2
