"""
The routes of the API, but for the ranking: each parses, calls and responds.

None waits: what may wait is a future of storage, or a call in the pool, and `Deferred` says what is made of its result.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from bottle import Bottle, HTTPResponse, request

from app import __version__
from app.deferred import Deferred, Pool, Response
from app.http.auth import Guard, check_may_delete, check_may_post
from app.http.requests import (
    CURSOR_FAULT,
    LARGEST_PAGE,
    find_id,
    parse_id,
    read_body,
    read_key,
    read_page,
    refuse_query,
)
from app.http.responses import (
    JSON,
    UNSTORED,
    Tagged,
    encode,
    link_to_next,
    respond_json,
    respond_problem,
)
from app.http.schemas import Change, NewRetweet, NewTweet, list_of, names_user, timestamp, tweet_of
from app.settings import Settings
from storage import ids, records
from storage.errors import CursorUnknown, TweetDeleted, TweetNotFound
from storage.queries import list_descendants, read_cascade, read_changes
from storage.tools.health import Health, get_health
from storage.tweets import Tweets

if TYPE_CHECKING:
    from app.metrics import Metrics

LIST_LIMIT = 20
CHAIN_LIMIT = 100
PAGE_LIMIT = 100
"""Of descendants, and of changes."""

LAG_AT_MOST = 10_000
"""Log entries that the index may lack and be ready: it takes in so many in a second, so more means that it cannot."""

SHAPES_WAITING = 16
"""Shapes of cascades that may wait. They are computed one at a time: each takes up to 0.5 s of processor and 17 MB."""

_new_tweet = msgspec.json.Decoder(NewTweet)
_new_retweet = msgspec.json.Decoder(NewRetweet)


def mount(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool, settings: Settings) -> None:
    """Add the routes to *app*; *tweets* does the work, and *guard* says who may write."""
    _mount_posts(app, tweets, guard)
    _mount_delete(app, tweets, guard, pool)
    _mount_lists(app, tweets, pool)
    shapes = Pool(1, SHAPES_WAITING)
    description = Tagged(build_description(settings))

    @app.get("/api/v1/openapi.json")
    def get_openapi() -> Response:
        """The description of the API, or 304."""
        return description.response()

    @app.get("/api/v1/tweet/<tweet_id>")
    def get_tweet(tweet_id: str) -> Response:
        """The tweet with its count, or 304."""
        return Deferred(tweets.get(parse_id(tweet_id)), lambda tweet: _tagged(tweet).response())

    @app.get("/api/v1/tweet/<tweet_id>/cascade")
    def get_cascade(tweet_id: str) -> Response:
        """The shape of a cascade, also of that of a deleted tweet."""
        return Deferred(shapes.submit(_encode_cascade, tweets, parse_id(tweet_id)), Tagged.response)


def _mount_posts(app: Bottle, tweets: Tweets, guard: Guard) -> None:
    def post(decoder: msgspec.json.Decoder[Any]) -> Response:
        token, key, new = guard.authenticate(), read_key(), read_body(decoder)
        check_may_post(token, new.user_name, new.count_retweet)
        target = parse_id(new.retweet) if new.retweet else None
        asked = records.NewTweet(new.user_name, new.title, new.body, target, new.count_retweet or 0, key)
        return Deferred(tweets.post(asked), _created)

    @app.post("/api/v1/tweet")
    def post_tweet() -> Response:
        """Post an original: 201 with the new tweet."""
        return post(_new_tweet)

    @app.post("/api/v1/retweet")
    def post_retweet() -> Response:
        """Post a retweet: 201 with the new tweet, 404 or 410 when there is no such target."""
        return post(_new_retweet)


def _mount_delete(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    @app.delete("/api/v1/tweet/<tweet_id>")
    def delete_tweet(tweet_id: str) -> Response:
        """Delete a tweet: 204, and 410 from then on; 412 when If-Match names another state of it."""
        token, found = guard.authenticate(), parse_id(tweet_id)

        def delete() -> Response:
            return Deferred(tweets.delete(found), lambda _: HTTPResponse(status=204, headers=[UNSTORED]))

        def check_author(authors: dict[int, str | None]) -> Response:
            if found not in authors:
                raise TweetNotFound
            author = authors[found]
            if author is None:
                raise TweetDeleted
            check_may_delete(token, author)
            return delete()

        def check_state(tweet: records.Tweet) -> Response:
            check_may_delete(token, str(tweet.user_name))
            _tagged(tweet).check_write()
            return delete()

        if {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & request.environ.keys():  # RFC 9110, section 13
            return Deferred(tweets.get(found), check_state)
        if token is not None and not token.admin:
            return Deferred(pool.submit(tweets.list_authors, [found]), check_author)
        return delete()


def _created(posted: records.Posted) -> HTTPResponse:
    tweet = tweet_of(posted.tweet)
    headers = [("Location", f"/api/v1/tweet/{tweet.id}")]
    if posted.replayed:
        headers.append(("Idempotency-Replayed", "true"))
    return respond_json(tweet, 201, headers)


def _tagged(tweet: records.Tweet) -> Tagged:
    return Tagged(encode(tweet_of(tweet)))


def _mount_lists(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    @app.get("/api/v1/tweet/<tweet_id>/chain")
    def get_chain(tweet_id: str) -> Response:
        """The tweet and its ancestors, root last."""
        (limit, after), found = read_page(CHAIN_LIMIT, find_id), parse_id(tweet_id)
        return _respond_list(pool, limit, lambda: list_of(tweets.list_chain(found, limit, after)))

    @app.get("/api/v1/tweet/<tweet_id>/retweets")
    def list_retweets(tweet_id: str) -> Response:
        """The direct retweets of a tweet, newest first."""
        (limit, after), found = read_page(LIST_LIMIT, find_id), parse_id(tweet_id)
        return _respond_list(pool, limit, lambda: list_of(tweets.list_retweets(found, limit, after)))

    @app.get("/api/v1/tweets")
    def list_newest() -> Response:
        """All tweets, newest first."""
        limit, after = read_page(LIST_LIMIT, find_id)
        return _respond_list(pool, limit, lambda: list_of(tweets.list_newest(limit, after)))

    @app.get("/api/v1/users/<user_name>/tweets")
    def list_by_user(user_name: str) -> Response:
        """The tweets of a user, newest first; none of a text that cannot be a name."""
        limit, after = read_page(LIST_LIMIT, find_id)
        if not names_user(user_name):
            return respond_json(list_of(records.Page((), None)))
        return _respond_list(pool, limit, lambda: list_of(tweets.list_by_user(user_name, limit, after)))

    @app.get("/api/v1/tweet/<tweet_id>/descendants")
    def list_descendants(tweet_id: str) -> Response:
        """The tweets below one, in pre-order."""
        (limit, after), found = read_page(PAGE_LIMIT, find_id, LARGEST_PAGE), parse_id(tweet_id)
        return _respond_list(pool, limit, lambda: _descendants(tweets, found, limit, after), is_tagged=True)

    @app.get("/api/v1/changes")
    def list_changes() -> Response:
        """A page of the log."""
        limit, cursor = read_page(PAGE_LIMIT, str, LARGEST_PAGE)
        return _respond_list(pool, limit, lambda: _changes(tweets, cursor, limit), is_tagged=True)


def _respond_list(
    pool: Pool, limit: int, read: Callable[[], Mapping[str, Any]], *, is_tagged: bool = False
) -> Response:
    """A page of a list, read and encoded in *pool*, with a link to the next one."""

    def encoded() -> tuple[Tagged | bytes, str | None]:
        try:
            page = read()
        except CursorUnknown:
            raise refuse_query([CURSOR_FAULT]) from None
        content = encode(page)
        is_end = page.get("changes") == []  # of the log, which has a cursor there too
        return Tagged(content) if is_tagged else content, None if is_end else page["next"]

    def show(page: tuple[Tagged | bytes, str | None]) -> HTTPResponse:
        content, link = page[0], link_to_next(limit, page[1])
        return (
            content.response(link)
            if isinstance(content, Tagged)
            else HTTPResponse(content, 200, [JSON, UNSTORED, *link])
        )

    return Deferred(pool.submit(encoded), show)


def _encode_cascade(tweets: Tweets, tweet_id: int) -> Tagged:
    found = read_cascade(tweets.database, tweet_id)
    shape = {
        "size": len(found.nodes),
        "deleted": found.deleted,
        "depth": len(found.breadths) - 1,
        "max_breadth": max(found.breadths),
        "breadths": found.breadths,
        "structural_virality": found.structural_virality,
        "base": found.base,
        "count_retweet": found.count_retweet,
    }
    return Tagged(encode(shape))


def _descendants(tweets: Tweets, tweet_id: int, limit: int, after: int | None) -> dict[str, Any]:
    found = list_descendants(tweets.database, tweet_id, limit + 1, after)
    listed = [
        {
            "id": ids.encode(each.id),
            "retweet": ids.encode(each.parent),
            "user_name": each.user_name,
            "created_at": timestamp(each.created_at),
            "depth": each.depth,
        }
        for each in found[:limit]
    ]
    return {"tweets": listed, "next": listed[-1]["id"] if len(found) > limit else None}


def _changes(tweets: Tweets, cursor: str | None, limit: int) -> dict[str, Any]:
    page = read_changes(tweets.database, cursor, limit)
    listed = []
    for entry in page.changes:
        if entry.sign < 0:
            listed.append(Change(entry.partition, entry.seq, deleted=ids.encode(entry.id)))
            continue
        texts = (entry.user_name, entry.title, entry.body)
        posted = records.Tweet(entry.id, *texts, entry.parent, entry.base, entry.created_at)
        listed.append(Change(entry.partition, entry.seq, tweet_of(posted)))
    return {"changes": listed, "next": page.next}


def mount_health(app: Bottle, tweets: Tweets, pool: Pool, metrics: "Metrics | None") -> None:
    """Add what a supervisor asks to *app*, and the page of *metrics*."""

    @app.get("/livez")
    def live() -> Response:
        """Always 200: the process lives."""
        return respond_json({"status": "ok"})

    @app.get("/readyz")
    def ready() -> Response:
        """200 when SQL and Redis answer, and Redis is not far behind; else 503."""
        return Deferred(pool.submit(get_health, tweets), _health)

    if metrics:
        headers = [("Content-Type", metrics.content_type), UNSTORED]
        read = metrics.page

        @app.get("/metrics")
        def get_metrics() -> Response:
            """All numbers, of all processes, in the text format of Prometheus."""
            return Deferred(pool.submit(read), lambda page: HTTPResponse(page, 200, headers))


def _health(health: Health) -> HTTPResponse:
    parts: dict[str, Any] = {"store": health.store, "index": health.index, "lag": health.lag}
    if not (health.store and health.index):
        detail = "The database or the index does not answer."
    elif (health.lag or 0) > LAG_AT_MOST:
        detail = "The index is too far behind the log; it is catching up."
    else:
        return respond_json(parts)
    return respond_problem(503, "not_ready", detail, headers=[("Retry-After", "1")], **parts)


def build_description(settings: Settings) -> bytes:
    """The API as OpenAPI 3.1: `openapi.json` with the version of the service, and the longest chain of *settings*."""
    document = msgspec.json.decode(Path(__file__).with_name("openapi.json").read_bytes())
    info = document["info"]
    info["version"] = __version__
    info["description"] = info["description"].format(max_ancestors=settings.max_ancestors)
    return msgspec.json.encode(document)
