"""The two health answers: one only says that the process lives, the other asks both parts."""

from http import HTTPStatus

from bottle import Bottle, HTTPResponse

from app.errors import PROBLEM_TYPE, Problem
from app.http.answers import UNSTORED, answer, encode
from app.http.wire import Live, Ready
from storage.records import Health
from storage.tweets import Tweets


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
        """200 when SQL and Redis answer, else 503."""
        health = tweets.health()
        if health.store and health.index:
            return answer(Ready(store=True, index=True, lag=health.lag))
        return _not_ready(health)


def _not_ready(health: Health) -> HTTPResponse:
    body = NotReady(
        type="about:blank",
        title=HTTPStatus.SERVICE_UNAVAILABLE.phrase,
        status=503,
        code="not_ready",
        detail="The database or the index does not answer.",
        store=health.store,
        index=health.index,
        lag=health.lag,
    )
    return HTTPResponse(encode(body), 503, [("Content-Type", PROBLEM_TYPE), UNSTORED, ("Retry-After", "1")])
