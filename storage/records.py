"""
What storage speaks of: tweets, pages of them, the ranking and its order.

All are immutable. An id is an integer here (see `storage.ids`); a time is in milliseconds since 1970, UTC.
"""

from dataclasses import dataclass
from typing import NamedTuple

LARGEST_COUNT = 2**53
"""Up to here a count is exact in Redis (see ZADD, on its range of integers) and in JSON (RFC 8259, section 6)."""


@dataclass(frozen=True, slots=True)
class NewTweet:
    """
    A tweet to be posted, checked by the caller.

    `title` and `body` are None only in a retweet, and then mean the target's. `base` is the count it starts with, 0 to
    1,000,000,000,000. `key` is the caller's idempotency key, unique among those of one `user_name`.
    """

    user_name: str
    title: str | None
    body: str | None
    retweet: int | None = None
    base: int = 0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Tweet:
    """
    A tweet as it stands; a deleted one is a tombstone, in which four fields are None.

    `retweet` is the id of its parent, None for a root. `created_at` is in milliseconds since 1970, UTC.
    `count_retweet` is exact up to 2**53.
    """

    id: int
    user_name: str | None
    title: str | None
    body: str | None
    retweet: int | None
    count_retweet: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Posted:
    """The tweet that was posted; `replayed` when an earlier call with the same idempotency key had posted it."""

    tweet: Tweet
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some tweets, newest first; `next` is the id after which the next page starts, None at the end."""

    tweets: tuple[Tweet, ...]
    next: int | None


class Place(NamedTuple):
    """
    A place in the ranking. A greater place ranks higher: by count, and of equal counts the newer tweet.

    This is the ranking order, written once; it equals Redis' order of (score, member) because member text and id rise
    together (see `storage.ids`).
    """

    count_retweet: int
    id: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """
    Tweets by falling place; `next` is the place after which the next page starts, None at the end.

    `above` is how many tweets rank above the page. `stale` when the index could not be asked, and this is the last
    answer known.
    """

    tweets: tuple[Tweet, ...]
    next: Place | None
    stale: bool = False
    above: int = 0


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a tweet stands: `rank` from 1 to `total`, the number of tweets in the ranking."""

    rank: int
    count_retweet: int
    total: int
