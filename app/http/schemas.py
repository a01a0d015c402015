r"""
The bodies, in and out: one set of types that checks what comes, encodes what goes, and from which OpenAPI is made.

A pattern ends in `\Z` here, for `$` would let a newline pass; OpenAPI gets `$`, which is the end in its dialect.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal
from unicodedata import category

import msgspec
from msgspec import Meta

from app.errors import Problem
from storage import ids, records

LARGEST_BASE = 1_000_000_000_000

RULES = {
    "user_name": "1 to 64 ASCII letters, digits, `_`, `.` or `-`, not dots alone",
    "title": "1 to 280 characters on one line, one of them visible, without control characters",
    "body": "1 to 10,000 characters, one of them visible, without control characters but newline and tab",
    "count_retweet": "an integer from 0 to 1,000,000,000,000",
    "retweet": "the id of a tweet: 13 characters of Crockford's base32",
}
"""What each field must be, in the words of the response that refuses it."""

LONGEST_NAME = 64
_USER_NAME = re.compile(r"^(?!\.+\Z)[A-Za-z0-9_.-]+\Z")  # clients resolve `..` in a path before they send it

_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0").union(
    map(chr, range(0xFE00, 0xFE10)), map(chr, range(0xE0100, 0xE01F0))
)
"""Empty letters, marks and signs, which Unicode counts as no spaces: fillers, joiners, selectors, blank Braille."""

UserName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=_USER_NAME.pattern,
        description=RULES["user_name"],
        examples=["ada"],
    ),
]
Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=280,
        pattern=r"^(?=\s*\S)[^\x00-\x1F\x7F-\x9F\u2028\u2029]*\Z",
        description=RULES["title"],
        examples=["On counting"],
    ),
]
Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=10_000,
        pattern=r"^(?=\s*\S)[^\x00-\x08\x0B-\x1F\x7F-\x9F]*\Z",
        description=RULES["body"],
        examples=["We count them all."],
    ),
]
Base = Annotated[int, Meta(ge=0, le=LARGEST_BASE)]
Count = Annotated[int, Meta(ge=0, le=records.LARGEST_COUNT)]
TweetId = Annotated[str, Meta(pattern=ids.PATTERN.replace("$", r"\Z"), examples=["0CZ3K8M4T0R00"])]
Target = Annotated[
    str,
    Meta(
        pattern=r"^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{12}\Z",
        description=RULES["retweet"],
        examples=["0CZ3K8M4T0R00"],
    ),
]
Time = Annotated[
    str,
    Meta(
        description="ISO 8601, UTC, with milliseconds",
        examples=["2026-11-22T20:55:01.123Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
BaseOrNull = Annotated[Base | None, Meta(description="The count it starts with, kept as its base; null is 0.")]


class NewTweet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tweet to post."""

    rules: ClassVar[Mapping[str, str]] = RULES | {"retweet": "null or empty, for an original names no parent"}
    example: ClassVar[Mapping[str, str]] = {
        "user_name": "ada",
        "title": "On counting",
        "body": "We count them all.",
    }
    """What Swagger UI sends; without it, it makes up a value for each field that may be left out."""

    user_name: UserName
    title: Title
    body: Text
    retweet: Annotated[Literal[""] | None, Meta(description="An original names no parent: null or empty.")] = None
    count_retweet: BaseOrNull = None


class NewRetweet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A retweet to post; a title or body that is left out, or null, is the target's."""

    rules: ClassVar[Mapping[str, str]] = RULES
    example: ClassVar[Mapping[str, str]] = {"user_name": "ada", "retweet": "0CZ3K8M4T0R00"}

    user_name: UserName
    retweet: Target
    title: Title | None = None
    body: Text | None = None
    count_retweet: BaseOrNull = None


class Tweet(msgspec.Struct, frozen=True):
    """A tweet; `retweet` is the id of its parent, null for an original."""

    user_name: UserName
    title: Title
    body: Text
    retweet: TweetId | None
    count_retweet: Count
    id: TweetId
    created_at: Time


class Link(msgspec.Struct, frozen=True):
    """A tweet in a chain; of a deleted one `id`, `retweet` and `created_at` remain, the other four are null."""

    user_name: UserName | None
    title: Title | None
    body: Text | None
    retweet: TweetId | None
    count_retweet: Count | None
    id: TweetId
    created_at: Time


class ReceivedTweet(Link, frozen=True):
    """A tweet in the top of a window; `count_retweet` is null only while the index is away, for very large counts."""

    user_name: UserName
    title: Title
    body: Text
    received: Annotated[int, Meta(ge=1, description="Its live descendants that were posted in the window.")]


class Chain(msgspec.Struct, frozen=True):
    """A tweet and its ancestors: target first, root last; `next` is the `cursor` of the next page, null at the end."""

    tweets: Sequence[Link]
    next: TweetId | None


class TweetList(msgspec.Struct, frozen=True):
    """A page of tweets, newest first; `next` is the `cursor` of the page after it, null at the end."""

    tweets: Sequence[Tweet]
    next: TweetId | None


