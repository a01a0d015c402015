"""SQLite's write-ahead log is copied back into its file between two batches, not in a commit that others wait for."""

from pathlib import Path

import pytest

from storage import Tweets
from storage.errors import StoreFull
from storage.writer import CHECKPOINT_EACH
from tests.builders import post
from tests.faults.services import eventually


def is_copied(data_dir: Path, text: str) -> bool:
    """Whether *text* is in the file itself."""
    return text.encode() in (data_dir / "tweets.db").read_bytes()


@pytest.fixture
def tweets(tweets: Tweets, data_dir: Path) -> Tweets:
    """The tweets of a store that has just been made, when all of that is copied back."""
    eventually(lambda: (data_dir / "tweets.db-wal").stat().st_size == 0)
    return tweets


def test_the_log_is_copied_back(tweets: Tweets, data_dir: Path) -> None:
    """After so many writes, and not before, the file has them all."""
    for number in range(CHECKPOINT_EACH - 1):
        post(tweets, body=f"mark-{number}-")
    assert not is_copied(data_dir, "mark-0-")
    post(tweets, body="mark-last-")
    eventually(lambda: is_copied(data_dir, "mark-last-"))
    assert all(is_copied(data_dir, f"mark-{number}-") for number in range(CHECKPOINT_EACH - 1))


def test_a_reader_in_the_way_is_not_waited_for(tweets: Tweets, data_dir: Path) -> None:
    """While another process reads an old snapshot, what came after it stays in the log; the next time it is copied."""
    with tweets.database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM tweets").all()
        for _ in range(CHECKPOINT_EACH + 1):
            post(tweets, body="mark-of-a-text")
        assert not is_copied(data_dir, "mark-of-a-text")
    for _ in range(CHECKPOINT_EACH):
        post(tweets)
    eventually(lambda: is_copied(data_dir, "mark-of-a-text"))


def test_a_failure_is_logged_and_writing_goes_on(
    tweets: Tweets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost by it: what was written is in the log, and is copied back some time later."""

    def fail(*, truncate: bool) -> None:  # noqa: ARG001
        raise StoreFull("no room") from OSError("disk full")

    monkeypatch.setattr(tweets.database, "checkpoint", fail)
    posted = [post(tweets) for _ in range(CHECKPOINT_EACH)]
    posted.append(post(tweets))
    assert "no checkpoint of the write-ahead log: disk full" in caplog.text
    assert [tweets.get(tweet.id).result().id for tweet in posted] == [tweet.id for tweet in posted]
