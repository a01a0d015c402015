"""
The pages for people: the ranking at `/`, the newest tweets, users, a tweet in its chain, Swagger UI, files, errors.

No page holds inline style or script, and none asks another site for anything: the content-security-policy says so to
the browser. Static files are served from memory: what was not in the folder at the start has no address, so no path
leads out of it. Their addresses carry the hash of the content, so that a browser keeps them and a new version has a new
address.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, SimpleTemplate, request

from app import __version__
from app.deferred import Deferred, Pool, Response
from app.http.auth import Guard
from app.http.icicle import picture
from app.http.presenters import rows
from app.http.ranking import WINDOW, WINDOWS_MS
from app.http.requests import Rule, cursor_of, find_id, parse_id, parse_place, read_parameters
from app.http.responses import REVALIDATED, UNSTORED, Tagged, respond_problem
from app.http.schemas import names_user, timestamp
from storage import ids
from storage.errors import Overloaded
from storage.queries import Window, rank_tweets, rank_window, read_cascade
from storage.records import Page, Place, Ranking, Tweet
from storage.tweets import Tweets

_TOP, _LISTED, _FED = 10, 20, 100
"""Tweets on a page of the ranking, on one of another list, and in a feed."""

_FROM_TARGET, _FROM_ROOT = 5, 3
"""Links of a long chain that are shown at its ends; all of one that has no more than these together."""

_UNFOLDED = 100
"""Links above a tweet that are shown when its chain is unfolded."""

_DURING = {"hour": "in the last hour", "day": "today", "week": "this week", "month": "this month", "year": "this year"}
_NO_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What no XML document may hold (XML 1.0, section 2.2)."""

_NO_PAGE = "No page of this list has this address."
_CURSOR: Rule = (find_id, _NO_PAGE)

