"""
The way in from the original: a Flask application that kept each tweet in Redis, as a JSON string under its id.

The counts there were kept by hand and could be lost, so they are not believed: what a tweet has below it is counted by
the log, and what its stored count has beyond that becomes its base. Nothing is written to that Redis. While it is read
it must not change; in memory a tweet takes some 600 bytes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from storage.errors import CannotOpen
from storage.tools.import_export import DAY_MS, ImportRefused, ImportRow, ImportTree

FIELDS = {"user_name", "title", "body", "retweet", "count_retweet", "id", "created_at"}
"""What a tweet is there; a value without one of them is no tweet."""

AT_ONCE = 500
"""Keys in one call."""

TIMEOUT_S = 10

LARGEST_BASE = 1_000_000_000_000
"""As large as a count may be that a tweet starts with."""

Texts = Callable[[Any, Any, Any], tuple[str, str, str]]
"""Makes a user_name, a title and a body of ours of those of a tweet there. Raises ValueError with the reason."""


@dataclass(slots=True)
class _Tweet:
    """A tweet there; `time_ms` is None where it cannot be read, `depth` is -1 until it is known."""

    parent: str | None
    time_ms: int | None
    count: int
    is_blank: bool
    sort_ms: int = 0
    depth: int = -1
    below: int = 0


@dataclass(slots=True)
class Original:
    """What was read, by key; `said` has a sentence for each thing that is not taken as it was."""

    tweets: dict[str, _Tweet] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def read_original(
    url: str, tree: ImportTree, zone: tzinfo | None, now_ms: int, texts: Texts, on_progress: Callable[[int], None]
) -> list[str]:
    """
    Add all tweets of the Redis at *url* to *tree*; returns what is to be said about them, a sentence each.

    Times there have no zone: they are of *zone*, or of this machine's. Raises CannotOpen, ImportRefused.
    """
    try:
        client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except (ValueError, TypeError) as error:
        raise CannotOpen(f"The URL of the Redis to import from cannot be used ({error}).") from error
    try:
        read = _read_all(client, zone, now_ms + DAY_MS)
        _cut_circles(read)
        order = _ordered(read, now_ms)
        _count(read, order)
        values = _values(client, [key.encode(errors="surrogateescape") for key in order])
        for done, (key, value) in enumerate(values, 1):
            _add(tree, key, read.tweets[key], value, texts)
            on_progress(done)
    except RedisError as error:
        raise CannotOpen(f"The Redis to import from does not answer as it should ({error}).") from error
    finally:
        client.close()
    return read.said


def _read_all(client: Redis, zone: tzinfo | None, latest_ms: int) -> Original:
    """All tweets, their parents among each other; phantoms are left out."""
    read, others, orphans, unreadable, large = Original(), 0, 0, 0, 0
    for key, value in _values(client, list(set(client.scan_iter(count=AT_ONCE)))):
        if value is None:
            others += 1
            continue
        time_ms, count, parent = _time(value["created_at"], zone, latest_ms), value["count_retweet"], value["retweet"]
        unreadable += time_ms is None
        count = max(count, 0) if isinstance(count, int) else 0
        large += count > LARGEST_BASE
        is_blank = value["user_name"] == "anonymous" and value["title"] is None and value["body"] is None
        named = parent if isinstance(parent, str) else str(parent or "")
        read.tweets[key] = _Tweet(named or None, time_ms, min(count, LARGEST_BASE), is_blank)
    for tweet in read.tweets.values():
        if tweet.parent is not None and tweet.parent not in read.tweets:
            tweet.parent = None
            tweet.is_blank = False
            orphans += 1
    parents = {tweet.parent for tweet in read.tweets.values()}
    phantoms = [key for key, tweet in read.tweets.items() if tweet.is_blank and not tweet.parent and key not in parents]
    for key in phantoms:
        del read.tweets[key]
    for number, sentence in (
        (others, "{} values are no tweets, and are left out."),
        (len(phantoms), "{} phantoms (anonymous, without a text, retweeted by no tweet) are left out."),
        (orphans, "{} tweets retweet one that is not there: they are originals now."),
        (unreadable, "{} times cannot be read: these tweets have the time of the one they retweet, or of now."),
        (large, f"{{}} counts are above {LARGEST_BASE:,}, and are that now."),
    ):
        if number:
            read.said.append(sentence.format(f"{number:,}"))
    return read


def _values(client: Redis, keys: Sequence[bytes]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each of *keys* with its value, None for one that is no tweet."""
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        for key, content in zip(some, client.mget(some), strict=True):
            try:
                value = json.loads(content or b"")
            except (ValueError, RecursionError):
                value = None
            is_tweet = isinstance(value, dict) and value.keys() >= FIELDS
            yield key.decode(errors="surrogateescape"), value if is_tweet else None


