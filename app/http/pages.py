"""
The pages for people: the ranking at `/`, a tweet with its chain, Swagger UI, and the static files.

Errors here are pages too, for whoever names text/html in Accept; to everybody else they are problem+json. No page holds
inline style or script, and none asks another site for anything: the content-security-policy says so to the browser.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bottle import Bottle, HTTPResponse, SimpleTemplate, request

from app.errors import refusal_for, retry_after_s
from app.http.answers import is_known, refusal
from app.http.assets import Assets
from app.http.views import rows
from app.later import begin
from storage import ids
from storage.errors import StorageError, TweetNotFound
from storage.records import Ranking, Tweet
from storage.tweets import Tweets

_log = logging.getLogger(__name__)

_APP = Path(__file__).parent.parent

_TOP = 10
"""How many tweets the page ranks."""

_CHAIN_SHOWN = 50
"""How many links of a chain one page shows; the last one links to the rest."""

_RETWEETS_SHOWN = 20

_HTML = "text/html; charset=utf-8"
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Templates:
    """The templates of app/templates, each compiled once; all know the addresses of the static files."""

    def __init__(self, assets: Assets) -> None:
        folder = _APP / "templates"
        self._templates = {
            path.stem: SimpleTemplate(name=path.name, lookup=[str(folder)]) for path in folder.glob("*.tpl")
        }
        self._static = assets.address_of

    def render(self, name: str, **values: object) -> bytes:
        """The page *name* with *values*, as UTF-8."""
        return str(self._templates[name].render(static=self._static, **values)).encode()


class _Rendered(NamedTuple):
    """A page, and what it shows as of which minute."""

    ranking: Ranking | None
    minute: int
    page: bytes
    etag: str


class RankingPage:
    """The page at `/`, rendered again only when what it shows has changed, or a minute has passed."""

    def __init__(self, tweets: Tweets, templates: Templates) -> None:
        self._tweets = tweets
        self._templates = templates
        self._last = _Rendered(None, 0, b"", "")
        self._rendering = threading.Lock()

    def shows(self, ranking: Ranking) -> bool:
        """Whether the page that was rendered last shows just this."""
        # The same object means that nothing of it was changed since, and no tweet deleted that one of it retweets.
        return self._last.ranking is ranking and self._last.minute == _minute()

    def answer(self, ranking: Ranking) -> HTTPResponse:
        """The page of *ranking*, or 304. Raises StoreUnavailable."""
        if not self.shows(ranking):
            with self._rendering:  # one does it for all who wait here
                if not self.shows(ranking):
                    self._last = self._render(ranking, _minute())
        return conditional(self._last.page, self._last.etag, stale=ranking.stale)

    def _render(self, ranking: Ranking, minute: int) -> _Rendered:
        names = list_parents(self._tweets, ranking.tweets)
        listed = rows(ranking.tweets, names, minute * 60_000)
        page = self._templates.render("ranking", rows=listed, stale=ranking.stale)
        return _Rendered(ranking, minute, page, etag_of(page))


def list_parents(tweets: Tweets, retweets: Iterable[Tweet]) -> dict[int, str | None]:
    """The author of each parent of *retweets*, by the parent's id; None for one that was deleted."""
    parents = {tweet.retweet for tweet in retweets if tweet.retweet is not None}
    return tweets.list_authors(parents) if parents else {}


def etag_of(page: bytes) -> str:
    """A strong ETag of *page*, quotes included."""
    return f'"{sha256(page).hexdigest()[:24]}"'


def html(page: bytes, status: int, headers: Mapping[str, str]) -> HTTPResponse:
    """An answer with a page."""
    return HTTPResponse(page, status, {"Content-Type": _HTML, **_SECURITY, **headers})


def conditional(page: bytes, etag: str, *, stale: bool = False) -> HTTPResponse:
    """The page, or 304 when the browser has it."""
    headers = {"ETag": etag, "Cache-Control": "no-cache", **({"Stale": "true"} if stale else {})}
    return _known_or_sent(page, _HTML, headers)


def _known_or_sent(content: bytes, media_type: str, headers: Mapping[str, str]) -> HTTPResponse:
    """
    200 with *content*, or 304 when the browser has what the ETag among *headers* names.

    Both have the same policy: a browser lays the headers of a 304 over those that it keeps with the content.
    """
    headers = {**headers, **_SECURITY}
    if is_known(headers["ETag"]):
        return HTTPResponse(b"", 304, headers)
    return HTTPResponse(content, 200, {"Content-Type": media_type, **headers})


