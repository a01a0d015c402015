"""PostgreSQL goes away, at any moment: a write is stored whole and once, or the answer says what is known of it."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage import Tweets, open_storage
from storage.errors import StorageError, StoreBusy, StoreUnavailable
from storage.records import NewTweet
from storage.sql import postgresql as backend
from storage.tools.health import get_health
from storage.tools.verify import verify
from tests.builders import at_once, post, retweet
from tests.faults.cutting import CuttingProxy
from tests.faults.services import eventually
from tests.faults.stored import bodies, is_gapless
from tests.postgresql import PostgreSQL


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """The tweets of these tests are in PostgreSQL."""
    return postgresql_url


@pytest.fixture
def proxy(postgresql: PostgreSQL) -> Iterator[CuttingProxy]:
    """Something between us and the server that can cut connections."""
    between = CuttingProxy(postgresql.folder)
    yield between
    between.close()


@pytest.fixture
def behind(postgresql: PostgreSQL, postgresql_name: str, proxy: CuttingProxy, data_dir: Path) -> Iterator[Tweets]:
    """Empty storage whose database is behind the proxy."""
    with open_storage(data_dir, postgresql.url(postgresql_name, proxy.folder)) as tweets:
        yield tweets


def test_connection_lost_before_the_commit(behind: Tweets, proxy: CuttingProxy) -> None:
    """A connection that breaks in the middle of a batch costs nothing but time: the batch is stored, once."""
    root = post(behind, body="root")
    proxy.word, proxy.times = b"UPDATE heads", 3
    retweet(behind, root)
    assert proxy.cuts == 3
    assert bodies(behind) == ["root", "root"]
    assert behind.get(root.id).result().count_retweet == 1


def test_a_server_that_leaves_its_pooler_during_a_copy(
    pooled_url: str, postgresql: PostgreSQL, postgresql_name: str, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PgBouncer answers with two errors where one is expected: the batch is tried again as a whole, and stored once."""
    blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'"
    with open_storage(data_dir, pooled_url) as tweets:
        url = f"host={postgresql.folder} user=postgres dbname={postgresql_name}"
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE tweets IN EXCLUSIVE MODE")
            future = tweets.post(NewTweet("ann", "Title", "once"))
            tweets.flush()
            eventually(lambda: postgresql.execute(blocked))
            postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM ({blocked}) AS them")
        assert future.result()
        assert bodies(tweets) == ["once"]
    assert "a batch failed" not in caplog.text


@pytest.mark.parametrize("delivered", [True, False])
def test_connection_lost_while_committing(behind: Tweets, proxy: CuttingProxy, delivered: bool) -> None:
    """
    When the answer to a commit is lost, the write may be stored or not, and the service does not guess.

    It is not tried again, it does not say that nothing was stored, and a call with a key is answered when repeated.
    """
    root = post(behind, body="root")
    draft = NewTweet("bob", "Title", "with a key", root.id, key="k")
    proxy.word, proxy.delivered, proxy.times = b"COMMIT\0", delivered, 1
    with pytest.raises(StoreUnavailable) as caught:
        behind.post(draft).result()
    assert not isinstance(caught.value, StoreBusy)
    assert proxy.cuts == 1
    assert bodies(behind) == (["root", "with a key"] if delivered else ["root"])

    assert behind.post(draft).result().replayed == delivered
    assert bodies(behind) == ["root", "with a key"]
    assert behind.get(root.id).result().count_retweet == 1
    assert is_gapless(behind)


def test_restart_between_requests_is_not_noticed(
    tweets: Tweets, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart of the server the next read and the next write succeed, on connections kept from before."""
    root = post(tweets)
    at_once(12, lambda _n: whole(tweets, root.id))
    postgresql.crash()
    postgresql.start()
    at_once(12, lambda _n: whole(tweets, root.id))
    retweet(tweets, root)
    assert tweets.get(root.id).result().count_retweet == 1
    assert [record for record in caplog.records if record.exc_info] == []


def whole(tweets: Tweets, tweet_id: int) -> None:
    """Read a tweet in more than one way."""
    tweets.get(tweet_id).result()
    tweets.list_chain(tweet_id, 100)


def test_server_that_says_nothing(
    tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that keeps its connections and does not answer is given up; a write goes on by a new connection."""
    root = post(tweets)
    monkeypatch.setattr(backend, "ANSWER_WITHIN_S", 0.5)
    question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    backends = [pid for (pid,) in postgresql.execute(question, name=postgresql_name)]
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        retweet(tweets, root)
        while True:
            try:
                assert tweets.get(root.id).result().count_retweet == 1
            except StoreUnavailable:
                continue  # one connection less that is stopped
            break
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    assert bodies(tweets) == ["Body", "Body"]


def test_crashes_under_load(tweets: Tweets, postgresql: PostgreSQL) -> None:
    """
    The server dies twice, at once, under eight writers: each write is stored whole, or refused and not stored.

    Nothing that was acknowledged is lost, though the server's default is to answer before it writes; what is refused as
    busy is not stored; what has an unknown outcome is stored once or not at all; a repeated key finds its tweet.
    """
    root = post(tweets, body="root")
    outcomes: dict[str, Exception | None] = {}
    done = threading.Event()

    def write(number: int) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            body = f"{number}-{turn}"
            draft = NewTweet("bob", "Title", body, root.id, key=body if turn % 2 else None)
            try:
                tweets.post(draft).result()
            except StorageError as error:
                outcomes[body] = error
            else:
                outcomes[body] = None

    def crash_twice(_number: int) -> None:
        try:
            for _ in range(2):
                seen = len(outcomes)
                eventually(lambda: len(outcomes) > seen + 200)  # noqa: B023
                postgresql.crash()
                postgresql.start()
            seen = len(outcomes)
            eventually(lambda: len(outcomes) > seen + 200)
        finally:
            done.set()

    at_once(9, lambda number: crash_twice(number) if number == 8 else write(number))
    stored = bodies(tweets)[1:]
    assert len(set(stored)) == len(stored), "something was stored twice"
    acknowledged = {body for body, error in outcomes.items() if error is None}
    assert acknowledged <= set(stored), "something was lost"
    assert all(isinstance(error, StoreUnavailable) for error in outcomes.values() if error)
    busy = {body for body, error in outcomes.items() if isinstance(error, StoreBusy)}
    assert not busy & set(stored), "something was stored and refused"

    for body, error in outcomes.items():
        if error and int(body.split("-")[1]) % 2:
            posted = tweets.post(NewTweet("bob", "Title", body, root.id, key=body)).result()
            assert posted.replayed == (body in stored)
    assert is_gapless(tweets)
    assert tweets.get(root.id).result().count_retweet == len(bodies(tweets)) - 1
    assert verify(tweets) == []


def test_health_does_not_wait(tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str) -> None:
    """While the server says nothing, a health check ends; when it answers again, so does the health check."""
    question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert get_health(tweets).store
    backends = [pid for (pid,) in postgresql.execute(question, name=postgresql_name)]
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    before = threading.active_count()
    try:
        assert not any(get_health(tweets).store for _ in range(2))
        assert threading.active_count() <= before + 1
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: get_health(tweets).store)
