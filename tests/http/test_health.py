"""The health answers: /readyz turns red when a part is away or far behind, and green again by itself."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.http.routes import LAG_AT_MOST
from storage import Tweets
from storage.tools.import_export import ImportRow
from tests.builders import import_tweets, nothing_repaired
from tests.faults.services import eventually
from tests.http.client import Client, Reply


def pid_of(tweets: Tweets) -> int:
    """The process of the embedded valkey."""
    assert tweets.server
    pid: int = tweets.server.pid
    return pid


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process hang inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def parts(reply: Reply) -> tuple[int, bool, bool, int | None]:
    """What /readyz says: its status and of each part whether it answers, and the lag."""
    health = reply.json()
    return reply.status, health["store"], health["index"], health["lag"]


def test_live(client: Client) -> None:
    """/livez is 200."""
    reply = client.get("/livez")
    assert (reply.status, reply.json()) == (200, {"status": "ok"})


def test_ready(client: Client) -> None:
    """/readyz is 200 when both parts answer, and says how far the index is behind."""
    client.tweet()
    reply = client.get("/readyz")
    assert (reply.status, reply.json()) == (200, {"store": True, "index": True, "lag": 0})


def test_red_while_the_index_hangs(fresh: Client, tweets: Tweets) -> None:
    """A valkey that is stopped turns /readyz red, while /livez and writes go on; once it goes on, all is green."""
    with stopped(pid_of(tweets)):
        fresh.tweet()
        red = fresh.get("/readyz")
        assert parts(red) == (503, True, False, None)
        assert (red.json()["code"], red.headers["retry-after"]) == ("not_ready", "1")
        assert fresh.get("/livez").status == 200
    eventually(lambda: parts(fresh.get("/readyz")) == (200, True, True, 0))


def test_red_while_the_index_is_far_behind(fresh: Client, tweets: Tweets, tmp_path: Path) -> None:
    """An index that lacks more entries than it takes in at once is red, one that lacks as many is not."""
    with nothing_repaired(tweets):
        import_some(tweets, LAG_AT_MOST, tmp_path)
        assert parts(fresh.get("/readyz")) == (200, True, True, LAG_AT_MOST)
        import_some(tweets, 1, tmp_path)
        red = fresh.get("/readyz")
        assert parts(red) == (503, True, True, LAG_AT_MOST + 1)
        assert "behind" in red.json()["detail"]
    eventually(lambda: parts(fresh.get("/readyz")) == (200, True, True, 0))


def test_another_history_counts_as_nothing(fresh: Client, tweets: Tweets) -> None:
    """An index that holds another history lacks every entry, though its number is the one of the head."""
    for _ in range(3):
        fresh.tweet()
    with nothing_repaired(tweets):
        change_nonce(tweets, "+ 1")
        assert parts(fresh.get("/readyz")) == (200, True, True, 3)
        change_nonce(tweets, "- 1")
        assert parts(fresh.get("/readyz")) == (200, True, True, 0)


def change_nonce(tweets: Tweets, by: str) -> None:
    """Make the head another entry of the same number."""
    with tweets.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE heads SET nonce = nonce {by}")


def import_some(tweets: Tweets, count: int, folder: Path) -> None:
    """Store so many tweets past the index."""
    now_ms = time.time_ns() // 1_000_000
    rows = (ImportRow(number, str(number), None, now_ms, "ann", "Title", "Body") for number in range(1, count + 1))
    assert import_tweets(tweets.database, rows, folder, 1000, now_ms) == count
