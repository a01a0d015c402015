"""What was deleted is gone from the disk, too."""

import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.rebuild import count_tweets
from storage.records import NewTweet
from storage.tools.import_export import export_tweets
from tests.builders import post, retweet
from tests.e2e.commands import PATIENCE_S
from tests.faults.services import eventually


def files_with(folder: Path, text: str) -> list[Path]:
    """The files below *folder* that hold *text*."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_deleted_text_is_in_no_file(tweets: Tweets, data_dir: Path) -> None:
    """Soon after a deletion, its text is in no file of the data directory; its neighbours' texts are."""
    marks = [f"mark-{number}-of-a-text" for number in range(60)]
    made = [
        post(tweets, user_name=f"user{n}", title=f"{mark} title", body=mark * (40 if n % 4 else 400))
        for n, mark in enumerate(marks)
    ]
    child = retweet(tweets, made[1])
    assert files_with(data_dir, marks[0])
    for tweet in made[::2]:
        tweets.delete(tweet.id).result()
    eventually(lambda: not any(files_with(data_dir, mark) for mark in marks[::2]))
    assert all(files_with(data_dir, mark) for mark in marks[1::2])
    assert tweets.get(child.id).result().title == f"{marks[1]} title"


def test_reader_in_the_way_only_delays_it(tweets: Tweets, data_dir: Path) -> None:
    """While another process reads an old snapshot the text cannot go; it goes when the reader has finished."""
    made = post(tweets, body="mark-of-a-text")
    with tweets.database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM tweets").all()
        tweets.delete(made.id).result()
        time.sleep(0.2)
        assert files_with(data_dir, "mark-of-a-text")
    eventually(lambda: not files_with(data_dir, "mark-of-a-text"))


def test_a_start_takes_out_what_a_killed_service_has_left(
    tweets: Tweets, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of a tweet that was deleted just before a crash is in no file soon after the next start."""
    monkeypatch.setattr(tweets.database, "checkpoint", lambda **_: False)  # as when there was no time left
    tweets.delete(post(tweets, body="mark-of-a-text").id).result()
    left = tmp_path / "left"
    shutil.copytree(data_dir, left, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    assert files_with(left, "mark-of-a-text")
    with open_storage(left):
        eventually(lambda: not files_with(left, "mark-of-a-text"))


def test_an_export_is_not_in_the_way(tweets: Tweets, data_dir: Path) -> None:
    """The text goes while an export runs, however slowly; the export has the tweet as a deleted one."""
    first, made = post(tweets), post(tweets, body="mark-of-a-text")
    with closing(export_tweets(tweets.database, at_once=1)) as exported:
        assert next(exported).id == first.id
        tweets.delete(made.id).result()
        post(tweets, body="Later")
        eventually(lambda: not files_with(data_dir, "mark-of-a-text"))
        assert [(kept.id, kept.body) for kept in exported] == [(made.id, None)]


def test_a_count_of_all_is_not_in_the_way(tweets: Tweets, data_dir: Path) -> None:
    """The text goes while a rebuild or a comparison reads, however slowly; it reads the log as of its beginning."""
    first, made = post(tweets), post(tweets, body="mark-of-a-text")
    counted = count_tweets(tweets.database.stream_tweets(0, tweets.database.get_state().heads[0].seq), {})
    assert next(counted) == (made.id, 0)
    tweets.delete(made.id).result()
    retweet(tweets, first)
    eventually(lambda: not files_with(data_dir, "mark-of-a-text"))
    assert list(counted) == [(first.id, 0)]


def test_nobody_waits_to_ask_while_it_is_taken_out(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer is at it, however long that takes, a write is begun at once; it is stored afterwards."""
    at_it, go_on = threading.Semaphore(0), threading.Event()

    def take_out(**_: bool) -> bool:
        at_it.release()
        return go_on.wait(0 if at_it._value < 2 else PATIENCE_S)  # in vain at first, so that it is tried while idle

    monkeypatch.setattr(tweets.database, "checkpoint", take_out)
    tweets.delete(post(tweets).id).result()
    eventually(lambda: at_it._value == 2)
    begun = threading.Thread(target=tweets.post, args=(NewTweet("ann", "t", "b"),), daemon=True)
    begun.start()
    begun.join(PATIENCE_S / 10)
    was_begun = not begun.is_alive()
    go_on.set()
    assert was_begun