class Top(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of the ranking, count falling, newer first on ties; `stale` only when it is an older answer."""

    tweets: Sequence[Tweet]
    next: Annotated[str | None, Meta(description="The `cursor` of the page after it, null at the end.")]
    stale: bool = False


class Rank(msgspec.Struct, frozen=True):
    """The place of a tweet in the ranking, 1 to `total`."""

    rank: Annotated[int, Meta(ge=1)]
    count_retweet: Count
    total: Annotated[int, Meta(ge=1)]


class Live(msgspec.Struct, frozen=True):
    """The process lives."""

    status: Literal["ok"]


class Ready(msgspec.Struct, frozen=True):
    """Which parts answer; `lag` is how many log entries the index is behind, null when a part is away."""

    store: bool
    index: bool
    lag: Annotated[int, Meta(ge=0)] | None


class NotReady(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """A problem that also says which part is away (RFC 9457, section 3.2)."""

    store: bool
    index: bool
    lag: int | None


def is_visible(text: str) -> bool:
    """Whether there is a character in *text* that a reader sees."""
    return any(
        character not in _BLANKS and category(character) not in {"Cc", "Cf", "Zl", "Zp", "Zs"} for character in text
    )


def names_user(text: str) -> bool:
    """Whether *text* can be the name of a user."""
    return len(text) <= LONGEST_NAME and _USER_NAME.search(text) is not None


def tweet_of(tweet: records.Tweet) -> Tweet:
    """The seven keys of *tweet*, which is not a tombstone."""
    return Tweet(*seven_of(tweet))


def chain_of(page: records.Page) -> Chain:
    """The body of a part of a chain."""
    return Chain([Link(*seven_of(tweet)) for tweet in page.tweets], _cursor_after(page))


def list_of(page: records.Page) -> TweetList:
    """The body of a list."""
    return TweetList([tweet_of(tweet) for tweet in page.tweets], _cursor_after(page))


def _cursor_after(page: records.Page) -> str | None:
    return None if page.next is None else ids.encode(page.next)


def timestamp(time_ms: int) -> str:
    """`2026-11-22T20:55:01.123Z` for milliseconds since 1970."""
    seconds, rest_ms = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{rest_ms:03}Z"


@lru_cache(maxsize=4096)  # the tweets that are read most were posted in few different seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def seven_of(tweet: records.Tweet) -> tuple[Any, ...]:
    """The values of the seven keys of *tweet*, in their order."""
    return (
        tweet.user_name,
        tweet.title,
        tweet.body,
        None if tweet.retweet is None else ids.encode(tweet.retweet),
        tweet.count_retweet,
        ids.encode(tweet.id),
        timestamp(tweet.created_at),
    )


class WindowTop(msgspec.Struct, frozen=True):
    """The tweets that received most in a window, most first, newer first on ties."""

    window: str
    since: Time
    until: Time
    tweets: Sequence[ReceivedTweet]
    next: Annotated[str | None, Meta(description="Null: there is one page.")]


class UserReceived(msgspec.Struct, frozen=True):
    """A user in the top of a window; `tweets` is how many tweets received something."""

    user_name: UserName
    received: Annotated[int, Meta(ge=1, description="What the tweets of the user received from others in the window.")]
    tweets: Annotated[int, Meta(ge=1)]


class WindowUsers(msgspec.Struct, frozen=True):
    """The users whose tweets received most in a window, most first, by name on ties."""

    window: str
    since: Time
    until: Time
    users: Sequence[UserReceived]


class CascadeShape(msgspec.Struct, frozen=True):
    """The shape of a tweet with all its descendants, deleted ones too."""

    size: Annotated[int, Meta(ge=1, description="Tweets, deleted ones and the tweet itself counted.")]
    deleted: Annotated[int, Meta(ge=0, description="How many of them are deleted.")]
    depth: Annotated[int, Meta(ge=0, description="Edges from the tweet to the deepest one.")]
    max_breadth: Annotated[int, Meta(ge=1, description="The greatest of `breadths`.")]
    breadths: Annotated[Sequence[int], Meta(description="Tweets at each depth, from the tweet's own 1.")]
    structural_virality: Annotated[
        float | None, Meta(description="The mean distance over all pairs of tweets, in edges; null for a single one.")
    ]
    base: Base
    count_retweet: Annotated[
        Count | None, Meta(description="The base and the descendants that are not deleted; null for a deleted tweet.")
    ]


class Descendant(msgspec.Struct, frozen=True):
    """A tweet below another one; of a deleted one `user_name` is null."""

    id: TweetId
    retweet: TweetId
    user_name: UserName | None
    created_at: Time
    depth: Annotated[int, Meta(ge=1, description="Edges below the tweet that was asked for.")]


class DescendantList(msgspec.Struct, frozen=True):
    """A page of the tweets below one, each followed by all below it; `next` is null at the end."""

    tweets: Sequence[Descendant]
    next: TweetId | None


class ChangedTweet(Link, frozen=True):
    """A tweet as it was posted; of one that was deleted since, `user_name`, `title` and `body` are null."""

    count_retweet: Annotated[Base, Meta(description="The count it was posted with.")]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the log: either `posted` or `deleted`."""

    partition: Annotated[int, Meta(ge=0, le=1023)]
    seq: Annotated[int, Meta(ge=1, description="The number of the entry in the log of its partition, without a gap.")]
    posted: ChangedTweet | None = None
    deleted: TweetId | None = None


class ChangeList(msgspec.Struct, frozen=True):
    """A page of the log, in order within each partition; without `changes` the reader is up to date."""

    changes: Sequence[Change]
    next: Annotated[str, Meta(description="The `cursor` of the page after it, always given.")]
