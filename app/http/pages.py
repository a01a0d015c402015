"""
The pages for people: the ranking at `/`, the newest tweets, users, a tweet in its chain, Swagger UI, files, errors.

No page holds inline style or script, and none asks another site for anything: the content-security-policy says so to
the browser. Static files are served from memory: what was not in the folder at the start has no address, so no path
leads out of it. Their addresses carry the hash of the content, so that a browser keeps them and a new version has a new
address.
"""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, SimpleTemplate, request

from app import __version__
from app.deferred import Pool, Response, defer
from app.errors import ProblemSpec
from app.http.auth import Guard
from app.http.icicle import Picture, picture
from app.http.presenters import Row, rows, rows_of_window
from app.http.ranking import WINDOW, WINDOWS_MS
from app.http.requests import Rule, cursor_of, find_id, parse_id, parse_place, read_parameters
from app.http.responses import REVALIDATED, UNSTORED, Headers, Tagged, respond_problem
from app.http.schemas import names_user, timestamp
from storage import ids
from storage.errors import Overloaded
from storage.records import Page, Place, Ranking, Tweet
from storage.tweets import Tweets
from storage.windows import Window

_APP = Path(__file__).parent.parent

_TOP = 10
"""How many tweets the page ranks."""

_LISTED = 20
"""Tweets of one page of the other lists."""

_FROM_TARGET, _FROM_ROOT = 5, 3
"""Links of a long chain that are shown at its ends; all of one that has no more than these together."""

_UNFOLDED = 100
"""Links above a tweet that are shown when its chain is unfolded."""

_FED = 100
"""Entries of a feed."""

