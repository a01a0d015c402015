"""The two health answers: one only says that the process lives, the other asks both parts."""

from http import HTTPStatus

from bottle import Bottle, HTTPResponse

from app.errors import PROBLEM_TYPE, Problem
from app.http.answers import UNSTORED, answer, encode
from app.http.wire import Live, Ready
from storage.records import Health
from storage.tweets import Tweets

LAG_AT_MOST = 10_000
"""Log entries that the index may lack and be ready: it takes in so many in a second, so more means that it cannot."""

_AWAY = "The database or the index does not answer."
_BEHIND = "The index is too far behind the log; it is being brought in step."


class NotReady(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """A problem that also says which part is away (RFC 9457, section 3.2)."""

    store: bool
    index: bool
    lag: int | None


def mount(app: Bottle, tweets: Tweets) -> None:
    """Add the health routes to *app*."""

    @app.get("/livez")
    def live() -> HTTPResponse:
        """Always 200."""
        return answer(Live())

    @app.get("/readyz")
    def ready() -> HTTPResponse:
        """200 when SQL and Redis answer, and Redis is not far behind; else 503."""
        health = tweets.health()
        if not (health.store and health.index):
            return _not_ready(health, _AWAY)
        if health.lag is not None and health.lag > LAG_AT_MOST:
            return _not_ready(health, _BEHIND)
        return answer(Ready(store=True, index=True, lag=health.lag))


def _not_ready(health: Health, detail: str) -> HTTPResponse:
    body = NotReady(
        type="about:blank",
        title=HTTPStatus.SERVICE_UNAVAILABLE.phrase,
        status=503,
        code="not_ready",
        detail=detail,
        store=health.store,
        index=health.index,
        lag=health.lag,
    )
    return HTTPResponse(encode(body), 503, [("Content-Type", PROBLEM_TYPE), UNSTORED, ("Retry-After", "1")])
