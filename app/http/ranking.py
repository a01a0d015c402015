"""
The routes of the ranking: of all time, which the index answers, and the tops of windows, for which SQL is enough.

What reads many rows runs in the pool, or in the thread of `storage.kept`.
"""

import re
import time
from concurrent.futures import Future
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from bottle import Bottle, request
from msgspec import structs

from app.deferred import Deferred, Pool, Response
from app.http.requests import Rule, cursor_of, limit_rule, parse_id, parse_place, read_page, read_parameters
from app.http.responses import Tagged, encode, link_to_next, respond_json
from app.http.schemas import timestamp, tweet_of
from storage.queries import USERS_KEPT, Window, rank_tweets, rank_users, rank_window
from storage.records import Place, Ranking
from storage.tweets import Tweets

LIMIT = 10

LARGE_TEXT = 100_000
"""Characters of all bodies in a response from which it is encoded in the pool: some milliseconds of work."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOWS_MS = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS, "year": 365 * DAY_MS}
UNITS_MS = {"h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
LONGEST_WINDOW_MS = 366 * DAY_MS
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_UNTIL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}(:00(:00(\.0{1,6})?)?)?(Z|[+-][0-9]{2}:[0-9]{2})")


def parse_window(text: str) -> tuple[str, int] | None:
    """*text* and the milliseconds that it means: `day`, `month` (30 days), `year` (365), `36h`, `3d`, `2w`."""
    counted = _WINDOW.fullmatch(text)
    length_ms = int(counted[1]) * UNITS_MS[counted[2]] if counted else WINDOWS_MS.get(text, 0)
    return (text, length_ms) if 0 < length_ms <= LONGEST_WINDOW_MS else None


def parse_until(text: str) -> int | None:
    """The milliseconds since 1970 of a whole hour that has begun, in ISO 8601 with its zone."""
    try:
        seconds = int(datetime.fromisoformat(text).timestamp()) if _UNTIL.fullmatch(text) else -1
    except (ValueError, OverflowError):
        return None
    return seconds * 1000 if 0 <= seconds <= time.time() and seconds % 3600 == 0 else None


WINDOW: dict[str, Rule] = {
    "window": (parse_window, "Must be hour, day, week, month, year, or a number of h, d or w, at most 366 days."),
    "until": (parse_until, "Must be a whole hour in ISO 8601 with its zone, and not in the future."),
    "limit": limit_rule(USERS_KEPT),
    "cursor": (lambda _: None, "The top of a window has one page."),
}


def mount(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    """Add the routes to *app*."""
    shown: tuple[Ranking | None, Future[Tagged]] = (None, Future())

    def tagged(ranking: Ranking) -> Tagged:
        listed = [tweet_of(tweet) for tweet in ranking.tweets]
        body = {"tweets": listed, "next": None if ranking.next is None else cursor_of(ranking.next)}
        return Tagged(encode(body | {"stale": True} if ranking.stale else body))

    def show(ranking: Ranking, limit: int) -> Response:
        """The JSON of a ranking; of one that was shown just before, the same bytes."""
        nonlocal shown
        if shown[0] is not ranking:
            if sum(len(tweet.body or "") for tweet in ranking.tweets) > LARGE_TEXT:
                shown = ranking, pool.submit(tagged, ranking)
            else:
                content: Future[Tagged] = Future()
                content.set_result(tagged(ranking))
                shown = ranking, content
        link = link_to_next(limit, None if ranking.next is None else cursor_of(ranking.next))
        headers = [*link, ("Stale", "true")] if ranking.stale else link
        return Deferred(shown[1], lambda content: content.response(headers))

    @app.get("/api/v1/top")
    def get_top() -> Response:
        """A page of the ranking, or 304; said to be stale, in a field and a header, when the index is away."""
        query = request.environ.get("QUERY_STRING")
        if query and any(name in {"window", "until"} for name, _ in parse_qsl(query, keep_blank_values=True)):
            return _get_window_top(tweets, pool)
        limit, after = read_page(LIMIT, parse_place)
        return Deferred(tweets.top(limit, after), lambda ranking: show(ranking, limit))

    @app.get("/api/v1/top/users")
    def get_top_users() -> Response:
        """The users whose tweets received most in a window."""
        asked = read_parameters(WINDOW, needed="window")
        (text, length_ms), limit = asked["window"], asked.get("limit", LIMIT)

        def show(top: tuple[Window, list[dict[str, Any]]]) -> Response:
            return Tagged(encode({"window": text, **_ends_of(top[0]), "users": top[1][:limit]})).response()

        return Deferred(rank_window(tweets.windows, tweets.database, rank_users, length_ms, asked.get("until")), show)

    @app.get("/api/v1/tweet/<tweet_id>/rank")
    def get_rank(tweet_id: str) -> Response:
        """The place of a tweet in the ranking."""
        return Deferred(pool.submit(tweets.rank, parse_id(tweet_id)), respond_json)


def _get_window_top(tweets: Tweets, pool: Pool) -> Response:
    """The tweets that received most in the window that the request names."""
    asked = read_parameters(WINDOW, needed="window")
    (text, length_ms), limit = asked["window"], asked.get("limit", LIMIT)

    def encoded(window: Window, places: list[Place]) -> Tagged:
        received = {place.id: place.count_retweet for place in places}
        found = tweets.list_live([*received], limit)
        listed = [structs.asdict(tweet_of(tweet)) | {"received": received[tweet.id]} for tweet in found]
        return Tagged(encode({"window": text, **_ends_of(window), "tweets": listed, "next": None}))

    return Deferred(
        rank_window(tweets.windows, tweets.database, rank_tweets, length_ms, asked.get("until")),
        lambda top: Deferred(pool.submit(encoded, *top), Tagged.response),
    )


def _ends_of(window: Window) -> dict[str, str]:
    return {"since": timestamp(max(window.since_ms, 0)), "until": timestamp(window.until_ms)}