_TABS = (("", "All time"), ("year", "Year"), ("month", "Month"), ("week", "Week"), ("day", "Day"))
_DURING = {"hour": "in the last hour", "day": "today", "week": "this week", "month": "this month", "year": "this year"}
_NO_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What no XML document may hold (XML 1.0, section 2.2)."""

_NO_PAGE = "No page of this list has this address."
_CURSOR: Rule = (find_id, _NO_PAGE)
_NO_USER = ProblemSpec(404, "not_found", "No user of this name has tweets here.")

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
    return str(_templates[name].render(static=_assets.address_of, version=__version__, **values)).encode()


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


def mount(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    """Add the pages and the static files to *app*; *tweets* knows what they show, *guard* whether tokens are needed."""
    _mount_ranking(app, tweets, pool)
    _mount_lists(app, tweets, pool)
    _mount_tweet(app, tweets, guard, pool)
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
    rules: dict[str, Rule] = {"window": WINDOW["window"], "cursor": (parse_place, _NO_PAGE)}

    def rendered(ranking: Ranking, *, is_first: bool) -> Tagged:
        listed = _rows(tweets, ranking.tweets, first=ranking.above + 1)
        says = ""
        if listed and (ranking.next or not is_first):
            says = f"{listed[0].rank:,} to {listed[-1].rank:,} of {tweets.count_live():,}"
        pager = _pager("/", is_first=is_first, following=ranking.next)
        values = {"stale": ranking.stale, "tabs": _TABS, "window": "", "during": "", "says": says, **pager}
        return page(render("ranking", rows=listed, **values))

    def show(ranking: Ranking) -> Response:
        """The first page: rendered again only when what it shows has changed, or a minute has passed."""
        nonlocal shown
        minute = _minute()
        # The same object means that nothing of it was changed since, and no tweet deleted that one of it retweets.
        is_shown = shown[0] is ranking and shown[1] == minute
        if not is_shown or (shown[2].done() and shown[2].exception()):
            # Once for all who ask meanwhile.
            shown = ranking, minute, pool.submit(lambda: rendered(ranking, is_first=True))
        return defer(shown[2], lambda content: content.response([("Stale", "true")] if ranking.stale else []))

    def show_further(ranking: Ranking) -> Response:
        return defer(pool.submit(lambda: rendered(ranking, is_first=False)), Tagged.response)

    @app.get("/")
    def ranking() -> Response:
        """A page of the ranking of all time, or of a window; 304 when the browser has it, 503 when it is not known."""
        asked = _read(rules)
        if "window" in asked:
            return _show_window(tweets, pool, *asked["window"])
        after: Place | None = asked.get("cursor")
        return defer(tweets.top(_TOP, after), show_further if after else show)

    @app.get("/top.atom")
    def feed() -> Response:
        """The top 100 of a window, by default of a day, as an Atom feed (RFC 4287)."""
        window, length_ms = _read(rules).get("window") or ("day", WINDOWS_MS["day"])
        return _show_window(tweets, pool, window, length_ms, is_feed=True)


def _show_window(tweets: Tweets, pool: Pool, window: str, length_ms: int, *, is_feed: bool = False) -> Response:
    during = _DURING.get(window, f"in {window}")

    def rendered(ending: Window, places: list[Place]) -> Tagged:
        received = {place.id: place.count_retweet for place in places}
        listed = tweets.list_live([*received], _FED if is_feed else _TOP)
        parents = _find_parents(tweets, listed)
        shown = rows_of_window(listed, received, "" if is_feed else during, parents, _minute() * 60_000)
        if is_feed:
            until = timestamp(ending.until_ms)
            content = render("atom", rows=shown, window=window, during=during, until=until)
            return Tagged(_NO_XML.sub("", content.decode()).encode(), "application/atom+xml")
        values = {"stale": False, "tabs": _TABS, "window": window, "during": during, "says": ""}
        return page(render("ranking", rows=shown, **values, **_pager("/", is_first=True, following=None)))

    return defer(tweets.windows.top(length_ms), lambda top: defer(pool.submit(rendered, *top), Tagged.response))


def _mount_lists(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    def rendered(path: str, heading: str, listed: Page, *, is_first: bool) -> Tagged:
        pager = _pager(path, is_first=is_first, following=listed.next)
        return page(render("list", path=path, heading=heading, rows=_rows(tweets, listed.tweets), **pager))

    @app.get("/newest")
    def newest() -> Response:
        """All tweets, newest first."""
        after = _read({"cursor": _CURSOR}).get("cursor")

        def read() -> Tagged:
            return rendered("/newest", "Newest", tweets.list_newest(_LISTED, after), is_first=after is None)

        return defer(pool.submit(read), Tagged.response)

    @app.get("/users/<user_name>")
    def user(user_name: str) -> Response:
        """The tweets of a user, newest first; 404 when there are none."""
        after = _read({"cursor": _CURSOR}).get("cursor")

        def read() -> Tagged | None:
            listed = tweets.list_by_user(user_name, _LISTED, after) if names_user(user_name) else Page((), None)
            if not listed.tweets and after is None:
                return None
            return rendered(f"/users/{user_name}", f"@{user_name}", listed, is_first=after is None)

        return defer(pool.submit(read), lambda found: found.response() if found else _explain(_NO_USER))


def _mount_tweet(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    rules: dict[str, Rule] = {"cursor": _CURSOR, "chain": (lambda text: text == "all" or None, "Must be all.")}

    @app.get("/tweet/<text>")
    def tweet(text: str) -> Response:
        """A tweet at the end of its chain, its retweets, the cascade below it; 410 with what stays of a deleted one."""
        tweet_id, asked = parse_id(text), _read(rules)

        def read(drawn: Picture | None) -> Tagged | HTTPResponse:
            values = _chain_view(tweets, tweet_id, asked.get("cursor"), is_unfolded="chain" in asked)
            content = render("tweet", picture=drawn, tokens=guard.tokens.are_needed(), **values)
            if values["target"].user_name is None:
                return HTTPResponse(content, 410, [("Content-Type", _HTML), UNSTORED, *_POLICY])
            return page(content)

        def show(drawn: Picture | None) -> Response:
            return defer(
                pool.submit(read, drawn), lambda found: found.response() if isinstance(found, Tagged) else found
            )

        drawn: Future[Picture | None] = Future()
        try:
            drawing = tweets.draw_cascade(tweet_id, lambda cascade: picture(cascade, tweets.list_authors))
            # Without it where it fails: it may be too large, or take too long just now.
            drawing.add_done_callback(lambda done: drawn.set_result(None if done.exception() else done.result()))
        except Overloaded:
            drawn.set_result(None)
        return defer(drawn, show)


def _chain_view(tweets: Tweets, tweet_id: int, after: int | None, *, is_unfolded: bool) -> dict[str, Any]:
    """The values of the tweet template. Raises TweetNotFound."""
    ends = tweets.list_chain_ends(tweet_id, _UNFOLDED if is_unfolded else _FROM_TARGET, _FROM_ROOT)
    retweets = tweets.list_retweets(tweet_id, _LISTED, after)
    chain = _rows(tweets, [*ends.far, *reversed(ends.near)], target=tweet_id)
    unfolds = ids.encode(ends.near[-1].id if is_unfolded else tweet_id)
    path = f"/tweet/{ids.encode(tweet_id)}"
    return {
        "target": chain[-1],
        "chain": chain,
        "folded_at": len(ends.far) if ends.hidden else -1,
        "hidden": ends.hidden,
        "unfolds": f"/tweet/{unfolds}?chain=all",
        "retweets": _rows(tweets, retweets.tweets),
        **_pager(path, is_first=after is None, following=retweets.next, part="#retweets"),
    }


def _read(rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The parameters of the query that *rules* name. Raises the refusal, 422, which is a page for a person."""
    try:
        return read_parameters(rules)
    except HTTPResponse:
        if not prefers_html(request.environ.get("HTTP_ACCEPT", "")):
            raise
        means = " ".join(means for name, (_, means) in rules.items() if f"{name}=" in request.environ["QUERY_STRING"])
        raise error_page(ProblemSpec(422, "invalid_query", means), []) from None


def _explain(spec: ProblemSpec) -> HTTPResponse:
    """An error as a page for people, and as problem+json for programs."""
    headers = [("Vary", "Accept")]
    if prefers_html(request.environ.get("HTTP_ACCEPT", "")):
        return error_page(spec, headers)
    return respond_problem(spec.status, spec.code, spec.detail, headers=headers)


def _find_parents(tweets: Tweets, listed: Sequence[Tweet]) -> dict[int, Tweet]:
    parents = {tweet.retweet for tweet in listed if tweet.retweet is not None}
    return tweets.find_tweets(parents) if parents else {}


def _rows(tweets: Tweets, listed: Sequence[Tweet], *, first: int = 1, target: int | None = None) -> list[Row]:
    return rows(listed, _find_parents(tweets, listed), _minute() * 60_000, first=first, target=target)


def _pager(path: str, *, is_first: bool, following: Place | int | None, part: str = "") -> dict[str, str]:
    """The links from a page of a list to its first page and to the next one, "" for none."""
    next_page = ""
    if following is not None:
        cursor = cursor_of(following) if isinstance(following, Place) else ids.encode(following)
        next_page = f"{path}?cursor={cursor}{part}"
    return {"first_page": "" if is_first else path + part, "next_page": next_page}


def _minute() -> int:
    return int(time.time()) // 60
