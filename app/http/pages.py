"""
The pages for people: the ranking at `/`, a tweet with its chain, Swagger UI, the static files, and errors.

No page holds inline style or script, and none asks another site for anything: the content-security-policy says so to
the browser. Static files are served from memory: what was not in the folder at the start has no address, so no path
leads out of it. Their addresses carry the hash of the content, so that a browser keeps them and a new version has a new
address.
"""

import re
import time
from collections.abc import Iterable
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, SimpleTemplate, request

from app.deferred import Pool, Response, defer
from app.errors import ProblemSpec
from app.http.explore import WINDOW, WINDOWS_MS
from app.http.icicle import Picture, picture
from app.http.presenters import rows, rows_of_window
from app.http.requests import parse_id, read_parameters
from app.http.responses import REVALIDATED, UNSTORED, Headers, Tagged
from app.http.schemas import timestamp
from storage.errors import Overloaded
from storage.records import Place, Ranking, Tweet
from storage.tweets import Tweets
from storage.windows import Window

_APP = Path(__file__).parent.parent

_TOP = 10
"""How many tweets the page ranks."""

_CHAIN_SHOWN = 50
"""How many links of a chain one page shows; the last one links to the rest."""

_RETWEETS_SHOWN = 20

_FED = 100
"""Entries of a feed."""

_TABS = (("", "All time"), ("year", "Year"), ("month", "Month"), ("week", "Week"), ("day", "Day"))
_DURING = {"hour": "in the last hour", "day": "today", "week": "this week", "month": "this month", "year": "this year"}
_NO_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What no XML document may hold (XML 1.0, section 2.2)."""

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

_KEPT = ("Cache-Control", "public, max-age=31536000, immutable")


class Assets:
    """The static files, by their paths inside the folder."""

    def __init__(self, folder: Path) -> None:
        self._contents: dict[str, tuple[str, Tagged, Tagged]] = {}
        for path in folder.rglob("*"):
            if path.is_file():
                body, media_type = path.read_bytes(), _TYPES.get(path.suffix, "text/plain; charset=utf-8")
                self._contents[path.relative_to(folder).as_posix()] = (
                    sha256(body).hexdigest()[:16],
                    Tagged(body, media_type, (_KEPT, *_POLICY)),
                    Tagged(body, media_type, (REVALIDATED, *_POLICY)),
                )

    def respond(self, name: str, query: str) -> HTTPResponse | None:
        """The file *name*, to be kept when *query* names the hash of what it is; None when there is no such file."""
        if name not in self._contents:
            return None
        version, kept, revalidated = self._contents[name]
        return (kept if query == f"v={version}" else revalidated).response()

    def address_of(self, name: str) -> str:
        """The path and query under which *name* is served. Raises KeyError when there is no such file."""
        return f"/static/{name}?v={self._contents[name][0]}"


_assets = Assets(_APP / "static")
_templates = {
    path.stem: SimpleTemplate(name=path.name, lookup=[str(path.parent)]) for path in (_APP / "templates").glob("*.tpl")
}


def render(name: str, **values: object) -> bytes:
    """The page that template *name* makes of *values*, as UTF-8."""
    return str(_templates[name].render(static=_assets.address_of, **values)).encode()


def page(content: bytes) -> Tagged:
    """A page with its policy, to be asked for each time."""
    return Tagged(content, _HTML, (REVALIDATED, *_POLICY))


def error_page(spec: ProblemSpec, headers: Headers) -> HTTPResponse:
    """An error as a page."""
    content = render("error", detail=spec.detail, repeat=any(name == "Retry-After" for name, _ in headers))
    return HTTPResponse(content, spec.status, [("Content-Type", _HTML), UNSTORED, *_POLICY, *headers])


def prefers_html(accept: str) -> bool:
    """Whether Accept names text/html, as that of a browser does, and JSON not before it."""
    weights: dict[str, float] = {}
    for given in accept.lower().replace(" ", "").split(","):
        kind, *parameters = given.split(";")
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weights[kind] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= max(weights.get(f"application/{kind}", 0.0) for kind in ("json", "problem+json"))


def list_parents(tweets: Tweets, retweets: Iterable[Tweet]) -> dict[int, str | None]:
    """The author of each parent of *retweets*, by the parent's id; None for one that was deleted."""
    parents = {tweet.retweet for tweet in retweets if tweet.retweet is not None}
    return tweets.list_authors(parents) if parents else {}


