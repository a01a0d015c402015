"""
What the templates are given: plain values, worked out here so that a template only formats.

Ages are coarse, one step a minute at the finest: so the page of an unchanged ranking stays the same bytes.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

from app.http.schemas import is_visible, timestamp
from storage import ids
from storage.records import Tweet

_MINUTE_MS = 60_000
_HOUR_MIN = 60
_DAY_MIN = 24 * _HOUR_MIN

_EXCERPT_LENGTH = 480
"""Characters of a body that a list shows: about seven lines; the tweet's own page has all of it."""

_EXCERPT_LINES = 7

_COMPACT_TITLE = 90
"""Characters of a title in a row of one line."""


def rows(
    tweets: Sequence[Tweet],
    parents: Mapping[int, Tweet],
    now_ms: int,
    *,
    first: int = 1,
    target: int | None = None,
    received: Mapping[int, int] | None = None,
    during: str = "",
) -> list[SimpleNamespace]:
    """
    The rows of *tweets*, ranked from *first* as they come; *parents* has the tweets that they retweet, by id.

    Of equal texts only the first is shown in full. A *target* is never compact, and all of its text is shown, once.
    In the top of a window *received* has what each received, by id, and *during* says when, as in "today".

    A deleted tweet has no `user_name`, `title` and `body`; any other has a title to see. `compact` when its words are
    those of its parent, or of a tweet above it in the list: then one line is enough. `more` when `body` is only its
    beginning. `count` is written with separators, as in "1,204", "" when it is not known; `share` is that count in
    percent of the greatest of the list. `parent` is the id of the tweet it retweets, "" for none, and `parent_name`
    that one's author, "" when it was deleted. `received` is what it received in a window, as in "412 today", "" where
    none is asked for; then `share` is of that.
    """
    counts = [received[tweet.id] if received else tweet.count_retweet or 0 for tweet in tweets]
    greatest = max(counts, default=0) or 1
    whole = next(((tweet.title, tweet.body) for tweet in tweets if tweet.id == target), None)
    shown: set[tuple[str | None, str | None]] = set()
    made = []
    for rank, (tweet, count) in enumerate(zip(tweets, counts, strict=True), start=first):
        text, body = (tweet.title, tweet.body), tweet.body or ""
        parent = parents.get(tweet.retweet) if tweet.retweet is not None else None
        is_repeated = text in shown or (parent is not None and (parent.title, parent.body) == text)
        is_compact = is_repeated and tweet.user_name is not None and tweet.id != target
        if tweet.id == target and text in shown:
            body = ""
        if not is_compact:
            shown.add(text)
        title = "Untitled" if tweet.title and not is_visible(tweet.title) else tweet.title
        summary = body if text == whole else excerpt(body)
        made.append(
            SimpleNamespace(
                id=ids.encode(tweet.id),
                rank=rank,
                user_name=tweet.user_name,
                title=_shorten(title, _COMPACT_TITLE) if title and is_compact else title,
                body=summary,
                compact=is_compact,
                more=len(summary) < len(body),
                count="" if tweet.count_retweet is None else f"{tweet.count_retweet:,}",
                share=round(100 * count / greatest),
                created_at=timestamp(tweet.created_at),
                date=f"{timestamp(tweet.created_at)[:16].replace('T', ' ')} UTC",
                age=age(tweet.created_at, now_ms),
                parent="" if tweet.retweet is None else ids.encode(tweet.retweet),
                parent_name=(parent and parent.user_name) or "",
                received=f"{count:,} {during}".rstrip() if received else "",
            )
        )
    return made


def excerpt(body: str) -> str:
    """The beginning of *body*: at most 7 lines and 480 characters, ended between words where it can; else all of it."""
    lines = body.split("\n", _EXCERPT_LINES)
    text = "\n".join(lines[:_EXCERPT_LINES])
    if len(text) <= _EXCERPT_LENGTH:
        return text
    return _shorten(text, _EXCERPT_LENGTH, mark="")


def _shorten(text: str, length: int, mark: str = "\u2026") -> str:
    """*text*, or its first *length* characters at most, ended between words where it can, and *mark*."""
    if len(text) <= length:
        return text
    space = text.rfind(" ", length // 2, length)
    return text[: length if space < 0 else space] + mark


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
