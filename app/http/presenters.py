"""
What the templates are given: plain values, worked out here so that a template only formats.

Ages are coarse, one step a minute at the finest: so the page of an unchanged ranking stays the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.http.schemas import is_visible, timestamp
from storage import ids
from storage.records import Tweet

_MINUTE_MS = 60_000
_HOUR_MIN = 60
_DAY_MIN = 24 * _HOUR_MIN

_EXCERPT_LENGTH = 480
"""Characters of a body that a list shows: about seven lines; the tweet's own page has all of it."""

_EXCERPT_LINES = 7


@dataclass(frozen=True, slots=True)
class Row:
    """
    A tweet as a template shows it; a deleted one has no `user_name`, `title` and `body`, any other has a title to see.

    `more` when `body` is only its beginning. `count` is written with separators, as in "1,204"; `share` is that count
    in percent of the greatest of the list. `parent` is the id of the tweet it retweets, "" for none, and `parent_name`
    that one's author, "" when it was deleted. `received` is what it received in a window, as in "412 today", "" where
    none is asked for; then `share` is of that, and `count` is "" when it is not known.
    """

    id: str
    rank: int
    user_name: str | None
    title: str | None
    body: str | None
    more: bool
    count: str
    share: int
    created_at: str
    age: str
    parent: str
    parent_name: str
    received: str = ""


def rows_of_window(
    tweets: Sequence[Tweet], received: Mapping[int, int], during: str, names: Mapping[int, str | None], now_ms: int
) -> list[Row]:
    """The rows of the top of a window: of *received*, by the ids of *tweets*, as in "412 today"."""
    greatest = max(received.values(), default=0) or 1
    return [
        replace(
            row,
            count="" if tweet.count_retweet is None else row.count,
            share=round(100 * received[tweet.id] / greatest),
            received=f"{received[tweet.id]:,} {during}".rstrip(),
        )
        for row, tweet in zip(rows(tweets, names, now_ms), tweets, strict=True)
    ]


def rows(tweets: Sequence[Tweet], names: Mapping[int, str | None], now_ms: int, *, whole: int = 0) -> list[Row]:
    """
    The rows of *tweets*, ranked from 1 as they come; *names* has the authors of their parents.

    The first *whole* of them show all of their body, the others its beginning.
    """
    greatest = max((tweet.count_retweet or 0 for tweet in tweets), default=0) or 1
    return [
        _row(tweet, rank, names, now_ms, greatest, excerpt_only=rank > whole)
        for rank, tweet in enumerate(tweets, start=1)
    ]


def _row(
    tweet: Tweet, rank: int, names: Mapping[int, str | None], now_ms: int, greatest: int, *, excerpt_only: bool
) -> Row:
    body = tweet.body or ""
    shown = excerpt(body) if excerpt_only else body
    return Row(
        id=ids.encode(tweet.id),
        rank=rank,
        user_name=tweet.user_name,
        title=None if tweet.title is None else readable(tweet.title),
        body=shown,
        more=len(shown) < len(body),
        count=f"{tweet.count_retweet or 0:,}",
        share=round(100 * (tweet.count_retweet or 0) / greatest),
        created_at=timestamp(tweet.created_at),
        age=age(tweet.created_at, now_ms),
        parent="" if tweet.retweet is None else ids.encode(tweet.retweet),
        parent_name="" if tweet.retweet is None else names.get(tweet.retweet) or "",
    )


def readable(title: str) -> str:
    """*title*, or "Untitled" when there is nothing in it that one could see, and click."""
    return title if is_visible(title) else "Untitled"


def excerpt(body: str) -> str:
    """The beginning of *body*: at most 7 lines and 480 characters, ended between words where it can; else all of it."""
    lines = body.split("\n", _EXCERPT_LINES)
    text = "\n".join(lines[:_EXCERPT_LINES])
    if len(text) <= _EXCERPT_LENGTH:
        return text
    text = text[:_EXCERPT_LENGTH]
    space = text.rfind(" ", _EXCERPT_LENGTH // 2)
    return text if space < 0 else text[:space]


def age(time_ms: int, now_ms: int) -> str:
    """
    How long ago that was, for people: minutes, hours, days; a date when it is more than 30 days.

    As on clocks that show no seconds: what was posted at 11:59 is a minute old at 12:00. So an age stays the same until
    the minute ends, and is less than a minute off.
    """
    passed_min = now_ms // _MINUTE_MS - time_ms // _MINUTE_MS
    if passed_min < 1:
        return "just now"
    if passed_min < _HOUR_MIN:
        return f"{passed_min} min ago"
    if passed_min < _DAY_MIN:
        return f"{passed_min // _HOUR_MIN} h ago"
    if passed_min < 30 * _DAY_MIN:
        return f"{passed_min // _DAY_MIN} d ago"
    then = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{then.day} {then:%b %Y}"
