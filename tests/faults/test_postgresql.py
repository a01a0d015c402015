"""PostgreSQL goes away, refuses, is in the way: a write is stored whole and once, or the answer says what is known."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import Tweets, open_storage
from storage.errors import StorageError, StoreBusy, StoreFull, StoreUnavailable
from storage.rebuild import rebuild
from storage.records import Draft
from storage.sql import bounded, log, postgresql
from tests.builders import at_once, post, retweet
from tests.faults.cutting import CuttingProxy
from tests.postgresql import PostgreSQL

RAISE_AT_FIRST = """
CREATE SEQUENCE tries;
CREATE FUNCTION raise_at_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'as if' USING ERRCODE = '{state}'; END IF;
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER raise_at_first AFTER INSERT ON tweets {when}
    FOR EACH ROW EXECUTE FUNCTION raise_at_first();
"""
AT_ONCE = "NOT DEFERRABLE"
AT_COMMIT = "DEFERRABLE INITIALLY DEFERRED"


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


def bodies(tweets: Tweets) -> list[str]:
    """The bodies of all that is stored, in the order of the log."""
    with tweets.database.reading() as connection:
        return list(connection.execute(text("SELECT body FROM tweets ORDER BY partition, seq")).scalars())


def is_gapless(tweets: Tweets) -> bool:
    """Whether the places of partition 0 are 1, 2, 3 up to its head."""
    with tweets.database.reading() as connection:
        head = log.list_heads(connection)[0].seq
        return [entry.seq for entry in log.list_entries(connection, 0, 0, head + 1)] == list(range(1, head + 1))


@pytest.mark.parametrize(
    ("state", "when"),
    [*product(["40001", "40P01", "55P03"], [AT_ONCE, AT_COMMIT]), ("57P01", AT_ONCE), ("08006", AT_ONCE)],
)
def test_what_came_to_nothing_is_tried_again(
    tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str, state: str, when: str
) -> None:
    """A transaction that the server took back because others were in the way is repeated; it is stored once."""
    postgresql.execute(RAISE_AT_FIRST.format(times=3, state=state, when=when), name=postgresql_name)
    root = post(tweets, body="root")
    retweet(tweets, root)
    assert bodies(tweets) == ["root", "root"]
    assert tweets.get(root.id).count_retweet == 1
    assert is_gapless(tweets)


def test_tries_come_to_an_end(tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str) -> None:
    """What is in the way for long ends the write: nothing is stored, and the answer says so. The next one goes on."""
    statement = RAISE_AT_FIRST.format(times=1_000_000, state="40001", when=AT_ONCE)
    postgresql.execute(statement, name=postgresql_name)
    with pytest.raises(StoreBusy):
        post(tweets)
    before = postgresql.execute("SELECT last_value FROM tries", name=postgresql_name)[0][0]
    with pytest.raises(StoreBusy):
        post(tweets)
    assert postgresql.execute("SELECT last_value FROM tries", name=postgresql_name) == [(before + 1,)], "it was patient"
    postgresql.execute("DROP FUNCTION raise_at_first CASCADE", name=postgresql_name)
    post(tweets, body="later")
    assert bodies(tweets) == ["later"]


@pytest.mark.parametrize("when", [AT_ONCE, AT_COMMIT])
def test_full_disk(tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str, when: str) -> None:
    """A full disk of the database refuses the write; reading goes on, and so does writing when there is room again."""
    root = post(tweets, body="before")
    postgresql.execute(RAISE_AT_FIRST.format(times=1, state="53100", when=when), name=postgresql_name)
    with pytest.raises(StoreFull):
        post(tweets)
    assert tweets.get(root.id).body == "before"
    post(tweets, body="after")
    assert bodies(tweets) == ["before", "after"]


def test_connection_lost_before_the_commit(behind: Tweets, proxy: CuttingProxy) -> None:
    """A connection that breaks in the middle of a batch costs nothing but time: the batch is stored, once."""
    root = post(behind, body="root")
    proxy.word, proxy.times = b"UPDATE heads", 3
    retweet(behind, root)
    assert proxy.cuts == 3
    assert bodies(behind) == ["root", "root"]
    assert behind.get(root.id).count_retweet == 1


@pytest.mark.parametrize("delivered", [True, False])
def test_connection_lost_while_committing(behind: Tweets, proxy: CuttingProxy, delivered: bool) -> None:
    """
    When the answer to a commit is lost, the write may be stored or not, and the service does not guess.

    It is not tried again, it does not say that nothing was stored, and a call with a key is answered when repeated.
    """
    root = post(behind, body="root")
    draft = Draft("bob", "Title", "with a key", root.id, key="k")
    proxy.word, proxy.delivered, proxy.times = b"COMMIT\0", delivered, 1
    with pytest.raises(StoreUnavailable) as caught:
        behind.post(draft)
    assert not isinstance(caught.value, StoreBusy)
    assert proxy.cuts == 1
    assert bodies(behind) == (["root", "with a key"] if delivered else ["root"])

    assert behind.post(draft).replayed == delivered
    assert bodies(behind) == ["root", "with a key"]
    assert behind.get(root.id).count_retweet == 1
    assert is_gapless(behind)


def test_deadlock(tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str) -> None:
    """Two that wait for each other are parted by the server; our batch is repeated and stored once."""
    root = post(tweets, body="root")
    before = postgresql.log().count("deadlock detected")
    with tweets.database.writing() as other:
        other.execute(text("LOCK TABLE tweets IN SHARE MODE"))
        writer = threading.Thread(target=retweet, args=(tweets, root))
        writer.start()
        eventually(lambda: waiting(postgresql, postgresql_name) == 1)
        log.lock_heads(other, tweets.store, [0])
    writer.join()
    assert postgresql.log().count("deadlock detected") == before + 1
    assert bodies(tweets) == ["root", "root"]


def waiting(server: PostgreSQL, name: str) -> int:
    """How many connections to the database wait for a lock."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    number: int = server.execute(question, name=name)[0][0]
    return number


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_head_held_for_long(tweets: Tweets) -> None:
    """A write that waits too long for the head is refused, with nothing stored, before its caller gives up."""
    with tweets.database.writing() as other:
        log.lock_heads(other, tweets.store, [0])
        with pytest.raises(StoreBusy):
            post(tweets, body="refused")
    post(tweets, body="stored")
    assert bodies(tweets) == ["stored"]