def mount(app: Bottle, tweets: Tweets) -> None:
    """Add the pages and the static files to *app*; *tweets* knows what they show."""
    assets = Assets(_APP / "static")
    templates = Templates(assets)
    _mount_tweets(app, tweets, templates)
    _mount_swagger(app, templates)
    _mount_static(app, assets)


def _mount_tweets(app: Bottle, tweets: Tweets, templates: Templates) -> None:
    ranking_page = RankingPage(tweets, templates)

    def friendly(handler: Callable[..., HTTPResponse]) -> Callable[..., HTTPResponse]:
        """Answer an error of storage as _tell does."""

        @wraps(handler)
        def answer(*given: Any, **path: str) -> HTTPResponse:
            try:
                return handler(*given, **path)
            except StorageError as error:
                return _tell(templates, error)

        return answer

    @app.get("/")
    @friendly
    def ranking() -> HTTPResponse:
        """The top 10; 304 when the browser has them, 503 when nothing is known of them."""
        return begin(tweets.top(_TOP), friendly(ranking_page.answer), is_quick=ranking_page.shows)

    @app.get("/tweet/<text>")
    @friendly
    def tweet(text: str) -> HTTPResponse:
        """A tweet, the chain above it and the newest retweets below it; of a deleted one, its place in them."""
        page = templates.render("tweet", **_chain_view(tweets, text))
        return conditional(page, etag_of(page))


def _minute() -> int:
    return int(time.time()) // 60


def _chain_view(tweets: Tweets, text: str) -> dict[str, Any]:
    """The values of the tweet template. Raises TweetNotFound, also for a *text* that is no id."""
    tweet_id = ids.decode(text)
    if tweet_id is None:
        raise TweetNotFound(text)
    chain = tweets.list_chain(tweet_id)
    retweets = tweets.list_retweets(tweet_id, _RETWEETS_SHOWN)
    names = {tweet.id: tweet.user_name for tweet in chain}
    now_ms = _minute() * 60_000
    return {
        "chain": rows(chain[:_CHAIN_SHOWN], names, now_ms, whole=1),
        "hidden": len(chain[_CHAIN_SHOWN:]),
        "retweets": rows(retweets.tweets, names, now_ms),
        "more": retweets.next is not None,
    }


def _tell(templates: Templates, error: StorageError) -> HTTPResponse:
    """The answer to *error*: a page for people, problem+json for programs."""
    answered = refusal_for(error)
    wait_s = retry_after_s(error)
    if answered.logged:
        _log.error("%s %s", answered.status, answered.code, exc_info=error)
    headers = {"Vary": "Accept"} if wait_s is None else {"Vary": "Accept", "Retry-After": str(wait_s)}
    if not _accepts_html():
        return refusal(answered.status, answered.code, answered.detail, headers=list(headers.items()))
    page = templates.render("error", detail=answered.detail, repeat=wait_s is not None)
    return html(page, answered.status, {"Cache-Control": "no-store", **headers})


def _accepts_html() -> bool:
    """Whether Accept names text/html, as that of a browser does; a program says `*/*`, which is not its name."""
    accept = request.environ.get("HTTP_ACCEPT", "").lower().replace(" ", "")
    ranges = (given.partition(";") for given in accept.split(","))
    return any(kind == "text/html" and weight.rstrip(".0") != "q=" for kind, _, weight in ranges)


def _mount_swagger(app: Bottle, templates: Templates) -> None:
    page = templates.render("swagger")
    etag = etag_of(page)

    @app.get("/api/v1")
    def to_swagger() -> HTTPResponse:
        """The page's address ends in a slash."""
        return HTTPResponse(b"", 308, {"Location": "/api/v1/"})

    @app.get("/api/v1/")
    def swagger() -> HTTPResponse:
        """Swagger UI, which shows /api/v1/openapi.json and tries it out."""
        return conditional(page, etag)


def _mount_static(app: Bottle, assets: Assets) -> None:
    @app.get("/static/<name:path>")
    def static(name: str) -> HTTPResponse:
        """A static file; 404 when there is none of that name."""
        asset = assets.find_asset(name)
        if asset is None:
            return refusal(404, "not_found", "There is nothing at this path.")
        cache_control = asset.cache_control(request.environ.get("QUERY_STRING", ""))
        kept = {"ETag": f'"{asset.version}"', "Cache-Control": cache_control}
        return _known_or_sent(asset.body, asset.media_type, kept)
