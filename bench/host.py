"""
One host of `bench.steps`: `python -m bench.host DATA_DIR DATABASE_URL REDIS_URL PARTITIONS attach|own`.

It answers each line of its standard input, a list in JSON, by a line: ["plant", MANY] by the ids of so many new tweets,
[WORK, SECONDS, IDS] by how often its threads did that work with them in that time.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from storage import Tweets, open_storage
from storage.records import NewTweet

THREADS = 32

Work = Callable[[Tweets, Sequence[int], random.Random], object]


def post(tweets: Tweets, _ids: Sequence[int], _rng: random.Random) -> int:
    """Post an original."""
    return tweets.post(NewTweet("ann", "Title", "Body")).result().tweet.id


def retweet(tweets: Tweets, target: int) -> int:
    """Retweet *target*."""
    return tweets.post(NewTweet("bob", None, None, retweet=target)).result().tweet.id


WORKS: dict[str, Work] = {
    "post": post,
    "retweet of one tweet": lambda tweets, ids, _rng: retweet(tweets, ids[0]),
    "retweet of any tweet": lambda tweets, ids, rng: retweet(tweets, rng.choice(ids)),
    "one tweet": lambda tweets, ids, rng: tweets.get(rng.choice(ids)).result(),
    "top 10": lambda tweets, _ids, _rng: tweets.top(10).result(),
    "top 10, written to": lambda tweets, ids, rng: (
        retweet(tweets, rng.choice(ids)) if rng.random() < 0.1 else tweets.top(10).result()
    ),
}


def main(data_dir: str, database_url: str, redis_url: str, partitions: str, manner: str) -> None:
    """Open the tweets, and do as the lines say."""
    urls = (database_url, redis_url)
    with open_storage(Path(data_dir), *urls, partitions=int(partitions), attach=manner == "attach") as tweets:
        _say("ready")
        for line in sys.stdin:
            name, *rest = json.loads(line)
            if name == "plant":
                _say([post(tweets, (), random.Random()) for _ in range(rest[0])])
            else:
                _say(run(tweets, WORKS[name], *rest))


def run(tweets: Tweets, work: Work, seconds: float, ids: Sequence[int]) -> int:
    """How often all threads together did *work* in *seconds*."""
    until, done, failures = time.monotonic() + seconds, [0] * THREADS, list[BaseException]()

    def one(number: int) -> None:
        rng = random.Random(number)
        try:
            while time.monotonic() < until:
                work(tweets, ids, rng)
                done[number] += 1
        except BaseException as failure:  # noqa: BLE001  # raised below
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(done)


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
