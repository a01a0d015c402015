"""
The routes that explore the log: the tops of windows, cascades, the change feed. None of them needs the index.

What reads many rows runs in the pool, or in the thread of `storage.kept`.
"""

import re
import time
from datetime import datetime
from urllib.parse import parse_qsl

from bottle import Bottle, request

from app.deferred import Pool, Response, defer
from app.http.requests import CURSOR_FAULT, Rule, find_id, limit_rule, parse_id, read_parameters, refuse_query
from app.http.responses import Tagged, encode, link_to_next
from app.http.schemas import (
    CascadeShape,
    Change,
    ChangedTweet,
    ChangeList,
    Descendant,
    DescendantList,
    ReceivedTweet,
    UserReceived,
    WindowTop,
    WindowUsers,
    seven_of,
    timestamp,
)
from storage import ids, windows
from storage.errors import CursorUnknown
from storage.records import Place
from storage.tweets import Tweets
from storage.windows import Window

TOP_LIMIT = 10
PAGE_LIMIT = 100
LARGEST_PAGE = 1000

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOWS_MS = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS, "year": 365 * DAY_MS}
UNITS_MS = {"h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
WINDOW_PATTERN = (
    "^(hour|day|week|month|year"
    "|([1-9][0-9]{0,2}|[1-7][0-9]{3}|8[0-6][0-9]{2}|87[0-7][0-9]|878[0-4])h"
    "|([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-6])d"
    "|([1-9]|[1-4][0-9]|5[0-2])w)$"
)
"""A window: at most 366 days."""
_WINDOW = re.compile(WINDOW_PATTERN.strip("^$"))
_UNTIL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}(:00(:00(\.0{1,6})?)?)?(Z|[+-][0-9]{2}:[0-9]{2})")


def parse_window(text: str) -> tuple[str, int] | None:
    """*text* and the milliseconds that it means: `day`, `month` (30 days), `year` (365), `36h`, `3d`, `2w`."""
    if not _WINDOW.fullmatch(text):
        return None
    return text, WINDOWS_MS.get(text) or int(text[:-1]) * UNITS_MS[text[-1]]


def parse_until(text: str) -> int | None:
    """The milliseconds since 1970 of a whole hour that has begun, in ISO 8601 with its zone."""
    try:
        seconds = int(datetime.fromisoformat(text).timestamp()) if _UNTIL.fullmatch(text) else -1
    except (ValueError, OverflowError):
        return None
    return seconds * 1000 if 0 <= seconds <= time.time() and seconds % 3600 == 0 else None


WINDOW = {
    "window": Rule(parse_window, "Must be hour, day, week, month, year, or a number of h, d or w, at most 366 days."),
    "until": Rule(parse_until, "Must be a whole hour in ISO 8601 with its zone, and not in the future."),
    "limit": limit_rule(windows.USERS_KEPT),
    "cursor": Rule(lambda _: None, "The top of a window has one page."),
}


SHAPES_WAITING = 16
"""Shapes of cascades that may wait. They are computed one at a time: each takes up to 0.5 s of processor and 17 MB."""