def _time(value: Any, zone: tzinfo | None, latest_ms: int) -> int | None:
    """Milliseconds since 1970 of `str(datetime.now())`; None for what cannot be that."""
    try:
        time = datetime.fromisoformat(value)
        time_ms = int((time if time.tzinfo else time.replace(tzinfo=zone)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
    return time_ms if 0 <= time_ms <= latest_ms else None


def _cut_circles(read: Original) -> None:
    """Make an original of the oldest tweet of each circle."""
    walked: dict[str, int] = {}
    for number, start in enumerate(read.tweets):
        path: list[str] = []
        key: str | None = start
        while key is not None and key not in walked:
            walked[key] = number
            path.append(key)
            key = read.tweets[key].parent
        if key is None or walked[key] != number:
            continue
        circle = path[path.index(key) :]
        oldest = min(circle, key=lambda each: (read.tweets[each].time_ms or 0, each))
        read.tweets[oldest].parent = None
        read.said.append(f"{len(circle):,} tweets retweet each other in a circle: {oldest} is an original now.")


def _ordered(read: Original, now_ms: int) -> list[str]:
    """All keys by time, each parent before its retweets, whatever its time."""
    for start in read.tweets:
        path: list[_Tweet] = []
        key: str | None = start
        while key is not None and read.tweets[key].depth < 0:
            path.append(read.tweets[key])
            key = read.tweets[key].parent
        above = None if key is None else read.tweets[key]
        for tweet in reversed(path):
            if tweet.time_ms is None:
                tweet.time_ms = now_ms if above is None else above.time_ms
            tweet.depth = 0 if above is None else above.depth + 1
            tweet.sort_ms = max(tweet.time_ms or 0, 0 if above is None else above.sort_ms)
            above = tweet
    return sorted(read.tweets, key=lambda key: (read.tweets[key].sort_ms, read.tweets[key].depth, key))


def _count(read: Original, order: list[str]) -> None:
    """Count what is below each tweet, and say what the counts of the old service lack."""
    lost = tweets = 0
    for key in reversed(order):
        tweet = read.tweets[key]
        if tweet.parent is not None:
            read.tweets[tweet.parent].below += tweet.below + 1
        if tweet.count < tweet.below:
            lost += tweet.below - tweet.count
            tweets += 1
    if lost:
        sentence = f"{lost:,} increments were lost by the old service, in {tweets:,} tweets; they are counted now."
        read.said.append(sentence)


def _add(tree: ImportTree, key: str, tweet: _Tweet, value: dict[str, Any] | None, texts: Texts) -> None:
    """Add a tweet whose parent was added before. Raises ImportRefused."""
    name = key.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if value is None:
        raise ImportRefused(0, "it was changed while it was read: stop the old service first.", name)
    parent = tweet.parent and tweet.parent.encode(errors="surrogateescape").decode(errors="backslashreplace")
    try:
        made = texts(value["user_name"], value["title"], value["body"])
    except ValueError as error:
        raise ImportRefused(0, str(error), name) from error
    base = max(0, tweet.count - tweet.below)
    tree.add(ImportRow(0, name, parent, tweet.time_ms or 0, *made, base))