_HTML = "text/html; charset=utf-8"
_POLICY = (
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The types of static files; licences and notes lie in the folder too, as plain text."""

_TEXT = "text/plain; charset=utf-8"

_KEPT = ("Cache-Control", "public, max-age=31536000, immutable")
_FILES = Path(__file__).parent.parent / "static"


_files = {
    path.relative_to(_FILES).as_posix(): Tagged(path.read_bytes(), _TYPES.get(path.suffix, _TEXT), _POLICY)
    for path in _FILES.rglob("*")
    if path.is_file()
}
"""The static files. An address that carries the tag of one means that very content."""

_templates = {
    path.stem: SimpleTemplate(name=path.name, lookup=[str(path.parent)])
    for path in (_FILES.parent / "templates").glob("*.tpl")
}


def _render(name: str, **values: object) -> bytes:
    def address(file: str) -> str:
        return f"/static/{file}?v={_files[file].version}"

    return str(_templates[name].render(static=address, version=__version__, **values)).encode()


def _page(name: str, **values: object) -> Tagged:
    """The page that template *name* makes of *values*, to be asked for each time."""
    return Tagged(_render(name, **values), _HTML, (REVALIDATED, *_POLICY))


def _unstored(status_line: int | str, name: str, **values: object) -> HTTPResponse:
    return HTTPResponse(_render(name, **values), status_line, [("Content-Type", _HTML), UNSTORED, *_POLICY])


def error_page(problem: HTTPResponse) -> HTTPResponse:
    """A response of problem+json as a page for people."""
    said = json.loads(problem.body)
    detail = " ".join(fault["detail"] for fault in said.get("errors", [])) or said["detail"]
    response = _unstored(problem.status_line, "error", status=said["status"], detail=detail)
    for name, value in problem.headerlist:
        if name not in ("Content-Type", "Cache-Control"):
            response.add_header(name, value)
    return response


def prefers_html(accept: str) -> bool:
    """Whether Accept names text/html, as that of a browser does, and prefers no JSON (RFC 9110, section 12.5.1)."""
    weights: dict[str, float] = {}
    for given in accept.lower().replace(" ", "").split(","):
        kind, *parameters = given.split(";")
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weights[kind] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= max(weights.get(f"application/{kind}", 0.0) for kind in ("json", "problem+json"))


def mount(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    """Add the pages and the static files to *app*; *tweets* knows what they show, *guard* whether tokens are needed."""
    _mount_ranking(app, tweets, pool)
    _mount_lists(app, tweets, pool)
    _mount_tweet(app, tweets, guard, pool)
    swagger = _page("swagger")

    @app.get("/api/v1")
    def to_swagger() -> Response:
        """The page's address ends in a slash."""
        return HTTPResponse(b"", 308, [("Location", "/api/v1/")])

    @app.get("/api/v1/")
    def show_swagger() -> Response:
        """Swagger UI, which shows /api/v1/openapi.json and tries it out."""
        return swagger.response()

    @app.get("/static/<name:path>")
    def static(name: str) -> Response:
        """A static file, to be kept when the query is its hash; 404 when there is none of that name."""
        if name not in _files:
            return HTTPError(404)
        is_kept = request.environ.get("QUERY_STRING") == f"v={_files[name].version}"
        return _files[name].response([_KEPT if is_kept else REVALIDATED])


def _mount_ranking(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    shown: tuple[Ranking | None, int, Future[Tagged]] = (None, 0, Future())
    rules: dict[str, Rule] = {"window": WINDOW["window"], "cursor": (parse_place, _NO_PAGE)}

    def rendered(ranking: Ranking, is_first: bool) -> Tagged:
        listed, says = _rows(tweets, ranking.tweets, first=ranking.above + 1), ""
        if listed and (ranking.next or not is_first):
            says = f"{listed[0].rank:,} to {listed[-1].rank:,} of {tweets.count_live():,}"
        following = ranking.next and cursor_of(ranking.next)
        return _page("ranking", rows=listed, stale=ranking.stale, says=says, is_first=is_first, following=following)

    def show(ranking: Ranking) -> Response:
        """The first page: rendered again only when what it shows has changed, or a minute has passed."""
        nonlocal shown
        minute = _minute()
        # The same object means that nothing of it was changed since, and no tweet deleted that one of it retweets.
        is_shown = shown[0] is ranking and shown[1] == minute
        if not is_shown or (shown[2].done() and shown[2].exception()):
            # Once for all who ask meanwhile.
            shown = ranking, minute, pool.submit(rendered, ranking, is_first=True)
        return Deferred(shown[2], lambda content: content.response([("Stale", "true")] if ranking.stale else []))

    def show_further(ranking: Ranking) -> Response:
        return Deferred(pool.submit(rendered, ranking, is_first=False), Tagged.response)

    @app.get("/")
    def ranking() -> Response:
        """A page of the ranking of all time, or of a window; 304 when the browser has it, 503 when it is not known."""
        asked = read_parameters(rules)
        if "window" in asked:
            return _show_window(tweets, pool, *asked["window"], is_feed=False)
        return Deferred(tweets.top(_TOP, asked.get("cursor")), show_further if "cursor" in asked else show)

    @app.get("/top.atom")
    def feed() -> Response:
        """The top 100 of a window, by default of a day, as an Atom feed (RFC 4287)."""
        return _show_window(
            tweets, pool, *(read_parameters(rules).get("window") or ("day", WINDOWS_MS["day"])), is_feed=True
        )


def _show_window(tweets: Tweets, pool: Pool, window: str, length_ms: int, *, is_feed: bool) -> Response:
    during = _DURING.get(window, f"in {window}")

    def rendered(ending: Window, places: list[Place]) -> Tagged:
        received = {place.id: place.count_retweet for place in places}
        listed = tweets.list_live([*received], _FED if is_feed else _TOP)
        ranked = _rows(tweets, listed, received=received, during="" if is_feed else during)
        if not is_feed:
            return _page("ranking", rows=ranked, window=window, during=during, is_first=True, following=None)
        content = _render("atom", rows=ranked, window=window, during=during, until=timestamp(ending.until_ms))
        return Tagged(_NO_XML.sub("", content.decode()).encode(), "application/atom+xml")

    return Deferred(
        rank_window(tweets.windows, tweets.database, rank_tweets, length_ms),
        lambda top: Deferred(pool.submit(rendered, *top), Tagged.response),
    )


def _mount_lists(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    def show(path: str, heading: str, read: Callable[[int | None], Page]) -> Response:
        after = read_parameters({"cursor": _CURSOR}).get("cursor")

        def rendered() -> Tagged:
            listed = read(after)
            if heading != "Newest" and not listed.tweets and after is None:
                raise respond_problem(404, "not_found", "No user of this name has tweets here.")
            following, shown = listed.next and ids.encode(listed.next), _rows(tweets, listed.tweets)
            return _page("list", path=path, heading=heading, rows=shown, is_first=after is None, following=following)

        return Deferred(pool.submit(rendered), Tagged.response)

    @app.get("/newest")
    def newest() -> Response:
        """All tweets, newest first."""
        return show("/newest", "Newest", lambda after: tweets.list_newest(_LISTED, after))

    @app.get("/users/<name>")
    def user(name: str) -> Response:
        """The tweets of a user, newest first; 404 when there are none."""

        def read(after: int | None) -> Page:
            return tweets.list_by_user(name, _LISTED, after) if names_user(name) else Page((), None)

        return show(f"/users/{name}", f"@{name}", read)


def _mount_tweet(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    rules: dict[str, Rule] = {"cursor": _CURSOR, "chain": (lambda text: text == "all" or None, "Must be all.")}

    @app.get("/tweet/<text>")
    def tweet(text: str) -> Response:
        """A tweet at the end of its chain, its retweets, the cascade below it; 410 with what stays of a deleted one."""
        tweet_id, asked = parse_id(text), read_parameters(rules)
        is_unfolded, after = "chain" in asked, asked.get("cursor")

        def rendered(drawn: SimpleNamespace | None) -> Tagged:
            nearest = _UNFOLDED if is_unfolded else _FROM_TARGET
            near, far, hidden = tweets.list_chain_ends(tweet_id, nearest, _FROM_ROOT)
            retweets = tweets.list_retweets(tweet_id, _LISTED, after)
            chain = _rows(tweets, [*far, *reversed(near)], target=tweet_id)
            values = {
                "target": chain[-1],
                "chain": chain,
                "folded_at": len(far) if hidden else -1,
                "hidden": hidden,
                "unfolds": ids.encode(near[-1].id if is_unfolded else tweet_id),
                "retweets": _rows(tweets, retweets.tweets),
                "is_first": after is None,
                "following": retweets.next and ids.encode(retweets.next),
                "picture": drawn,
                "tokens": guard.tokens.are_needed(),
            }
            if chain[-1].user_name is None:
                raise _unstored(410, "tweet", **values)
            return _page("tweet", **values)

        drawn: Future[SimpleNamespace | None] = Future()
        try:
            drawing = tweets.drawings.get(
                tweet_id, lambda: picture(read_cascade(tweets.database, tweet_id), tweets.list_authors)
            )
            # Without it where it fails: it may be too large, or take too long just now.
            drawing.add_done_callback(lambda done: drawn.set_result(None if done.exception() else done.result()))
        except Overloaded:
            drawn.set_result(None)
        return Deferred(drawn, lambda found: Deferred(pool.submit(rendered, found), Tagged.response))


def _rows(tweets: Tweets, listed: Sequence[Tweet], **options: Any) -> list[SimpleNamespace]:
    parents = {tweet.retweet for tweet in listed if tweet.retweet is not None}
    return rows(listed, tweets.find_tweets(parents) if parents else {}, _minute() * 60_000, **options)


def _minute() -> int:
    return int(time.time()) // 60
