"""
The routes of the API: each parses, calls and responds.

None waits: what may wait is a future of storage, or a call in the pool, and `defer` says what is made of its result.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import msgspec
from bottle import Bottle, HTTPResponse

from app.deferred import Pool, Response, defer
from app.errors import PROBLEM_TYPE, title_of
from app.http import explore
from app.http.auth import Guard, check_may_delete, check_may_post
from app.http.requests import cursor_of, find_id, parse_id, parse_place, read_body, read_key, read_query
from app.http.responses import (
    UNSTORED,
    Tagged,
    encode,
    is_conditional,
    link_to_next,
    respond_encoded,
    respond_json,
)
from app.http.schemas import (
    Chain,
    Live,
    NewRetweet,
    NewTweet,
    NotReady,
    Rank,
    Ready,
    Top,
    TweetList,
    chain_of,
    list_of,
    names_user,
    tweet_of,
)
from storage import records
from storage.errors import TweetDeleted, TweetNotFound
from storage.records import Health, Posted, Ranking, Tweet
from storage.tweets import Tweets

if TYPE_CHECKING:
    from app.metrics import Metrics

LIST_LIMIT = 20
CHAIN_LIMIT = 100
RANKING_LIMIT = 10

LAG_AT_MOST = 10_000
"""Log entries that the index may lack and be ready: it takes in so many in a second, so more means that it cannot."""

LARGE_TEXT = 100_000
"""Characters of all bodies in a response from which it is encoded in the pool: some milliseconds of work."""

_new_tweet = msgspec.json.Decoder(NewTweet)
_new_retweet = msgspec.json.Decoder(NewRetweet)


def mount(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    """Add the routes of the API to *app*; *tweets* does the work, and *guard* says who may write."""
    _mount_posts(app, tweets, guard)
    _mount_delete(app, tweets, guard, pool)
    _mount_reads(app, tweets, pool)
    _mount_ranking(app, tweets, pool)
    explore.mount(app, tweets, pool)
    _mount_health(app, tweets, pool)


def _mount_posts(app: Bottle, tweets: Tweets, guard: Guard) -> None:
    @app.post("/api/v1/tweet")
    def post_tweet() -> Response:
        """Post an original: 201 with the new tweet."""
        token, key, new = guard.authenticate(), read_key(), read_body(_new_tweet)
        check_may_post(token, new.user_name, new.count_retweet)
        base = new.count_retweet or 0
        return defer(tweets.post(records.NewTweet(new.user_name, new.title, new.body, None, base, key)), _created)

    @app.post("/api/v1/retweet")
    def post_retweet() -> Response:
        """Post a retweet: 201 with the new tweet, 404 or 410 when there is no such target."""
        token, key, new = guard.authenticate(), read_key(), read_body(_new_retweet)
        check_may_post(token, new.user_name, new.count_retweet)
        target, base = parse_id(new.retweet), new.count_retweet or 0
        return defer(tweets.post(records.NewTweet(new.user_name, new.title, new.body, target, base, key)), _created)


def _mount_delete(app: Bottle, tweets: Tweets, guard: Guard, pool: Pool) -> None:
    @app.delete("/api/v1/tweet/<tweet_id>")
    def delete_tweet(tweet_id: str) -> Response:
        """Delete a tweet: 204, and 410 from then on; 412 when If-Match names another state of it."""
        token, found = guard.authenticate(), parse_id(tweet_id)

        def delete() -> Response:
            return defer(tweets.delete(found), lambda _: HTTPResponse(status=204, headers=[UNSTORED]))

        def check_author(authors: dict[int, str | None]) -> Response:
            if found not in authors:
                raise TweetNotFound
            author = authors[found]
            if author is None:
                raise TweetDeleted
            check_may_delete(token, author)
            return delete()

        def check_state(tweet: Tweet) -> Response:
            check_may_delete(token, str(tweet.user_name))
            _tagged(tweet).check_write()
            return delete()

        if is_conditional():
            return defer(tweets.get(found), check_state)
        if token is not None and not token.admin:
            return defer(pool.submit(tweets.list_authors, [found]), check_author)
        return delete()


def _created(posted: Posted) -> HTTPResponse:
    tweet = tweet_of(posted.tweet)
    headers = [("Location", f"/api/v1/tweet/{tweet.id}")]
    if posted.replayed:
        headers.append(("Idempotency-Replayed", "true"))
    return respond_json(tweet, 201, headers)


def _tagged(tweet: Tweet) -> Tagged:
    return Tagged(encode(tweet_of(tweet)))


def _mount_reads(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    @app.get("/api/v1/tweet/<tweet_id>")
    def get_tweet(tweet_id: str) -> Response:
        """The tweet with its count, or 304."""
        return defer(tweets.get(parse_id(tweet_id)), lambda tweet: _tagged(tweet).response())

    @app.get("/api/v1/tweet/<tweet_id>/chain")
    def get_chain(tweet_id: str) -> Response:
        """The tweet and its ancestors, root last."""
        (limit, after), found = read_query(CHAIN_LIMIT, find_id), parse_id(tweet_id)
        return _respond_list(pool, limit, lambda: chain_of(tweets.list_chain(found, limit, after)))

    @app.get("/api/v1/tweet/<tweet_id>/retweets")
    def list_retweets(tweet_id: str) -> Response:
        """The direct retweets of a tweet, newest first."""
        (limit, after), found = read_query(LIST_LIMIT, find_id), parse_id(tweet_id)
        return _respond_list(pool, limit, lambda: list_of(tweets.list_retweets(found, limit, after)))

    @app.get("/api/v1/tweets")
    def list_newest() -> Response:
        """All tweets, newest first."""
        limit, after = read_query(LIST_LIMIT, find_id)
        return _respond_list(pool, limit, lambda: list_of(tweets.list_newest(limit, after)))

    @app.get("/api/v1/users/<user_name>/tweets")
    def list_by_user(user_name: str) -> Response:
        """The tweets of a user, newest first; none of a text that cannot be a name."""
        limit, after = read_query(LIST_LIMIT, find_id)
        if not names_user(user_name):
            return respond_json(TweetList((), None))
        return _respond_list(pool, limit, lambda: list_of(tweets.list_by_user(user_name, limit, after)))


def _respond_list(pool: Pool, limit: int, read: Callable[[], Chain | TweetList]) -> Response:
    """A page of a list, read and encoded in *pool*, with a link to the next one."""

    def encoded() -> tuple[bytes, str | None]:
        page = read()
        return encode(page), page.next

    return defer(pool.submit(encoded), lambda page: respond_encoded(page[0], link_to_next(limit, page[1])))


def _mount_ranking(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    shown: tuple[Ranking | None, Future[Tagged]] = (None, Future())

    def tagged(ranking: Ranking) -> Tagged:
        following = None if ranking.next is None else cursor_of(ranking.next)
        return Tagged(encode(Top([tweet_of(tweet) for tweet in ranking.tweets], following, ranking.stale)))

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
        return defer(shown[1], lambda content: content.response(headers))

    @app.get("/api/v1/top")
    def get_top() -> Response:
        """A page of the ranking, or 304; said to be stale, in a field and a header, when the index is away."""
        if explore.is_window_asked():
            return explore.get_window_top(tweets, pool)
        limit, after = read_query(RANKING_LIMIT, parse_place)
        return defer(tweets.top(limit, after), lambda ranking: show(ranking, limit))

    @app.get("/api/v1/tweet/<tweet_id>/rank")
    def get_rank(tweet_id: str) -> Response:
        """The place of a tweet in the ranking."""
        return defer(
            pool.submit(tweets.rank, parse_id(tweet_id)),
            lambda rank: respond_json(Rank(rank.rank, rank.count_retweet, rank.total)),
        )


def _mount_health(app: Bottle, tweets: Tweets, pool: Pool) -> None:
    @app.get("/livez")
    def live() -> Response:
        """Always 200: the process lives."""
        return respond_json(Live("ok"))

    @app.get("/readyz")
    def ready() -> Response:
        """200 when SQL and Redis answer, and Redis is not far behind; else 503."""
        return defer(pool.submit(tweets.health), _health)


def _health(health: Health) -> HTTPResponse:
    if health.store and health.index and (health.lag or 0) <= LAG_AT_MOST:
        return respond_json(Ready(store=True, index=True, lag=health.lag))
    body = NotReady(
        type="about:blank",
        title=title_of(503),
        status=503,
        code="not_ready",
        detail="The index is too far behind the log; it is catching up."
        if health.store and health.index
        else "The database or the index does not answer.",
        store=health.store,
        index=health.index,
        lag=health.lag,
    )
    return HTTPResponse(encode(body), 503, [("Content-Type", PROBLEM_TYPE), UNSTORED, ("Retry-After", "1")])


def mount_metrics(app: Bottle, metrics: "Metrics", pool: Pool) -> None:
    """Add the page of numbers to *app*."""

    @app.get("/metrics")
    def get_metrics() -> Response:
        """All numbers, of all processes, in the text format of Prometheus."""
        headers = [("Content-Type", metrics.content_type), UNSTORED]
        return defer(pool.submit(metrics.page), lambda page: HTTPResponse(page, 200, headers))
