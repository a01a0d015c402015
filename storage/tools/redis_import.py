"""
The way in from the original: a Flask application that kept each tweet in Redis, as a JSON string under its id.

The counts there were kept by hand and could be lost, so they are not believed: what a tweet has below it is counted by
the log, and what its stored count has beyond that becomes its base. Nothing is written to that Redis. While it is read
it must not change; in memory a tweet takes some 600 bytes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from storage.errors import CannotOpen, clause
from storage.tools.import_export import DAY_MS, ImportRow, refusal

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
    """A tweet there; `time_ms` is None where it cannot be read."""

    parent: str | None
    time_ms: int | None
    count: int
    is_blank: bool
    below: int = 0


def read_original(url: str, zone: tzinfo | None, now_ms: int, texts: Texts, said: list[str]) -> Iterator[ImportRow]:
    """
    All tweets of the Redis at *url*, by time, parents first; *said* gets what is to be said of them, a sentence each.

    Times there have no zone: they are of *zone*, or of this machine's. Raises CannotOpen, ToolRefused.
    """
    try:
        client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except (ValueError, TypeError) as error:
        raise CannotOpen(f"The URL of the Redis to import from cannot be used ({clause(error)}).") from error
    try:
        tweets = _read_all(client, zone, now_ms + DAY_MS, said)
        order = _order(tweets, now_ms, said)
        _count(tweets, order, said)
        for name, value in _values(client, [key.encode() for key in order]):
            tweet = tweets[name]
            if value is None:
                raise refusal(0, "it was changed while it was read: stop the old service first.", name)
            try:
                made = texts(value["user_name"], value["title"], value["body"])
            except ValueError as error:
                raise refusal(0, str(error), name) from error
            yield ImportRow(0, name, tweet.parent, tweet.time_ms or 0, *made, max(0, tweet.count - tweet.below))
    except RedisError as error:
        raise CannotOpen(f"The Redis to import from does not answer as it should ({clause(error)}).") from error
    finally:
        client.close()


def _read_all(client: Redis, zone: tzinfo | None, latest_ms: int, said: list[str]) -> dict[str, _Tweet]:
    """All tweets by key, their parents among each other; phantoms are left out."""
    tweets, others, orphans, unreadable, large = dict[str, _Tweet](), 0, 0, 0, 0
    for key, value in _values(client, list(set(client.scan_iter(count=AT_ONCE)))):
        if value is None:
            others += 1
            continue
        time_ms, count, parent = _time(value["created_at"], zone, latest_ms), value["count_retweet"], value["retweet"]
        unreadable += time_ms is None
        count = max(count, 0) if isinstance(count, int) else 0
        large += count > LARGEST_BASE
        is_blank = value["user_name"] == "anonymous" and value["title"] is None and value["body"] is None
        tweets[key] = _Tweet(str(parent or "") or None, time_ms, min(count, LARGEST_BASE), is_blank)
    for tweet in tweets.values():
        if tweet.parent is not None and tweet.parent not in tweets:
            tweet.parent = None
            tweet.is_blank = False
            orphans += 1
    parents = {tweet.parent for tweet in tweets.values()}
    phantoms = [key for key, tweet in tweets.items() if tweet.is_blank and not tweet.parent and key not in parents]
    for key in phantoms:
        del tweets[key]
    sentences = (
        (others, "{} values are no tweets, and are left out."),
        (len(phantoms), "{} phantoms (anonymous, without a text, retweeted by no tweet) are left out."),
        (orphans, "{} tweets retweet one that is not there: they are originals now."),
        (unreadable, "{} times cannot be read: these tweets have the time of the one they retweet, or of now."),
        (large, f"{{}} counts are above {LARGEST_BASE:,}, and are that now."),
    )
    said += [sentence.format(f"{number:,}") for number, sentence in sentences if number]
    return tweets


def _values(client: Redis, keys: Sequence[bytes]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each of *keys* with its value, None for one that is no tweet."""
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        for key, content in zip(some, client.mget(some), strict=True):
            try:
                value = json.loads(content or b"")
            except (ValueError, RecursionError):
                value = None
            name = key.decode(errors="replace")
            is_tweet = isinstance(value, dict) and value.keys() >= FIELDS and name.encode() == key
            yield name, value if is_tweet else None


def _time(value: Any, zone: tzinfo | None, latest_ms: int) -> int | None:
    """Milliseconds since 1970 of `str(datetime.now())`; None for what cannot be that."""
    try:
        time = datetime.fromisoformat(value)
        time_ms = int((time if time.tzinfo else time.replace(tzinfo=zone)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
    return time_ms if 0 <= time_ms <= latest_ms else None


def _order(tweets: dict[str, _Tweet], now_ms: int, said: list[str]) -> list[str]:
    """All keys by time, each parent before its retweets, whatever its time. The oldest of a circle is an original."""
    times: dict[str, int] = {}  # of each tweet, or that of one above it where that is later; parents come first
    for start in sorted(tweets):
        path: dict[str, None] = {}
        key: str | None = start
        while key is not None and key not in times:
            if key in path:
                circle = [*path][[*path].index(key) :]
                oldest = min(circle, key=lambda each: (tweets[each].time_ms or 0, each))
                tweets[oldest].parent = None
                said.append(f"{len(circle):,} tweets retweet each other in a circle: {oldest} is an original now.")
                path, key = {}, start
            path[key] = None
            key = tweets[key].parent
        for each in reversed(path):
            tweet = tweets[each]
            above = None if tweet.parent is None else tweets[tweet.parent]
            if tweet.time_ms is None:
                tweet.time_ms = now_ms if above is None else above.time_ms
            times[each] = max(tweet.time_ms or 0, times[tweet.parent] if tweet.parent is not None else 0)
    return sorted(times, key=times.__getitem__)


def _count(tweets: dict[str, _Tweet], order: Sequence[str], said: list[str]) -> None:
    """Count what is below each tweet, and say what the counts of the old service lack."""
    lost = lacking = 0
    for key in reversed(order):
        tweet = tweets[key]
        if tweet.parent is not None:
            tweets[tweet.parent].below += tweet.below + 1
        if tweet.count < tweet.below:
            lost += tweet.below - tweet.count
            lacking += 1
    if lost:
        said.append(f"{lost:,} increments were lost by the old service, in {lacking:,} tweets; they are counted now.")