def mount(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    """Add the pages and the static files to *app*; *tweets* knows what they show."""
    _mount_ranking(app, tweets, pool)
    _mount_windows(app, tweets, pool)

    @app.get("/tweet/<text>")
    def tweet(text: str) -> Response:
        """A tweet, the chain above it, the newest retweets and the cascade below it; of a deleted one, its place."""
        tweet_id = parse_id(text)

        def show(drawn: Picture | None) -> Response:
            view = pool.submit(lambda: page(render("tweet", picture=drawn, **_chain_view(tweets, tweet_id))))
            return defer(view, Tagged.response)

        drawn: Future[Picture | None] = Future()
        try:
            drawing = tweets.draw_cascade(tweet_id, lambda cascade: picture(cascade, tweets.list_authors))
            # Without it where it fails: it may be too large, or take too long just now.
            drawing.add_done_callback(lambda done: drawn.set_result(None if done.exception() else done.result()))
        except Overloaded:
            drawn.set_result(None)
        return defer(drawn, show)

    swagger = page(render("swagger"))

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
        """A static file; 404 when there is none of that name."""
        return _assets.respond(name, request.environ.get("QUERY_STRING", "")) or HTTPError(404)


def _mount_ranking(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    shown: tuple[Ranking | None, int, Future[Tagged]] = (None, 0, Future())

    def rendered(ranking: Ranking, minute: int) -> Tagged:
        listed = rows(ranking.tweets, list_parents(tweets, ranking.tweets), minute * 60_000)
        return page(render("ranking", rows=listed, stale=ranking.stale, tabs=_TABS, window="", during=""))

    def show(ranking: Ranking) -> Response:
        """The page of *ranking*: rendered again only when what it shows has changed, or a minute has passed."""
        nonlocal shown
        minute = _minute()
        # The same object means that nothing of it was changed since, and no tweet deleted that one of it retweets.
        is_shown = shown[0] is ranking and shown[1] == minute
        if not is_shown or (shown[2].done() and shown[2].exception()):
            shown = ranking, minute, pool.submit(rendered, ranking, minute)  # once for all who ask meanwhile
        return defer(shown[2], lambda content: content.response([("Stale", "true")] if ranking.stale else []))

    @app.get("/")
    def ranking() -> Response:
        """The top 10 of all time, or of a window; 304 when the browser has them, 503 when nothing is known of them."""
        asked = _read_window()
        if isinstance(asked, HTTPResponse):
            return asked
        return _show_window(tweets, pool, *asked) if asked else defer(tweets.top(_TOP), show)


def _mount_windows(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    @app.get("/top.atom")
    def feed() -> Response:
        """The top 100 of a window, by default of a day, as an Atom feed (RFC 4287)."""
        asked = _read_window() or ("day", WINDOWS_MS["day"])
        return asked if isinstance(asked, HTTPResponse) else _show_window(tweets, pool, *asked, is_feed=True)


def _read_window() -> tuple[str, int] | HTTPResponse | None:
    """The window that the query names and its milliseconds, None without one; for a person its refusal is a page."""
    try:
        asked: tuple[str, int] | None = read_parameters({"window": WINDOW["window"]}).get("window")
    except HTTPResponse as refusal:
        if not prefers_html(request.environ.get("HTTP_ACCEPT", "")):
            return refusal
        return error_page(ProblemSpec(422, "invalid_query", WINDOW["window"].means), [])
    return asked


def _show_window(tweets: Tweets, pool: Pool, window: str, length_ms: int, *, is_feed: bool = False) -> Response:
    during = _DURING.get(window, f"in {window}")

    def rendered(ending: Window, places: list[Place]) -> Tagged:
        received = {place.id: place.count_retweet for place in places}
        listed = tweets.list_live([*received], _FED if is_feed else _TOP)
        shown = rows_of_window(
            listed, received, "" if is_feed else during, list_parents(tweets, listed), _minute() * 60_000
        )
        if is_feed:
            until = timestamp(ending.until_ms)
            content = render("atom", rows=shown, window=window, during=during, until=until)
            return Tagged(_NO_XML.sub("", content.decode()).encode(), "application/atom+xml")
        return page(render("ranking", rows=shown, stale=False, tabs=_TABS, window=window, during=during))

    return defer(tweets.windows.top(length_ms), lambda top: defer(pool.submit(rendered, *top), Tagged.response))


def _minute() -> int:
    return int(time.time()) // 60


def _chain_view(tweets: Tweets, tweet_id: int) -> dict[str, Any]:
    """The values of the tweet template. Raises TweetNotFound."""
    ends = tweets.list_chain_ends(tweet_id, _CHAIN_SHOWN + 1, 0)  # one more, whose name is shown
    retweets = tweets.list_retweets(tweet_id, _RETWEETS_SHOWN)
    names = {tweet.id: tweet.user_name for tweet in ends.near}
    now_ms = _minute() * 60_000
    return {
        "chain": rows(ends.near[:_CHAIN_SHOWN], names, now_ms, whole=1),
        "hidden": ends.hidden + len(ends.near[_CHAIN_SHOWN:]),
        "retweets": rows(retweets.tweets, names, now_ms),
        "more": retweets.next is not None,
    }
