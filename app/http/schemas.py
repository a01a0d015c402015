r"""
The bodies: the types that check what comes in, and a tweet as it goes out.

`openapi.json` describes them, with all other responses; tests hold it against these types and against what is sent. A
pattern ends in `\Z` here, for `$` would let a newline pass; there it is `$`, which is the end in its dialect.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal
from unicodedata import category

import msgspec
from msgspec import Meta

from storage import ids, records

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

UserName = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=_USER_NAME.pattern)]
Title = Annotated[str, Meta(min_length=1, max_length=280, pattern=r"^(?=\s*\S)[^\x00-\x1F\x7F-\x9F\u2028\u2029]*\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^(?=\s*\S)[^\x00-\x08\x0B-\x1F\x7F-\x9F]*\Z")]
Base = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
Count = Annotated[int, Meta(ge=0, le=records.LARGEST_COUNT)]
TweetId = Annotated[str, Meta(pattern=ids.PATTERN.replace("$", r"\Z"))]
Target = Annotated[str, Meta(pattern=r"^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{12}\Z")]


class NewTweet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tweet to post."""

    rules: ClassVar[Mapping[str, str]] = RULES | {"retweet": "null or empty, for an original names no parent"}

    user_name: UserName
    title: Title
    body: Text
    retweet: Literal[""] | None = None
    count_retweet: Base | None = None


class NewRetweet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A retweet to post; a title or body that is left out, or null, is the target's."""

    rules: ClassVar[Mapping[str, str]] = RULES

    user_name: UserName
    retweet: Target
    title: Title | None = None
    body: Text | None = None
    count_retweet: Base | None = None


class Tweet(msgspec.Struct, frozen=True):
    """
    A tweet in a response; `retweet` is the id of its parent, null for an original.

    Of a deleted one `id`, `retweet` and `created_at` remain, the other four are null.
    """

    user_name: UserName | None
    title: Title | None
    body: Text | None
    retweet: TweetId | None
    count_retweet: Count | None
    id: TweetId
    created_at: str


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the log: either `posted`, whose count is the one it was posted with, or `deleted`."""

    partition: Annotated[int, Meta(ge=0, le=1023)]
    seq: Annotated[int, Meta(ge=1)]
    posted: Tweet | None = None
    deleted: TweetId | None = None


class ChangeList(msgspec.Struct, frozen=True):
    """A page of the log, in order within each partition; without `changes` the reader is up to date."""

    changes: Sequence[Change]
    next: str


def tweet_of(tweet: records.Tweet) -> Tweet:
    """*tweet* as a response has it."""
    return Tweet(
        tweet.user_name,
        tweet.title,
        tweet.body,
        None if tweet.retweet is None else ids.encode(tweet.retweet),
        tweet.count_retweet,
        ids.encode(tweet.id),
        timestamp(tweet.created_at),
    )


def list_of(page: records.Page) -> dict[str, Any]:
    """The body of a page of a list, or of a part of a chain; `next` is the `cursor` of the page after it."""
    return {
        "tweets": [tweet_of(tweet) for tweet in page.tweets],
        "next": None if page.next is None else ids.encode(page.next),
    }


def timestamp(time_ms: int) -> str:
    """`2026-11-22T20:55:01.123Z` for milliseconds since 1970."""
    seconds, rest_ms = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{rest_ms:03}Z"


@lru_cache(maxsize=4096)  # the tweets that are read most were posted in few different seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def is_visible(text: str) -> bool:
    """Whether there is a character in *text* that a reader sees."""
    return any(
        character not in _BLANKS and category(character) not in {"Cc", "Cf", "Zl", "Zp", "Zs"} for character in text
    )


def names_user(text: str) -> bool:
    """Whether *text* can be the name of a user."""
    return len(text) <= LONGEST_NAME and _USER_NAME.search(text) is not None
