"""PostgreSQL refuses, is full, or others are in the way: a write is stored whole and once, or not at all."""

import gc
import threading
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from app.http.application import Application
from app.settings import Settings
from storage import Tweets, open_storage
from storage.errors import StoreBusy, StoreFull
from storage.ids import decode, encode
from storage.rebuild import rebuild
from storage.records import NewTweet
from storage.sql import log, postgresql
from storage.tokens import Tokens
from storage.tools.verify import verify
from tests import builders
from tests.builders import post, retweet
from tests.faults.services import eventually
from tests.faults.stored import bodies, is_gapless
from tests.http.client import Client
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
USE_KEY = text("UPDATE tweets SET key_digest = :digest WHERE id = :id")

AT_ONCE = "NOT DEFERRABLE"
AT_COMMIT = "DEFERRABLE INITIALLY DEFERRED"


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """The tweets of these tests are in PostgreSQL."""
    return postgresql_url


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
    assert tweets.get(root.id).result().count_retweet == 1
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
    assert tweets.get(root.id).result().body == "before"
    post(tweets, body="after")
    assert bodies(tweets) == ["before", "after"]


def test_a_database_that_may_only_be_read(
    postgresql: PostgreSQL, postgresql_name: str, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the right to write, reads are answered, writes are 503; the log says why. With it writing goes on."""
    postgresql.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO locked", name=postgresql_name)
    url = f"postgresql+psycopg://locked:secret@/{postgresql_name}?host={postgresql.folder}"
    settings = Settings.from_environment({"DATA_DIR": str(data_dir), "DATABASE_URL": url})
    with open_storage(data_dir, url) as tweets:
        client = Client(Application(tweets, settings))
        answer = client.post("/api/v1/tweet", {"user_name": "ann", "title": "Title", "body": "refused"})
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "permission denied" in caplog.text
        assert client.get("/api/v1/top").json()["tweets"] == []
        postgresql.execute("GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO locked", name=postgresql_name)
        answer = client.post("/api/v1/tweet", {"user_name": "ann", "title": "Title", "body": "stored"})
        assert answer.status == 201
        assert bodies(tweets) == ["stored"]
        tweets.delete(retweet(tweets, decode(answer.json()["id"]) or 0).id).result()
        Tokens(tweets.database).add("ann")
        assert verify(tweets) == []


def test_a_server_that_became_a_standby(
    tweets: Tweets, data_dir: Path, postgresql: PostgreSQL, postgresql_name: str
) -> None:
    """A server that only reads refuses writes with 503; nothing is stored, and none of its connections is kept."""
    root = builders.post(tweets, body="root")
    before = backends(postgresql, postgresql_name)
    postgresql.execute(RAISE_AT_FIRST.format(times=1_000_000, state="25006", when=AT_ONCE), name=postgresql_name)
    client = Client(Application(tweets, Settings.from_environment({"DATA_DIR": str(data_dir)})))
    post = {"user_name": "ann", "title": "Title", "body": "refused"}
    assert client.post("/api/v1/tweet", post).status == 503
    assert client.post("/api/v1/tweet", post).status == 503
    for _ in before:
        assert client.get(f"/api/v1/tweet/{encode(root.id)}").status == 200
    assert not before & backends(postgresql, postgresql_name)
    postgresql.execute("DROP FUNCTION raise_at_first CASCADE", name=postgresql_name)
    assert client.post("/api/v1/tweet", post | {"body": "stored"}).status == 201
    assert bodies(tweets) == ["root", "stored"]


def backends(server: PostgreSQL, name: str) -> set[int]:
    """The processes of the server that serve a connection to the database, all but that of this question."""
    question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return {pid for (pid,) in server.execute(question, name=name)}


def test_deadlock(tweets: Tweets, postgresql: PostgreSQL, postgresql_name: str) -> None:
    """Two that wait for each other are parted by the server; when it ends our batch, that is repeated, stored once."""
    root = post(tweets, body="root")
    before = postgresql.log().count("deadlock detected")
    collisions = 1
    while not collide(tweets, root.id, postgresql, postgresql_name):
        collisions += 1
        assert collisions < 10, "it was always the other who was ended"
    assert postgresql.log().count("deadlock detected") == before + collisions
    assert bodies(tweets) == ["root"] * (1 + collisions)
    assert is_gapless(tweets)


def collide(tweets: Tweets, target: int, server: PostgreSQL, name: str) -> bool:
    """Retweet *target* while another transaction crosses ours; whether ours was the one that the server ended."""
    writer = threading.Thread(target=retweet, args=(tweets, target))
    try:
        with tweets.database.writing() as other:
            other.execute(text("LOCK TABLE tweets IN SHARE MODE"))
            writer.start()
            eventually(lambda: waiting(server, name) == 1)
            log.lock_heads(other, tweets.store, [0])
    except StoreBusy:
        return False
    finally:
        writer.join()
    return True


def waiting(server: PostgreSQL, name: str) -> int:
    """How many connections to the database wait for a lock."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    number: int = server.execute(question, name=name)[0][0]
    return number


def test_others_use_each_key_of_a_batch_at_that_moment(tweets: Tweets) -> None:
    """The batch is refused for its first key, then its second write, alone, for its own: both find their tweets."""
    drafts = [NewTweet("ann", "Title", "Body", key=key) for key in ("first", "second")]
    posted = [tweets.post(draft).result().tweet.id for draft in drafts]
    digests = [free_key(tweets, tweet_id) for tweet_id in posted]
    with tweets.database.writing() as first, tweets.database.writing() as second:
        for other, tweet_id, digest in zip((first, second), posted, digests, strict=True):
            other.execute(USE_KEY, {"id": tweet_id, "digest": digest})
        posts = [tweets.post(draft) for draft in drafts]
        tweets.flush()
        eventually(lambda: is_waited_for(tweets, first))
        first.commit()
        eventually(lambda: is_waited_for(tweets, second))
    replays = [future.result(10) for future in posts]
    assert [(each.tweet.id, each.replayed) for each in replays] == [(each, True) for each in posted]


def free_key(tweets: Tweets, tweet_id: int) -> bytes:
    """Let the key of a tweet be unused; what stood there."""
    with tweets.database.writing() as connection:
        digest: bytes = connection.execute(text(f"SELECT key_digest FROM tweets WHERE id = {tweet_id}")).scalar_one()
        connection.execute(USE_KEY, {"id": tweet_id, "digest": None})
    return digest


def is_waited_for(tweets: Tweets, one: Connection) -> bool:
    """Whether another transaction waits for the end of the transaction of *one*."""
    question = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))")
    driver: Any = one.connection.driver_connection
    with tweets.database.reading() as connection:
        return bool(connection.execute(question, {"pid": driver.info.backend_pid}).scalar_one())


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
    soon = postgresql.BEGIN["writing"].replace("session_timeout', '10s'", "session_timeout', '500'")
    monkeypatch.setitem(postgresql.BEGIN, "writing", soon)
    with open_storage(data_dir, postgresql_url) as tweets:

        def sleep() -> None:
            with tweets.database.writing() as asleep:
                log.lock_heads(asleep, tweets.store, [0])
                post(tweets, body="by another")
                log.get_state(asleep)

        with pytest.raises(StoreBusy):
            sleep()
        assert bodies(tweets) == ["by another"]