def test_stopped_host_does_not_hold_the_head(
    postgresql_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that falls asleep in the middle of a batch loses its transaction; the others go on writing."""
    soon = postgresql.SETTINGS.replace("session_timeout = '10s'", "session_timeout = 500")
    monkeypatch.setattr(postgresql, "SETTINGS", soon)
    with open_storage(data_dir, postgresql_url) as tweets:

        def sleep() -> None:
            with tweets.database.writing() as asleep:
                log.lock_heads(asleep, tweets.store, [0])
                post(tweets, body="by another")
                log.list_heads(asleep)

        with pytest.raises(StoreBusy):
            sleep()
        assert bodies(tweets) == ["by another"]


def test_restart_between_requests_is_not_noticed(
    tweets: Tweets, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart of the server the next read and the next write succeed, whatever connections were kept."""
    root = post(tweets)
    at_once(12, lambda _n: whole(tweets, root.id))
    postgresql.crash()
    postgresql.start()
    at_once(12, lambda _n: whole(tweets, root.id))
    retweet(tweets, root)
    assert tweets.get(root.id).count_retweet == 1
    assert [record for record in caplog.records if record.exc_info] == []


def whole(tweets: Tweets, tweet_id: int) -> None:
    """Read a tweet in more than one way."""
    tweets.get(tweet_id)
    tweets.list_chain(tweet_id)


def test_server_that_says_nothing(
    tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that keeps its connections and does not answer is given up; a write goes on by a new connection."""
    root = post(tweets)
    monkeypatch.setattr(bounded, "ANSWER_WITHIN_S", 0.5)
    question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    backends = [pid for (pid,) in postgresql.execute(question, name=postgresql_name)]
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        retweet(tweets, root)
        while True:
            try:
                assert tweets.get(root.id).count_retweet == 1
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
            draft = Draft("bob", "Title", body, root.id, key=body if turn % 2 else None)
            try:
                tweets.post(draft)
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
            posted = tweets.post(Draft("bob", "Title", body, root.id, key=body))
            assert posted.replayed == (body in stored)
    assert is_gapless(tweets)
    assert tweets.get(root.id).count_retweet == len(bodies(tweets)) - 1
    assert tweets.follower.verify() == []


def test_long_read_that_is_broken_off(tweets: Tweets) -> None:
    """A comparison and a rebuild that are ended in the midst leave no cursor open on the server."""
    post(tweets)

    def end() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tweets.follower.verify(end)
    with pytest.raises(InterruptedError):
        rebuild(tweets.database, tweets.index, tweets.store, {0: None}, breathe=end)
    gc.collect()  # which would warn of it
    assert tweets.follower.verify() == []
