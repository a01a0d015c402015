"""
One of several hosts on the same database and Redis: a program that the tests start more than once.

`python -m tests.faults.hosts DATA_DIR DATABASE_URL REDIS_URL ROOT VICTIM...` prints a line when it is ready, waits
for one, writes with eight threads, and prints as JSON what it was answered. Any error ends it with a traceback.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from storage import Tweets, open_storage
from storage.errors import TweetDeleted
from storage.records import NewTweet
from tests.builders import at_once, post, retweet

THREADS = 8
ROUNDS = 12


class Report(NamedTuple):
    """What a host was answered: ids of its tweets, ids by idempotency key, victims that it deleted itself."""

    posted: list[int]
    keyed: dict[str, int]
    deleted: list[int]


def main(data_dir: str, database_url: str, redis_url: str, root: str, *victims: str) -> None:
    """Open the tweets, wait, write, report."""
    with open_storage(Path(data_dir), database_url, redis_url) as tweets:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(json.dumps(write(tweets, int(root), [int(victim) for victim in victims])))


def write(tweets: Tweets, root: int, victims: list[int]) -> Report:
    """Eight threads: each in a chain of its own, and all at once at the same root, keys and victims."""
    report = Report([], {}, [])
    adding = threading.Lock()

    def one(number: int) -> None:
        last = post(tweets)
        mine = [last.id]
        for turn in range(ROUNDS):
            last = retweet(tweets, last)
            mine += [last.id, retweet(tweets, root).id]
            key = f"{number}-{turn}"
            posted = tweets.post(NewTweet("same", "Title", "Body", None if turn % 2 else root, key=key)).result()
            with adding:
                report.keyed[key] = posted.tweet.id
        with adding:
            report.posted.extend(mine)
        for victim in victims[number::THREADS]:
            try:
                tweets.delete(victim).result()
            except TweetDeleted:
                continue
            with adding:
                report.deleted.append(victim)

    at_once(THREADS, one)
    return report


def run_hosts(count: int, tmp_path: Path, urls: tuple[str, str], root: int, victims: list[int]) -> list[Report]:
    """Run *count* hosts at once, on *urls*: DATABASE_URL and REDIS_URL. What each of them reports."""
    words = [*urls, str(root), *map(str, victims)]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.faults.hosts", str(tmp_path / f"host{number}"), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for host in hosts:
        assert host.stdout
        assert host.stdout.readline() == "ready\n"
    for host in hosts:
        assert host.stdin
        host.stdin.write("\n")
        host.stdin.flush()
    answers = [host.communicate()[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * count
    return [Report(**dict(zip(Report._fields, json.loads(answer), strict=True))) for answer in answers]


if __name__ == "__main__":
    main(*sys.argv[1:])
