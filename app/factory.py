"""The application: all routes on one Bottle, and what holds for each of its answers."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from bottle import Bottle, HTTPError, HTTPResponse, request

from app.errors import PROBLEM_TYPE, SECURITY, problem, refusal_for, retry_after_s
from app.http import health, openapi, pages, ranking
from app.http import tweets as tweet_routes
from app.http.answers import JSON, UNSTORED, refusal
from app.http.auth import Guard
from app.later import Begun, Later
from app.logging import Request, Watch, log_request
from app.server import Hooks
from app.settings import Settings
from storage import Tweets
from storage.errors import StorageError
from storage.tokens import Tokens

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from app.metrics import Metrics

_log = logging.getLogger(__name__)


_QUICK = {"GET": re.compile(r"/|/api/v1/(?:top|tweet/[^/]+)"), "POST": re.compile(r"/api/v1/(?:re)?tweet")}
"""Paths of routes that answer at once, or begin their answer and raise Later."""


class Service(Bottle, Hooks):
    """A Bottle whose every answer is safe to show, and whose every error is problem+json."""

    def __init__(self, tweets: Tweets, guard: Guard) -> None:
        super().__init__()
        self._tweets = tweets
        self._guard = guard

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """
        Answer a request; whatever a route raises becomes an answer here, and only here.

        Where the server offers to come back later, the answer may be a Begun.
        """
        return self._answer(self.wsgi, environ, start_response)

    def _answer(
        self, application: "WSGIApplication", environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            if JSON in headers:
                headers.extend(SECURITY)
            else:
                named = dict(headers)  # a page says most of it by itself
                headers.extend(header for header in SECURITY if header[0] not in named)
            return start_response(status, headers, error)

        try:
            return application(environ, start)
        except Later as later:
            return Begun(partial(self._answer, partial(_finish, later.finish)), later.is_ready)
        except Exception as error:  # noqa: BLE001  # the table has an answer for every error
            return _refuse(error, environ, start)

    def is_quick(self, method: str, path: str) -> bool:
        """Whether such a request is answered without waiting."""
        paths = _QUICK.get(method)
        return paths is not None and paths.fullmatch(path) is not None and (method == "GET" or self._guard.is_ready())

    def pause(self) -> None:
        """Let be done what was begun."""
        self._tweets.flush()

    def tick(self) -> None:
        """Let nobody wait for too long."""
        self._tweets.tick()

    def default_error_handler(self, res: HTTPError) -> HTTPResponse:
        """The answer to what Bottle itself refuses: no such path, no such method there."""
        status = HTTPStatus(res.status_code)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            allow = (res.get_header("Allow") or "").replace("GET", "GET,HEAD").replace(",", ", ")
            return refusal(405, "method_not_allowed", "This path has other methods.", headers=[("Allow", allow)])
        if status == HTTPStatus.NOT_FOUND:
            return refusal(404, "not_found", "There is nothing at this path.")
        return refusal(status, status.phrase.lower().replace(" ", "_"), f"{status.phrase}.")


class Watched(Service):
    """A Service that tells *watches* of each request."""

    def __init__(self, tweets: Tweets, guard: Guard, watches: Sequence[Watch]) -> None:
        super().__init__(tweets, guard)
        self._watches = watches

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """As in Service."""
        return self._watch(super().__call__, time.perf_counter(), environ["PATH_INFO"], environ, start_response)

    def _watch(
        self,
        application: "WSGIApplication",
        began: float,
        path: str,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
    ) -> Iterable[bytes]:
        told = (0, 0)

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            nonlocal told
            told = int(status[:3]), int(dict(headers).get("Content-Length", 0))
            return start_response(status, headers, error)

        answer = application(environ, start)
        if isinstance(answer, Begun):
            return replace(answer, rest=partial(self._watch, answer.rest, began, path))
        route, (status, size) = environ.get("bottle.route"), told
        method = environ["REQUEST_METHOD"]
        took_s = time.perf_counter() - began
        self._tell(Request(method, route.rule if route else "", path, status, took_s, 0 if method == "HEAD" else size))
        return answer

    def refused(self, method: str, status: int) -> None:
        """Tell of a request that the server below has answered."""
        self._tell(Request(method, "", "", status, 0.0, 0))

    def _tell(self, answered: Request) -> None:
        for watch in self._watches:
            watch(answered)


def create_app(tweets: Tweets, settings: Settings) -> Service:
    """The application that serves *tweets*, pages and API."""
    metrics = _open_metrics(tweets, settings) if settings.metrics else None
    watches = [*([log_request] if settings.access_log else []), *([metrics.watch] if metrics else [])]
    guard = Guard(Tokens(tweets.database), settings.rate_limit)
    app = Watched(tweets, guard, watches) if watches else Service(tweets, guard)
    app.config["catchall"] = False
    app.uninstall(True)  # Bottle's plugins serve routes that return a dict or name a template: here none does
    app.add_hook("before_request", _check_path)
    app.add_hook("before_request", partial(_check_method, app))
    tweet_routes.mount(app, tweets, guard)
    for mount in (ranking.mount, health.mount, pages.mount):
        mount(app, tweets)
    openapi.mount(app, settings)
    if metrics:
        _mount_metrics(app, metrics)
    return app


def _open_metrics(tweets: Tweets, settings: Settings) -> "Metrics":
    from app.metrics import Metrics  # noqa: PLC0415  # a package that nobody else has to wait for

    return Metrics(settings.data_dir, tweets)


def _mount_metrics(app: Bottle, metrics: "Metrics") -> None:
    @app.get("/metrics")
    def get_metrics() -> HTTPResponse:
        """All numbers, of all processes, in the text format of Prometheus."""
        return HTTPResponse(metrics.page(), 200, [("Content-Type", metrics.content_type), UNSTORED])


def _check_path() -> None:
    """Refuse what Bottle would bend until it fits: bytes that are not UTF-8, and a newline at the end."""
    path = request.environ["bottle.raw_path"]
    if path.isascii() and not path.endswith("\n"):
        return
    try:
        path.encode("latin-1").decode()
    except ValueError:
        raise refusal(400, "bad_path", "The path is not UTF-8.") from None
    if path.endswith("\n"):
        raise refusal(404, "not_found", "There is nothing at this path.")


def _check_method(app: Bottle) -> None:
    """Refuse a method with small letters, which Bottle would take for the one in capitals (RFC 9110, section 9.1)."""
    method = request.environ["REQUEST_METHOD"]
    if method != method.upper():
        app.match({**request.environ, "REQUEST_METHOD": "-"})  # raises: no route has this one


def _finish(
    finish: Callable[[], HTTPResponse], environ: "WSGIEnvironment", start_response: "StartResponse"
) -> list[bytes]:
    """The answer that comes later, in the form that Bottle gives to any."""
    request.bind(environ)  # others were answered by this thread in the meantime
    try:
        answer = finish()
    except HTTPResponse as refused:
        answer = refused
    content = answer.body or b""
    answer.set_header("Content-Length", str(len(content)))
    start_response(answer.status_line, answer.headerlist)
    return [content]


def _root_of(error: BaseException) -> str:
    """What the innermost of the errors behind *error* says, in one line."""
    while error.__cause__:
        error = error.__cause__
    return " ".join(str(error).split())


def _refuse(error: Exception, environ: "WSGIEnvironment", start_response: "StartResponse") -> list[bytes]:
    # Bottle starts its answer as the last thing it does, so none is under way here.
    answered = refusal_for(error)
    if answered.logged:
        # The way to a fault of ours helps to find it; a full disk is no fault, and thousands may be told of it.
        cause = error.__cause__ if isinstance(error, StorageError) else None
        said = f"{answered.status} {answered.code}" + (f": {_root_of(cause)}" if cause else "")
        _log.error("%s", said, exc_info=None if cause else error)
    content = problem(answered.status, answered.code, answered.detail)
    headers = [("Content-Type", PROBLEM_TYPE), ("Content-Length", str(len(content))), UNSTORED]
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers.append(("Retry-After", str(wait_s)))
    start_response(f"{answered.status} {HTTPStatus(answered.status).phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