def test_long_read_that_is_broken_off(tweets: Tweets) -> None:
    """A comparison and a rebuild that are ended in the midst leave no cursor open on the server."""
    post(tweets)

    def end(_read: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        verify(tweets, end)
    with pytest.raises(InterruptedError):
        rebuild(tweets.database, tweets.index, tweets.store, 0, on_progress=end)
    gc.collect()  # which would warn of it
    assert verify(tweets) == []


def test_no_text_is_logged(
    tweets: Tweets, data_dir: Path, postgresql: PostgreSQL, postgresql_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server quotes the row that it was copying when a write fails; the log has what happened, and not the row."""
    raising = RAISE_AT_FIRST.format(times=1_000_000, state="57014", when=AT_ONCE).replace("AFTER", "BEFORE", 1)
    raising = raising.replace("CONSTRAINT ", "").replace(AT_ONCE, "")
    postgresql.execute(raising, name=postgresql_name)
    client = Client(Application(tweets, Settings.from_environment({"DATA_DIR": str(data_dir)})))
    answer = client.post("/api/v1/tweet", {"user_name": "some-name", "title": "some-title", "body": "some-body"})
    assert answer.status == 503
    assert "as if" in caplog.text
    assert not [mark for mark in ("some-name", "some-title", "some-body", "CONTEXT") if mark in caplog.text]