def mount(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    """Add the routes to *app*, but for that of a window's top: see `get_window_top`."""

    @app.get("/api/v1/top/users")
    def get_top_users() -> Response:
        """The users whose tweets received most in a window."""
        asked = read_parameters(WINDOW, needed="window")
        (text, length_ms), limit = asked["window"], asked.get("limit", TOP_LIMIT)

        def show(top: tuple[Window, list[windows.UserReceived]]) -> Response:
            users = [UserReceived(*user) for user in top[1][:limit]]
            return Tagged(encode(WindowUsers(text, *ends_of(top[0]), users))).response()

        return defer(tweets.windows.top_users(length_ms, asked.get("until")), show)

    shapes = Pool(1, SHAPES_WAITING)

    @app.get("/api/v1/tweet/<tweet_id>/cascade")
    def get_cascade(tweet_id: str) -> Response:
        """The shape of a cascade, also of that of a deleted tweet."""
        return defer(shapes.submit(_encode_cascade, tweets, parse_id(tweet_id)), Tagged.response)

    @app.get("/api/v1/tweet/<tweet_id>/descendants")
    def list_descendants(tweet_id: str) -> Response:
        """The tweets below one, in pre-order."""
        asked = read_parameters({"limit": limit_rule(LARGEST_PAGE), "cursor": Rule(find_id, CURSOR_FAULT.detail)})
        limit, after = asked.get("limit", PAGE_LIMIT), asked.get("cursor")
        encoded = pool.submit(_encode_descendants, tweets, parse_id(tweet_id), limit, after)
        return defer(encoded, lambda page: page[0].response(link_to_next(limit, page[1])))

    @app.get("/api/v1/changes")
    def list_changes() -> Response:
        """A page of the log."""
        asked = read_parameters({"limit": limit_rule(LARGEST_PAGE), "cursor": Rule(str, CURSOR_FAULT.detail)})
        limit, cursor = asked.get("limit", PAGE_LIMIT), asked.get("cursor")
        encoded = pool.submit(_encode_changes, tweets, cursor, limit)
        return defer(encoded, lambda page: page[0].response(link_to_next(limit, page[1])))


def is_window_asked() -> bool:
    """Whether the request is for the top of a window: it has a parameter that only such a one has."""
    query = request.environ.get("QUERY_STRING")
    return bool(query) and any(name in {"window", "until"} for name, _ in parse_qsl(query, keep_blank_values=True))


def get_window_top(tweets: Tweets, pool: Pool) -> Response:
    """The tweets that received most in the window that the request names."""
    asked = read_parameters(WINDOW, needed="window")
    (text, length_ms), limit = asked["window"], asked.get("limit", TOP_LIMIT)

    def encoded(window: Window, places: list[Place]) -> Tagged:
        received = {place.id: place.count_retweet for place in places}
        found = tweets.list_live([*received], limit)
        listed = [ReceivedTweet(*(*seven_of(tweet), received[tweet.id])) for tweet in found]
        return Tagged(encode(WindowTop(text, *ends_of(window), listed, None)))

    return defer(
        tweets.windows.top(length_ms, asked.get("until")),
        lambda top: defer(pool.submit(encoded, *top), Tagged.response),
    )


def ends_of(window: Window) -> tuple[str, str]:
    """The two ends of *window* as the API says them."""
    return timestamp(max(window.since_ms, 0)), timestamp(window.until_ms)


def _encode_cascade(tweets: Tweets, tweet_id: int) -> Tagged:
    found = tweets.get_cascade(tweet_id)
    shape = CascadeShape(
        size=len(found.nodes),
        deleted=found.deleted,
        depth=len(found.breadths) - 1,
        max_breadth=max(found.breadths),
        breadths=found.breadths,
        structural_virality=found.structural_virality,
        base=found.base,
        count_retweet=found.count_retweet,
    )
    return Tagged(encode(shape))


def _encode_descendants(tweets: Tweets, tweet_id: int, limit: int, after: int | None) -> tuple[Tagged, str | None]:
    try:
        found = tweets.list_descendants(tweet_id, limit + 1, after)
    except CursorUnknown:
        raise refuse_query([CURSOR_FAULT]) from None
    listed = [
        Descendant(ids.encode(each.id), ids.encode(each.parent), each.user_name, timestamp(each.created_at), each.depth)
        for each in found[:limit]
    ]
    following = listed[-1].id if len(found) > limit else None
    return Tagged(encode(DescendantList(listed, following))), following


def _encode_changes(tweets: Tweets, cursor: str | None, limit: int) -> tuple[Tagged, str | None]:
    try:
        page = tweets.list_changes(cursor, limit)
    except CursorUnknown:
        raise refuse_query([CURSOR_FAULT]) from None
    listed = []
    for partition, entry in page.changes:
        tweet_id = ids.encode(entry.id)
        if entry.sign < 0:
            listed.append(Change(partition, entry.seq, deleted=tweet_id))
            continue
        parent = None if entry.parent is None else ids.encode(entry.parent)
        texts = (entry.user_name, entry.title, entry.body)
        posted = ChangedTweet(*texts, parent, entry.base, tweet_id, timestamp(entry.created_at))
        listed.append(Change(partition, entry.seq, posted))
    return Tagged(encode(ChangeList(listed, page.next))), page.next if listed else None
