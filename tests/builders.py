"""Tweets for tests, made in one line."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage import Tweets
from storage.index.keys import Keys, keys_of
from storage.records import NewTweet, Place, Tweet
from storage.sql.database import Database
from storage.tools.import_export import ImportRow, staged_tweets, store_tweets


class Batches:
    """Remembers how many writes each batch has stored."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def wrote(self, writes: int, *_: float) -> None:
        """Record a batch."""
        self.sizes.append(writes)


def post(tweets: Tweets, user_name: str = "ann", title: str = "Title", body: str = "Body", base: int = 0) -> Tweet:
    """Post an original."""
    return tweets.post(NewTweet(user_name, title, body, base=base)).result().tweet


def retweet(tweets: Tweets, target: Tweet | int, user_name: str = "bob", base: int = 0) -> Tweet:
    """Retweet *target* with its own words."""
    parent = target if isinstance(target, int) else target.id
    return tweets.post(NewTweet(user_name, None, None, retweet=parent, base=base)).result().tweet


def import_tweets(database: Database, rows: Iterable[ImportRow], folder: Path, max_ancestors: int, now_ms: int) -> int:
    """Check *rows*, with a temporary file in *folder*, and append them to the log; returns how many they are."""
    with staged_tweets(rows, folder, database.get_state().store.partitions, max_ancestors, now_ms) as staged:
        return store_tweets(database, staged)


def whole_ranking(tweets: Tweets, limit: int = 100) -> list[tuple[int, int]]:
    """The ranking as (count, id), read page by page to its end."""
    rows: list[tuple[int, int]] = []
    after: Place | None = None
    while True:
        page = tweets.top(limit, after).result()
        assert not page.stale
        rows += [(tweet.count_retweet or 0, tweet.id) for tweet in page.tweets]
        after = page.next
        assert len(set(rows)) == len(rows), "a tweet came twice"
        if after is None:
            return rows


def at_once(threads: int, work: Callable[[int], None]) -> None:
    """Run *work* in some threads at once; what one raises is raised here."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    crowd = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    if failures:
        raise failures[0]


def keys_in(client: Any, partition: int = 0) -> Keys:
    """The keys of *partition* on a server that holds one store alone."""
    (name,) = client.keys(f"twitter:{{*:{partition}}}:position")
    text = name.decode() if isinstance(name, bytes) else name
    return keys_of(text.partition("{")[2].partition(":")[0], partition)


@contextmanager
def nothing_repaired(tweets: Tweets) -> Iterator[None]:
    """The reconciler looks, and repairs nothing, for the length of the block."""
    tweets.reconciler.catch_up()
    repair = tweets.reconciler._repair
    tweets.reconciler._repair = lambda: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        tweets.reconciler._repair = repair  # type: ignore[method-assign]
