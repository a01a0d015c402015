"""What was deleted is gone from the disk, too."""

import time
from pathlib import Path

from storage import Tweets
from tests.builders import post, retweet
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
        tweets.delete(tweet.id)
    eventually(lambda: not any(files_with(data_dir, mark) for mark in marks[::2]))
    assert all(files_with(data_dir, mark) for mark in marks[1::2])
    assert tweets.get(child.id).title == f"{marks[1]} title"


def test_reader_in_the_way_only_delays_it(tweets: Tweets, data_dir: Path) -> None:
    """While somebody reads an old snapshot the text cannot go; it goes when the reader has finished."""
    made = post(tweets, body="mark-of-a-text")
    with tweets.database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM tweets").all()
        tweets.delete(made.id)
        time.sleep(0.2)
        assert files_with(data_dir, "mark-of-a-text")
    eventually(lambda: not files_with(data_dir, "mark-of-a-text"))
